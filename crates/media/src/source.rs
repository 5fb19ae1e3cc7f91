//! Sources of frames, and the frame itself.
//!
//! A [`Stream`] is driven by one *capture thread* (one a camera). What it yields is a [`Frame`]: a picture *lent* by the
//! source, not copied. Readers on other threads hold clones; when the last one is dropped, the source gets its buffer
//! back ([`Buffer::released`]) and may fill it again. A reader that never lets go starves the source visibly.
//!
//! | folder | source |
//! |---|---|
//! | `v4l2/` | a V4L2 capture device |
//! | `file/` | pictures, directories of pictures, y4m |
//! | `scene/` | a synthetic room with a photographed person, whose truth is known |

use std::time::Duration;

use crate::{Frame, FrameFormat};

/// What a [`Stream`] has to say.
#[derive(Debug)]
pub enum StreamEvent {
    /// The next frame.
    Frame(Frame),
    /// Nothing yet: the wait ran out, or the stream was woken. Not an error; ask again.
    Nothing,
    /// The format changed: frames from here on have this one.
    FormatChanged(FrameFormat),
    /// A finite source has ended.
    End,
}

/// An open source of frames.
pub trait Stream: Send {
    /// The format of the frames to come.
    fn format(&self) -> FrameFormat;

    /// Waits up to `timeout` for the next frame. The implementation paces itself (a camera by its clock, a file by its
    /// frame rate) and stamps frames with `CLOCK_MONOTONIC` nanoseconds.
    ///
    /// # Errors
    /// [`SourceError`]; the stream must then be closed (dropped) and the source opened anew.
    fn next(&mut self, timeout: Duration) -> Result<StreamEvent, SourceError>;

    /// The source's own count of frames lost, broken or skipped since it was opened.
    fn counters(&self) -> StreamCounters {
        StreamCounters::default()
    }

    /// Whether the source says that its shutter is closed (a camera's privacy control). A change is told with a
    /// [`StreamEvent::Nothing`].
    fn private(&self) -> bool {
        false
    }
}

/// What a stream has lost since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// Frames that the source made and we did not get (gaps of sequence numbers).
    pub dropped: u64,
    /// Frames that came damaged and were skipped.
    pub corrupt: u64,
    /// Times that no buffer was free, because readers held them all.
    pub starved: u64,
}

/// Something that can be opened again and again: a device by its path, a file, a scene.
pub trait Source: Send + Sync {
    /// What a person calls it: `/dev/v4l/by-id/...`, `scene:walk`, `file:people.y4m`.
    fn name(&self) -> String;

    /// Opens it and negotiates a format near `wanted`.
    ///
    /// # Errors
    /// [`SourceError`] with the place and the reason.
    fn open(&self, wanted: &FormatRequest) -> Result<Box<dyn Stream>, SourceError>;
}

/// What the configuration asks of a source. A source takes the nearest it has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FormatRequest {
    /// Picture size, in pixels; `None` takes the source's own.
    pub size: Option<crate::Size>,
    /// Frames a second; `None` takes the source's own.
    pub frame_rate: Option<f32>,
}

impl Default for FormatRequest {
    fn default() -> Self {
        Self { size: Some(crate::Size::new(1280, 720)), frame_rate: Some(30.0) }
    }
}

/// Why a source cannot be opened or has stopped. Each variant decides what the supervisor does next.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no such device or file (now).
    #[error("{source_name}: not there")]
    Absent {
        /// The source.
        source_name: String,
    },
    /// Another program has it.
    #[error("{source_name}: in use by another program")]
    Busy {
        /// The source.
        source_name: String,
    },
    /// We may not open it.
    #[error("{source_name}: permission denied (is the user in the group `video`?)")]
    Permission {
        /// The source.
        source_name: String,
    },
    /// It went away while it was streaming.
    #[error("{source_name}: went away while streaming")]
    Gone {
        /// The source.
        source_name: String,
    },
    /// It offers nothing that we can use.
    #[error("{source_name}: {reason}")]
    Unsupported {
        /// The source.
        source_name: String,
        /// What it offers and what was wanted.
        reason: String,
    },
    /// Its bytes are not what they should be.
    #[error("{source_name}: {reason}")]
    Malformed {
        /// The source, with the place in it (line, byte, frame).
        source_name: String,
        /// What is wrong.
        reason: String,
    },
    /// A system call failed.
    #[error("{source_name}: {call}: {error}")]
    Io {
        /// The source.
        source_name: String,
        /// The call, by its name in the manual.
        call: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
}
