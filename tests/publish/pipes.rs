//! The pipes of `portraitctl attach` with the real service on a bus of its own.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use portraitd::publish::dbus::serve;
use portraitd_client::feed::wait_for_camera;
use portraitd_media::Size;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::bus::PrivateBus;
use crate::fake::{FakeCamera, eventually, publication, runtime};
use crate::tool::on;

/// A service with the scene of a person who walks, on a bus of its own.
struct Service {
    bus: PrivateBus,
    daemon: Child,
}

impl Service {
    fn start() -> Option<Self> {
        Self::with("scene:walk")
    }

    fn with(source: &str) -> Option<Self> {
        let bus = PrivateBus::start()?;
        let daemon = Command::new(env!("CARGO_BIN_EXE_portraitd"))
            .args(["run", "--bus", &bus.address, "--source", source, "--log", "error"])
            .stdin(Stdio::null())
            .spawn()
            .expect("portraitd");
        runtime().block_on(async {
            let client = bus.bus.connect().await.expect("client");
            wait_for_camera(&client, None).await.expect("camera");
        });
        Some(Self { bus, daemon })
    }

    fn signal(&self, signal: Signal) {
        let process = i32::try_from(self.daemon.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(process, signal).expect("our own child");
    }

    fn attach(&self, arguments: &[&str]) -> Command {
        let mut command = on(&self.bus, &["attach", "view", "--width", "64", "--height", "36"]);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn output(&self, arguments: &[&str]) -> (Output, Value) {
        let output = self.attach(arguments).output().expect("portraitctl");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        let summary = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
        (output, summary.unwrap_or_else(|| panic!("no summary: {text}")))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.daemon.kill().expect("our own child");
        self.daemon.wait().expect("its end");
    }
}

fn end_of(child: &mut Child) -> ExitStatus {
    let mut status = None;
    runtime().block_on(eventually("it ends", || {
        status = child.try_wait().expect("its status");
        status.is_some()
    }));
    status.expect("it has ended")
}

const Y4M_HEADER: &[u8] = b"YUV4MPEG2 W64 H36 F240:1 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\n";
const PICTURE: usize = b"FRAME\n".len() + 64 * 36 * 3 / 2;

fn number(summary: &Value, key: &str) -> usize {
    summary[key].as_u64().and_then(|value| value.try_into().ok()).unwrap_or_else(|| panic!("no {key}: {summary}"))
}

#[test]
fn y4m_has_whole_pictures_and_jpeg_one_after_the_other() {
    let Some(service) = Service::start() else { return };
    let arguments = ["--fps", "240", "--frames", "20", "--json", "--verbose"];
    let (output, summary) = service.output(&[&arguments[..], &["--y4m", "-"]].concat());
    let body = output.stdout.strip_prefix(Y4M_HEADER).expect("the header");
    let pictures: Vec<&[u8]> = body.chunks(PICTURE).collect();
    assert!(pictures.iter().all(|picture| picture.len() == PICTURE && picture.starts_with(b"FRAME\n")));
    let written = number(&summary, "written");
    assert_eq!(written, pictures.len());
    // The scene has 30 frames a second, so most of 240 are repeated.
    assert!(number(&summary, "repeated") > number(&summary, "frames"), "{summary}");
    assert_eq!(written - number(&summary, "repeated") + number(&summary, "dropped"), 20, "{summary}");
    // With the frames on standard output, what is said about them is on the other.
    let lines = String::from_utf8_lossy(&output.stderr).into_owned();
    let places: Vec<u64> =
        lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?.get("picture")?.as_u64()).collect();
    assert!(places.is_sorted() && places.first() == Some(&0) && places.len() <= 20, "{places:?}");

    let (output, summary) = service.output(&["--mjpeg", "-", "--frames", "10", "--json", "--quiet"]);
    let begins = |bytes: &[u8]| bytes.starts_with(&[0xff, 0xd8, 0xff, 0xe0]);
    assert!(begins(&output.stdout) && output.stdout.ends_with(&[0xff, 0xd9]));
    assert_eq!(output.stdout.windows(4).filter(|bytes| begins(bytes)).count(), number(&summary, "written"));
}

#[test]
fn a_video_keeps_its_rate_while_the_service_is_silent_and_ends_with_its_reader() {
    let Some(service) = Service::start() else { return };
    let mut child = service.attach(&["--fps", "240", "--y4m", "-", "--quiet"]).spawn().expect("portraitctl");
    let mut stdout = child.stdout.take().expect("piped");
    let mut header = [0; Y4M_HEADER.len()];
    stdout.read_exact(&mut header).expect("the header");
    let mut pictures = vec![vec![0; PICTURE]; 600];
    stdout.read_exact(&mut pictures[0]).expect("a picture");
    service.signal(Signal::STOP);
    // Far more than the pipe holds.
    pictures.iter_mut().for_each(|picture| stdout.read_exact(picture).expect("a picture"));
    assert!(pictures[500..].windows(2).all(|pair| pair[0] == pair[1]), "the last picture is repeated");

    drop(stdout);
    assert!(end_of(&mut child).success());
}

/// Programs that read a video cannot change its size.
#[test]
fn a_video_keeps_its_size_when_the_camera_changes_its_own() {
    let Some(bus) = PrivateBus::start() else { return };
    let camera = FakeCamera::new("front-1");
    let mut command = on(&bus, &["attach", "view", "--y4m", "-", "--fps", "240", "--frames", "200", "--json"]);
    let changing = Arc::clone(&camera);
    let read = move || {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("portraitctl");
        let mut stdout = child.stdout.take().expect("piped");
        let mut begin = [0; Y4M_HEADER.len() + PICTURE];
        stdout.read_exact(&mut begin).expect("a picture");
        *changing.size.lock().expect("fake") = Size::new(128, 72);
        changing.close_rings();
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).expect("the rest");
        (begin, rest, child.wait_with_output().expect("its end"))
    };
    let (begin, rest, output) = runtime().block_on(async {
        let _server = serve(&bus.bus, publication(&[&camera])).await.expect("serve");
        let _publishing = camera.publish_for_ever(Duration::from_millis(3));
        tokio::task::spawn_blocking(read).await.expect("thread")
    });
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && begin.starts_with(Y4M_HEADER), "{text}");
    let summary: Value = serde_json::from_str(text.lines().last().expect("a summary")).expect("JSON");
    assert_eq!(rest.len(), (number(&summary, "written") - 1) * PICTURE, "{summary}");
    let request = camera.last_request.lock().expect("fake").clone().expect("a request");
    assert_eq!(request.options.size, Some(Size::new(64, 36)));
    // Once because the ring was closed, and once for the size.
    assert_eq!(number(&summary, "reattached"), 2, "{summary}");
}

