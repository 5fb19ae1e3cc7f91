//! Output: pictures that we write are looped back to a camera by the driver.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use portraitd_media::{Colorimetry, Matrix, Picture, PixelFormat, Range, Size, packed_bytes};
use portraitd_media::{FormatRequest, SourceError, Stream, StreamEvent};
use portraitd_v4l2::CaptureOptions;
use portraitd_v4l2::formats::FourCc;
use portraitd_v4l2::jpeg::{self, Decoder};
use portraitd_v4l2::{CaptureStream, Output, WriteOutcome};
use portraitd_vision::net::EngineOptions;
use portraitd_vision::net::{Library, TensorLayout};

use portraitd_kernels::convert::{to_nv12, to_rgb24};
use portraitd_kernels::picture::{PictureMut, PixelRect};
use portraitd_kernels::sample::{self, SampleSpec, Sampler};

use super::Test;
use super::lab::{HDMI, Lab, Outcome, frame, input, packed, set};

pub const TESTS: [Test; 7] = [
    ("output-single-planar", |lab| looped(lab, 0)),
    ("output-multi-planar", |lab| looped(lab, 1)),
    ("output-person", person),
    ("output-formats", writes_any_format),
    ("output-refusals", refusals),
    ("output-reopen", reopen),
    ("output-unplug", unplug),
];

/// The default timings of vivid's output and input.
const SIZE: Size = Size::new(1280, 720);
const COLOR: Colorimetry = Colorimetry { matrix: Matrix::Bt709, range: Range::Limited };

/// A picture whose bytes all differ, within the range of video levels.
fn pattern(format: PixelFormat, size: Size, seed: u8) -> Vec<u8> {
    let count = packed_bytes(format, size);
    (0..count)
        .map(|index| 16 + u8::try_from((index * 7 + index / 251 + usize::from(seed)) % 200).unwrap_or(0))
        .collect()
}

/// With the same format on both sides, the pictures that are read equal the written ones byte for
/// byte.
fn looped(lab: &Lab, number: usize) -> Outcome {
    let (output, camera) = (lab.output(number), lab.camera(number));
    let mut said = Vec::new();
    for (format, code) in [(PixelFormat::Yuyv, *b"YUYV"), (PixelFormat::Nv12, *b"NV12")] {
        let mut output = Output::open(&output, SIZE, 30.0, &[format], COLOR)?;
        ensure!(output.format().size == SIZE && output.format().pixel_format == format, "{:?}", output.format());
        input(&camera, HDMI)?;
        set(&camera, "Enable Capture Scaler", 0)?;
        set(&camera, "Loop Video", 1)?;
        let bytes = pattern(format, SIZE, 3);
        let picture = Picture::packed(format, SIZE, COLOR, &bytes)?;
        write_all(&mut output, &picture, 3)?;
        let wanted = FormatRequest { size: Some(SIZE), frame_rate: None };
        let code = FourCc::new(code);
        let mut stream = CaptureStream::open_with(
            &camera,
            &wanted,
            CaptureOptions { code: Some(code), ..CaptureOptions::default() },
        )?;
        let until = Instant::now() + Duration::from_secs(20);
        let mut closest = usize::MAX;
        loop {
            output.write(&picture)?;
            let shown = frame(&mut stream)?;
            let ours = packed(&shown.picture());
            let different = ours.iter().zip(&bytes).filter(|(a, b)| a != b).count();
            closest = closest.min(different);
            if ours == bytes {
                break;
            }
            ensure!(Instant::now() < until, "{code}: {closest} of {} bytes differ", bytes.len());
        }
        let (written, skipped) = output.counts();
        said.push(format!("{code}: {written} written, {skipped} skipped"));
        set(&camera, "Loop Video", 0)?;
    }
    Ok(said.join("; "))
}

const PERSON: &[u8] = include_bytes!("../../fixtures/people/images/0007.jpg");
const PERSON_SIZE: Size = Size::new(341, 512);

