//! The source that opens a file with the stream for its type.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::batch;
use super::options::{FileOptions, FilePath};
use super::pictures::{PicturesStream, Repeat};
use super::pipe::{self, PipeProducer};
use super::probe;
use super::video::VideoStream;
use crate::image::Content;
use crate::playback::FrameRate;
use crate::source::{FormatRequest, Opening, Source, SourceError, Stream};

/// How long [`Source::open`] waits for the writer of a named pipe.
const WRITER_TIMEOUT: Duration = Duration::from_secs(10);

/// A file, a directory, a named pipe or standard input as a source of frames.
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

    fn open_path(&self, name: String, path: &Path, wanted: &FormatRequest) -> Result<Opening, SourceError> {
        let source_name = name.clone();
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => SourceError::Absent { source_name: source_name.clone() },
            _ => SourceError::Io { source_name: source_name.clone(), call: "open", error },
        };
        let rate = self.options.frame_rate;
        let rate = rate.or_else(|| wanted.frame_rate.and_then(FrameRate::from_decimal)).unwrap_or(FrameRate::DEFAULT);
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        if kind.is_fifo() {
            if self.options.repeat {
                let reason = "a named pipe cannot be repeated (`loop`)".into();
                return Err(SourceError::Unsupported { source_name: name, reason });
            }
            let pipe = pipe::open(path).map_err(failed)?;
            return Ok(Opening::Waiting(Box::new(PipeProducer::new(name, pipe, self.options.clone()))));
        }
        let stream: Box<dyn Stream> = if kind.is_dir() {
            let files = batch::pictures_in(path).map_err(failed)?;
            let repeat = if self.options.repeat { Repeat::All } else { Repeat::No };
            Box::new(PicturesStream::open(name, files, repeat, rate, self.options.playback)?)
        } else {
            self.open_file(name, probe::open(path).map_err(failed)?, path, rate)?
        };
        Ok(Opening::Open(stream))
    }

    fn open_file(
        &self,
        name: String,
        probed: (File, Content),
        path: &Path,
        rate: FrameRate,
    ) -> Result<Box<dyn Stream>, SourceError> {
        match probed {
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
        match self.begin(wanted)? {
            Opening::Open(stream) => Ok(stream),
            Opening::Waiting(mut writer) => writer.wait(WRITER_TIMEOUT)?.ok_or_else(|| writer.missing()),
        }
    }

    fn begin(&self, wanted: &FormatRequest) -> Result<Opening, SourceError> {
        match &self.options.path {
            FilePath::Stdin => self.open_stdin(self.name()).map(Opening::Open),
            FilePath::Path(path) => self.open_path(self.name(), path, wanted),
        }
    }
}
