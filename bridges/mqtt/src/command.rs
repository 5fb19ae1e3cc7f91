//! Commands that come from the broker.

use portraitd_client::protocol::settings::{Color, excerpt, parse_number};
use portraitd_client::proxy::{BackgroundProxy, CameraProxy, FramingProxy};
use portraitd_client::{BackgroundMode, FramingMode, FramingSpeed, ServiceError};
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath};

/// The longest payload of a command, in bytes.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 256;

/// What can be commanded. A board accepts only what its configuration lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CommandKind {
    /// Frame the people again.
    Reframe,
    /// How the crop is chosen.
    Mode,
    /// How fast the crop moves.
    Speed,
    /// The largest enlargement.
    MaxZoom,
    /// What composites show behind the people.
    Background,
    /// The colour behind the people.
    Color,
    /// Whether the camera is closed.
    Private,
}

impl CommandKind {
    const ALL: [Self; 7] =
        [Self::Reframe, Self::Mode, Self::Speed, Self::MaxZoom, Self::Background, Self::Color, Self::Private];

    /// The last level of the command's topic, and its name in the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Reframe => "reframe",
            Self::Mode => "mode",
            Self::Speed => "speed",
            Self::MaxZoom => "max_zoom",
            Self::Background => "background",
            Self::Color => "color",
            Self::Private => "private",
        }
    }

    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.into_iter().map(Self::name)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A command with its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Command {
    Reframe,
    Mode(FramingMode),
    Speed(FramingSpeed),
    MaxZoom(f64),
    Background(BackgroundMode),
    Color(Color),
    Private(bool),
}

/// The word of a set that a text names, or an error that lists them.
fn word<T: Copy>(text: &str, all: &[T], as_str: impl Fn(T) -> &'static str) -> Result<T, String> {
    all.iter().copied().find(|value| as_str(*value) == text).ok_or_else(|| {
        let words: Vec<_> = all.iter().map(|value| as_str(*value)).collect();
        format!("{:?} is none of {}", excerpt(text), words.join(", "))
    })
}

impl Command {
    /// Reads a payload. The error says what is wrong with it.
    pub(crate) fn parse(kind: CommandKind, payload: &[u8]) -> Result<Self, String> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(format!("a command has at most {MAX_PAYLOAD_BYTES} bytes, and this one {}", payload.len()));
        }
        let text = std::str::from_utf8(payload).map_err(|_| "the command is not text".to_owned())?.trim();
        Ok(match kind {
            // Buttons send something, or nothing.
            CommandKind::Reframe => Self::Reframe,
            CommandKind::Mode => Self::Mode(word(text, FramingMode::ALL, FramingMode::as_str)?),
            CommandKind::Speed => Self::Speed(word(text, FramingSpeed::ALL, FramingSpeed::as_str)?),
            // The service checks the range.
            CommandKind::MaxZoom => Self::MaxZoom(parse_number(text).map_err(|error| error.to_string())?),
            CommandKind::Background => Self::Background(word(text, BackgroundMode::ALL, BackgroundMode::as_str)?),
            CommandKind::Color => {
                Self::Color(text.parse().map_err(|_| format!("{:?} is no colour such as #203040", excerpt(text)))?)
            }
            CommandKind::Private => match text {
                "ON" | "on" | "true" => Self::Private(true),
                "OFF" | "off" | "false" => Self::Private(false),
                _ => return Err(format!("{:?} is neither ON nor OFF", excerpt(text))),
            },
        })
    }

    /// Gives the command to a camera.
    ///
    /// # Errors
    /// The service's: a refused value, a missing permission.
    pub(crate) async fn run(self, connection: &Connection, path: &OwnedObjectPath) -> Result<(), ServiceError> {
        let no = CacheProperties::No;
        let framing = async || FramingProxy::builder(connection).path(path).cache_properties(no).build().await;
        let background = async || BackgroundProxy::builder(connection).path(path).cache_properties(no).build().await;
        match self {
            Self::Reframe => framing().await?.reframe().await,
            Self::Mode(mode) => framing().await?.set_mode(mode.into()).await,
            Self::Speed(speed) => framing().await?.set_speed(speed.into()).await,
            Self::MaxZoom(zoom) => framing().await?.set_max_zoom(zoom).await,
            Self::Background(mode) => background().await?.set_mode(mode.into()).await,
            Self::Color(color) => background().await?.set_color(&color.to_string()).await,
            Self::Private(private) => {
                let camera = CameraProxy::builder(connection).path(path).cache_properties(no).build().await?;
                camera.set_private(private).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for kind in CommandKind::ALL {
            assert_eq!(CommandKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(CommandKind::from_name("Reframe"), None);
    }

    #[test]
    fn payloads() {
        let parse = |kind, text: &str| Command::parse(kind, text.as_bytes());
        assert_eq!(parse(CommandKind::Reframe, "PRESS"), Ok(Command::Reframe));
        assert_eq!(parse(CommandKind::Mode, "follow\n"), Ok(Command::Mode(FramingMode::Follow)));
        assert_eq!(parse(CommandKind::MaxZoom, "2.5"), Ok(Command::MaxZoom(2.5)));
        assert_eq!(parse(CommandKind::Private, "ON"), Ok(Command::Private(true)));
        assert_eq!(parse(CommandKind::Color, "#102030").map(|_| ()), Ok(()));
        for (kind, text) in [
            (CommandKind::Mode, "sideways"),
            (CommandKind::Speed, ""),
            (CommandKind::MaxZoom, "two"),
            (CommandKind::Background, "image\0"),
            (CommandKind::Color, "octarine"),
            (CommandKind::Private, "maybe"),
        ] {
            assert!(parse(kind, text).is_err(), "{kind:?} {text:?}");
        }
        assert!(Command::parse(CommandKind::Reframe, &[b' '; 257]).is_err());
        assert!(Command::parse(CommandKind::Mode, b"\xff").is_err());
    }
}
