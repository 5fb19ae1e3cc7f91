//! `--source` and `[[camera]] device`: which source a person means.
//!
//! | text | source |
//! |---|---|
//! | `/dev/v4l/by-id/...` | a V4L2 device |
//! | `auto` | the first V4L2 capture device with a usable format |
//! | `scene[:NAME][?OPTIONS]` | a synthetic scene, see [`SceneOptions`] |
//! | `file:PATH[?OPTIONS]` | a picture, a directory of pictures or a y4m video, see [`FileOptions`] |
//! | `-` | y4m on standard input |
//!
//! Options are joined by `&`; a switch (`loop`) stands alone or is `yes` or `no`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::camera::Source;
use crate::camera::file::{FileOptions, FilePath, FileSource};
use crate::camera::pace::{FrameRate, Pace};
use crate::camera::scene::{SceneOptions, SceneSource};
use crate::camera::v4l2::{AutoSource, DeviceSource};
use crate::pixel::Size;

/// A parsed `--source`. Its Display parses to an equal value.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceSpec {
    /// The first usable V4L2 device.
    Auto,
    /// A V4L2 device by its path.
    Device(PathBuf),
    /// A synthetic scene.
    Scene(SceneOptions),
    /// A file, or standard input.
    File(FileOptions),
}

/// Why a `--source` is not understood. Display is one line that names the bad part and the good ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// None of the known kinds.
    #[error("unknown source {text:?}: expected auto, /dev/..., scene[:NAME], file:PATH or -")]
    UnknownSource {
        /// What was given.
        text: String,
    },
    /// `file:` alone.
    #[error("file: needs a path, as in file:people.y4m")]
    NoPath,
    /// No scene of this name.
    #[error("unknown scene {name:?}: there are {known}")]
    UnknownScene {
        /// What was given.
        name: String,
        /// All names.
        known: String,
    },
    /// No option of this name.
    #[error("{kind}: unknown option {option:?}: there are {known}")]
    UnknownOption {
        /// `file` or `scene`.
        kind: &'static str,
        /// What was given.
        option: String,
        /// All options.
        known: &'static str,
    },
    /// The option has no such value.
    #[error("{kind}: option {option}: {value:?} is not {expected}")]
    BadValue {
        /// `file` or `scene`.
        kind: &'static str,
        /// The option.
        option: String,
        /// Its value; empty where there is none.
        value: String,
        /// What would be.
        expected: &'static str,
    },
}

impl FromStr for SourceSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "auto" => return Ok(Self::Auto),
            "-" => return Ok(Self::File(FileOptions::new(FilePath::Stdin))),
            _ => {}
        }
        if let Some(rest) = text.strip_prefix("file:") {
            return FileOptions::parse(rest).map(Self::File);
        }
        if let Some(rest) = text.strip_prefix("scene")
            && matches!(rest.as_bytes().first(), None | Some(b':' | b'?'))
        {
            return SceneOptions::parse(rest).map(Self::Scene);
        }
        if text.starts_with("/dev/") {
            return Ok(Self::Device(text.into()));
        }
        Err(SpecError::UnknownSource { text: text.to_owned() })
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Device(path) => path.display().fmt(f),
            Self::Scene(options) => options.fmt(f),
            Self::File(options) => options.fmt(f),
        }
    }
}

impl SourceSpec {
    /// The source it names. Nothing is opened yet.
    pub fn into_source(self) -> Box<dyn Source> {
        match self {
            Self::Auto => Box::new(AutoSource),
            Self::Device(path) => Box::new(DeviceSource::new(path)),
            Self::Scene(options) => Box::new(SceneSource::new(options)),
            Self::File(options) => Box::new(FileSource::new(options)),
        }
    }
}

/// The options of one source, `key=value` joined by `&`.
pub(super) struct OptionList<'a> {
    kind: &'static str,
    text: &'a str,
    known: &'static str,
}

impl<'a> OptionList<'a> {
    pub(super) const fn new(kind: &'static str, text: &'a str, known: &'static str) -> Self {
        Self { kind, text, known }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = SpecOption<'a>> {
        let kind = self.kind;
        self.text.split('&').filter(|text| !text.is_empty()).map(move |text| {
            let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
            SpecOption { kind, key, value }
        })
    }

    pub(super) fn unknown(&self, option: &str) -> SpecError {
        SpecError::UnknownOption { kind: self.kind, option: option.to_owned(), known: self.known }
    }
}

/// One option.
pub(super) struct SpecOption<'a> {
    kind: &'static str,
    pub(super) key: &'a str,
    pub(super) value: Option<&'a str>,
}

impl SpecOption<'_> {
    pub(super) fn bad(&self, expected: &'static str) -> SpecError {
        SpecError::BadValue {
            kind: self.kind,
            option: self.key.to_owned(),
            value: self.value.unwrap_or_default().to_owned(),
            expected,
        }
    }

    /// `loop`, `loop=yes`, `loop=no`.
    pub(super) fn switch(&self) -> Result<bool, SpecError> {
        match self.value {
            None | Some("yes") => Ok(true),
            Some("no") => Ok(false),
            _ => Err(self.bad("yes or no")),
        }
    }

    pub(super) fn parse<T: FromStr>(&self, expected: &'static str) -> Result<T, SpecError> {
        self.value.and_then(|value| value.parse().ok()).ok_or_else(|| self.bad(expected))
    }

    pub(super) fn frame_rate(&self) -> Result<FrameRate, SpecError> {
        let expected = "a number of frames a second from 0.01 to 1000";
        FrameRate::from_decimal(self.parse(expected)?).ok_or_else(|| self.bad(expected))
    }

    pub(super) fn pace(&self) -> Result<Pace, SpecError> {
        match self.value {
            Some("real") => Ok(Pace::RealTime),
            Some("fast") => Ok(Pace::Fast),
            _ => Err(self.bad("real or fast")),
        }
    }

    /// `WxH`.
    pub(super) fn size(&self) -> Option<Size> {
        let (width, height) = self.value?.split_once('x')?;
        Some(Size::new(width.parse().ok()?, height.parse().ok()?))
    }
}

#[cfg(test)]
mod tests;
