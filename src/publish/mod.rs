//! The interfaces to other programs: rings of pictures in shared memory, and objects on D-Bus.
//!
//! | module | thread | contents |
//! |---|---|---|
//! | [`ring`] | render | writing frames into a ring |
//! | [`clients`] | main; render (wake-ups) | the clients of a ring, and their departure |
//! | [`budget`] | main | what the clients of each user may use |
//! | `shared_file` | all | memory that clients may read, and how it is taken back |
//! | [`dbus`] | main | the D-Bus objects, and the traits through which they use the service |
//!
//! The writer owns the memory of a ring, and clients map it read-only. The descriptors for a client
//! are sent to it and then closed here, so nothing of a client remains after its process has ended.

pub mod budget;
pub mod clients;
pub mod dbus;
mod error;
mod memory;
pub mod ring;
mod shared_file;

pub use budget::{Amounts, RingBudget, RingHolder, RingShare};
pub use clients::{ClientFds, MAX_CLIENTS, RingClients};
pub use error::PublishError;
pub(crate) use memory::watch_readable;
pub use ring::{RingSpec, RingWriter, SlotInfo, SlotWriter};
pub(crate) use shared_file::{Contents, SharedFile};
