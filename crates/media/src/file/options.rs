//! The options of a file source: `file:PATH[?OPTIONS]`.

use std::fmt;
use std::path::PathBuf;

use crate::options::{OptionList, SpecError};
use crate::playback::{FrameRate, Playback};

/// The path of a file source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePath {
    /// Standard input, which must be a y4m video.
    Stdin,
    /// A picture, a directory of pictures, a y4m video, or a named pipe to which one is written.
    Path(PathBuf),
}

/// A file as a source: `file:PATH[?loop&fps=30&pace=fast]`.
#[derive(Clone, Debug, PartialEq)]
pub struct FileOptions {
    /// The file, directory or standard input.
    pub path: FilePath,
    /// Whether to start again at the end. A single picture is always repeated.
    pub repeat: bool,
    /// The frame rate; `None` takes the rate of the y4m header, or the requested one for pictures,
    /// or 30 frames a second.
    pub frame_rate: Option<FrameRate>,
    /// Whether frames are delivered in real time or as fast as they are read.
    pub playback: Playback,
}

impl FileOptions {
    /// The options that [`FileOptions::parse`] accepts, for error messages.
    pub const OPTIONS: &'static str = "loop, fps, pace";

    /// Plays `path` once, in real time.
    pub const fn new(path: FilePath) -> Self {
        Self { path, repeat: false, frame_rate: None, playback: Playback::RealTime }
    }

    /// Parses the text after `file:`. In the path, `%3F` stands for `?` and `%25` for `%`. Any
    /// other `%` is literal.
    ///
    /// # Errors
    /// [`SpecError`] for an empty path, an unknown option or a bad value.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let (path, options) = text.split_once('?').unwrap_or((text, ""));
        let path = match path {
            "" => return Err(SpecError::NoPath),
            "-" => FilePath::Stdin,
            path => FilePath::Path(unescape(path).into()),
        };
        let mut parsed = Self::new(path);
        let list = OptionList::new("file", options, Self::OPTIONS);
        for option in list.iter() {
            match option.key {
                "loop" => parsed.repeat = option.switch()?,
                "fps" => parsed.frame_rate = Some(option.frame_rate()?),
                "pace" => parsed.playback = option.playback()?,
                _ => return Err(list.unknown(option.key)),
            }
        }
        Ok(parsed)
    }
}

impl fmt::Display for FileOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            FilePath::Stdin => f.write_str("file:-")?,
            FilePath::Path(path) => write!(f, "file:{}", escape(&path.to_string_lossy()))?,
        }
        let mut separator = '?';
        let mut option = |text: fmt::Arguments<'_>| {
            write!(f, "{separator}{text}")?;
            separator = '&';
            Ok(())
        };
        if self.repeat {
            option(format_args!("loop"))?;
        }
        if let Some(rate) = self.frame_rate {
            option(format_args!("fps={rate}"))?;
        }
        if self.playback == Playback::Fast {
            option(format_args!("pace=fast"))?;
        }
        Ok(())
    }
}

fn escape(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3F")
}

fn unescape(path: &str) -> String {
    path.replace("%3F", "?").replace("%3f", "?").replace("%25", "%")
}
