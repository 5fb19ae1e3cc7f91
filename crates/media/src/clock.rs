//! The one clock of the daemon.

/// `CLOCK_MONOTONIC`, in nanoseconds: the clock that drivers stamp frames with, and that rings carry to clients.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // It counts up from 0 at boot, and 2^64 ns are five centuries.
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}
