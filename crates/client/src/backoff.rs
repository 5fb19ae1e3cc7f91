//! The wait between two attempts at something that fails, for programs beside the service.
//!
//! ```
//! use std::time::Duration;
//!
//! use portraitd_client::Backoff;
//!
//! let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
//! let waits: Vec<_> = (0..7).map(|_| backoff.failed().as_secs()).collect();
//! assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
//! backoff.reset();
//! assert_eq!(backoff.wait(), Duration::from_secs(1));
//! ```

use std::time::Duration;

/// What worked for longer than this has recovered: its next failure is retried soon.
pub const RECOVERED_AFTER: Duration = Duration::from_secs(10);

/// An exponential back-off: a first wait, doubled by each failure up to a longest one. Pure: it
/// neither waits nor reads a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    wait: Duration,
}

impl Backoff {
    /// Begins with a wait of `first`, which never exceeds `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, wait: first }
    }

    /// The wait before the next attempt.
    pub const fn wait(&self) -> Duration {
        self.wait
    }

    /// An attempt has failed: returns the wait before the next one, and doubles the wait after it.
    #[must_use = "it is the time to wait"]
    pub fn failed(&mut self) -> Duration {
        let wait = self.wait;
        self.double();
        wait
    }

    /// The wait has passed and nothing has changed: the next one is twice as long.
    pub fn double(&mut self) {
        self.wait = self.wait.saturating_mul(2).min(self.longest);
    }

    /// It worked for `time` before it failed. Returns whether that is longer than
    /// [`RECOVERED_AFTER`], which resets the wait.
    pub fn worked_for(&mut self, time: Duration) -> bool {
        let recovered = time > RECOVERED_AFTER;
        if recovered {
            self.reset();
        }
        recovered
    }

    /// An attempt has succeeded, or something has changed: the next failure is retried soon.
    pub const fn reset(&mut self) {
        self.wait = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_is_reset_by_a_recovery() {
        let new = || Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut backoff = new();
        let waits: Vec<_> = (0..8).map(|_| backoff.failed().as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert!(!backoff.worked_for(RECOVERED_AFTER), "not longer than the limit");
        assert_eq!(backoff.wait(), Duration::from_secs(30));
        assert!(backoff.worked_for(RECOVERED_AFTER + Duration::from_millis(1)));
        assert_eq!(backoff, new());
        backoff.double();
        backoff.reset();
        assert_eq!(backoff, new());
        let mut longest = Backoff::new(Duration::MAX, Duration::MAX);
        longest.double();
        assert_eq!(longest.wait(), Duration::MAX, "no overflow");
    }
}
