//! A slot that passes the newest value between threads. The writer never waits. A reader gets the
//! newest value and may miss older ones.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Holds the newest value of a sequence, for any number of readers. Writing and waiting allocate
/// nothing.
#[derive(Debug)]
pub struct Latest<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    /// The number of values that were put.
    count: u64,
    closed: bool,
}

/// The result of [`Latest::wait_newer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome<T> {
    /// A newer value, and its count.
    New(T, u64),
    /// No newer value was put before the timeout.
    TimedOut,
    /// The slot is closed: no value will follow.
    Closed,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { value: None, count: 0, closed: false }), changed: Condvar::new() }
    }
}

impl<T: Clone> Latest<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic of another thread cannot leave an inconsistent state, because no code in a
        // critical section can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the value and wakes every waiting reader.
    pub fn put(&self, value: T) {
        let old = {
            let mut state = self.lock();
            state.count += 1;
            state.value.replace(value)
        };
        self.changed.notify_all();
        // Dropped after the lock is released, because the value may hold the last lease on a frame.
        drop(old);
    }

    /// Drops the value and keeps the count. Used when a stream ends, so that its frames are
    /// released.
    pub fn clear(&self) {
        let old = self.lock().value.take();
        drop(old);
    }

    /// Drops the value, wakes all readers, and ends every later wait with [`WaitOutcome::Closed`].
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
        self.clear();
    }

    /// Whether [`Latest::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The newest value and its count; `None` if there is no value.
    pub fn latest(&self) -> Option<(T, u64)> {
        let state = self.lock();
        state.value.clone().map(|value| (value, state.count))
    }

    /// Waits for a value whose count is larger than `seen`, `timeout` at most.
    pub fn wait_newer(&self, seen: u64, timeout: Duration) -> WaitOutcome<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if state.closed {
                return WaitOutcome::Closed;
            }
            if state.count > seen
                && let Some(value) = &state.value
            {
                return WaitOutcome::New(value.clone(), state.count);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return WaitOutcome::TimedOut;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_the_newest_value_once() {
        let slot = Latest::default();
        slot.put(1);
        slot.put(2);
        assert_eq!(slot.wait_newer(0, Duration::ZERO), WaitOutcome::New(2, 2));
        assert_eq!(slot.wait_newer(2, Duration::ZERO), WaitOutcome::TimedOut);
        slot.put(3);
        assert_eq!(slot.wait_newer(2, Duration::ZERO), WaitOutcome::New(3, 3));
    }

    #[test]
    fn a_waiting_reader_is_woken_by_a_value_and_by_the_close() {
        let slot = Latest::default();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                let mut last = 0;
                loop {
                    match slot.wait_newer(seen, Duration::from_secs(60)) {
                        WaitOutcome::New(value, count) => (last, seen) = (value, count),
                        WaitOutcome::Closed => return last,
                        WaitOutcome::TimedOut => panic!("a put was missed"),
                    }
                    if last == 100 {
                        slot.close();
                    }
                }
            });
            for value in 1..=100 {
                slot.put(value);
            }
            assert_eq!(reader.join().expect("reader"), 100);
        });
    }

    #[test]
    fn a_cleared_value_is_dropped() {
        let slot = Latest::default();
        let value = std::sync::Arc::new(());
        slot.put(std::sync::Arc::clone(&value));
        assert_eq!(std::sync::Arc::strong_count(&value), 2);
        slot.clear();
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
        assert!(slot.latest().is_none());
    }
}
