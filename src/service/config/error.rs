//! What can be wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file; line and column count from 1, columns in characters.
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
    /// On the command line.
    Flag {
        /// The flag, with its dashes.
        flag: &'static str,
    },
    /// Nowhere: the built-in value.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(out, "{}:{line}:{column}", path.display()),
            Self::Environment { variable } => out.write_str(variable),
            Self::Flag { flag } => out.write_str(flag),
            Self::Default => out.write_str("built-in default"),
        }
    }
}

/// Why a configuration is refused. Every message is one line and begins with the place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder is there (or was named) and cannot be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file or variable is not text.
    #[error("{place}: not UTF-8 text")]
    NotText {
        /// The first byte that is not UTF-8.
        place: Place,
    },
    /// Not TOML.
    #[error("{place}: not TOML: {message}")]
    Syntax {
        /// Where the parser stopped.
        place: Place,
        /// What it says.
        message: String,
    },
    /// A key that does not exist.
    #[error("{place}: unknown key `{key}`; known here: {known}")]
    UnknownKey {
        /// Where it stands.
        place: Place,
        /// The key, with the path to it.
        key: String,
        /// The keys that exist there.
        known: String,
    },
    /// A value of the wrong type or out of its range.
    #[error("{place}: `{key}`: {message}")]
    Value {
        /// Where it stands.
        place: Place,
        /// The key, with the path to it.
        key: String,
        /// What is wrong with it.
        message: String,
    },
    /// Two values, each good by itself, that do not go together.
    #[error("{place}: `{key}`: {message}")]
    Conflict {
        /// Where the one that is blamed stands.
        place: Place,
        /// Its key, with the path to it.
        key: String,
        /// What it does not go with.
        message: String,
    },
    /// The layers are good and could not be put together: a defect of this program.
    #[error("configuration layers could not be merged: {message}")]
    Merge {
        /// What the merging said.
        message: String,
    },
}

/// Something that is accepted and should be changed all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands.
    pub place: Place,
    /// What is doubtful, and what to write.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.message)
    }
}