/// Nothing is written, so nothing fails: the end of the reader itself is noticed.
#[test]
fn it_ends_with_its_reader_although_no_frame_comes() {
    let Some(service) = Service::start() else { return };
    let mut child = service.attach(&["--raw", "-", "--quiet"]).spawn().expect("portraitctl");
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut [0; 64]).expect("a frame");
    service.signal(Signal::STOP);
    // The pipe holds all that is published before the service stops, so that nothing waits there.
    drop(stdout);
    assert!(end_of(&mut child).success());
}

#[test]
fn a_video_is_provided_as_often_as_somebody_looks() {
    let Some(service) = Service::with("provider") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let video = folder.path().join("video.y4m");
    let mut bytes = b"YUV4MPEG2 W64 H36 F60:1 C420jpeg\n".to_vec();
    for _ in 0..3 {
        bytes.extend(b"FRAME\n");
        bytes.extend([90; 64 * 36 * 3 / 2]);
    }
    std::fs::write(&video, bytes).expect("written");
    let file = video.to_str().expect("a name");
    let provide = |arguments: &[&str]| on(&service.bus, &[&["provide", file], arguments].concat());
    let mut provider = provide(&["--repeat"]).spawn().expect("portraitctl");
    for _ in 0..2 {
        let out = folder.path().join("frames");
        let out = out.to_str().expect("a name");
        let output = service.attach(&["--frames", "5", "--wait", "--raw", out]).output().expect("portraitctl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let frames = std::fs::read(out).expect("written");
        assert_eq!(frames.len(), 5 * 64 * 36 * 3 / 2);
        assert!(frames.iter().all(|byte| byte.abs_diff(90) < 3), "{:?}", frames.iter().max());
    }
    let second = provide(&[]).output().expect("portraitctl");
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && text.contains("provides the frames of camera"), "{text}");
    // The end of the service is the end of the offer.
    service.signal(Signal::TERM);
    assert!(!end_of(&mut provider).success());
}
