//! `provide`: the frames of a y4m video for a camera whose device is `provider`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use portraitd_client::feed::find_camera;
use portraitd_client::protocol::settings::excerpt;
use portraitd_client::provide::{OfferedRing, Provider};
use portraitd_client::{Colorimetry, PixelFormat, Range, Size};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use zbus::Connection;

use crate::output::Output;

/// The longest line of a header, in bytes.
const LINE_BYTES: u64 = 4096;

/// Runs the command. `file` may be `-` for standard input, whose frames come at their own time and
/// are dropped while nobody looks; those of a file wait meanwhile.
pub(crate) async fn run(
    connection: &Connection,
    camera: Option<&str>,
    file: &Path,
    repeat: bool,
    output: Output,
) -> Result<()> {
    let live = file == Path::new("-");
    ensure!(!(live && repeat), "--repeat: standard input cannot be read again");
    let open = {
        let file = file.to_owned();
        move || Video::open(&file).with_context(|| file.display().to_string())
    };
    let video = open()?;
    let Header { format, color, size, interval, .. } = video.header;
    let name = find_camera(connection, camera).await?.name().await?;
    let rate = (1.0 / interval.as_secs_f64()).round().clamp(1.0, 240.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 240")]
    let mut provider =
        Provider::offer(connection, &name, OfferedRing::new(format, color, size)?, Some(rate as u32)).await?;
    let mut frames = read_ahead(video, move || if repeat { open().map(Some) } else { Ok(None) })?;
    let (mut published, mut due) = (0_u64, Instant::now());
    loop {
        tokio::select! {
            biased;
            news = provider.changed() => {
                if news?.is_none() {
                    bail!("the service has ended the offer, after {published} frames");
                }
                due = Instant::now();
            }
            frame = next(&mut frames, if live { None } else { Some(due) }), if live || provider.is_wanted() => {
                let Some(frame) = frame else {
                    let document = json!({ "published": published });
                    return output.done(&document, format_args!("{}: at its end, {published} frames", file.display()));
                };
                let frame = frame?;
                if provider.is_wanted() {
                    provider.publish(None, |planes| planes.copy_packed(&frame));
                    published += 1;
                }
                due = (due + interval).max(Instant::now() - interval);
            }
        }
    }
}

/// The next frame, at its time. `None` at the end. If the future is dropped, no frame is lost.
async fn next(frames: &mut mpsc::Receiver<Result<Vec<u8>>>, due: Option<Instant>) -> Option<Result<Vec<u8>>> {
    if let Some(due) = due {
        tokio::time::sleep_until(due).await;
    }
    frames.recv().await
}

/// Reads the frames on a thread, two ahead. `again` opens the video at its end once more.
fn read_ahead(
    mut video: Video,
    again: impl Fn() -> Result<Option<Video>> + Send + 'static,
) -> Result<mpsc::Receiver<Result<Vec<u8>>>> {
    let (sender, receiver) = mpsc::channel(1);
    let header = video.header;
    let read = move || {
        loop {
            let frame = match video.frame() {
                Ok(Some(frame)) => Ok(frame),
                Ok(None) => match again() {
                    Ok(None) => return,
                    Ok(Some(next)) if next.header == header => {
                        video = next;
                        continue;
                    }
                    Ok(Some(_)) => Err(anyhow::anyhow!("the video has become one of another size or format")),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            let failed = frame.is_err();
            if sender.blocking_send(frame).is_err() || failed {
                return;
            }
        }
    };
    std::thread::Builder::new().name("read".to_owned()).spawn(read).context("a thread")?;
    Ok(receiver)
}

/// What the header of a video says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Header {
    format: PixelFormat,
    color: Colorimetry,
    size: Size,
    /// The time from one frame to the next.
    interval: Duration,
    frame_bytes: usize,
}

impl Header {
    fn parse(line: &str) -> Result<Self> {
        let mut fields = line.split(' ');
        ensure!(fields.next() == Some("YUV4MPEG2"), "this is no y4m video: it begins with \"{}\"", excerpt(line));
        let (mut width, mut height, mut format, mut range) = (None, None, PixelFormat::I420, Range::Limited);
        let mut interval = Duration::from_secs(1) / 30;
        for field in fields.filter(|field| !field.is_empty()) {
            match field.split_at_checked(1) {
                Some(("W", value)) => width = value.parse().ok(),
                Some(("H", value)) => height = value.parse().ok(),
                Some(("F", value)) => {
                    let parts = value.split_once(':').and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
                    let seconds =
                        parts.map(|(numerator, denominator): (u32, u32)| f64::from(denominator) / f64::from(numerator));
                    if let Some(Ok(time)) = seconds.map(Duration::try_from_secs_f64) {
                        interval = time.clamp(Duration::from_millis(1), Duration::from_secs(10));
                    }
                }
                Some(("C", "420" | "420jpeg" | "420mpeg2" | "420paldv")) => format = PixelFormat::I420,
                Some(("C", "422")) => format = PixelFormat::I422,
                Some(("C", "mono")) => format = PixelFormat::Grey,
                Some(("C", other)) => {
                    bail!(
                        "chroma {} is not read; `ffmpeg -i FILE -pix_fmt yuv420p -f yuv4mpegpipe -` converts",
                        excerpt(other)
                    )
                }
                Some(("X", "COLORRANGE=FULL")) => range = Range::Full,
                _ => {}
            }
        }
        let (Some(width), Some(height)) = (width, height) else { bail!("the header has no size") };
        let size = Size::new(width, height);
        let color = Colorimetry { range, ..Colorimetry::default() };
        // The ring checks the size; until then it is only multiplied.
        ensure!(width.max(height) <= 16384, "a picture of {size} is too large");
        let planes = (0..format.plane_count()).map(|plane| format.plane_extent(plane, size));
        let frame_bytes = planes.map(|(row_bytes, rows)| row_bytes * rows).sum();
        Ok(Self { format, color, size, interval, frame_bytes })
    }
}

/// A y4m video whose header has been read.
struct Video {
    input: BufReader<Box<dyn Read + Send>>,
    header: Header,
}

impl Video {
    fn open(file: &Path) -> Result<Self> {
        let input: Box<dyn Read + Send> =
            if file == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(file)?) };
        let mut input = BufReader::with_capacity(1 << 16, input);
        let line = line(&mut input)?.context("it is empty")?;
        let header = Header::parse(&line)?;
        Ok(Self { input, header })
    }

    /// The next frame, whose planes follow one another; `None` at the end.
    fn frame(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(line) = line(&mut self.input)? else { return Ok(None) };
        ensure!(line == "FRAME" || line.starts_with("FRAME "), "\"{}\" is found instead of FRAME", excerpt(&line));
        let mut frame = vec![0; self.header.frame_bytes];
        self.input.read_exact(&mut frame).context("a frame is cut off")?;
        Ok(Some(frame))
    }
}

