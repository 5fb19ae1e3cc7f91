//! The clock of the timestamps of frames.

use rustix::time::{ClockId, clock_gettime};

/// The current time of `CLOCK_MONOTONIC`, in nanoseconds: less a frame's `capture_ns`, the age of
/// the frame.
pub fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // The time starts near 0 at boot, and 2^64 ns are more than 500 years.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}
