//! The name of a source and its options, `key=value` joined by `&`: parsing, and the errors that name the bad part.

use std::str::FromStr;

use crate::Size;
use crate::playback::{FrameRate, Playback};

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

/// The options of one source: `key=value` or a bare `key`, joined by `&`.
#[derive(Clone, Copy, Debug)]
pub struct OptionList<'a> {
    kind: &'static str,
    text: &'a str,
    known: &'static str,
}

impl<'a> OptionList<'a> {
    /// The options in `text` of a source of this `kind` (`file`, `scene`); `known` lists all keys for error messages.
    pub const fn new(kind: &'static str, text: &'a str, known: &'static str) -> Self {
        Self { kind, text, known }
    }

    /// Each option in order; empty ones are skipped.
    pub fn iter(&self) -> impl Iterator<Item = SpecOption<'a>> {
        let kind = self.kind;
        self.text.split('&').filter(|text| !text.is_empty()).map(move |text| {
            let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
            SpecOption { kind, key, value }
        })
    }

    /// The error for an option whose key is not known.
    pub fn unknown(&self, option: &str) -> SpecError {
        SpecError::UnknownOption { kind: self.kind, option: option.to_owned(), known: self.known }
    }
}

/// One option of a source.
#[derive(Clone, Copy, Debug)]
pub struct SpecOption<'a> {
    kind: &'static str,
    /// The text before `=`.
    pub key: &'a str,
    /// The text after `=`; `None` for a bare key.
    pub value: Option<&'a str>,
}

impl SpecOption<'_> {
    /// The error for a value that is not what `expected` describes.
    pub fn bad(&self, expected: &'static str) -> SpecError {
        SpecError::BadValue {
            kind: self.kind,
            option: self.key.to_owned(),
            value: self.value.unwrap_or_default().to_owned(),
            expected,
        }
    }

    /// A switch: `loop` and `loop=yes` are true, `loop=no` is false.
    ///
    /// # Errors
    /// [`SpecError::BadValue`] for any other value.
    pub fn switch(&self) -> Result<bool, SpecError> {
        match self.value {
            None | Some("yes") => Ok(true),
            Some("no") => Ok(false),
            _ => Err(self.bad("yes or no")),
        }
    }

    /// The value as a `T`.
    ///
    /// # Errors
    /// [`SpecError::BadValue`], which says what was `expected`, where there is no value or it cannot be parsed.
    pub fn parse<T: FromStr>(&self, expected: &'static str) -> Result<T, SpecError> {
        self.value.and_then(|value| value.parse().ok()).ok_or_else(|| self.bad(expected))
    }

    /// A frame rate of 0.01 to 1000 frames per second.
    ///
    /// # Errors
    /// [`SpecError::BadValue`].
    pub fn frame_rate(&self) -> Result<FrameRate, SpecError> {
        let expected = "a number of frames a second from 0.01 to 1000";
        FrameRate::from_decimal(self.parse(expected)?).ok_or_else(|| self.bad(expected))
    }

    /// `real` or `fast`.
    ///
    /// # Errors
    /// [`SpecError::BadValue`].
    pub fn playback(&self) -> Result<Playback, SpecError> {
        match self.value {
            Some("real") => Ok(Playback::RealTime),
            Some("fast") => Ok(Playback::Fast),
            _ => Err(self.bad("real or fast")),
        }
    }

    /// A size `WxH` in pixels; `None` where the value is none.
    pub fn size(&self) -> Option<Size> {
        let (width, height) = self.value?.split_once('x')?;
        Some(Size::new(width.parse().ok()?, height.parse().ok()?))
    }
}
