//! Capture: every format, single- and multi-planar, names, sizes, colours.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use portraitd_media::{FormatRequest, Source, SourceError, Stream, StreamEvent};
use portraitd_media::{PixelFormat, Size};
use portraitd_v4l2::CaptureOptions;
use portraitd_v4l2::formats::{FourCc, TABLE};
use portraitd_v4l2::{AutoSource, CaptureStream, devices};

use super::Test;
use super::lab::{
    HDMI, Lab, Outcome, SMALL, TELEVISION, command, distance_from_bars, frame, input, packed, set, stream, stream_with,
};

pub const TESTS: [Test; 12] = [
    ("listing", listing),
    ("formats-single-planar", |lab| formats(lab, 0)),
    ("formats-multi-planar", |lab| formats(lab, 1)),
    ("colour-spaces", colour_spaces),
    ("negotiation", negotiation),
    ("auto", auto),
    ("independent-client-single-planar", |lab| independent(lab, 0)),
    ("independent-client-multi-planar", |lab| independent(lab, 1)),
    ("time-and-order", time_and_order),
    ("interlaced-refused", interlaced),
    ("no-signal", no_signal),
    ("size-change", size_change),
];

fn listing(lab: &Lab) -> Outcome {
    let found = devices()?;
    ensure!(found.len() == 4, "{} nodes instead of 4", found.len());
    let text = serde_json::to_string(&found)?;
    ensure!(serde_json::from_str::<serde_json::Value>(&text)?.as_array().is_some(), "not a JSON array");
    for (number, multi) in [(0, false), (1, true)] {
        let camera = lab.info(&lab.camera(number))?;
        ensure!(camera.usable && camera.driver == "vivid", "{camera:?}");
        ensure!(camera.stable_name == Some(lab.camera(number)), "{:?}", camera.stable_name);
        ensure!(camera.bus == format!("platform:vivid-00{number}"), "{}", camera.bus);
        ensure!(camera.capabilities.contains(&"multi-planar") == multi, "{:?}", camera.capabilities);
        let yuyv = camera.formats.iter().find(|format| format.code == "YUYV").context("no YUYV")?;
        let size = yuyv.sizes.iter().find(|size| (size.width, size.height) == (1280, 720)).context("no 1280x720")?;
        ensure!(size.rates.iter().any(|rate| (rate - 12.5).abs() < 0.1), "{:?}", size.rates);
        ensure!(camera.formats.iter().any(|format| format.code == "NM12") == multi, "NM12");
        ensure!(camera.controls.iter().any(|control| control.name == "Brightness" && control.value == Some(128)));
        let menu = camera.controls.iter().find(|control| control.name == "Test Pattern").context("no menu")?;
        ensure!(menu.menu.iter().any(|(_, name)| name == "100% Colorbar"), "{:?}", menu.menu);
        ensure!(!camera.privacy && camera.pan_tilt_zoom.is_empty(), "vivid has neither");
        let output = lab.info(&lab.output(number))?;
        ensure!(output.capabilities.contains(&"output") && !output.usable, "{:?}", output.capabilities);
        ensure!(!output.formats.is_empty(), "the output has no formats");
    }
    // A receiver has a hardware crop; a webcam has none.
    ensure!(lab.info(&lab.camera(0))?.crop.is_none(), "the webcam crops");
    input(&lab.camera(0), HDMI)?;
    let crop = lab.info(&lab.camera(0))?.crop.context("no crop")?;
    ensure!(crop.bounds[2] >= 640 && crop.current[2] >= 16, "{crop:?}");
    Ok(format!("{} bytes of JSON", text.len()))
}

