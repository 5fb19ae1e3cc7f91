//! The pipe or file that `--raw`, `--y4m` and `--mjpeg` write.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use portraitd_client::picture::{JpegEncoder, append_y4m_frame, write_raw, y4m_header};
use portraitd_client::{FrameCopy, Size, monotonic_ns};
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;

use super::pacing::{Due, Pacing, Rate};
use crate::command_line::AttachArguments;

enum Encoding {
    Raw,
    Y4m,
    Mjpeg(Box<JpegEncoder>),
}

/// Where frames are written, and how.
pub(super) struct Sink {
    out: File,
    /// Watches whether the pipe has a reader; `None` for a file, which cannot be watched.
    pipe: Option<Sender>,
    encoding: Encoding,
    pub to_stdout: bool,
    /// `None` for `--raw`, which writes every frame once, and before the first frame.
    pub pacing: Option<Pacing>,
    /// The size of all pictures of a video; `None` before the first.
    pub size: Option<Size>,
    /// The last picture, as it is written.
    picture: Vec<u8>,
}

impl Sink {
    /// Opens what the arguments name, if they name something.
    pub(super) fn open(arguments: &AttachArguments) -> Result<Option<Self>> {
        let AttachArguments { raw, y4m, mjpeg, quality, .. } = arguments;
        let (path, encoding) = match (raw, y4m, mjpeg) {
            (Some(path), ..) => (path, Encoding::Raw),
            (_, Some(path), _) => (path, Encoding::Y4m),
            (.., Some(path)) => (path, Encoding::Mjpeg(Box::new(JpegEncoder::new(*quality)))),
            _ => return Ok(None),
        };
        let to_stdout = path == Path::new("-");
        let out = if to_stdout {
            // Not `Stdout`, which looks for line feeds.
            io::stdout().as_fd().try_clone_to_owned().map(File::from)
        } else {
            File::create(path)
        };
        let out = out.with_context(|| format!("{}", path.display()))?;
        // Unchecked, because the pipe is shared with other programs: it stays as it is, blocking.
        let pipe = out.try_clone().and_then(|out| Sender::from_owned_fd_unchecked(OwnedFd::from(out))).ok();
        Ok(Some(Self { out, pipe, encoding, to_stdout, pacing: None, size: None, picture: Vec::new() }))
    }

    /// Whether it is a video: pictures of one size at a constant rate, in 4:2:0 or grey.
    pub(super) const fn is_video(&self) -> bool {
        !matches!(self.encoding, Encoding::Raw)
    }

    /// Begins a video with the size of its first frame.
    pub(super) fn begin(&mut self, frame: &FrameCopy, rate: Rate) -> io::Result<()> {
        self.pacing = Some(Pacing::new(rate));
        self.size = frame.layout().map(|layout| layout.size);
        if let (Encoding::Y4m, Some(layout)) = (&self.encoding, frame.layout()) {
            self.out.write_all(y4m_header(layout, (rate.numerator, rate.denominator))?.as_bytes())?;
        }
        Ok(())
    }

    /// Writes a frame as often as its time demands. Returns its number among the pictures of a
    /// video, from 0; `None` if it is dropped or this is no video.
    pub(super) fn frame(&mut self, frame: &FrameCopy) -> io::Result<Option<u64>> {
        let begun_ns = monotonic_ns();
        let due = self.pacing.as_mut().map(|pacing| pacing.frame(begun_ns));
        let due = due.unwrap_or(Due { repeats: 0, frame: true });
        for _ in 0..due.repeats {
            self.out.write_all(&self.picture)?;
        }
        if due.frame {
            self.picture.clear();
            match &self.encoding {
                Encoding::Raw => write_raw(frame, &mut self.picture)?,
                Encoding::Y4m => append_y4m_frame(frame, &mut self.picture)?,
                Encoding::Mjpeg(encoder) => encoder.append(frame, &mut self.picture)?,
            }
            self.out.write_all(&self.picture)?;
        }
        self.wrote(due.repeats + u64::from(due.frame), begun_ns);
        Ok(self.pacing.as_ref().filter(|_| due.frame).map(|pacing| pacing.written() - 1))
    }

    /// Writes the last picture once more.
    pub(super) fn repeat(&mut self) -> io::Result<()> {
        let begun_ns = monotonic_ns();
        if let Some(pacing) = &mut self.pacing {
            pacing.repeat(begun_ns);
        }
        self.out.write_all(&self.picture)?;
        self.wrote(1, begun_ns);
        Ok(())
    }

    fn wrote(&mut self, pictures: u64, begun_ns: u64) {
        if let Some(pacing) = &mut self.pacing {
            pacing.wrote(pictures, monotonic_ns().saturating_sub(begun_ns));
        }
    }

    /// Returns when the last picture is due once more, because no frame has come.
    pub(super) async fn repeat_is_due(&self) {
        match self.pacing.as_ref().and_then(Pacing::repeat_at_ns) {
            Some(at_ns) => tokio::time::sleep(Duration::from_nanos(at_ns.saturating_sub(monotonic_ns()))).await,
            None => std::future::pending().await,
        }
    }

    /// Returns when the program that reads the pipe has ended; never for a file.
    pub(super) async fn reader_ends(&self) {
        // A pipe without a reader reports an error, whatever is asked for.
        match &self.pipe {
            Some(pipe) if pipe.ready(Interest::ERROR).await.is_ok() => {}
            _ => std::future::pending().await,
        }
    }
}
