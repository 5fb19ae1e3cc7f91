//! Which clients need a camera. The main thread counts them, and the camera's threads read the
//! counts.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use portraitd_protocol::StreamKind;

use super::camera::AttachNote;

/// The number of clients of each stream, and whether the camera is to stop. The capture thread
/// sleeps on it.
#[derive(Debug, Default)]
pub(super) struct Demand {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    clients: [usize; StreamKind::ALL.len()],
    /// When the last client left.
    since: Option<Instant>,
    shutdown: bool,
    /// The camera is muted in software: it stays closed, whoever needs it.
    private: bool,
    /// Counts the requests to try a failed device again at once.
    retry_requests: u64,
}

/// One client's demand for a stream. The demand ends when the guard is dropped.
#[derive(Debug)]
pub(super) struct DemandGuard {
    demand: Arc<Demand>,
    stream: StreamKind,
    /// Who the client is, for the journal.
    _note: Option<Arc<AttachNote>>,
}

impl DemandGuard {
    pub(super) fn new(demand: &Arc<Demand>, stream: StreamKind) -> Self {
        demand.add(stream);
        Self { demand: Arc::clone(demand), stream, _note: None }
    }

    /// The demand of a client whose end the journal is to tell.
    pub(super) fn noted(mut self, note: &Arc<AttachNote>) -> Self {
        self._note = Some(Arc::clone(note));
        self
    }
}

impl Drop for DemandGuard {
    fn drop(&mut self) {
        self.demand.remove(self.stream);
    }
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// A client needs the camera.
    Wanted,
    /// The time is over.
    TimedOut,
    /// No client needs the camera any more.
    Unwanted,
    /// A retry was requested, for example because `/dev` has changed.
    RetryNow,
    /// The camera is to be private.
    Private,
    /// The camera is to stop.
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
        // The critical sections only count and assign, so a poisoned lock still guards a whole
        // state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a client of `stream`.
    pub(super) fn add(&self, stream: StreamKind) {
        let mut state = self.lock();
        state.clients[index(stream)] += 1;
        state.since = None;
        drop(state);
        self.changed.notify_all();
    }

