//! A named pipe as a stream: y4m from a program that runs beside the service.
//!
//! The pipe is open for as long as the stream is, so its writer sees whether somebody looks:
//! opening the pipe for writing waits until the stream is opened, and writing fails with `EPIPE`
//! when the stream is closed. The stream ends with the writer, also in the middle of a frame.
//!
//! Whoever may write to the pipe decides the size of its frames, so they are limited. A frame is
//! delivered when it is complete, and has that time as its capture time. A writer that is faster
//! than its own frame rate has to wait.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};

use super::options::FileOptions;
use super::video::VideoStream;
use crate::source::{Producer, SourceError, Stream};

/// How long the writer may take from the first byte of the header to its last one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(1);

/// Opens the named pipe at `path` for reading. This does not wait for a writer.
///
/// # Errors
/// The error of the system, or `InvalidInput` if it is not a named pipe.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) {
        FileType::Fifo => Ok(File::from(fd)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a named pipe any more")),
    }
}

/// A pipe whose writer has not begun yet.
pub(super) struct PipeProducer {
    name: String,
    options: FileOptions,
    /// `None` once its header was read.
    pipe: Option<File>,
}

impl PipeProducer {
    pub(super) const fn new(name: String, pipe: File, options: FileOptions) -> Self {
        Self { name, options, pipe: Some(pipe) }
    }
}

/// Waits until there is a byte to read, `timeout` at most.
///
/// # Errors
/// The error of the system; `BrokenPipe` if a writer has come and gone without a byte.
fn readable(pipe: &File, timeout: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut fds = [PollFd::new(pipe, PollFlags::IN)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let events = fds[0].revents();
    match events.contains(PollFlags::IN) {
        false if events.intersects(PollFlags::HUP | PollFlags::ERR) => Err(io::ErrorKind::BrokenPipe.into()),
        ready => Ok(ready),
    }
}

impl Producer for PipeProducer {
    fn missing(&self) -> SourceError {
        SourceError::NoProducer { source_name: self.name.clone(), reason: "no program writes to this pipe" }
    }

    fn wait(&mut self, timeout: Duration) -> Result<Option<Box<dyn Stream>>, SourceError> {
        let Some(pipe) = &self.pipe else { return Err(self.missing()) };
        match readable(pipe, timeout) {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(self.missing()),
            Err(error) => return Err(SourceError::Io { source_name: self.name.clone(), call: "poll", error }),
        }
        let pipe = self.pipe.take().ok_or_else(|| self.missing())?;
        Ok(Some(Box::new(VideoStream::of_pipe(self.name.clone(), pipe, &self.options, HEADER_TIMEOUT)?)))
    }
}
