//! `[[camera.output]]` through the whole daemon: the pictures that it writes are captured again
//! through the driver.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use portraitd_media::Size;
use portraitd_media::{FormatRequest, Stream};
use portraitd_v4l2::CaptureOptions;
use portraitd_v4l2::formats::FourCc;
use portraitd_v4l2::sys;
use portraitd_v4l2::sys::{BufferType, DeviceFormat};
use portraitd_v4l2::{AutoSource, CaptureStream, devices};

use super::lab::{HDMI, Lab, Outcome, SMALL, distance_from_bars, frame, input, set};
use super::programs::{Programs, camera_at};
use super::{Skipped, Test};

pub const TESTS: [Test; 4] = [
    ("daemon-output-single-planar", |lab| looped(lab, 0)),
    ("daemon-output-multi-planar", |lab| looped(lab, 1)),
    ("daemon-output-unplug", unplug),
    ("daemon-output-webcam", webcam),
];

fn output(device: &Path) -> String {
    format!("[[camera.output]]\ndevice = \"{}\"\nstream = \"view\"", device.display())
}

/// Connects the camera of a device to its output.
fn loop_back(lab: &Lab, number: usize) -> Result<CaptureStream> {
    let camera = lab.camera(number);
    input(&camera, HDMI)?;
    set(&camera, "Loop Video", 1)?;
    // Both sides need the same format, otherwise the driver shows noise.
    let options = CaptureOptions { code: Some(FourCc::new(*b"YUYV")), ..CaptureOptions::default() };
    Ok(CaptureStream::open_with(&camera, &FormatRequest { frame_rate: None, ..SMALL }, options)?)
}

/// Waits for the colour bars. Returns the number of frames before them.
fn bars(stream: &mut CaptureStream) -> Result<usize> {
    let until = Instant::now() + Duration::from_secs(60);
    let mut closest = f32::MAX;
    for count in 1.. {
        closest = closest.min(distance_from_bars(&frame(stream)?.picture()));
        if closest < 8.0 {
            return Ok(count);
        }
        ensure!(Instant::now() < until, "no bars: {closest} off at best, of {count} pictures");
    }
    Ok(0)
}

/// The bars of one device's camera are written to the other device's output and captured again from
/// there.
fn looped(lab: &Lab, number: usize) -> Outcome {
    // The camera that shows the loop has another test pattern, so that the two cannot be confused.
    set(&lab.camera(number), "Test Pattern", 8)?;
    let configuration = camera_at(&lab.camera(1 - number), &output(&lab.output(number)));
    let programs = Programs::start(lab, &[], &configuration)?;
    // The driver does not report readers, so the camera is always on.
    let camera = programs.state("main", "running")?;
    ensure!(camera["Consumers"] == 1, "{camera}");
    let mut stream = loop_back(lab, number)?;
    let count = bars(&mut stream)?;
    Ok(format!("bars after {count} pictures, {} {}", stream.code(), stream.format().size))
}

/// The node is removed while the daemon writes to it. The camera and its client continue, and the
/// output resumes when the node is back.
fn unplug(lab: &Lab) -> Outcome {
    set(&lab.camera(0), "Test Pattern", 8)?;
    let configuration = camera_at(&lab.camera(1), &output(&lab.output(0)));
    let programs = Programs::start(lab, &[], &configuration)?;
    let client = programs.client(&["attach", "view", "--json"])?;
    programs.until("main", "two consumers", |camera| camera["Consumers"] == 2)?;
    let mut stream = loop_back(lab, 0)?;
    bars(&mut stream)?;
    set(&lab.camera(0), "Disconnect", 1)?;
    drop(stream);
    programs.until("main", "one consumer", |camera| camera["Consumers"] == 1)?;
    let camera = programs.until("main", "two consumers again", |camera| camera["Consumers"] == 2)?;
    ensure!(camera["State"] == "running" && camera["LastError"] == "", "{camera}");
    bars(&mut loop_back(lab, 0)?)?;
    let summary = client.interrupt()?;
    ensure!(summary["reattached"] == 0, "{summary}");
    Ok(summary.to_string())
}