    /// Uncounts a client of `stream`. One removal too many does nothing.
    fn remove(&self, stream: StreamKind) {
        let mut state = self.lock();
        let clients = &mut state.clients[index(stream)];
        *clients = clients.saturating_sub(1);
        if !state.wanted() {
            state.since = Some(Instant::now());
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The number of clients of `stream`.
    pub(super) fn clients_of(&self, stream: StreamKind) -> usize {
        self.lock().clients[index(stream)]
    }

    /// Ends every wait, now and later, with [`Wake::Shutdown`].
    pub(super) fn shut_down(&self) {
        self.lock().shutdown = true;
        self.changed.notify_all();
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.lock().shutdown
    }

    /// Makes the camera private, or ends that. Ends every wait.
    pub(super) fn set_private(&self, private: bool) {
        self.lock().private = private;
        self.changed.notify_all();
    }

    pub(super) fn is_private(&self) -> bool {
        self.lock().private
    }

    /// Sleeps while the camera is private: until a client needs it and `interval` is over. Returns
    /// false if the camera is not private any more, or is to stop.
    pub(super) fn wait_private(&self, interval: Duration) -> bool {
        let deadline = Instant::now() + interval;
        let mut state = self.lock();
        while state.private && !state.shutdown {
            let left = deadline.saturating_duration_since(Instant::now());
            state = if !state.wanted() {
                self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else if left.is_zero() {
                return true;
            } else {
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            };
        }
        false
    }

    /// Ends a wait for the next attempt: the device may be back.
    pub(super) fn retry_now(&self) {
        self.lock().retry_requests += 1;
        self.changed.notify_all();
    }

    /// Whether no client has needed the camera for `grace`.
    pub(super) fn expired(&self, grace: Duration) -> bool {
        let state = self.lock();
        !state.wanted() && state.since.is_none_or(|since| since.elapsed() >= grace)
    }

    /// Sleeps until a client needs the camera, or it is to be private.
    pub(super) fn wait_wanted(&self) -> Wake {
        let mut state = self.lock();
        loop {
            if state.shutdown {
                return Wake::Shutdown;
            }
            if state.private {
                return Wake::Private;
            }
            if state.wanted() {
                return Wake::Wanted;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sleeps until `until`, or until the camera is to stop.
    pub(super) fn rest(&self, until: Instant) {
        let mut state = self.lock();
        while !state.shutdown {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The number of requests to retry so far; for [`Demand::wait_retry`].
    pub(super) fn retry_requests(&self) -> u64 {
        self.lock().retry_requests
    }

    /// Sleeps before the next attempt: until `delay` is over, or until there are more than `seen`
    /// requests to retry.
    ///
    /// While no client needs the camera the wait goes on. When no client has needed it for `grace`,
    /// the wait ends with [`Wake::Unwanted`].
    pub(super) fn wait_retry(&self, seen: u64, delay: Duration, grace: Duration) -> Wake {
        let deadline = Instant::now() + delay;
        let mut state = self.lock();
        loop {
            if state.shutdown {
                return Wake::Shutdown;
            }
            if state.private {
                return Wake::Private;
            }
            let until = if state.wanted() {
                if state.retry_requests != seen {
                    return Wake::RetryNow;
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
    fn the_camera_is_wanted_as_long_as_it_has_a_client() {
        let demand = Demand::default();
        assert!(demand.expired(Duration::ZERO), "there never was a client");
        demand.add(StreamKind::View);
        demand.add(StreamKind::Mask);
        assert_eq!(demand.wait_wanted(), Wake::Wanted);
        demand.remove(StreamKind::View);
        assert!(!demand.expired(Duration::ZERO));
        assert_eq!((demand.clients_of(StreamKind::View), demand.clients_of(StreamKind::Mask)), (0, 1));
        demand.remove(StreamKind::Mask);
        assert!(demand.expired(Duration::ZERO));
        assert!(!demand.expired(Duration::from_secs(3600)), "the grace period is not over");
        demand.remove(StreamKind::Mask);
        assert_eq!(demand.clients_of(StreamKind::Mask), 0, "one removal too many does no harm");
    }

    #[test]
    fn a_wait_ends_early_for_a_retry_request_a_leaving_client_and_the_shutdown() {
        let demand = Demand::default();
        let long = Duration::from_secs(3600);
        demand.add(StreamKind::View);
        assert_eq!(demand.wait_retry(demand.retry_requests(), Duration::ZERO, long), Wake::TimedOut);
        // Whether the other thread acts before or after the wait begins, the wait ends.
        std::thread::scope(|scope| {
            let demand = &demand;
            let seen = demand.retry_requests();
            let waiter = scope.spawn(move || demand.wait_retry(seen, long, long));
            demand.retry_now();
            assert_eq!(waiter.join().expect("waiter"), Wake::RetryNow);
            let seen = demand.retry_requests();
            let waiter = scope.spawn(move || demand.wait_retry(seen, long, Duration::ZERO));
            demand.remove(StreamKind::View);
            assert_eq!(waiter.join().expect("waiter"), Wake::Unwanted);
            let waiter = scope.spawn(|| demand.wait_wanted());
            demand.shut_down();
            assert_eq!(waiter.join().expect("waiter"), Wake::Shutdown);
        });
    }

    #[test]
    fn a_private_camera_is_not_wanted_and_wakes_for_black_frames_only_while_somebody_looks() {
        let demand = Demand::default();
        let long = Duration::from_secs(3600);
        demand.set_private(true);
        demand.add(StreamKind::View);
        assert_eq!(demand.wait_wanted(), Wake::Private);
        assert_eq!(demand.wait_retry(0, long, long), Wake::Private);
        assert!(demand.wait_private(Duration::ZERO));
        std::thread::scope(|scope| {
            let demand = &demand;
            let waiter = scope.spawn(move || demand.wait_private(long));
            demand.set_private(false);
            assert!(!waiter.join().expect("waiter"));
        });
        assert_eq!(demand.wait_wanted(), Wake::Wanted);
        demand.set_private(true);
        demand.shut_down();
        assert!(!demand.wait_private(long));
    }

    #[test]
    fn a_retry_request_during_an_attempt_is_not_lost() {
        let demand = Demand::default();
        demand.add(StreamKind::View);
        let seen = demand.retry_requests();
        demand.retry_now();
        assert_eq!(demand.wait_retry(seen, Duration::from_secs(3600), Duration::ZERO), Wake::RetryNow);
    }

    #[test]
    fn without_a_client_nothing_is_tried() {
        let demand = Demand::default();
        demand.add(StreamKind::View);
        demand.remove(StreamKind::View);
        let seen = demand.retry_requests();
        demand.retry_now();
        let grace = Duration::from_millis(20);
        assert_eq!(
            demand.wait_retry(seen, Duration::ZERO, grace),
            Wake::Unwanted,
            "neither the delay nor the request counts"
        );
        demand.add(StreamKind::Mask);
        assert_eq!(demand.wait_retry(seen, Duration::from_secs(3600), grace), Wake::RetryNow, "now the request counts");
    }

    #[test]
    fn a_dropped_guard_ends_its_demand() {
        let demand = Arc::new(Demand::default());
        let guard = DemandGuard::new(&demand, StreamKind::View);
        assert_eq!(demand.clients_of(StreamKind::View), 1);
        drop(guard);
        assert_eq!(demand.clients_of(StreamKind::View), 0);
    }
}
