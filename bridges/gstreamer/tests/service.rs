//! The element against a running service, on a bus of its own. tests/stages/25-gstreamer runs this:
//! it needs the programs of the workspace (`$GST_PORTRAITD_PROGRAMS`) and a session bus.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gst::prelude::*;
use gst_app::AppSink;
use gst_video::VideoRegionOfInterestMeta;

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
    fn new(device: &str) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        gst::init().expect("GStreamer");
        gstportraitd::register_static().expect("the plugin");
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!("[[camera]]\nname = \"main\"\ndevice = \"{device}\"\nidle_close_s = 0.5\n");
        std::fs::write(folder.path().join("portraitd.toml"), text).expect("a configuration");
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

fn statistics() -> String {
    let output = Command::new(programs().join("portraitctl")).args(["--bus", "session", "stats", "--json"]).output();
    String::from_utf8(output.expect("portraitctl runs").stdout).expect("text")
}

/// Waits until the service says `words`.
fn until(words: &str) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !statistics().contains(words) {
        assert!(std::time::Instant::now() < end, "no {words} in {}", statistics());
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

#[test]
fn frames_have_the_size_asked_for_rising_times_and_the_people() {
    let _service = Service::new("scene:walk");
    let pipeline = Pipeline::new("stream=view ! video/x-raw,format=RGB,width=640,height=360,framerate=30/1").play();
    let mut times = Vec::new();
    let mut boxes = 0;
    for _ in 0..60 {
        let sample = pipeline.next();
        assert_eq!(size(&sample), (640, 360, "RGB".to_owned()));
        let buffer = sample.buffer().expect("a buffer");
        assert_eq!(buffer.size(), 640 * 360 * 3);
        times.push(buffer.pts().expect("a time"));
        for region in buffer.iter_meta::<VideoRegionOfInterestMeta>() {
            let (x, y, width, height) = region.rect();
            assert!(x + width <= 640 && y + height <= 360 && width > 0 && height > 0, "{:?}", region.rect());
            assert!(region.id() > 0, "a person has a number");
            boxes += 1;
        }
    }
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    let mean = (times[59] - times[29]).nseconds() / 30;
    assert!((30_000_000..40_000_000).contains(&mean), "30 frames a second are 33 ms apart, and not {mean} ns");
    assert!(boxes >= 30, "{boxes} boxes in 60 frames");
    let mut latency = gst::query::Latency::new();
    assert!(pipeline.pipeline.by_name("source").expect("the source").query(&mut latency));
    let (is_live, least, most) = latency.result();
    assert!(is_live && least > gst::ClockTime::ZERO && most.is_none_or(|most| most >= least));
}

#[test]
fn nobody_is_attached_while_the_pipeline_pauses() {
    let _service = Service::new("scene:walk");
    let pipeline = Pipeline::new("stream=mask");
    pipeline.pipeline.set_state(gst::State::Paused).expect("it pauses");
    until("\"rings\":0");
    pipeline.pipeline.set_state(gst::State::Playing).expect("it plays");
    let first = pipeline.next();
    assert_eq!(size(&first).2, "GRAY8");
    until("\"rings\":1");
    pipeline.pipeline.set_state(gst::State::Paused).expect("it pauses");
    until("\"rings\":0");
    pipeline.pipeline.set_state(gst::State::Playing).expect("it plays again");
    until("\"rings\":1");
    // What waited in the sink is older.
    let times: Vec<_> = (0..8).filter_map(|_| pipeline.next().buffer().and_then(gst::BufferRef::pts)).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    pipeline.pipeline.set_state(gst::State::Null).expect("it ends");
    until("\"rings\":0");
}

#[test]
fn a_service_that_starts_again_is_found_again() {
    let mut service = Service::new("scene:walk");
    let pipeline = Pipeline::new("stream=composite").play();
    let first = pipeline.next();
    service.restart();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    // Frames of the service before may wait in the sink.
    until("\"rings\":1");
    for _ in 0..8 {
        assert_eq!(size(&pipeline.next()), size(&first));
        assert!(std::time::Instant::now() < end);
    }
    assert_eq!(pipeline.error(), None);
}

#[test]
fn errors_say_what_is_wrong() {
    let mut service = Service::new("scene:walk");
    let refused = |text: &str| Pipeline::new(text).refusal();
    assert!(refused("stream=portrait").contains("`stream`"), "{}", refused("stream=portrait"));
    assert!(refused("crop=round").contains("`crop`"));
    let absent = refused("camera=other");
    assert!(absent.contains("NotFound") && absent.contains("\"other\""), "{absent}");
    let format = refused("stream=mask ! video/x-raw,format=RGB");
    assert!(format.contains("the stream mask is video/x-raw"), "{format}");
    service.end();
    let gone = refused("stream=view");
    assert!(gone.contains("OpenRead") || gone.contains("NotFound"), "{gone}");
}

#[test]
fn a_pipeline_waits_for_a_service_and_ends_while_it_waits() {
    let mut service = Service::new("scene:walk");
    service.end();
    let pipeline = Pipeline::new("wait=true stream=view").play();
    assert!(pipeline.sink.try_pull_sample(gst::ClockTime::from_mseconds(300)).is_none());
    assert_eq!(pipeline.error(), None);
    service.restart();
    pipeline.next();
    service.end();
    let waiting = Pipeline::new("wait=true stream=view").play();
    drop(waiting);
}

/// The bytes of one mask, by the client program.
fn mask_of_portraitctl() -> Vec<u8> {
    let output = Command::new(programs().join("portraitctl"))
        .args(["--bus", "session", "attach", "mask", "--quiet", "--frames", "1", "--raw", "-"])
        .output();
    output.expect("portraitctl runs").stdout
}

#[test]
fn the_mask_of_a_photograph_is_the_one_that_another_client_gets() {
    let photograph = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/people/images/0007.jpg");
    let photograph = photograph.canonicalize().expect("the photograph");
    let _service = Service::new(&format!("file:{}?fps=30&loop", photograph.display()));
    let pipeline = Pipeline::new("stream=mask").play();
    let mut mask = Vec::new();
    // The picture stands still, so the mask comes to rest.
    for _ in 0..90 {
        let sample = pipeline.next();
        let buffer = sample.buffer().expect("a buffer");
        let info = gst_video::VideoInfo::from_caps(sample.caps().expect("caps")).expect("an info");
        let map = buffer.map_readable().expect("readable");
        let stride = usize::try_from(info.stride()[0]).expect("positive");
        let width = info.width() as usize;
        mask = map.chunks(stride).flat_map(|row| row[..width].iter().copied()).collect();
    }
    let other = mask_of_portraitctl();
    assert_eq!(mask.len(), other.len());
    let (mut both, mut either) = (0, 0);
    for (a, b) in mask.iter().zip(&other) {
        both += u32::from(*a >= 128 && *b >= 128);
        either += u32::from(*a >= 128 || *b >= 128);
    }
    assert!(either > 1000, "{either} cells with people");
    assert!(f64::from(both) >= 0.99 * f64::from(either), "{both} of {either} cells agree");
}
