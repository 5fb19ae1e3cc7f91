//! Who needs a camera, told from the main thread to the camera's threads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portraitd_protocol::StreamKind;

/// How many rings of each stream have clients, and whether the service ends. The capture thread sleeps on it.
#[derive(Debug, Default)]
pub struct Demand {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    clients: [usize; StreamKind::ALL.len()],
    /// When the last client left.
    since: Option<Instant>,
    shutdown: bool,
    /// Counts reasons to try a failed device again at once.
    kicks: u64,
}

/// What woke a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Somebody needs the camera.
    Wanted,
    /// The wait ran out.
    TimedOut,
    /// Nobody needs the camera any more.
    Unwanted,
    /// Something happened that makes another try worth while.
    Kicked,
    /// The service ends.
    Shutdown,
}

fn index(stream: StreamKind) -> usize {
    StreamKind::ALL.iter().position(|kind| *kind == stream).unwrap_or_default()
}

impl State {
    fn wanted(&self) -> bool {
        self.clients.iter().any(|clients| *clients > 0)
    }
}

impl Demand {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of `stream` has come.
    pub fn add(&self, stream: StreamKind) {
        let mut state = self.lock();
        state.clients[index(stream)] += 1;
        state.since = None;
        drop(state);
        self.changed.notify_all();
    }

    /// A client of `stream` has left.
    pub fn remove(&self, stream: StreamKind) {
        let mut state = self.lock();
        let clients = &mut state.clients[index(stream)];
        *clients = clients.saturating_sub(1);
        if !state.wanted() {
            state.since = Some(Instant::now());
        }
        drop(state);
        self.changed.notify_all();
    }

    /// How many clients `stream` has.
    pub fn clients_of(&self, stream: StreamKind) -> usize {
        self.lock().clients[index(stream)]
    }

    /// Ends every wait, now and later.
    pub fn shut_down(&self) {
        self.lock().shutdown = true;
        self.changed.notify_all();
    }

    /// Whether the service ends.
    pub fn is_shut_down(&self) -> bool {
        self.lock().shutdown
    }

    /// Makes a waiting retry happen at once: the device may be back.
    pub fn kick(&self) {
        self.lock().kicks += 1;
        self.changed.notify_all();
    }

    /// Whether nobody has needed the camera for `grace`.
    pub fn expired(&self, grace: Duration) -> bool {
        let state = self.lock();
        !state.wanted() && state.since.is_none_or(|since| since.elapsed() >= grace)
    }

    /// Sleeps until somebody needs the camera.
    pub fn wait_wanted(&self) -> Wake {
        let mut state = self.lock();
        loop {
            if state.shutdown {
                return Wake::Shutdown;
            }
            if state.wanted() {
                return Wake::Wanted;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many reasons there have been to try at once; for [`Demand::wait_retry`].
    pub fn kicks(&self) -> u64 {
        self.lock().kicks
    }

    /// Sleeps before another try: until `delay` is over, a kick since there were `seen` of them, or the end. While nobody
    /// needs the camera nothing is tried; when nobody has for `grace`, the wait ends with [`Wake::Unwanted`].
    pub fn wait_retry(&self, seen: u64, delay: Duration, grace: Duration) -> Wake {
        let deadline = Instant::now() + delay;
        let mut state = self.lock();
        loop {
            if state.shutdown {
                return Wake::Shutdown;
            }
            let until = if state.wanted() {
                if state.kicks != seen {
                    return Wake::Kicked;
                }
                if Instant::now() >= deadline {
                    return Wake::TimedOut;
                }
                deadline
            } else {
                let end = state.since.map_or_else(Instant::now, |since| since + grace);
                if Instant::now() >= end {
                    return Wake::Unwanted;
                }
                end
            };
            let left = until.saturating_duration_since(Instant::now());
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_camera_is_wanted_as_long_as_one_client_is_there() {
        let demand = Demand::default();
        assert!(demand.expired(Duration::ZERO), "nobody ever came");
        demand.add(StreamKind::View);
        demand.add(StreamKind::Mask);
        assert_eq!(demand.wait_wanted(), Wake::Wanted);
        demand.remove(StreamKind::View);
        assert!(!demand.expired(Duration::ZERO));
        assert_eq!((demand.clients_of(StreamKind::View), demand.clients_of(StreamKind::Mask)), (0, 1));
        demand.remove(StreamKind::Mask);
        assert!(demand.expired(Duration::ZERO));
        assert!(!demand.expired(Duration::from_secs(3600)), "the grace is not over");
        demand.remove(StreamKind::Mask);
        assert_eq!(demand.clients_of(StreamKind::Mask), 0, "one removal too many does no harm");
    }

    #[test]
    fn a_retry_ends_early_for_a_kick_a_leaving_and_the_end() {
        let demand = Demand::default();
        let long = Duration::from_secs(3600);
        demand.add(StreamKind::View);
        assert_eq!(demand.wait_retry(demand.kicks(), Duration::ZERO, long), Wake::TimedOut);
        // Whether the other thread acts before or after the wait begins, the wait ends.
        std::thread::scope(|scope| {
            let demand = &demand;
            let seen = demand.kicks();
            let waiter = scope.spawn(move || demand.wait_retry(seen, long, long));
            demand.kick();
            assert_eq!(waiter.join().expect("waiter"), Wake::Kicked);
            let seen = demand.kicks();
            let waiter = scope.spawn(move || demand.wait_retry(seen, long, Duration::ZERO));
            demand.remove(StreamKind::View);
            assert_eq!(waiter.join().expect("waiter"), Wake::Unwanted);
            let waiter = scope.spawn(|| demand.wait_wanted());
            demand.shut_down();
            assert_eq!(waiter.join().expect("waiter"), Wake::Shutdown);
        });
    }

    #[test]
    fn a_kick_that_came_while_the_device_was_being_tried_is_not_lost() {
        let demand = Demand::default();
        demand.add(StreamKind::View);
        let seen = demand.kicks();
        demand.kick();
        assert_eq!(demand.wait_retry(seen, Duration::from_secs(3600), Duration::ZERO), Wake::Kicked);
    }

    #[test]
    fn while_nobody_needs_the_camera_nothing_is_tried() {
        let demand = Demand::default();
        demand.add(StreamKind::View);
        demand.remove(StreamKind::View);
        let seen = demand.kicks();
        demand.kick();
        let grace = Duration::from_millis(20);
        assert_eq!(
            demand.wait_retry(seen, Duration::ZERO, grace),
            Wake::Unwanted,
            "neither the delay nor the kick counts"
        );
        demand.add(StreamKind::Mask);
        assert_eq!(demand.wait_retry(seen, Duration::from_secs(3600), grace), Wake::Kicked, "now it does");
    }
}
