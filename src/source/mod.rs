//! The text of `--source` and of `[[camera]] device`, and the source that it names.
//!
//! | text | source |
//! |---|---|
//! | `/dev/v4l/by-id/...` | a V4L2 device |
//! | `auto` | the first V4L2 capture device with a usable format |
//! | `scene[:NAME][?OPTIONS]` | a synthetic scene, see [`SceneOptions`] |
//! | `file:PATH[?OPTIONS]` | a picture, a directory of pictures, a y4m video or a named pipe, see [`FileOptions`] |
//! | `-` | y4m on standard input |
//! | `provider` | frames that another program offers on D-Bus, see [`provider`] |
//!
//! Options are joined by `&`. A switch such as `loop` is written alone, or as `loop=yes` or
//! `loop=no`.

pub mod provider;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use portraitd_media::file::{FileOptions, FilePath, FileSource};
use portraitd_media::{Source, SpecError};
use portraitd_scene::{SceneOptions, SceneSource};
use portraitd_v4l2::{AutoSource, DeviceSource};

use provider::{Desk, ProviderSource};

/// A source, and where its frames are offered if another program has to.
pub type SourceAndDesk = (Box<dyn Source>, Option<Arc<Desk>>);

/// A parsed source. The text of its `Display` parses to an equal value.
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
    /// Another program.
    Provider,
}

impl FromStr for SourceSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        match text {
            "auto" => return Ok(Self::Auto),
            provider::NAME => return Ok(Self::Provider),
            "-" => return Ok(Self::File(FileOptions::new(FilePath::Stdin))),
            // No system call accepts a path with a NUL character.
            _ if text.contains('\0') => return Err(SpecError::UnknownSource { text: text.to_owned() }),
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
            Self::Provider => f.write_str(provider::NAME),
        }
    }
}

impl SourceSpec {
    /// The source that it names. Nothing is opened yet.
    pub fn into_source(self) -> Box<dyn Source> {
        self.into_source_and_desk().0
    }

    /// The source that it names, and where its frames are offered if another program has to.
    pub fn into_source_and_desk(self) -> SourceAndDesk {
        let source: Box<dyn Source> = match self {
            Self::Auto => Box::new(AutoSource::default()),
            Self::Device(path) => Box::new(DeviceSource::new(path)),
            Self::Scene(options) => Box::new(SceneSource::new(options)),
            Self::File(options) => Box::new(FileSource::new(options)),
            Self::Provider => {
                let desk = Arc::<Desk>::default();
                return (Box::new(ProviderSource::new(Arc::clone(&desk))), Some(desk));
            }
        };
        (source, None)
    }
}

#[cfg(test)]
mod tests;
