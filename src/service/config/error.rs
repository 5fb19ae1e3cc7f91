//! The errors and warnings of a configuration, with the place of each.

use std::fmt;
use std::path::PathBuf;

/// Where a value is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// In an environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// In the environment or a folder as a whole.
    All {
        /// The name of the folder, or `the environment`.
        name: String,
    },
    /// On the command line.
    Flag {
        /// The flag, with its dashes.
        flag: &'static str,
    },
    /// In no layer: it is the built-in default.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(out, "{}:{line}:{column}", path.display()),
            Self::Environment { variable } => out.write_str(variable),
            Self::All { name } => out.write_str(name),
            Self::Flag { flag } => out.write_str(flag),
            Self::Default => out.write_str("built-in default"),
        }
    }
}

/// Why a configuration is refused. Every message is one line and begins with the place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder exists, or was named, and cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        error: std::io::Error,
    },
    /// A file or variable is not text.
    #[error("{place}: not UTF-8 text")]
    NotText {
        /// The first byte that is not UTF-8.
        place: Place,
    },
    /// There is more of something than is accepted. The limits keep a wrong or hostile
    /// configuration from taking long to read.
    #[error("{place}: more than {limit} {what}, the limit")]
    TooMany {
        /// The first one too many, or the place of all.
        place: Place,
        /// What there is too much of, in the plural.
        what: &'static str,
        /// How many are accepted.
        limit: usize,
    },
    /// A file is not TOML.
    #[error("{place}: not TOML: {message}")]
    Syntax {
        /// Where the parser stopped.
        place: Place,
        /// The message of the parser.
        message: String,
    },
    /// A key does not exist.
    #[error("{place}: unknown key `{key}`{hint}; known here: {known}")]
    UnknownKey {
        /// Where the key is written.
        place: Place,
        /// The key, with the path to it.
        key: String,
        /// What was probably meant, in brackets; empty if nothing is near.
        hint: String,
        /// The keys that exist there.
        known: String,
    },
    /// A value has the wrong type or is out of range.
    #[error("{place}: `{key}`: {message}")]
    Value {
        /// Where the value is written.
        place: Place,
        /// The key, with the path to it.
        key: String,
        /// The message of the parser or of the check, see [`ValueError`].
        message: String,
    },
    /// Two values contradict each other, although each is good by itself.
    #[error("{place}: `{key}`: {conflict}")]
    Conflict {
        /// Where the value that is reported is written.
        place: Place,
        /// Its key, with the path to it.
        key: String,
        /// The contradiction.
        conflict: Conflict,
    },
    /// The first of several mistakes.
    #[error("{first} (and {more} more: `portraitd check-config` tells all)")]
    First {
        /// The first one.
        first: Box<ConfigError>,
        /// The number of the others.
        more: usize,
    },
    /// The layers are good and could not be merged: a defect of this program.
    #[error("configuration layers could not be merged: {message}")]
    Merge {
        /// The message of the library that merges them.
        message: String,
    },
}

/// Why a value is refused, beyond what [`SettingError`](portraitd_protocol::settings::SettingError)
/// covers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A name of a control that is not spelled as `portraitd devices` prints it.
    #[error("`{text}` is not the name of a control: it is written `{key}`, as `portraitd devices` prints it")]
    ControlName {
        /// The name, see [`excerpt`](portraitd_protocol::settings::excerpt).
        text: String,
        /// How it is written.
        key: String,
    },
    /// More controls than can be set.
    #[error("{count} controls are more than {}", portraitd_protocol::control::MAX_SET)]
    TooManyControls {
        /// The number of controls.
        count: usize,
    },
    /// The version of the configuration is not the one that this program reads.
    #[error(
        "this program reads version {known} of the configuration, and not {found}: use the settings that belong to this \
         release, or a release that reads them"
    )]
    Version {
        /// The version in the file.
        found: u32,
        /// The version of this program.
        known: u32,
    },
    /// Not a bus.
    #[error("`{text}` is not system, session, none or a D-Bus address as unix:path=/run/bus")]
    Bus {
        /// The text.
        text: String,
    },
    /// A device of an output node is not an absolute path.
    #[error("`{text}` is not the absolute path of a device")]
    OutputDevice {
        /// The text.
        text: String,
    },
    /// A path is relative.
    #[error("`{text}` is not an absolute path")]
    NotAbsolute {
        /// The text.
        text: String,
    },
    /// A path that must not be empty is empty.
    #[error("a folder is needed")]
    EmptyPath,
    /// A path contains a NUL character.
    #[error("a path has no NUL character")]
    NulInPath,
    /// A zone does not have four numbers.
    #[error("{count} numbers are not [x, y, width, height]")]
    NotFourNumbers {
        /// The number of numbers.
        count: usize,
    },
}

/// A contradiction between values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// One of `width` and `height` is 0 and the other is not.
    #[error("width and height are both 0 (the source's own) or neither is")]
    FrameSize,
    /// One of `output_width` and `output_height` is 0 and the other is not.
    #[error("output_width and output_height are both 0 (the source's) or neither is")]
    ViewSize,
    /// The least zoom is above the greatest one.
    #[error("min_zoom {min_zoom} is above max_zoom {max_zoom}")]
    LeastZoom {
        /// The least zoom.
        min_zoom: String,
        /// The greatest zoom.
        max_zoom: String,
    },
    /// The background mode `image` without an image.
    #[error("the mode `image` needs the key `image`")]
    NoImage,
    /// Two sources or output nodes have one device.
    #[error("`{device}` is in use by `{other}`")]
    DeviceInUse {
        /// The device.
        device: String,
        /// The key of the other one.
        other: String,
    },
    /// An output node of the stream `source` on a camera that does not allow this stream.
    #[error("the stream `source` needs `allow_source = true` on the camera")]
    SourceNotAllowed,
    /// One file contains two cameras of one name.
    #[error("there is a camera `{name}` already, on line {line}")]
    SameName {
        /// The name.
        name: String,
        /// The line of the first one.
        line: usize,
    },
    /// The flag `--source` was given, and the configuration has several cameras.
    #[error("sets the one camera's, and there are {}: {}", names.len(), names.join(", "))]
    SeveralCameras {
        /// The names of the cameras.
        names: Vec<String>,
    },
    /// A file contains a key under two names.
    #[error("is another name of `{new}`, which is set too; remove it")]
    OldAndNewName {
        /// The new name.
        new: String,
    },
}

/// Something that is accepted although it should be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it is written.
    pub place: Place,
    /// What is doubtful, and what to write instead.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.message)
    }
}
