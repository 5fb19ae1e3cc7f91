//! The connection below zbus: it bounds what a message can make the service allocate, before
//! anything is deserialised (see `docs/design/bus-limits.md`).
//!
//! zbus reads a message of up to 128 MiB into memory, deserialises the arguments of a call before
//! the method runs, starts a task for each call, and ends the connection at a message that it
//! cannot parse. [`Transport`] is the socket that zbus reads from and writes to instead of its own.
//! It passes on
//!
//! - calls of at most [`CALL_BYTES`] whose bodies are small in every other way too ([`body`]),
//!   while there are not too many in flight ([`gate`]), as soon as their user is known,
//! - replies to calls of our own,
//! - signals of the bus itself and those of the interfaces in [`SIGNALS`].
//!
//! A call that is not passed on is answered with an error. Everything else is dropped. What is not
//! passed on is read in chunks of [`CHUNK`] bytes, and its descriptors are closed.
//!
//! | module | contents |
//! |---|---|
//! | [`header`], [`long_header`], [`body`] | reading messages without trusting them; pure |
//! | [`foreign`] | descriptors of others, which another thread closes |
//! | [`gate`] | who the clients are, and their calls in flight; pure |
//! | [`waiting`] | calls of clients that are not known yet; pure |
//! | [`reply`] | the messages that the transport writes itself; pure |
//! | [`read`], [`write`] | the two halves of the socket |

mod body;
mod foreign;
mod gate;
mod header;
mod long_header;
mod read;
mod reply;
mod waiting;
mod write;

pub(super) use foreign::Foreign;

#[cfg(test)]
mod tests;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portraitd_media::clock::monotonic_ns;
use tokio::net::UnixStream;
use zbus::address::Transport as AddressKind;
use zbus::address::transport::UnixSocket;
use zbus::connection::socket::{Socket, Split};
use zbus::message::Header;
use zbus::{Address, conn};

use super::service::Client;
use crate::service::logging::Repeat;
use gate::Gate;
use read::Reader;
use write::Writer;

/// The longest call that is passed on, in bytes, header included.
pub(super) const CALL_BYTES: usize = 64 << 10;
/// The longest header that is read as a whole, in bytes. Paths have no limit of their own. A call
/// with a longer one is refused.
const HEADER_BYTES: usize = 16 << 10;
/// The longest reply to a call of our own, in bytes.
const REPLY_BYTES: usize = 256 << 10;
/// The longest signal of the bus, in bytes.
const BUS_SIGNAL_BYTES: usize = 64 << 10;
/// The longest signal of anybody else, in bytes.
const SIGNAL_BYTES: usize = 16 << 10;
/// The descriptors of a call of one of [`TAKE_DESCRIPTOR`].
const CALL_FDS: usize = 1;
/// The methods that take a descriptor. The bus policy lets only those send one who may call them.
const TAKE_DESCRIPTOR: [&str; 2] = ["SetImage", "Offer"];
/// What is not passed on is read in pieces of this size, in bytes.
const CHUNK: usize = 16 << 10;
/// How often other tasks get a turn before a call is refused because there are too many in flight. A
/// call that waits for nothing is answered within a few turns.
const TURNS: usize = 16;
/// The time between two messages in the log about what was refused, in nanoseconds.
const LOG_INTERVAL_NS: u64 = 10_000_000_000;

/// Methods that only return something. A call of one of them that asks for no reply is dropped.
const ANSWERS_ONLY: [&str; 10] =
    ["Attach", "Snapshot", "Offer", "Get", "GetAll", "GetManagedObjects", "Introspect", "Ping", "GetMachineId", "List"];

/// The bus itself, as a sender. No connection can have this name.
const BUS_NAME: &str = "org.freedesktop.DBus";
/// The interfaces whose signals the service listens to, besides those of the bus. Any local user can
/// send such a signal; it leads to no more than another question to polkit.
const SIGNALS: [&str; 4] = [
    "org.freedesktop.PolicyKit1.Authority",
    "org.freedesktop.login1.Manager",
    "org.freedesktop.login1.Session",
    "org.freedesktop.DBus.Properties",
];

/// What both halves of the socket use.
#[derive(Debug)]
struct Shared {
    stream: UnixStream,
    /// Whether the other end is a bus. Otherwise it is one peer, whatever names it sends.
    bus: bool,
    gate: Mutex<Gate>,
    /// Whole messages are written while this is held.
    writing: tokio::sync::Mutex<()>,
    refusals: Mutex<Repeat>,
    /// Messages that were not passed on.
    refused: AtomicU64,
}

