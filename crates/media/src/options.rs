//! Parses the text that names a source and its options (`key=value`, joined by `&`).

use std::str::FromStr;

use portraitd_kernels::picture::Size;
use portraitd_protocol::settings::excerpt;

use crate::playback::{FrameRate, Playback};

/// Why a text does not name a source, on the command line (`--source`) or in a configuration
/// (`device`). The message is one line that contains the wrong part and the valid ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The text names no known kind of source.
    #[error("unknown source \"{}\": expected auto, /dev/..., scene[:NAME], file:PATH or -", excerpt(text))]
    UnknownSource {
        /// The whole text.
        text: String,
    },
    /// There is nothing after `file:`.
    #[error("file: needs a path, as in file:people.y4m")]
    NoPath,
    /// There is no scene of this name.
    #[error("unknown scene \"{}\": there are {known}", excerpt(name))]
    UnknownScene {
        /// The unknown name.
        name: String,
        /// The known names, joined by commas.
        known: String,
    },
    /// The kind of source has no option of this name.
    #[error("{kind}: unknown option \"{}\": there are {known}", excerpt(option))]
    UnknownOption {
        /// The kind of source: `file` or `scene`.
        kind: &'static str,
        /// The unknown option.
        option: String,
        /// The known options, joined by commas.
        known: &'static str,
    },
    /// The value of an option is not valid.
    #[error("{kind}: option {option}: \"{}\" is not {expected}", excerpt(value))]
    BadValue {
        /// The kind of source: `file` or `scene`.
        kind: &'static str,
        /// The name of the option.
        option: String,
        /// The value; empty if there is none.
        value: String,
        /// A description of the valid values.
        expected: &'static str,
    },
}

/// The options of one source: `key=value`, or `key` alone, joined by `&`.
#[derive(Clone, Copy, Debug)]
pub struct OptionList<'a> {
    kind: &'static str,
    text: &'a str,
    known: &'static str,
}

impl<'a> OptionList<'a> {
    /// The options in `text` for a source of kind `kind` (`file` or `scene`). `known` lists all
    /// keys for error messages.
    pub const fn new(kind: &'static str, text: &'a str, known: &'static str) -> Self {
        Self { kind, text, known }
    }

    /// The options in their order. Empty ones are skipped.
    pub fn iter(&self) -> impl Iterator<Item = SpecOption<'a>> {
        let kind = self.kind;
        self.text.split('&').filter(|text| !text.is_empty()).map(move |text| {
            let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
            SpecOption { kind, key, value }
        })
    }

    /// The error for an unknown key.
    pub fn unknown(&self, option: &str) -> SpecError {
        SpecError::UnknownOption { kind: self.kind, option: option.to_owned(), known: self.known }
    }
}

/// One option of a source, as text.
#[derive(Clone, Copy, Debug)]
pub struct SpecOption<'a> {
    kind: &'static str,
    /// The text before `=`.
    pub key: &'a str,
    /// The text after `=`; `None` for a key alone.
    pub value: Option<&'a str>,
}

impl SpecOption<'_> {
    /// The error for a value that is not valid. `expected` describes the valid values.
    pub fn bad(&self, expected: &'static str) -> SpecError {
        SpecError::BadValue {
            kind: self.kind,
            option: self.key.to_owned(),
            value: self.value.unwrap_or_default().to_owned(),
            expected,
        }
    }

    /// Parses a switch: `loop` and `loop=yes` are true, `loop=no` is false.
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

    /// Parses the value as a `T`. `expected` describes the valid values.
    ///
    /// # Errors
    /// [`SpecError::BadValue`] if there is no value or it cannot be parsed.
    pub fn parse<T: FromStr>(&self, expected: &'static str) -> Result<T, SpecError> {
        self.value.and_then(|value| value.parse().ok()).ok_or_else(|| self.bad(expected))
    }

    /// Parses a frame rate of 0.01 to 1000 frames a second.
    ///
    /// # Errors
    /// [`SpecError::BadValue`] for any other value.
    pub fn frame_rate(&self) -> Result<FrameRate, SpecError> {
        let expected = "a number of frames a second from 0.01 to 1000";
        FrameRate::from_decimal(self.parse(expected)?).ok_or_else(|| self.bad(expected))
    }

    /// Parses `real` or `fast`.
    ///
    /// # Errors
    /// [`SpecError::BadValue`] for any other value.
    pub fn playback(&self) -> Result<Playback, SpecError> {
        match self.value {
            Some("real") => Ok(Playback::RealTime),
            Some("fast") => Ok(Playback::Fast),
            _ => Err(self.bad("real or fast")),
        }
    }

    /// Parses a size `WxH` in pixels; `None` if the value is not one.
    pub fn size(&self) -> Option<Size> {
        let (width, height) = self.value?.split_once('x')?;
        Some(Size::new(width.parse().ok()?, height.parse().ok()?))
    }
}
