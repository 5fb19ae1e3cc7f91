//! Turns: how many vision threads may work at the same time, so that cameras share the cores.
//!
//! See `docs/design/cameras.md`. A vision thread takes a turn for one frame. Turns are given in the
//! order in which they were asked for. Slow ones, whose net takes longer than [`SLOW`], leave one
//! place to the others, however many wait. On one core there are two places for this reason.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A net is slow if its passes take longer than this: longer than a frame at 30 frames a second.
const SLOW: Duration = Duration::from_millis(33);
/// The interval in which a thread that waits looks whether it should go on waiting.
const POLL: Duration = Duration::from_millis(200);

/// How long a turn is likely to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Fast,
    Slow,
}

/// The times of the last passes of a net.
#[derive(Debug, Default)]
pub(super) struct PassTimes {
    times: [Option<Duration>; 8],
    next: usize,
}

impl PassTimes {
    pub(super) fn record(&mut self, time: Duration) {
        self.times[self.next] = Some(time);
        self.next = (self.next + 1) % self.times.len();
    }

    /// The pace of the net, by its shortest pass: other programs may have interrupted the others. A
    /// net that has not run yet may be slow.
    pub(super) fn pace(&self) -> Pace {
        let shortest = self.times.iter().flatten().min();
        if shortest.is_some_and(|time| *time <= SLOW) { Pace::Fast } else { Pace::Slow }
    }
}

/// The turns of all cameras. Copies give the same turns.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The most turns at the same time, of each pace and in all.
    most_fast: usize,
    most_slow: usize,
    most: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Those who wait, by the number of their request.
    waiting: VecDeque<(u64, Pace)>,
    requests: u64,
    fast: usize,
    slow: usize,
}

impl Turns {
    /// Turns for `cores` cores, and nets that use `threads` threads each.
    #[must_use]
    pub fn new(cores: usize, threads: usize) -> Self {
        let places = (cores / threads.max(1)).max(1);
        let (most_fast, most_slow, most) = (places, (places - 1).max(1), places.max(2));
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { most_fast, most_slow, most, state, changed }))
    }

    /// Turns for the cores that this process may use.
    #[must_use]
    pub fn of_this_machine(threads: usize) -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, NonZeroUsize::get), threads)
    }

    /// Waits for a turn. Returns `None` if `goes_on`, which is asked now and then, is false.
    pub(super) fn take(&self, pace: Pace, goes_on: impl Fn() -> bool) -> Option<Turn> {
        let shared = &*self.0;
        let mut state = shared.lock();
        let request = state.requests;
        state.requests += 1;
        state.waiting.push_back((request, pace));
        while shared.next(&state) != Some(request) {
            if !goes_on() {
                state.waiting.retain(|(waiting, _)| *waiting != request);
                shared.changed.notify_all();
                return None;
            }
            state = shared.changed.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting.retain(|(waiting, _)| *waiting != request);
        *state.count(pace) += 1;
        // There may be a place for the next one, too.
        shared.changed.notify_all();
        Some(Turn { shared: Arc::clone(&self.0), pace })
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.0.lock().waiting.len()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first request that can have a turn now.
    fn next(&self, state: &State) -> Option<u64> {
        let has_place = |pace: Pace| match pace {
            _ if state.fast + state.slow >= self.most => false,
            Pace::Fast => state.fast < self.most_fast,
            Pace::Slow => state.slow < self.most_slow,
        };
        state.waiting.iter().find(|(_, pace)| has_place(*pace)).map(|(request, _)| *request)
    }
}

impl State {
    fn count(&mut self, pace: Pace) -> &mut usize {
        match pace {
            Pace::Fast => &mut self.fast,
            Pace::Slow => &mut self.slow,
        }
    }
}

/// A turn, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    shared: Arc<Shared>,
    pace: Pace,
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.shared.lock().count(self.pace) -= 1;
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    fn until(condition: impl Fn() -> bool) {
        while !condition() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_net_is_slow_until_it_has_shown_otherwise() {
        let mut times = PassTimes::default();
        assert_eq!(times.pace(), Pace::Slow);
        for (ms, pace) in [(34, Pace::Slow), (33, Pace::Fast), (500, Pace::Fast), (500, Pace::Fast)] {
            times.record(Duration::from_millis(ms));
            assert_eq!(times.pace(), pace, "{ms}");
        }
        for _ in 0..6 {
            times.record(Duration::from_millis(34));
        }
        assert_eq!(times.pace(), Pace::Slow, "it was fast long ago");
    }

    #[test]
    fn turns_are_given_in_the_order_of_the_requests() {
        let turns = Turns::new(1, 1);
        let first = turns.take(Pace::Fast, || true).expect("a turn");
        let (sender, order) = channel();
        std::thread::scope(|scope| {
            for camera in 0..8 {
                let (mine, sender) = (turns.clone(), sender.clone());
                scope.spawn(move || {
                    let turn = mine.take(Pace::Fast, || true).expect("a turn");
                    sender.send(camera).expect("a receiver");
                    drop(turn);
                });
                until(|| waiting(&order, &turns) == camera + 1);
            }
            drop(first);
        });
        drop(sender);
        assert_eq!(order.iter().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    }

    /// The number of requests that wait. Nobody has a turn yet.
    fn waiting(order: &std::sync::mpsc::Receiver<usize>, turns: &Turns) -> usize {
        assert!(order.try_recv().is_err(), "a turn while the first one lasts");
        turns.waiting()
    }

    #[test]
    fn at_most_as_many_work_as_there_are_cores_and_slow_ones_leave_a_place() {
        for (cores, threads, fast, slow, all) in
            [(1, 1, 1, 1, 2), (2, 1, 2, 1, 2), (4, 1, 4, 3, 4), (4, 2, 2, 1, 2), (1, 2, 1, 1, 2)]
        {
            let now = |turns: &Turns, pace| {
                let asked = AtomicBool::new(false);
                turns.take(pace, || asked.swap(true, Ordering::Relaxed))
            };
            let count = |turns: &Turns, pace| std::iter::from_fn(|| now(turns, pace)).collect::<Vec<_>>();
            let turns = Turns::new(cores, threads);
            assert_eq!(count(&turns, Pace::Fast).len(), fast, "{cores} cores");
            let slow_turns = count(&turns, Pace::Slow);
            assert_eq!(slow_turns.len(), slow, "{cores} cores");
            assert_eq!(slow_turns.len() + count(&turns, Pace::Fast).len(), all, "{cores} cores");
            assert_eq!(turns.waiting(), 0);
        }
    }

    #[test]
    fn slow_ones_that_wait_do_not_delay_fast_ones_and_get_their_turn() {
        let turns = Turns::new(2, 1);
        let slow = turns.take(Pace::Slow, || true).expect("a turn");
        std::thread::scope(|scope| {
            let waiting = turns.clone();
            let second = scope.spawn(move || waiting.take(Pace::Slow, || true).map(drop));
            until(|| turns.waiting() == 1);
            for _ in 0..100 {
                drop(turns.take(Pace::Fast, || true).expect("a turn"));
            }
            drop(slow);
            assert!(second.join().expect("no panic").is_some());
        });
    }

    #[test]
    fn whoever_gives_up_is_not_waited_for() {
        let turns = Turns::new(1, 1);
        let first = turns.take(Pace::Fast, || true).expect("a turn");
        assert!(turns.take(Pace::Fast, || false).is_none());
        drop(first);
        assert!(turns.take(Pace::Fast, || false).is_some());
    }
}