const WEBCAM: &str = "/dev/video40";
const FIXED: &str = "/dev/video41";

/// v4l2loopback: a webcam for any program. The camera is on only while a program reads. The daemon
/// uses the format that a reader has set, and `auto` does not take the daemon's own output for a
/// camera.
fn webcam(lab: &Lab) -> Outcome {
    if !lab.has_module("v4l2loopback") {
        return Err(Skipped("the module v4l2loopback could not be built".to_owned()).into());
    }
    lab.modprobe(&["v4l2loopback", "video_nr=40,41", "exclusive_caps=1,0", "card_label=one,two"])?;
    let result = webcam_with_module(lab);
    // Remove the node so that other tests do not find it.
    lab.modprobe(&["-r", "v4l2loopback"])?;
    result
}

fn webcam_with_module(lab: &Lab) -> Outcome {
    // A reader that was first, with its own format.
    let reader = fs::OpenOptions::new().read(true).write(true).open(FIXED)?;
    let wish = DeviceFormat {
        width: 320,
        height: 240,
        pixel_format: FourCc::new(*b"UYVY").0,
        field: sys::FIELD_NONE,
        colorspace: 8,
        ycbcr_encoding: 0,
        quantization: 0,
        plane_count: 1,
        bytes_per_line: [0; sys::MAX_PLANES],
        size_image: [0; sys::MAX_PLANES],
    };
    sys::set_format(&reader, BufferType::Capture, &wish)?;
    let outputs = format!("{}\n{}", output(Path::new(WEBCAM)), output(Path::new(FIXED)));
    let configuration = camera_at(&lab.camera(1), &outputs);
    let programs = Programs::start(lab, &[], &configuration)?;
    // The device appears as a camera only after the first picture.
    let until = Instant::now() + Duration::from_secs(30);
    while !devices()?.iter().any(|device| device.path == Path::new(WEBCAM) && device.usable) {
        ensure!(Instant::now() < until, "the node never becomes a webcam");
        std::thread::sleep(Duration::from_millis(50));
    }
    let camera = programs.camera("main")?;
    ensure!(camera["State"] == "idle" && camera["Consumers"] == 0, "on without a reader: {camera}");
    let found = AutoSource::default().open_stream(&SMALL)?;
    ensure!(found.path() == fs::canonicalize(lab.camera(0))?, "auto took {}", found.path().display());
    drop(found);
    let mut stream = CaptureStream::open(Path::new(WEBCAM), &SMALL)?;
    let count = bars(&mut stream)?;
    let said = format!("{} {}: bars after {count} pictures", stream.code(), stream.format().size);
    let camera = programs.state("main", "running")?;
    ensure!(camera["Consumers"] == 1, "{camera}");
    drop(stream);
    programs.state("main", "idle")?;
    // The picture has the reader's format.
    drop(reader);
    let mut stream = CaptureStream::open(Path::new(FIXED), &SMALL)?;
    ensure!(stream.code() == FourCc::new(*b"UYVY"), "{}", stream.code());
    ensure!(stream.format().size == Size::new(320, 240), "{}", stream.format().size);
    let until = Instant::now() + Duration::from_secs(60);
    // The aspect ratio differs, so not all bars are visible, but some colour must be.
    loop {
        let shown = frame(&mut stream)?;
        let [red, green, blue] = super::lab::pixel(&shown.picture(), 60, 120);
        if green > 200.0 && red < 60.0 || red > 200.0 && blue < 60.0 {
            break;
        }
        ensure!(Instant::now() < until, "no picture: {red} {green} {blue}");
    }
    drop(stream);
    programs.state("main", "idle").context("after the second reader")?;
    Ok(said)
}
