//! Files as sources: pictures, directories of pictures, and y4m video, also on standard input. Runs on the capture
//! thread. Pictures own their memory and are lent as they are; frames of a video lie in a [`MemoryPool`], and nothing is
//! allocated once it runs.
//!
//! What a file is, is told by its bytes. A directory yields its `.png`, `.jpg` and `.jpeg` files in the order of their
//! names. Without `loop` a directory and a video end ([`StreamEvent::End`]); a single picture is repeated for ever.
//! Standard input can be opened once.
//!
//! [`batch`] is the way past pacing and frames, for `segment` and `eval`.
//!
//! [`MemoryPool`]: crate::frame::MemoryPool
//! [`StreamEvent::End`]: crate::StreamEvent::End

pub mod batch;
mod options;
mod pictures;
mod video;
pub mod y4m;

pub use batch::{Input, InputError, expand_inputs, open_pictures, open_video};
pub use options::{FileOptions, FilePath};
pub use y4m::{Y4mError, Y4mHeader, Y4mReader, Y4mWriter};

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::image::{Content, ImageError, Reason, sniff};
use crate::playback::FrameRate;
use crate::{FormatRequest, Source, SourceError, Stream};

/// A file as a source of frames.
#[derive(Debug)]
pub struct FileSource {
    options: FileOptions,
    stdin_taken: AtomicBool,
}

impl FileSource {
    /// The file that `options` name. It is not touched before [`Source::open`].
    pub const fn new(options: FileOptions) -> Self {
        Self { options, stdin_taken: AtomicBool::new(false) }
    }

    fn open_stdin(&self, name: String) -> Result<Box<dyn Stream>, SourceError> {
        let unsupported = |reason: &str| SourceError::Unsupported { source_name: name.clone(), reason: reason.into() };
        if self.options.repeat {
            return Err(unsupported("standard input cannot be repeated (`loop`)"));
        }
        if self.stdin_taken.swap(true, Ordering::Relaxed) {
            return Err(unsupported("standard input can be read only once"));
        }
        let input = rustix::io::dup(rustix::stdio::stdin()).map_err(|error| SourceError::Io {
            source_name: name.clone(),
            call: "dup",
            error: error.into(),
        })?;
        Ok(Box::new(video::VideoStream::open(name, File::from(input), &self.options)?))
    }

    fn open_path(&self, name: String, path: &Path, wanted: &FormatRequest) -> Result<Box<dyn Stream>, SourceError> {
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => SourceError::Absent { source_name: name.clone() },
            _ => SourceError::Io { source_name: name.clone(), call: "open", error },
        };
        let rate = self.options.frame_rate;
        let rate = rate.or_else(|| wanted.frame_rate.and_then(FrameRate::from_decimal)).unwrap_or(FrameRate::DEFAULT);
        if std::fs::metadata(path).map_err(failed)?.is_dir() {
            let files = batch::pictures_in(path).map_err(failed)?;
            let repeat = if self.options.repeat { pictures::Repeat::All } else { pictures::Repeat::No };
            return Ok(Box::new(pictures::PicturesStream::open(name, files, repeat, rate, self.options.playback)?));
        }
        let mut file = File::open(path).map_err(failed)?;
        let mut first = [0; 64];
        let length = read_up_to(&mut file, &mut first).map_err(failed)?;
        match sniff(&first[..length]) {
            Content::Y4m => {
                // A pipe cannot go back, and its first bytes are taken: `-` is the way for those.
                file.rewind().map_err(failed)?;
                Ok(Box::new(video::VideoStream::open(name, file, &self.options)?))
            }
            Content::Png | Content::Jpeg => {
                let repeat = pictures::Repeat::Still;
                let files = vec![path.to_owned()];
                Ok(Box::new(pictures::PicturesStream::open(name, files, repeat, rate, self.options.playback)?))
            }
            other => Err(SourceError::Malformed {
                source_name: name,
                reason: format!("neither a PNG or JPEG picture nor a y4m video: it looks like {other}"),
            }),
        }
    }
}

impl Source for FileSource {
    fn name(&self) -> String {
        self.options.to_string()
    }

    fn open(&self, wanted: &FormatRequest) -> Result<Box<dyn Stream>, SourceError> {
        match &self.options.path {
            FilePath::Stdin => self.open_stdin(self.name()),
            FilePath::Path(path) => self.open_path(self.name(), path, wanted),
        }
    }
}

/// Reads until `out` is full or the file ends.
fn read_up_to(file: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < out.len() {
        match file.read(&mut out[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// An error of one picture, as the source's.
fn picture_error(source_name: &str, error: ImageError) -> SourceError {
    match error.reason {
        Reason::Read(io) if io.kind() == ErrorKind::NotFound => {
            SourceError::Absent { source_name: error.path.display().to_string() }
        }
        _ => SourceError::Malformed { source_name: source_name.to_owned(), reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests;