fn formats(lab: &Lab, number: usize) -> Outcome {
    let path = lab.camera(number);
    let info = lab.info(&path)?;
    let mut done = Vec::new();
    for (code, encoding) in TABLE {
        if !info.formats.iter().any(|format| format.code == code.to_string()) {
            continue;
        }
        let options = CaptureOptions { code: Some(code), ..CaptureOptions::default() };
        let mut stream = stream_with(&path, options).with_context(|| code.to_string())?;
        let format = stream.format();
        ensure!(stream.code() == code && format.pixel_format == encoding.picture_format(), "{code}: {format:?}");
        ensure!(format.size == Size::new(640, 360), "{code}: {}", format.size);
        for _ in 0..2 {
            let frame = frame(&mut stream).with_context(|| code.to_string())?;
            let distance = distance_from_bars(&frame.picture());
            ensure!(distance < 6.0, "{code}: the bars are off by {distance}");
        }
        let counters = stream.counters();
        ensure!(counters.corrupt == 0 && counters.starved == 0, "{code}: {counters:?}");
        done.push(code.to_string());
    }
    let expected: &[&str] = if number == 0 {
        &[
            "NV12", "NV21", "YU12", "YV12", "YUYV", "UYVY", "422P", "RGB3", "BGR3", "XB24", "AB24", "XR24", "AR24",
            "BGR4", "GREY",
        ]
    } else {
        &[
            "NV12", "NM12", "NV21", "NM21", "YU12", "YM12", "YM21", "YUYV", "UYVY", "YM16", "RGB3", "BGR3", "XR24",
            "GREY",
        ]
    };
    for code in expected {
        ensure!(done.iter().any(|done| done == code), "{code} is not offered");
    }
    Ok(format!("{}: {}", done.len(), done.join(" ")))
}

/// The colour space, matrix and range that the driver reports are used: all of them show the same
/// bars.
fn colour_spaces(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    let mut said = Vec::new();
    // Colorspace (1: Rec. 709, 2: sRGB), Y'CbCr encoding (0: default, 1: 601, 2: 709), quantization
    // (0, 1: full, 2: limited).
    for (colorspace, encoding, quantization) in [(1, 0, 0), (2, 2, 0), (2, 1, 1), (1, 2, 1), (2, 1, 2)] {
        set(&path, "Colorspace", colorspace)?;
        set(&path, "Y'CbCr Encoding", encoding)?;
        set(&path, "Quantization", quantization)?;
        for code in [*b"YUYV", *b"NV12"] {
            let options = CaptureOptions { code: Some(FourCc::new(code)), ..CaptureOptions::default() };
            let mut stream = stream_with(&path, options)?;
            // Skip frames that were queued before the control took effect.
            frame(&mut stream)?;
            let shown = frame(&mut stream)?;
            let picture = shown.picture();
            let distance = distance_from_bars(&picture);
            // The transfer functions of sRGB and Rec. 709 differ, but primary colours, black and
            // white are equal in both.
            ensure!(distance < 7.0, "{colorspace} {encoding} {quantization} {:?}: off by {distance}", picture.color());
            said.push(format!("{:?}/{:?}", picture.color().matrix, picture.color().range));
        }
    }
    said.dedup();
    ensure!(said.len() >= 4, "{said:?}");
    Ok(said.join(" "))
}

fn negotiation(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    let wanted = FormatRequest { size: Some(Size::new(1280, 720)), frame_rate: Some(12.5) };
    let mut stream = CaptureStream::open(&path, &wanted)?;
    ensure!(stream.format().size == Size::new(1280, 720), "{:?}", stream.format());
    ensure!((stream.format().frame_rate - 12.5).abs() < 0.1, "{}", stream.format().frame_rate);
    ensure!(frame(&mut stream)?.picture().size() == Size::new(1280, 720));
    let reasons = stream.negotiation().reasons.join("; ");
    ensure!(reasons.contains("chosen: NV12 1280x720 at 12.5 frames/s"), "{reasons}");
    drop(stream);
    let odd = FormatRequest { size: Some(Size::new(700, 400)), frame_rate: Some(1000.0) };
    let stream = CaptureStream::open(&path, &odd)?;
    ensure!(stream.format().size == Size::new(640, 360), "{:?}", stream.format());
    ensure!(stream.negotiation().reasons.iter().any(|reason| reason.contains("700x400 is not offered")));
    drop(stream);
    // A receiver scales to any size, odd sizes included, and chooses the padding of rows.
    input(&path, HDMI)?;
    let odd = FormatRequest { size: Some(Size::new(322, 182)), frame_rate: None };
    let mut stream = CaptureStream::open(&path, &odd)?;
    let size = stream.format().size;
    let distance = distance_from_bars(&frame(&mut stream)?.picture());
    ensure!(distance < 6.0, "{size}: off by {distance}");
    Ok(format!("{reasons}; receiver at {size}"))
}

