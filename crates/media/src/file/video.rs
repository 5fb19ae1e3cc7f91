//! A y4m video as a stream.
//!
//! Each frame is read to a staging buffer, in the pieces that a pipe delivers, and then copied to a
//! free buffer of the pool. If a writer stops in the middle of a frame, the capture thread waits no
//! longer than its timeout. If readers hold every buffer, the video waits: no frame is dropped.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::options::FileOptions;
use super::y4m::{Y4mError, Y4mReader};
use crate::clock::monotonic_ns;
use crate::frame::{FrameFormat, MemoryPool};
use crate::playback::{FrameRate, Pacer};
use crate::source::{SourceError, Stream, StreamCounters, StreamEvent};

/// The number of frames that readers can hold at the same time.
const BUFFERS: usize = 6;

/// How long to wait for the header on standard input, whose writer may still be starting.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest frame that is accepted from a named pipe, in bytes: 3840x2160 in 4:2:2.
const MAX_PIPE_FRAME_BYTES: usize = 2 * 3840 * 2160;

/// The interval between two attempts to get a free buffer while readers hold all of them.
const STARVED_PAUSE: Duration = Duration::from_millis(1);

/// A file or pipe whose reads fail with `TimedOut` at a deadline.
struct TimedFile {
    file: File,
    deadline: Instant,
}

impl Read for TimedFile {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).map_err(|_| ErrorKind::InvalidInput)?;
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Err(ErrorKind::TimedOut.into()),
                Ok(_) => match self.file.read(out) {
                    // Another process reads from this pipe too.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    result => return result,
                },
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Seek for TimedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

pub(super) struct VideoStream {
    name: String,
    reader: Y4mReader<BufReader<TimedFile>>,
    repeat: bool,
    /// Frames come from another program, at its time, until it ends.
    live: bool,
    staging: Vec<u8>,
    /// Whether `staging` contains a whole frame that was not delivered yet.
    staged: bool,
    /// Whether this frame was already counted as starved.
    starved: bool,
    pool: MemoryPool,
    pacer: Pacer,
    sequence: u64,
    counters: StreamCounters,
}

impl VideoStream {
    /// Plays a file, or standard input, at the frame rate of its header.
    pub(super) fn open(name: String, file: File, options: &FileOptions) -> Result<Self, SourceError> {
        let reader = read_header(&name, file, HEADER_TIMEOUT)?;
        let rate = options.frame_rate.or(reader.header().frame_rate).unwrap_or(FrameRate::DEFAULT);
        Ok(Self::new(name, reader, options.repeat, Pacer::new(rate, options.playback)))
    }

    /// Passes on what a program writes to a named pipe. Its header may take `timeout`.
    pub(super) fn of_pipe(
        name: String,
        pipe: File,
        options: &FileOptions,
        timeout: Duration,
    ) -> Result<Self, SourceError> {
        let reader = read_header(&name, pipe, timeout)?;
        let header = reader.header();
        if header.frame_bytes() > MAX_PIPE_FRAME_BYTES {
            let reason = format!(
                "a picture of {} ({}) is too large for a named pipe, whose frames have at most {} MB",
                header.size,
                header.pixel_format,
                MAX_PIPE_FRAME_BYTES / 1_000_000
            );
            return Err(SourceError::Unsupported { source_name: name, reason });
        }
        let rate = options.frame_rate.or(header.frame_rate).unwrap_or(FrameRate::DEFAULT);
        Ok(Self { live: true, ..Self::new(name, reader, false, Pacer::live(rate)) })
    }

    fn new(name: String, reader: Y4mReader<BufReader<TimedFile>>, repeat: bool, pacer: Pacer) -> Self {
        let header = *reader.header();
        let format = FrameFormat::packed(header.pixel_format, header.size, header.color, pacer.rate().per_second());
        Self {
            name,
            reader,
            repeat,
            live: false,
            staging: vec![0; header.frame_bytes()],
            staged: false,
            starved: false,
            pool: MemoryPool::new(format, BUFFERS),
            pacer,
            sequence: 0,
            counters: StreamCounters::default(),
        }
    }

    /// Reads a frame to `staging`. Returns false at the end of the video.
    fn stage(&mut self, deadline: Instant) -> Result<bool, SourceError> {
        self.reader.get_mut().get_mut().deadline = deadline;
        loop {
            match self.reader.read_into(&mut self.staging) {
                Ok(true) => return Ok(true),
                Ok(false) if self.repeat && self.reader.frames() > 0 => {
                    self.reader.rewind().map_err(|error| SourceError::Io {
                        source_name: self.name.clone(),
                        call: "lseek",
                        error,
                    })?;
                }
                Ok(false) => return Ok(false),
                // The writer was ended while it wrote.
                Err(Y4mError::Truncated { .. }) if self.live => return Ok(false),
                Err(error) => return Err(video_error(&self.name, error)),
            }
        }
    }
}

/// Reads the header of a video, whose writer may take `timeout`.
fn read_header(name: &str, file: File, timeout: Duration) -> Result<Y4mReader<BufReader<TimedFile>>, SourceError> {
    let input = TimedFile { file, deadline: Instant::now() + timeout };
    Y4mReader::new(BufReader::with_capacity(1 << 16, input)).map_err(|error| video_error(name, error))
}

/// An error of the video as an error of the source.
fn video_error(name: &str, error: Y4mError) -> SourceError {
    let source_name = name.to_owned();
    match error {
        Y4mError::Io { error, .. } => SourceError::Io { source_name, call: "read", error },
        Y4mError::Unsupported { .. } => SourceError::Unsupported { source_name, reason: error.to_string() },
        _ => SourceError::Malformed { source_name, reason: error.to_string() },
    }
}

impl Stream for VideoStream {
    fn format(&self) -> FrameFormat {
        self.pool.format()
    }

    fn next(&mut self, timeout: Duration) -> Result<StreamEvent, SourceError> {
        let deadline = Instant::now() + timeout;
        if !self.staged {
            match self.stage(deadline) {
                Ok(true) => {
                    self.staged = true;
                    self.pacer.arrived(monotonic_ns());
                }
                Ok(false) => return Ok(StreamEvent::End),
                Err(SourceError::Io { error, .. }) if error.kind() == ErrorKind::TimedOut => {
                    return Ok(StreamEvent::Nothing);
                }
                Err(error) => return Err(error),
            }
        }
        let Some(capture_ns) = self.pacer.wait(deadline.saturating_duration_since(Instant::now())) else {
            return Ok(StreamEvent::Nothing);
        };
        loop {
            let staging = &self.staging;
            let lent = self.pool.fill(self.sequence, capture_ns, |bytes| {
                bytes.copy_from_slice(staging);
                Ok::<_, SourceError>(())
            })?;
            if let Some(frame) = lent {
                (self.staged, self.starved) = (false, false);
                self.sequence += 1;
                self.pacer.advance();
                return Ok(StreamEvent::Frame(frame));
            }
            if !self.starved {
                self.starved = true;
                self.counters.starved += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(StreamEvent::Nothing);
            }
            std::thread::sleep(left.min(STARVED_PAUSE));
        }
    }

    fn counters(&self) -> StreamCounters {
        self.counters
    }
}
