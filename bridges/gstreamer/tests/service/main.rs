//! The elements against a running service, on a bus of their own. tests/stages/23-gstreamer runs
//! this: it needs the programs of the workspace (`$GST_PORTRAITD_PROGRAMS`) and a session bus.

mod provide;
mod sink;
mod source;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gst::prelude::*;
use gst_app::AppSink;
use gst_video::prelude::*;

/// How long anything may take.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(30);

/// A bus has one service.
static ALONE: Mutex<()> = Mutex::new(());

fn programs() -> PathBuf {
    std::env::var_os("GST_PORTRAITD_PROGRAMS").expect("GST_PORTRAITD_PROGRAMS names the folder of the programs").into()
}

struct Service {
    child: Child,
    folder: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

fn start(configuration: &Path) -> Child {
    let child = Command::new(programs().join("portraitd"))
        .args(["run", "--bus", "session", "--log", "warn", "--config"])
        .arg(configuration)
        .stdin(Stdio::null())
        .spawn()
        .expect("the service starts");
    let waited = Command::new("gdbus").args(["wait", "--session", "--timeout", "30", "org.portraitd"]).status();
    assert!(waited.expect("gdbus runs").success(), "the service is not on the bus");
    child
}

impl Service {
    /// With the camera `main`.
    fn new(device: &str) -> Self {
        Self::with(&[("main", device)])
    }

    fn with(cameras: &[(&str, &str)]) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        gst::init().expect("GStreamer");
        gstportraitd::register_static().expect("the plugin");
        let folder = tempfile::tempdir().expect("a folder");
        let text = cameras.iter().map(|(name, device)| {
            format!("[[camera]]\nname = \"{name}\"\ndevice = \"{device}\"\nidle_close_s = 0.5\nallow_source = true\n")
        });
        std::fs::write(folder.path().join("portraitd.toml"), text.collect::<String>()).expect("a configuration");
        let child = start(&folder.path().join("portraitd.toml"));
        Self { child, folder, _alone: alone }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn restart(&mut self) {
        self.end();
        self.child = start(&self.folder.path().join("portraitd.toml"));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a command of the client program prints.
fn answer(command: &str) -> String {
    let output = Command::new(programs().join("portraitctl")).args(["--bus", "session", command, "--json"]).output();
    String::from_utf8(output.expect("portraitctl runs").stdout).expect("text")
}

/// Waits until the answer to a command has `words`.
fn until(command: &str, words: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !answer(command).contains(words) {
        assert!(std::time::Instant::now() < end, "no {words} in {}", answer(command));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

struct Pipeline {
    pipeline: gst::Pipeline,
    sink: AppSink,
}

impl Pipeline {
    fn new(text: &str) -> Self {
        let text = format!("portraitdsrc name=source bus=session {text} ! appsink name=sink sync=false max-buffers=4");
        let pipeline = gst::parse::launch(&text).expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
        let sink = pipeline.by_name("sink").expect("the sink").downcast::<AppSink>().expect("an appsink");
        Self { pipeline, sink }
    }

    fn play(self) -> Self {
        self.pipeline.set_state(gst::State::Playing).expect("it plays");
        self
    }

    fn next(&self) -> gst::Sample {
        self.sink.try_pull_sample(PATIENCE).unwrap_or_else(|| panic!("no frame: {:?}", self.error()))
    }

    fn error(&self) -> Option<String> {
        let bus = self.pipeline.bus().expect("a bus");
        let message = bus.timed_pop_filtered(gst::ClockTime::ZERO, &[gst::MessageType::Error])?;
        let gst::MessageView::Error(error) = message.view() else { return None };
        Some(format!("{:?}: {}", error.error().kind::<gst::ResourceError>(), error.error()))
    }

    fn refusal(&self) -> String {
        let failed = self.pipeline.set_state(gst::State::Playing).is_err();
        let bus = self.pipeline.bus().expect("a bus");
        let message = bus.timed_pop_filtered(PATIENCE, &[gst::MessageType::Error]).expect("an error");
        let gst::MessageView::Error(error) = message.view() else { unreachable!("only errors are taken") };
        let text = format!("{:?} {}", error.error().kind::<gst::ResourceError>(), error.error());
        format!("{}{text}", if failed { "at once: " } else { "" })
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn size(sample: &gst::Sample) -> (i32, i32, String) {
    let caps = sample.caps().expect("caps");
    let structure = caps.structure(0).expect("fixed caps");
    let side = |name| structure.get::<i32>(name).expect("a side");
    (side("width"), side("height"), structure.get("format").expect("a format"))
}

/// A photograph with a person.
fn photograph() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/people/images/0007.jpg");
    path.canonicalize().expect("the photograph")
}

/// The bytes of one plane, `width` of each row.
fn plane(sample: &gst::Sample, index: u32, width: usize) -> Vec<u8> {
    let info = gst_video::VideoInfo::from_caps(sample.caps().expect("caps")).expect("an info");
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(sample.buffer().expect("a buffer"), &info);
    let frame = frame.expect("readable");
    let stride = usize::try_from(frame.plane_stride()[index as usize]).expect("positive");
    let bytes = frame.plane_data(index).expect("a plane");
    bytes.chunks(stride).flat_map(|row| row[..width].iter().copied()).collect()
}

/// The bytes of a mask.
fn mask(sample: &gst::Sample) -> Vec<u8> {
    plane(sample, 0, usize::try_from(size(sample).0).expect("positive"))
}

/// The bytes of a picture in NV12: luma and chroma.
fn nv12(sample: &gst::Sample) -> [Vec<u8>; 2] {
    let (width, height, _) = size(sample);
    let [width, height] = [width, height].map(|side| usize::try_from(side).expect("positive"));
    let mut planes = [plane(sample, 0, width), plane(sample, 1, width.next_multiple_of(2))];
    // The buffer may have more rows.
    planes[0].truncate(width * height);
    planes[1].truncate(width.next_multiple_of(2) * height.div_ceil(2));
    planes
}

/// The share of the cells that two masks agree on.
fn overlap(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len());
    let (mut both, mut either) = (0_u32, 0_u32);
    for (a, b) in one.iter().zip(other) {
        both += u32::from(*a >= 128 && *b >= 128);
        either += u32::from(*a >= 128 || *b >= 128);
    }
    assert!(either > 1000, "{either} cells with people");
    f64::from(both) / f64::from(either)
}