fn auto(lab: &Lab) -> Outcome {
    let mut stream = AutoSource::default().open(&SMALL)?;
    frame(stream.as_mut())?;
    // The first camera is in use, so the next one must be found.
    let second = AutoSource::default().open_stream(&SMALL)?;
    ensure!(fs::canonicalize(second.path())? == fs::canonicalize(lab.camera(1))?, "{}", second.path().display());
    let error = AutoSource::default().open(&SMALL).err().context("a third camera")?;
    ensure!(matches!(error, SourceError::Busy { .. }), "{error}");
    Ok(String::new())
}

/// The picture equals, byte for byte, the ones that `v4l2-ctl` and the crate `v4l` capture.
fn independent(lab: &Lab, number: usize) -> Outcome {
    let path = lab.camera(number);
    let mut said = Vec::new();
    let codes: &[[u8; 4]] = if number == 0 { &[*b"YUYV", *b"NV12", *b"RGB3"] } else { &[*b"NM12", *b"YUYV", *b"YM12"] };
    for code in codes {
        let code = FourCc::new(*code);
        let mut stream = stream_with(&path, CaptureOptions { code: Some(code), ..CaptureOptions::default() })?;
        let ours = packed(&frame(&mut stream)?.picture());
        drop(stream);
        let theirs = Path::new("/tmp/independent.raw");
        let text = |word: &str| word.to_owned();
        command(
            "v4l2-ctl",
            &[
                text("-d"),
                path.display().to_string(),
                format!("--set-fmt-video=width=640,height=360,pixelformat={code}"),
                text("--stream-mmap"),
                text("--stream-count=1"),
                format!("--stream-to={}", theirs.display()),
            ],
        )?;
        compare(&ours, &fs::read(theirs)?, code, "v4l2-ctl")?;
        said.push(format!("{code}: v4l2-ctl"));
        let peer = lab.cache.join("peer/release/vm-peer");
        if number == 0 && peer.exists() {
            let words = [path.display().to_string(), code.to_string(), theirs.display().to_string()];
            command(&peer.to_string_lossy(), &words)?;
            compare(&ours, &fs::read(theirs)?, code, "the crate v4l")?;
            said.push(format!("{code}: v4l"));
        }
    }
    Ok(said.join(", "))
}

fn compare(ours: &[u8], theirs: &[u8], code: FourCc, who: &str) -> anyhow::Result<()> {
    ensure!(ours.len() == theirs.len(), "{code}: {} bytes, {who} has {}", ours.len(), theirs.len());
    let different = ours.iter().zip(theirs).filter(|(a, b)| a != b).count();
    ensure!(different == 0, "{code}: {different} of {} bytes differ from {who}", ours.len());
    Ok(())
}

fn time_and_order(lab: &Lab) -> Outcome {
    let mut stream = stream(&lab.camera(0))?;
    let mut last = frame(&mut stream)?;
    let first = last.capture_ns;
    for _ in 0..20 {
        let next = frame(&mut stream)?;
        ensure!(next.sequence > last.sequence, "{} after {}", next.sequence, last.sequence);
        ensure!(next.capture_ns > last.capture_ns, "{} after {}", next.capture_ns, last.capture_ns);
        last = next;
    }
    ensure!(stream.replaced_timestamps() == 0, "{} timestamps were replaced", stream.replaced_timestamps());
    // The driver uses the monotonic clock: timestamps follow its frame rate, not the time of
    // dequeueing.
    #[allow(clippy::cast_precision_loss, reason = "a few seconds")]
    let seconds = (last.capture_ns - first) as f64 / 1e9;
    let expected = last.sequence as f64 / 15.0;
    ensure!((seconds - expected).abs() < 0.2 * expected, "{} frames in {seconds} s", last.sequence);
    Ok(format!("{} frames in {seconds:.2} s, {:?}", last.sequence, stream.counters()))
}

