//! Connections to the service: over the system bus, the session bus, a bus with a given address, or
//! a socket without a bus.

use std::convert::Infallible;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::str::FromStr;

use zbus::connection::Builder;
use zbus::{Address, Connection, OwnedObjectPath};

pub use portraitd_protocol::names::{CAMERAS_PATH, ROOT_PATH, SERVICE_NAME};

/// A choice of bus. `FromStr` reads it from the command line and the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bus {
    /// The system bus.
    #[default]
    System,
    /// The session bus of the current user.
    Session,
    /// The bus with this D-Bus address, such as `unix:path=/run/bus`.
    Address(String),
    /// No bus. The two sides share a socket, see [`connect_fd`].
    None,
}

impl Bus {
    /// The D-Bus address of the bus, or `None` for [`Bus::None`].
    pub fn address(&self) -> Option<zbus::Result<Address>> {
        match self {
            Self::System => Some(Address::system()),
            Self::Session => Some(Address::session()),
            Self::Address(address) => Some(address.as_str().try_into()),
            Self::None => None,
        }
    }

    /// A builder for a connection to the bus, or `None` for [`Bus::None`].
    pub fn builder(&self) -> Option<Builder<'static>> {
        match self {
            Self::System => Some(Builder::system()),
            Self::Session => Some(Builder::session()),
            Self::Address(address) => Some(Builder::address(address.as_str())),
            Self::None => None,
        }
    }

    /// Connects to the bus, on the tokio runtime of the caller.
    ///
    /// # Errors
    /// The error of zbus if the bus cannot be reached; [`zbus::Error::Unsupported`] for
    /// [`Bus::None`].
    pub async fn connect(&self) -> zbus::Result<Connection> {
        match self.builder() {
            Some(builder) => builder.build().await,
            None => Err(zbus::Error::Unsupported),
        }
    }

    /// What a user can do about an error of connecting to this bus, or of asking it for the name of
    /// the service: the end of a sentence, or `None` if nothing is known to help.
    pub fn advice(&self, error: &zbus::Error) -> Option<&'static str> {
        let denied = match error {
            zbus::Error::FDO(error) => matches!(**error, zbus::fdo::Error::AccessDenied(_)),
            zbus::Error::MethodError(name, ..) => name.as_str() == "org.freedesktop.DBus.Error.AccessDenied",
            _ => false,
        };
        match self {
            Self::Session if matches!(error, zbus::Error::Connection(..) | zbus::Error::Address(_)) => Some(
                "there is no session bus here: start a shell with `dbus-run-session -- sh`, and in it both programs",
            ),
            Self::System if matches!(error, zbus::Error::Connection(..)) => Some(
                "the system bus does not run: install and start it (Debian: `apt install dbus`), or use a bus of your \
                 own: `dbus-run-session -- sh`, and `--bus session`",
            ),
            Self::System if denied => Some(
                "the bus policy does not allow this user to be the service: install it with `systemd/install` and \
                 `systemd-sysusers`, let the bus read it (`busctl call org.freedesktop.DBus / org.freedesktop.DBus \
                 ReloadConfig`), and run the service as root or `portraitd`; or try `--bus session`",
            ),
            _ => None,
        }
    }
}

impl FromStr for Bus {
    type Err = Infallible;

    /// Reads `system`, `session` or `none`. Any other text is taken as an address, which
    /// [`Bus::connect`] checks.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "system" => Self::System,
            "session" => Self::Session,
            "none" => Self::None,
            address => Self::Address(address.to_owned()),
        })
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system bus"),
            Self::Session => f.write_str("session bus"),
            Self::Address(address) => write!(f, "bus at {address}"),
            Self::None => f.write_str("no bus"),
        }
    }
}

/// Creates a D-Bus connection without a bus, over a connected unix socket. Waits until the service
/// handles the other end.
///
/// # Errors
/// The error of zbus if authentication fails or the other end is closed.
pub async fn connect_fd(socket: OwnedFd) -> zbus::Result<Connection> {
    Builder::unix_stream(UnixStream::from(socket)).p2p().build().await
}

/// Duplicates the descriptor `number`, which this process inherited when it was started (`--bus
/// fd:N`).
///
/// # Errors
/// `EBADF` if the descriptor is not open.
pub fn inherited_fd(number: u16) -> std::io::Result<OwnedFd> {
    crate::memory::duplicate(number)
}

/// The object path of the camera named `name`, see [`portraitd_protocol::names::camera_path`].
pub fn camera_path(name: &str) -> OwnedObjectPath {
    let path = portraitd_protocol::names::camera_path(name);
    OwnedObjectPath::try_from(path).expect("letters, digits and underscores after a valid path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_is_a_word_or_an_address() {
        assert_eq!("session".parse(), Ok(Bus::Session));
        assert_eq!("unix:path=/x".parse(), Ok(Bus::Address("unix:path=/x".into())));
        assert!(Bus::None.builder().is_none());
    }

    #[test]
    fn a_bus_that_is_not_there_has_advice() {
        let absent = || {
            let address = Address::try_from("unix:path=/nonexistent").expect("an address");
            zbus::Error::Connection(std::sync::Arc::new(std::io::ErrorKind::NotFound.into()), Box::new(address))
        };
        assert!(Bus::Session.advice(&absent()).is_some_and(|text| text.contains("dbus-run-session -- ")));
        assert!(Bus::System.advice(&absent()).is_some_and(|text| text.contains("apt install dbus")));
        assert_eq!(Bus::Address("unix:path=/nonexistent".into()).advice(&absent()), None);
        let denied = || zbus::Error::FDO(Box::new(zbus::fdo::Error::AccessDenied("not allowed to own".into())));
        assert!(Bus::System.advice(&denied()).is_some_and(|text| text.contains("systemd/install")));
        assert_eq!(Bus::Session.advice(&denied()), None);
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_an_error() {
        assert!(inherited_fd(u16::MAX).is_err());
        assert!(inherited_fd(2).is_ok());
    }
}