/// A photograph of a person is written as NV12 and captured through the driver: the net finds the
/// same person in it as in the original photograph.
fn person(lab: &Lab) -> Outcome {
    let mut decoded = vec![0; packed_bytes(jpeg::FORMAT, PERSON_SIZE)];
    Decoder::default().decode(PERSON, PERSON_SIZE, &mut decoded)?;
    let decoded = Picture::packed(jpeg::FORMAT, PERSON_SIZE, jpeg::COLOR, &decoded)?;
    let mut photograph = vec![0; packed_bytes(PixelFormat::Rgb24, PERSON_SIZE)];
    to_rgb24(&decoded, &mut PictureMut::packed(PixelFormat::Rgb24, PERSON_SIZE, &mut photograph)?)?;
    // In the centre of a grey canvas.
    let mut canvas = vec![96; packed_bytes(PixelFormat::Rgb24, SIZE)];
    for (y, row) in photograph.chunks(341 * 3).enumerate() {
        let start = ((y + 104) * 1280 + 470) * 3;
        canvas[start..start + row.len()].copy_from_slice(row);
    }
    let direct = Picture::packed(PixelFormat::Rgb24, SIZE, Colorimetry::default(), &canvas)?;
    let mut bytes = vec![0; packed_bytes(PixelFormat::Nv12, SIZE)];
    to_nv12(&direct, &mut PictureMut::packed(PixelFormat::Nv12, SIZE, &mut bytes)?, COLOR)?;
    let written = Picture::packed(PixelFormat::Nv12, SIZE, COLOR, &bytes)?;
    let (output, camera) = (lab.output(0), lab.camera(0));
    let mut output = Output::open(&output, SIZE, 30.0, &[PixelFormat::Nv12], COLOR)?;
    ensure!(output.format().color == COLOR, "the driver is to tell readers {:?}", output.format().color);
    input(&camera, HDMI)?;
    set(&camera, "Enable Capture Scaler", 0)?;
    set(&camera, "Loop Video", 1)?;
    write_all(&mut output, &written, 3)?;
    let wanted = FormatRequest { size: Some(SIZE), frame_rate: None };
    let code = FourCc::new(*b"NV12");
    let mut stream =
        CaptureStream::open_with(&camera, &wanted, CaptureOptions { code: Some(code), ..CaptureOptions::default() })?;
    ensure!(stream.format().color == COLOR, "read as {:?}", stream.format().color);
    let expected = mask(&direct)?;
    ensure!(expected.iter().filter(|person| **person).count() > 500, "the net sees nobody in the photograph");
    let until = Instant::now() + Duration::from_secs(30);
    let mut best = 0.0_f32;
    while best < 0.99 {
        ensure!(Instant::now() < until, "IoU {best}");
        output.write(&written)?;
        let shown = frame(&mut stream)?;
        let found = mask(&shown.picture())?;
        let both = expected.iter().zip(&found).filter(|(a, b)| **a && **b).count();
        let either = expected.iter().zip(&found).filter(|(a, b)| **a || **b).count();
        best = best.max(both as f32 / either as f32);
    }
    Ok(format!("IoU {best:.4}"))
}

/// The box in which the net finds a person.
fn mask(picture: &Picture<'_>) -> Result<Vec<bool>> {
    let mut model = Library::default().load("selfie-landscape", EngineOptions::default())?;
    let spec = SampleSpec {
        layout: if model.input_layout() == TensorLayout::Nhwc {
            sample::ChannelLayout::Interleaved
        } else {
            sample::ChannelLayout::Planar
        },
        ..SampleSpec::new(model.manifest().input.size())
    };
    let mut values = vec![0.0; model.input_len()];
    Sampler::new(spec)?.sample(picture, PixelRect::of_size(picture.size()), &mut values)?;
    let mut mask = vec![0.0; usize::try_from(model.output_size().area())?];
    model.run(&values, &mut mask)?;
    Ok(mask.into_iter().map(|value| value > 0.5).collect())
}

/// Writes until the driver has accepted `count` pictures.
fn write_all(output: &mut Output, picture: &Picture<'_>, count: usize) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    let mut done = 0;
    while done < count {
        ensure!(Instant::now() < until, "the output takes nothing: {:?}", output.counts());
        match output.write(picture)? {
            WriteOutcome::Queued => done += 1,
            WriteOutcome::Skipped => std::thread::sleep(Duration::from_millis(10)),
            other => bail!("{other:?}"),
        }
    }
    Ok(())
}

