//! The latest-value slot between threads: the writer never waits, a reader gets the newest and may miss some.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Holds the newest value of a sequence, for any number of readers. Nothing is allocated by a put or a wait.
#[derive(Debug)]
pub struct Latest<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    /// Counts puts, from 1.
    count: u64,
    closed: bool,
}

/// What a wait for the next value ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited<T> {
    /// A value newer than the one seen, and its count.
    New(T, u64),
    /// Nothing newer came in time.
    TimedOut,
    /// No more will come.
    Closed,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { value: None, count: 0, closed: false }), changed: Condvar::new() }
    }
}

impl<T: Clone> Latest<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic of another thread cannot leave the state half written: each critical section is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a newer value in place of the last one and wakes every waiting reader.
    pub fn put(&self, value: T) {
        let old = {
            let mut state = self.lock();
            state.count += 1;
            state.value.replace(value)
        };
        self.changed.notify_all();
        // Dropped here, outside of the lock: the last lease on a frame may go with it.
        drop(old);
    }

    /// Takes the value away (frames must not outlive their stream) and keeps the count.
    pub fn clear(&self) {
        let old = self.lock().value.take();
        drop(old);
    }

    /// Wakes all readers: no more values will come.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
        self.clear();
    }

    /// The newest value, if there is one, and its count.
    pub fn latest(&self) -> Option<(T, u64)> {
        let state = self.lock();
        state.value.clone().map(|value| (value, state.count))
    }

    /// Waits until a value newer than count `seen` is there, at most `timeout`.
    pub fn wait_newer(&self, seen: u64, timeout: Duration) -> Waited<T> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if state.closed {
                return Waited::Closed;
            }
            if state.count > seen
                && let Some(value) = &state.value
            {
                return Waited::New(value.clone(), state.count);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Waited::TimedOut;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_the_newest_once() {
        let slot = Latest::default();
        slot.put(1);
        slot.put(2);
        assert_eq!(slot.wait_newer(0, Duration::ZERO), Waited::New(2, 2));
        assert_eq!(slot.wait_newer(2, Duration::ZERO), Waited::TimedOut);
        slot.put(3);
        assert_eq!(slot.wait_newer(2, Duration::ZERO), Waited::New(3, 3));
    }

    #[test]
    fn a_put_wakes_a_waiting_reader_and_a_close_ends_it() {
        let slot = Latest::default();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                let mut last = 0;
                loop {
                    match slot.wait_newer(seen, Duration::from_secs(60)) {
                        Waited::New(value, count) => (last, seen) = (value, count),
                        Waited::Closed => return last,
                        Waited::TimedOut => panic!("a put was missed"),
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
    fn what_is_cleared_is_let_go() {
        let slot = Latest::default();
        let value = std::sync::Arc::new(());
        slot.put(std::sync::Arc::clone(&value));
        assert_eq!(std::sync::Arc::strong_count(&value), 2);
        slot.clear();
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
        assert!(slot.latest().is_none());
    }
}
