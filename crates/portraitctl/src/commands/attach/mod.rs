//! `attach`: reads the frames of a stream across its rings, and prints a summary.

mod pacing;
mod sink;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use portraitd_client::connect::SERVICE_NAME;
use portraitd_client::feed::{AttachOptions, FeedError, find_camera, wait_for_camera};
use portraitd_client::picture::{to_packed, write_png, write_pnm};
use portraitd_client::proxy::CameraProxy;
use portraitd_client::{Feed, FrameCopy, Size, monotonic_ns};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use zbus::Connection;
use zbus::fdo::{DBusProxy, NameOwnerChangedStream};

use self::pacing::Rate;
use self::sink::Sink;
use crate::command_line::AttachArguments;
use crate::explain::is_broken_pipe;
use crate::output::{Output, print_text};

/// The kind of a picture file, from the extension of its name.
#[derive(Clone, Copy)]
enum PictureFile {
    Png,
    Pnm,
}

fn kind_of(path: &Path) -> Result<PictureFile> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("png") => Ok(PictureFile::Png),
        Some("ppm" | "pgm" | "pnm") => Ok(PictureFile::Pnm),
        _ if path == Path::new("-") => {
            bail!(
                "--out -: a picture is written to a file; `--raw -`, `--y4m -` and `--mjpeg -` write the frames to standard output"
            )
        }
        _ => bail!("--out {}: the name must end with .png, .ppm or .pgm", path.display()),
    }
}

fn save(frame: &FrameCopy, path: &Path, kind: PictureFile) -> Result<()> {
    let picture = to_packed(frame).context("no frame was read")?;
    let write = || -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        match kind {
            PictureFile::Png => write_png(&picture, &mut out)?,
            PictureFile::Pnm => write_pnm(&picture, &mut out)?,
        }
        out.flush()
    };
    write().with_context(|| format!("{}", path.display()))
}

/// Describes a frame on a line. `place` is its number among the pictures of a video, from 0; `None`
/// if it is not in it.
fn frame_line(frame: &FrameCopy, generation: u32, place: Option<u64>, json: bool) -> String {
    let info = frame.info();
    let size = frame.layout().map(|layout| layout.size).unwrap_or_default();
    if !json {
        return format!(
            "frame {} of generation {generation}: {size}, taken {:.1} ms ago, {} people",
            info.sequence,
            // An `f64` is precise enough for milliseconds with one decimal.
            monotonic_ns().saturating_sub(info.capture_ns) as f64 / 1e6,
            info.people().len(),
        );
    }
    let people: Vec<_> = info
        .people()
        .iter()
        .map(|person| json!({"id": person.id, "box": person.rectangle, "confidence": person.confidence}))
        .collect();
    let mut line = json!({
        "index": info.index,
        "generation": generation,
        "sequence": info.sequence,
        "capture_ns": info.capture_ns,
        "publish_ns": info.publish_ns,
        "received_ns": monotonic_ns(),
        "mask_sequence": info.mask_sequence,
        "mask_age_ns": info.mask_age_ns,
        "crop": info.crop,
        "flags": info.flags.bits(),
        "width": size.width,
        "height": size.height,
        "people": people,
    });
    if let Some(place) = place {
        line["picture"] = place.into();
    }
    line.to_string()
}

/// Prints a line, and flushes standard output.
fn print(line: &str, to_stderr: bool) -> io::Result<()> {
    if to_stderr {
        return writeln!(io::stderr(), "{line}");
    }
    print_text(line)?;
    io::stdout().flush()
}

/// After this time without a frame, a notice is printed.
const SILENCE: Duration = Duration::from_secs(5);

/// Waits for `next`, and says so if it takes longer than [`SILENCE`].
async fn with_notice<T>(output: Output, waiting_for: &str, next: impl Future<Output = T>) -> T {
    tokio::pin!(next);
    tokio::select! {
        next = &mut next => return next,
        () = tokio::time::sleep(SILENCE) => {}
    }
    output.notice(format_args!("no frame for {} s: waiting for {waiting_for}", SILENCE.as_secs()));
    next.await
}

