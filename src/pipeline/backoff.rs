//! The wait between two attempts to open a device that fails.

use std::time::Duration;

/// The wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A device that worked for longer than this has recovered: its next failure is retried soon.
const RECOVERED_AFTER: Duration = Duration::from_secs(10);

/// An exponential back-off: 0.5 s, doubled by each failure, at most 30 s. Pure: times are
/// arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    wait: Duration,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { wait: FIRST_WAIT }
    }

    /// The wait before the next attempt.
    pub(super) const fn wait(&self) -> Duration {
        self.wait
    }

    /// The device worked for `time` before it failed. Returns whether it counts as recovered, which
    /// resets the wait.
    pub(super) fn worked_for(&mut self, time: Duration) -> bool {
        let recovered = time > RECOVERED_AFTER;
        if recovered {
            self.reset();
        }
        recovered
    }

    /// The wait has passed without news of the device: the next one is twice as long.
    pub(super) fn double(&mut self) {
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }

    /// Something has changed, so the next failure is retried soon.
    pub(super) const fn reset(&mut self) {
        self.wait = FIRST_WAIT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_is_reset_by_a_recovery() {
        let mut backoff = Backoff::new();
        let mut waits = Vec::new();
        for _ in 0..8 {
            waits.push(backoff.wait().as_millis());
            backoff.double();
        }
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert!(!backoff.worked_for(RECOVERED_AFTER), "not longer than the limit");
        assert_eq!(backoff.wait(), LONGEST_WAIT);
        assert!(backoff.worked_for(RECOVERED_AFTER + Duration::from_millis(1)));
        assert_eq!(backoff.wait(), FIRST_WAIT);
        backoff.double();
        backoff.reset();
        assert_eq!(backoff, Backoff::new());
    }
}