/// The next line, without its end; `None` at the end of the input.
fn line(input: &mut impl BufRead) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    input.take(LINE_BYTES).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    ensure!(bytes.pop() == Some(b'\n'), "this is no y4m video: a line does not end");
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_what_is_no_video_is_an_error() {
        let header = Header::parse("YUV4MPEG2 W34 H18 F25:1 Ip A1:1 C420jpeg XCOLORRANGE=FULL").expect("a header");
        assert_eq!(
            (header.format, header.size, header.color.range),
            (PixelFormat::I420, Size::new(34, 18), Range::Full)
        );
        assert_eq!((header.interval, header.frame_bytes), (Duration::from_millis(40), 34 * 18 + 2 * 17 * 9));
        for unknown in ["F0:0", "F30:0", "F0:1"] {
            let header = Header::parse(&format!("YUV4MPEG2 W4 H2 {unknown} Cmono")).expect("a header");
            assert!(header.frame_bytes == 8 && !header.interval.is_zero(), "{unknown}");
        }
        for bad in ["", "RIFF", "YUV4MPEG2 W4", "YUV4MPEG2 W4 H2 C420p10", "YUV4MPEG2 W99999 H2", "YUV4MPEG2 W-1 H2"] {
            assert!(Header::parse(bad).is_err(), "{bad}");
        }
    }
}