/// Returns when the service has left the bus. Without `changes` it never does.
async fn service_stops(changes: &mut Option<NameOwnerChangedStream>) {
    while let Some(changes) = changes.as_mut()
        && let Some(change) = changes.next().await
    {
        if change.args().is_ok_and(|change| change.new_owner().is_none()) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

/// The rate of a video: what was asked for, else that of the camera, else 30.
async fn rate_of(camera: &CameraProxy<'_>, fps: Option<u32>) -> Rate {
    let asked = fps.and_then(|fps| Rate::nearest(f64::from(fps)));
    let format = if asked.is_some() { None } else { camera.format().await.ok() };
    let announced = format.as_ref().and_then(|format| f64::try_from(format.get("frame_rate")?).ok());
    asked.or(announced.and_then(Rate::nearest)).unwrap_or(Rate { numerator: 30, denominator: 1 })
}

/// Waits for the next frame, and repeats the last picture of a video while none comes. Returns
/// `false` if the program that reads the output has ended, or an interrupt came.
async fn next_frame(
    mut next: Pin<&mut impl Future<Output = Result<(), FeedError>>>,
    sink: &mut Option<Sink>,
    owners: &mut Option<NameOwnerChangedStream>,
    interrupt: &mut Signal,
) -> Result<bool> {
    loop {
        let watched = sink.as_ref();
        let reader_ends = async {
            match watched {
                Some(sink) => sink.reader_ends().await,
                None => std::future::pending().await,
            }
        };
        let repeat_is_due = async {
            match watched {
                Some(sink) => sink.repeat_is_due().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // An end comes before the frames, which may never cease.
            biased;
            _ = interrupt.recv() => return Ok(false),
            () = reader_ends => return Ok(false),
            () = service_stops(owners) => {
                bail!("the service has stopped (with --wait, attach waits until it runs again)")
            }
            result = &mut next => return Ok(result.map(|()| true)?),
            () = repeat_is_due => {}
        }
        if let Some(sink) = sink {
            sink.repeat()?;
        }
    }
}

/// Runs the command. It ends after the given number of frames, on an interrupt, when the program
/// that reads its output ends, or when the service stops and nobody wants to wait.
pub(crate) async fn run(
    connection: &Connection,
    camera: Option<&str>,
    arguments: &AttachArguments,
    output: Output,
) -> Result<()> {
    let json = output.json;
    let kind = arguments.out.as_deref().map(kind_of).transpose()?;
    let mut sink = Sink::open(arguments)?;
    let video = sink.as_ref().is_some_and(Sink::is_video);
    // If the frames go to standard output, text goes to standard error.
    let to_stderr = sink.as_ref().is_some_and(|sink| sink.to_stdout);
    let mut options = AttachOptions::default();
    options.size = arguments.width.zip(arguments.height).map(|(width, height)| Size::new(width, height));
    options.format = arguments.format;
    options.frame_rate_limit = arguments.fps;
    options.crop = arguments.crop;
    options.resolution = arguments.resolution;
    options.inset = arguments.inset;
    // Without a bus the connection itself ends.
    let mut owners = None;
    if !arguments.wait && connection.is_bus() {
        let bus = DBusProxy::new(connection).await?;
        owners = Some(bus.receive_name_owner_changed_with_args(&[(0, SERVICE_NAME)]).await?);
    }
    let camera = if arguments.wait {
        with_notice(output, "the service, or for this camera in it", wait_for_camera(connection, camera)).await?
    } else {
        find_camera(connection, camera).await?
    };
    let mut feed = if arguments.wait {
        Feed::when_available(camera.clone(), arguments.stream, options)
    } else {
        with_notice(output, "the camera to open", Feed::attach(camera.clone(), arguments.stream, options)).await?
    };
    if arguments.frames.is_none() {
        output.notice(format_args!("reading the {} until it is interrupted (Ctrl-C)", arguments.stream));
    }
    let mut frame = FrameCopy::default();
    // Registered once, so that an interrupt between two frames is not lost.
    let mut interrupt = signal(SignalKind::interrupt())?;
    while arguments.frames.is_none_or(|limit| feed.counters().frames < limit) {
        {
            let next = with_notice(output, "the camera or the service", feed.next(&mut frame));
            tokio::pin!(next);
            match next_frame(next, &mut sink, &mut owners, &mut interrupt).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if is_broken_pipe(&error) => break,
                Err(error) => return Err(error),
            }
        }
        let mut place = None;
        if let Some(sink) = &mut sink {
            if video && sink.pacing.is_none() {
                let rate = rate_of(&camera, arguments.fps).await;
                sink.begin(&frame, rate)?;
            }
            let size = frame.layout().map(|layout| layout.size);
            if video && sink.size != size {
                // A video has one size: the service scales.
                if options.size == sink.size {
                    bail!("the size of the {} has changed and cannot be kept", arguments.stream);
                }
                (options.size, options.resolution) = (sink.size, None);
                feed.set_options(options);
                continue;
            }
            match sink.frame(&frame) {
                Ok(written) => place = written,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                Err(error) => return Err(error.into()),
            }
        }
        if arguments.verbose {
            print(&frame_line(&frame, feed.generation(), place, json), to_stderr)?;
        }
    }
    let counters = feed.counters();
    if let (Some(path), Some(kind)) = (&arguments.out, kind) {
        save(&frame, path, kind)?;
        let size = frame.layout().map(|layout| layout.size).unwrap_or_default();
        output.notice(format_args!("{}: the last frame, {size}", path.display()));
    }
    let mut summary = json!({
        "frames": counters.frames,
        "torn": counters.torn,
        "skipped": counters.skipped,
        "generation": feed.generation(),
        "reattached": counters.reattached,
    });
    let mut text = format!(
        "{} frames, {} torn and read again, {} skipped, generation {}, attached again {} times",
        counters.frames,
        counters.torn,
        counters.skipped,
        feed.generation(),
        counters.reattached
    );
    if let Some(pacing) = sink.as_ref().and_then(|sink| sink.pacing.as_ref()) {
        let (written, repeated, dropped) = (pacing.written(), pacing.repeated, pacing.dropped);
        for (key, value) in [("written", written), ("repeated", repeated), ("dropped", dropped)] {
            summary[key] = value.into();
        }
        text += &format!("; {written} pictures written, {repeated} of them repeated, {dropped} frames dropped");
    }
    Ok(print(&if json { summary.to_string() } else { text }, to_stderr)?)
}
