//! Ways to reach portraitd: the system bus, the session bus, another bus by its address, or a socket without bus.

use std::convert::Infallible;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::str::FromStr;

use zbus::connection::Builder;
use zbus::{Connection, OwnedObjectPath};

pub use portraitd_protocol::names::{CAMERAS_PATH, ROOT_PATH, SERVICE_NAME};

/// Which bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// The system bus.
    #[default]
    System,
    /// The session bus of the user.
    Session,
    /// A bus by its D-Bus address, such as `unix:path=/run/bus`.
    Address(String),
    /// None: peers talk over a socket that they share.
    None,
}

impl Bus {
    /// Where a connection to it begins; `None` for no bus.
    pub fn builder(&self) -> Option<Builder<'static>> {
        match self {
            Self::System => Some(Builder::system()),
            Self::Session => Some(Builder::session()),
            Self::Address(address) => Some(Builder::address(address.as_str())),
            Self::None => None,
        }
    }

    /// Connects to it, on the tokio runtime of the caller.
    ///
    /// # Errors
    /// What zbus says; `Unsupported` for no bus.
    pub async fn connect(&self) -> zbus::Result<Connection> {
        match self.builder() {
            Some(builder) => builder.build().await,
            None => Err(zbus::Error::Unsupported),
        }
    }
}

impl FromStr for Bus {
    type Err = Infallible;

    /// `system`, `session`, `none`, or an address.
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

/// Speaks D-Bus without a bus over a connected unix socket whose other end portraitd serves.
///
/// # Errors
/// What zbus says; the peer must be serving by then, or begin to.
pub async fn connect_fd(socket: OwnedFd) -> zbus::Result<Connection> {
    Builder::unix_stream(UnixStream::from(socket)).p2p().build().await
}

/// A duplicate of descriptor `number`, which this process was started with (`--bus fd:N`).
///
/// # Errors
/// `EBADF` where there is none.
pub fn inherited_fd(number: u16) -> std::io::Result<OwnedFd> {
    crate::memory::duplicate(number)
}

/// The path of a camera's object, see [`portraitd_protocol::names::camera_path`].
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
    fn a_descriptor_that_is_not_open_is_an_error() {
        assert!(inherited_fd(u16::MAX).is_err());
        assert!(inherited_fd(2).is_ok());
    }
}