impl Shared {
    /// The critical sections only count, so a poisoned lock still guards a whole account.
    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key under which the calls of a sender count.
    fn counted<'a>(&self, sender: &'a str) -> &'a str {
        if self.bus { sender } else { "" }
    }

    /// Counts a message that is not passed on, and logs it if nothing was logged lately.
    fn note_refused(&self, sender: &str, reason: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let repeats = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).check(monotonic_ns());
        if let Some(repeats) = repeats {
            let sender = portraitd_protocol::settings::excerpt(sender);
            tracing::warn!(repeats, "a message of {sender} on D-Bus is refused: {reason}");
        }
    }
}

/// Who the clients on a bus are. A client is known before its first call is passed on.
#[derive(Clone, Debug)]
pub(super) struct Clients(Arc<Shared>);

impl Clients {
    /// A client by its unique name. `None` if it has left.
    pub(super) fn find(&self, name: &str) -> Option<Client> {
        self.0.gate().client(name).cloned()
    }

    /// Forgets a client that has left.
    pub(super) fn forget(&self, name: &str) {
        self.0.gate().forget(name);
    }
}

/// The descriptors that came with calls. What zbus passes to a handler are stand-ins for them.
#[derive(Clone, Debug)]
pub(super) struct Descriptors(Arc<Shared>);

impl Descriptors {
    /// The descriptors of a call that is being handled. None are left.
    pub(super) fn take(&self, header: &Header<'_>) -> Foreign {
        let sender = header.sender().map_or("", |name| name.as_str());
        self.0.gate().take(self.0.counted(sender), header.primary().serial_num().get())
    }
}

/// A connected unix socket, for [`zbus::connection::Builder::socket`].
#[derive(Debug)]
pub(super) struct Transport(Arc<Shared>);

impl Transport {
    /// Takes a connected socket, on the tokio runtime of the caller. `bus` says whether the other
    /// end is a bus, and not a single peer.
    pub(super) fn new(stream: StdUnixStream, bus: bool) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::over(UnixStream::from_std(stream)?, bus))
    }

    fn over(stream: UnixStream, bus: bool) -> Self {
        Self(Arc::new(Shared {
            stream,
            bus,
            gate: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            refusals: Mutex::new(Repeat::new(LOG_INTERVAL_NS)),
            refused: AtomicU64::new(0),
        }))
    }

    /// The descriptors of the calls.
    pub(super) fn descriptors(&self) -> Descriptors {
        Descriptors(Arc::clone(&self.0))
    }

    /// The clients, if the other end is a bus.
    pub(super) fn clients(&self) -> Option<Clients> {
        self.0.bus.then(|| Clients(Arc::clone(&self.0)))
    }

    /// Connects to a bus.
    ///
    /// # Errors
    /// `Unsupported` for an address that is not a unix socket: only those carry descriptors, and a
    /// stream is passed as descriptors. `Connection` if nobody listens there.
    pub(super) async fn connect(address: &Address) -> zbus::Result<Self> {
        let AddressKind::Unix(unix) = address.transport() else { return Err(zbus::Error::Unsupported) };
        let path = match unix.path() {
            UnixSocket::File(path) => path.as_os_str().as_bytes().to_vec(),
            UnixSocket::Abstract(name) => [&[0], name.as_bytes()].concat(),
            _ => return Err(zbus::Error::Unsupported),
        };
        let stream = UnixStream::connect(std::ffi::OsStr::from_bytes(&path)).await;
        let stream = stream.map_err(|error| zbus::Error::Connection(Arc::new(error), Box::new(address.clone())))?;
        Ok(Self::over(stream, true))
    }
}

impl Socket for Transport {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        Split::new(Reader::new(Arc::clone(&self.0)), Writer::new(self.0))
    }
}

/// The credentials of the process at the other end.
fn credentials(shared: &Shared) -> std::io::Result<zbus::fdo::ConnectionCredentials> {
    let peer = shared.stream.peer_cred()?;
    let credentials = zbus::fdo::ConnectionCredentials::default().set_unix_user_id(peer.uid());
    Ok(match peer.pid().and_then(|pid| u32::try_from(pid).ok()) {
        Some(pid) => credentials.set_process_id(pid),
        None => credentials,
    })
}

/// Users are told apart by the credentials of the socket.
const AUTHENTICATION: conn::AuthMechanism = conn::AuthMechanism::External;
