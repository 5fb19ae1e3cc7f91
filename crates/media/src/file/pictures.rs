//! Pictures as a stream: one picture that is repeated, or the files of a directory in order.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::frame::{Buffer, Frame, FrameFormat, Lease};
use crate::image::{self, ImageError, Reason};
use crate::owned::OwnedPicture;
use crate::playback::{FrameRate, Pacer, Playback};
use crate::source::{SourceError, Stream, StreamEvent};

/// What a stream does after the last picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The stream ends.
    No,
    /// The stream starts again with the first picture.
    All,
    /// There is one picture, which is repeated endlessly.
    Still,
}

/// A decoded picture as a buffer. It is never written again, so it can be lent any number of times.
struct PictureBuffer {
    picture: OwnedPicture,
    leases: AtomicUsize,
}

impl Buffer for PictureBuffer {
    fn plane(&self, plane: usize) -> &[u8] {
        self.picture.plane(plane)
    }

    fn leases(&self) -> &AtomicUsize {
        &self.leases
    }

    fn released(&self) {}
}

pub(super) struct PicturesStream {
    name: String,
    files: Vec<PathBuf>,
    repeat: Repeat,
    /// The index of the file that `current` was read from.
    index: usize,
    /// The decoded picture for the next frame.
    current: Option<Arc<PictureBuffer>>,
    format: FrameFormat,
    sequence: u64,
    pacer: Pacer,
}

impl PicturesStream {
    /// Decodes the first picture, so that the format is known.
    ///
    /// # Errors
    /// [`SourceError::Unsupported`] if `files` is empty; otherwise the errors of reading the first
    /// file.
    pub(super) fn open(
        name: String,
        files: Vec<PathBuf>,
        repeat: Repeat,
        rate: FrameRate,
        playback: Playback,
    ) -> Result<Self, SourceError> {
        let Some(first) = files.first() else {
            let reason = "no .png, .jpg or .jpeg file in this directory".to_owned();
            return Err(SourceError::Unsupported { source_name: name, reason });
        };
        let picture = image::read(first).map_err(|error| picture_error(&name, error))?;
        let pacer = Pacer::new(rate, playback);
        let format = format_of(&picture, &pacer);
        let current = Some(Arc::new(PictureBuffer { picture, leases: AtomicUsize::new(0) }));
        Ok(Self { name, files, repeat, index: 0, current, format, sequence: 0, pacer })
    }
}

/// The error of one picture as an error of the source.
fn picture_error(source_name: &str, error: ImageError) -> SourceError {
    match error.reason {
        Reason::Read(io) if io.kind() == ErrorKind::NotFound => {
            SourceError::Absent { source_name: error.path.display().to_string() }
        }
        _ => SourceError::Malformed { source_name: source_name.to_owned(), reason: error.to_string() },
    }
}

fn format_of(picture: &OwnedPicture, pacer: &Pacer) -> FrameFormat {
    FrameFormat::packed(picture.format(), picture.size(), picture.color(), pacer.rate().per_second())
}

impl Stream for PicturesStream {
    fn format(&self) -> FrameFormat {
        self.format
    }

    fn next(&mut self, timeout: Duration) -> Result<StreamEvent, SourceError> {
        let buffer = match &self.current {
            Some(buffer) => Arc::clone(buffer),
            None => {
                self.index += 1;
                if self.index >= self.files.len() {
                    if self.repeat == Repeat::No {
                        return Ok(StreamEvent::End);
                    }
                    self.index = 0;
                }
                let picture = image::read(&self.files[self.index]).map_err(|error| picture_error(&self.name, error))?;
                Arc::clone(self.current.insert(Arc::new(PictureBuffer { picture, leases: AtomicUsize::new(0) })))
            }
        };
        let format = format_of(&buffer.picture, &self.pacer);
        if format != self.format {
            self.format = format;
            return Ok(StreamEvent::FormatChanged(format));
        }
        let Some(capture_ns) = self.pacer.wait(timeout) else {
            return Ok(StreamEvent::Nothing);
        };
        let frame = Frame::new(self.sequence, capture_ns, format, Lease::new(buffer))
            .map_err(|error| SourceError::Malformed { source_name: self.name.clone(), reason: error.to_string() })?;
        self.sequence += 1;
        self.pacer.advance();
        if self.repeat != Repeat::Still {
            self.current = None;
        }
        Ok(StreamEvent::Frame(frame))
    }
}
