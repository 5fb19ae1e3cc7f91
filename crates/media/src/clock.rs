//! The clock of all timestamps: `CLOCK_MONOTONIC`.

/// The current `CLOCK_MONOTONIC` time, in nanoseconds since an unspecified start. Drivers use this
/// clock for the timestamps of frames, and clients receive its values.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The time starts near 0 at boot, and 2^64 ns are more than 500 years.
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}
