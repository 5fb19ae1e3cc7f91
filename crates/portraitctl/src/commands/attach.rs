//! `attach`: reads the frames of a stream across its rings, and prints a summary.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use portraitd_client::connect::SERVICE_NAME;
use portraitd_client::feed::{AttachOptions, find_camera, wait_for_camera};
use portraitd_client::picture::{to_packed, write_png, write_pnm, write_raw};
use portraitd_client::{Feed, FrameCopy, Size};
use serde_json::json;
use zbus::Connection;
use zbus::fdo::{DBusProxy, NameOwnerChangedStream};

use crate::command_line::AttachArguments;
use crate::output::{Output, print_json};

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
            bail!("--out -: a picture is written to a file; `--raw -` writes the frames to standard output")
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

fn frame_line(frame: &FrameCopy, generation: u32, json: bool) -> io::Result<()> {
    let info = frame.info();
    let size = frame.layout().map(|layout| layout.size).unwrap_or_default();
    if !json {
        let now_ns = monotonic_ns();
        return writeln!(
            io::stdout(),
            "frame {} of generation {generation}: {size}, taken {:.1} ms ago, {} people",
            info.sequence,
            // An `f64` is precise enough for milliseconds with one decimal.
            now_ns.saturating_sub(info.capture_ns) as f64 / 1e6,
            info.people().len(),
        );
    }
    let people: Vec<_> = info
        .people()
        .iter()
        .map(|person| json!({"id": person.id, "box": person.rectangle, "confidence": person.confidence}))
        .collect();
    print_json(&json!({
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
    }))
}

fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
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

/// Runs the command. It ends after the given number of frames, on an interrupt, or when the service
/// stops and nobody wants to wait.
pub(crate) async fn run(
    connection: &Connection,
    camera: Option<&str>,
    arguments: &AttachArguments,
    output: Output,
) -> Result<()> {
    let json = output.json;
    let kind = arguments.out.as_deref().map(kind_of).transpose()?;
    let mut raw: Option<Box<dyn Write>> = match arguments.raw.as_deref() {
        None => None,
        Some(path) if path == Path::new("-") => Some(Box::new(io::stdout())),
        Some(path) => {
            let file = File::create(path).with_context(|| format!("{}", path.display()))?;
            Some(Box::new(BufWriter::new(file)))
        }
    };
    // If the frames go to standard output, text goes to standard error.
    let quiet = arguments.raw.as_deref() == Some(Path::new("-"));
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
        Feed::when_available(camera, arguments.stream, options)
    } else {
        with_notice(output, "the camera to open", Feed::attach(camera, arguments.stream, options)).await?
    };
    if arguments.frames.is_none() {
        output.notice(format_args!("reading the {} until it is interrupted (Ctrl-C)", arguments.stream));
    }
    let mut frame = FrameCopy::default();
    // Registered once, so that an interrupt between two frames is not lost.
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    while arguments.frames.is_none_or(|limit| feed.counters().frames < limit) {
        tokio::select! {
            next = with_notice(output, "the camera or the service", feed.next(&mut frame)) => next?,
            () = service_stops(&mut owners) => {
                bail!("the service has stopped (with --wait, attach waits until it runs again)")
            }
            _ = interrupt.recv() => break,
        }
        if let Some(raw) = &mut raw {
            write_raw(&frame, raw)?;
        }
        if arguments.verbose && !quiet {
            frame_line(&frame, feed.generation(), json)?;
        }
    }
    if let Some(raw) = &mut raw {
        raw.flush()?;
    }
    let counters = feed.counters();
    if let (Some(path), Some(kind)) = (&arguments.out, kind) {
        save(&frame, path, kind)?;
        let size = frame.layout().map(|layout| layout.size).unwrap_or_default();
        output.notice(format_args!("{}: the last frame, {size}", path.display()));
    }
    let summary = json!({
        "frames": counters.frames,
        "torn": counters.torn,
        "skipped": counters.skipped,
        "generation": feed.generation(),
        "reattached": counters.reattached,
    });
    match (json, quiet) {
        (true, false) => print_json(&summary)?,
        (true, true) => writeln!(io::stderr(), "{summary}")?,
        (false, quiet) => {
            let text = format!(
                "{} frames, {} torn and read again, {} skipped, generation {}, attached again {} times",
                counters.frames,
                counters.torn,
                counters.skipped,
                feed.generation(),
                counters.reattached
            );
            if quiet { writeln!(io::stderr(), "{text}")? } else { writeln!(io::stdout(), "{text}")? }
        }
    }
    Ok(())
}
