//! What other programs see of portraitd: rings of pictures in shared memory, and objects on D-Bus.
//!
//! | module | thread | what |
//! |---|---|---|
//! | [`ring`] | render | draws into a ring and publishes |
//! | [`clients`] | main; render wakes | who is attached, who has left |
//! | [`dbus`] | main | the objects, and what they ask of the service |
//!
//! The memory of a ring belongs to its writer; clients map it read-only. Descriptors made for a client are sent and closed
//! here at once, so a client that dies takes everything of its own with it.

pub mod budget;
pub mod clients;
pub mod dbus;
mod error;
mod memory;
pub mod ring;

pub use budget::{RingBudget, RingShare};
pub use clients::{ClientFds, MAX_CLIENTS, RingClients};
pub use error::PublishError;
pub use ring::{RingSpec, RingWriter, SlotInfo, SlotWriter};
