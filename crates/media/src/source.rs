//! Sources of frames: the traits [`Source`] and [`Stream`], and their errors.
//!
//! Each open [`Stream`] is driven by one capture thread. It delivers [`Frame`]s, which are lent and
//! not copied.
//!
//! | implementation | source |
//! |---|---|
//! | `portraitd-v4l2` | V4L2 capture devices |
//! | [`file`](crate::file) | pictures, directories of pictures, y4m videos, also by named pipes |
//! | `portraitd-scene` | synthetic scenes whose truth is known |

use std::time::Duration;

use portraitd_kernels::picture::Size;
use portraitd_protocol::orientation::Orientation;

use crate::controls::Controls;
use crate::frame::{Frame, FrameFormat};

/// The result of [`Stream::next`].
#[derive(Debug)]
pub enum StreamEvent {
    /// The next frame.
    Frame(Frame),
    /// There is no frame yet: the wait timed out or was interrupted. This is not an error; call
    /// again.
    Nothing,
    /// The format changed. The following frames have this one.
    FormatChanged(FrameFormat),
    /// The source has no more frames.
    End,
}

/// An open source of frames.
pub trait Stream: Send {
    /// The format of the next frame.
    fn format(&self) -> FrameFormat;

    /// Waits for the next frame, `timeout` at most. The stream determines the rate: a camera by its
    /// clock, a file by its frame rate. Timestamps are `CLOCK_MONOTONIC` nanoseconds.
    ///
    /// # Errors
    /// [`SourceError`]. The stream must then be dropped and the source opened again.
    fn next(&mut self, timeout: Duration) -> Result<StreamEvent, SourceError>;

    /// The numbers of frames that were lost or skipped since the stream was opened.
    fn counters(&self) -> StreamCounters {
        StreamCounters::default()
    }

    /// Whether the shutter of the camera is closed, according to its privacy control. After a
    /// change, [`next`](Stream::next) returns [`StreamEvent::Nothing`].
    fn private(&self) -> bool {
        false
    }
}

/// The frames that a stream has lost since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Frames that the source produced but did not deliver (gaps in the sequence numbers).
    pub dropped: u64,
    /// Frames that were damaged and were skipped.
    pub corrupt: u64,
    /// Frames that were skipped or delayed because readers held every buffer.
    pub starved: u64,
}

/// Something that can be opened repeatedly: a device by its path, a file, a scene.
pub trait Source: Send + Sync {
    /// The name for logs and errors, for example `/dev/v4l/by-id/...`, `scene:walk` or
    /// `file:people.y4m`.
    fn name(&self) -> String;

    /// Opens the source with the format nearest to the request `wanted`.
    ///
    /// # Errors
    /// [`SourceError`] with the name of the source and the reason.
    fn open(&self, wanted: &FormatRequest) -> Result<Box<dyn Stream>, SourceError>;

    /// As [`Source::open`], but does not wait for another program that has to produce the frames.
    ///
    /// # Errors
    /// As [`Source::open`].
    fn begin(&self, wanted: &FormatRequest) -> Result<Opening, SourceError> {
        self.open(wanted).map(Opening::Open)
    }

    /// As [`Source::begin`], and has the device turn its pictures as far as it can. Returns what is left
    /// to be done to them.
    ///
    /// # Errors
    /// As [`Source::open`].
    fn begin_turned(
        &self,
        wanted: &FormatRequest,
        orientation: Orientation,
    ) -> Result<(Opening, Orientation), SourceError> {
        self.begin(wanted).map(|opening| (opening, orientation))
    }

    /// Opens the controls of the source, whether its stream is open or not; `None` if it has none.
    ///
    /// # Errors
    /// [`SourceError`] with the name of the source and the reason.
    fn controls(&self) -> Result<Option<Box<dyn Controls>>, SourceError> {
        Ok(None)
    }
}

/// The result of [`Source::begin`].
pub enum Opening {
    /// The source is open.
    Open(Box<dyn Stream>),
    /// Another program has to begin first.
    Waiting(Box<dyn Producer>),
}

/// A program that has to begin before a source is open. Dropping it closes the source.
pub trait Producer: Send {
    /// The error that says who is waited for.
    fn missing(&self) -> SourceError;

    /// Waits for the program, `timeout` at most. After it has returned a stream, it must be dropped.
    ///
    /// # Errors
    /// [`SourceError`]. The producer must then be dropped and the source opened again.
    fn wait(&mut self, timeout: Duration) -> Result<Option<Box<dyn Stream>>, SourceError>;
}

/// The format that is requested from a source. The source chooses the nearest one that it has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FormatRequest {
    /// The picture size, in pixels; `None` keeps the source's own.
    pub size: Option<Size>,
    /// The frame rate, in frames a second; `None` keeps the source's own.
    pub frame_rate: Option<f32>,
}

impl Default for FormatRequest {
    fn default() -> Self {
        Self { size: Some(Size::new(1280, 720)), frame_rate: Some(30.0) }
    }
}

/// Why a source cannot be opened, or why its stream has ended. The variants differ in what a
/// supervisor should do next.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The device or file does not exist, now or at all.
    #[error("{source_name}: not there")]
    Absent {
        /// The name of the source.
        source_name: String,
    },
    /// The program that has to produce the frames has not begun.
    #[error("{source_name}: {reason}")]
    NoProducer {
        /// The name of the source.
        source_name: String,
        /// What is missing. It is a sentence of its own.
        reason: &'static str,
    },
    /// Another program uses the device.
    #[error("{source_name}: in use by another program")]
    Busy {
        /// The name of the source.
        source_name: String,
    },
    /// The process has no permission to open it.
    #[error("{source_name}: permission denied (is the user in the group `video`?)")]
    Permission {
        /// The name of the source.
        source_name: String,
    },
    /// The device was removed while it streamed.
    #[error("{source_name}: removed while streaming")]
    Gone {
        /// The name of the source.
        source_name: String,
    },
    /// The source is of a kind, or has a format, that is not supported.
    #[error("{source_name}: {reason}")]
    Unsupported {
        /// The name of the source.
        source_name: String,
        /// What is not supported. It continues a sentence whose subject is the source.
        reason: String,
    },
    /// The contents of the source are damaged or not valid.
    #[error("{source_name}: {reason}")]
    Malformed {
        /// The name of the source.
        source_name: String,
        /// What is wrong, with the position (line, byte or frame).
        reason: String,
    },
    /// A system call failed.
    #[error("{source_name}: {call}: {error}")]
    Io {
        /// The name of the source.
        source_name: String,
        /// The name of the call.
        call: &'static str,
        /// The error of the system.
        error: std::io::Error,
    },
}