fn interlaced(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    input(&path, TELEVISION)?;
    // The height of a whole frame: at half of it, vivid delivers one field, which is a progressive
    // picture.
    let wanted = FormatRequest { size: Some(Size::new(720, 480)), frame_rate: None };
    let error = CaptureStream::open(&path, &wanted).err().context("interlaced pictures were taken")?;
    ensure!(matches!(error, SourceError::Unsupported { .. }), "{error:?}");
    ensure!(error.to_string().contains("interlaced pictures"), "{error}");
    Ok(error.to_string())
}

fn no_signal(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    input(&path, HDMI)?;
    set(&path, "DV Timings Signal Mode", 1)?;
    let error = CaptureStream::open(&path, &SMALL).err().context("opened without a signal")?;
    ensure!(matches!(error, SourceError::Unsupported { .. }) && error.to_string().contains("no signal"), "{error}");
    set(&path, "DV Timings Signal Mode", 0)?;
    frame(&mut stream(&path)?)?;
    Ok(error.to_string())
}

/// The signal on the input changes while frames are captured.
fn size_change(lab: &Lab) -> Outcome {
    let path = lab.camera(0);
    input(&path, HDMI)?;
    // Without a scaler, the picture has the size of the signal.
    set(&path, "Enable Capture Scaler", 0)?;
    set(&path, "DV Timings Signal Mode", 4)?;
    set(&path, "DV Timings", 0)?;
    let wanted = FormatRequest { size: None, frame_rate: None };
    let mut stream = CaptureStream::open(&path, &wanted)?;
    ensure!(stream.format().size == Size::new(640, 480), "{:?}", stream.format());
    // Hold several frames, as a view and a mask do: buffers with the same indices are in use after
    // the change.
    let mut held: Vec<_> = (0..3).map(|_| frame(&mut stream)).collect::<Result<_, _>>()?;
    let before = packed(&held[0].picture());
    set(&path, "DV Timings", 2)?;
    let until = Instant::now() + Duration::from_secs(20);
    let format = loop {
        ensure!(Instant::now() < until, "the change was not reported");
        match stream.next(Duration::from_secs(1))? {
            StreamEvent::FormatChanged(format) => break format,
            StreamEvent::Frame(frame) => ensure!(frame.picture().size() == Size::new(640, 480)),
            _ => {}
        }
    };
    ensure!(format.size == Size::new(720, 480) && stream.format() == format, "{format:?}");
    let after = frame(&mut stream)?;
    ensure!(after.picture().size() == format.size);
    ensure!(after.sequence > held[2].sequence, "the count goes on");
    ensure!(packed(&held[0].picture()) == before, "a frame of before has changed");
    // A frame of the old queue that is released now must not be taken for a buffer of the new
    // queue.
    let mut now = vec![frame(&mut stream)?, frame(&mut stream)?];
    let pictures: Vec<_> = now.iter().map(|frame| packed(&frame.picture())).collect();
    held.clear();
    set(&path, "Test Pattern", 8)?;
    for _ in 0..10 {
        frame(&mut stream)?;
    }
    ensure!(
        now.iter().zip(&pictures).all(|(frame, before)| packed(&frame.picture()) == *before),
        "a held frame changed"
    );
    now.clear();
    let distance = distance_from_bars(&after.picture());
    ensure!(distance < 6.0 && after.format.pixel_format != PixelFormat::Grey, "off by {distance}");
    drop((after, stream));
    lab.renew()?;
    Ok(String::new())
}
