//! The source that opens a file with the stream for its type.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::batch;
use super::options::{FileOptions, FilePath};
use super::pictures::{PicturesStream, Repeat};
use super::probe;
use super::video::VideoStream;
use crate::image::Content;
use crate::playback::FrameRate;
use crate::source::{FormatRequest, Source, SourceError, Stream};

/// A file, a directory or standard input as a source of frames.
#[derive(Debug)]
pub struct FileSource {
    options: FileOptions,
    stdin_taken: AtomicBool,
}

impl FileSource {
    /// The source that `options` describe. The file is not accessed before [`Source::open`].
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
        Ok(Box::new(VideoStream::open(name, File::from(input), &self.options)?))
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
            let repeat = if self.options.repeat { Repeat::All } else { Repeat::No };
            return Ok(Box::new(PicturesStream::open(name, files, repeat, rate, self.options.playback)?));
        }
        match probe::open(path).map_err(failed)? {
            (file, Content::Y4m) => Ok(Box::new(VideoStream::open(name, file, &self.options)?)),
            (_, Content::Png | Content::Jpeg) => {
                let repeat = Repeat::Still;
                let files = vec![path.to_owned()];
                Ok(Box::new(PicturesStream::open(name, files, repeat, rate, self.options.playback)?))
            }
            (_, other) => Err(SourceError::Malformed {
                source_name: name,
                reason: format!(
                    "neither a PNG or JPEG picture nor a y4m video: it looks like {other}{}",
                    other.advice()
                ),
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
