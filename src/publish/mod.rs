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

pub mod clients;
pub mod dbus;
mod memory;
pub mod ring;

pub use clients::{ClientFds, RingClients};
pub use ring::{PlaneMut, PublishError, RingSpec, RingWriter, SlotInfo, SlotWriter};

/// `CLOCK_MONOTONIC`, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The clock counts up from 0 at boot, and 2^64 ns are five centuries.
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