/// Every pixel format, single- and multi-planar; more pictures than buffers.
fn writes_any_format(lab: &Lab) -> Outcome {
    let mut said = Vec::new();
    for number in [0, 1] {
        for format in PixelFormat::ALL {
            let mut output = match Output::open(&lab.output(number), SIZE, 60.0, &[format], COLOR) {
                Ok(output) => output,
                Err(error) => bail!("{format}: {error}"),
            };
            let bytes = pattern(format, SIZE, 0);
            write_all(&mut output, &Picture::packed(format, SIZE, COLOR, &bytes)?, 5)
                .with_context(|| format.to_string())?;
        }
        said.push(format!("device {number}: {}", PixelFormat::ALL.len()));
    }
    // The first format in the list that the device accepts.
    let output = Output::open(&lab.output(0), SIZE, 30.0, &[PixelFormat::I420, PixelFormat::Yuyv], COLOR)?;
    ensure!(output.format().pixel_format == PixelFormat::I420, "{:?}", output.format());
    Ok(said.join(", "))
}

fn refusals(lab: &Lab) -> Outcome {
    let path = lab.output(0);
    let open = |path: &Path| Output::open(path, SIZE, 30.0, &[PixelFormat::Yuyv], COLOR);
    let mut first = open(&path)?;
    let bytes = pattern(PixelFormat::Yuyv, SIZE, 0);
    let picture = Picture::packed(PixelFormat::Yuyv, SIZE, COLOR, &bytes)?;
    first.write(&picture)?;
    let busy = open(&path).err().context("opened twice")?;
    ensure!(matches!(busy, SourceError::Busy { .. }), "{busy}");
    let small = Picture::packed(PixelFormat::Yuyv, Size::new(320, 180), COLOR, &bytes)?;
    let error = first.write(&small).err().context("took a picture of another size")?;
    ensure!(matches!(error, SourceError::Unsupported { .. }), "{error}");
    // That was the caller's error: the output is still usable.
    write_all(&mut first, &picture, 3)?;
    ensure!(first.has_reader().is_none(), "vivid cannot tell");
    let camera = open(&lab.camera(0)).err().context("a camera is no output")?;
    ensure!(matches!(camera, SourceError::Unsupported { .. }), "{camera}");
    let capture = CaptureStream::open(&path, &FormatRequest::default()).err().context("an output is no camera")?;
    ensure!(matches!(capture, SourceError::Unsupported { .. }), "{capture}");
    Ok(format!("{error}; {capture}"))
}

fn reopen(lab: &Lab) -> Outcome {
    let bytes = pattern(PixelFormat::Nv12, SIZE, 0);
    let picture = Picture::packed(PixelFormat::Nv12, SIZE, COLOR, &bytes)?;
    let before = super::lab::resources("self")?;
    for round in 0..20 {
        let path = lab.output(round % 2);
        let mut output = Output::open(&path, SIZE, 30.0, &[PixelFormat::Nv12], COLOR)?;
        write_all(&mut output, &picture, 2).with_context(|| format!("round {round}"))?;
    }
    let after = super::lab::resources("self")?;
    ensure!((before.0, before.1) == (after.0, after.1), "descriptors and threads: {before:?}, then {after:?}");
    Ok(String::new())
}

/// The node is removed while we write. The camera of another device continues, and the output works
/// again afterwards.
fn unplug(lab: &Lab) -> Outcome {
    let path = lab.output(0);
    let mut camera = super::lab::stream(&lab.camera(1))?;
    frame(&mut camera)?;
    let mut output = Output::open(&path, SIZE, 30.0, &[PixelFormat::Yuyv], COLOR)?;
    let bytes = pattern(PixelFormat::Yuyv, SIZE, 0);
    let picture = Picture::packed(PixelFormat::Yuyv, SIZE, COLOR, &bytes)?;
    write_all(&mut output, &picture, 3)?;
    set(&lab.camera(0), "Disconnect", 1)?;
    let until = Instant::now() + Duration::from_secs(10);
    let error = loop {
        ensure!(Instant::now() < until, "writes go on");
        match output.write(&picture) {
            Err(error) => break error,
            Ok(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    ensure!(matches!(error, SourceError::Gone { .. }), "{error}");
    for _ in 0..5 {
        let event = camera.next(Duration::from_secs(2))?;
        ensure!(matches!(event, StreamEvent::Frame(_)), "the camera stands: {event:?}");
    }
    drop(output);
    let mut output = Output::open(&path, SIZE, 30.0, &[PixelFormat::Yuyv], COLOR)?;
    write_all(&mut output, &picture, 3)?;
    ensure!(fs::canonicalize(&path).is_ok());
    Ok(error.to_string())
}
