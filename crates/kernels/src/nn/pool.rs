//! The second thread of a network: a pair of the caller's thread and one helper.
//!
//! [`ThreadPair::both`] runs the two halves of a job. The caller runs the first half. The helper
//! runs the second half if it starts before the caller has finished; otherwise the caller runs that
//! too. So a helper that sleeps or has no CPU never delays a run by more than the half that it has
//! begun.
//!
//! A waiting thread first spins for a bounded time, because the steps of a network follow each
//! other within microseconds, and then sleeps in the kernel. Nothing is allocated after
//! [`ThreadPair::new`].
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A job: it is called once with 0 and once with 1.
type Job<'a> = dyn Fn(usize) + Sync + 'a;

/// There is no job.
const IDLE: u32 = 0;
/// The second half is available.
const POSTED: u32 = 1;
/// The helper is running the second half.
const TAKEN: u32 = 2;
/// The helper has finished the second half.
const DONE: u32 = 3;
/// The helper must end.
const STOP: u32 = 4;

/// How often a waiting thread polls before it sleeps: some tens of microseconds.
const POLLS: u32 = 2_000;

struct Shared {
    state: AtomicU32,
    job: UnsafeCell<Option<*const Job<'static>>>,
    /// Whether the helper, and the caller, sleeps or is about to sleep.
    sleeps: [AtomicBool; 2],
    failed: AtomicBool,
    lock: Mutex<()>,
    changed: [Condvar; 2],
}

// SAFETY: `job` is written by the caller's thread only while the state is IDLE, and read by the
// helper only after it has changed POSTED into TAKEN. The job is `Sync`, and `both` does not return
// while the helper uses it.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

const HELPER: usize = 0;
const CALLER: usize = 1;

impl Shared {
    /// Waits until `wanted` accepts the state, and returns the state.
    fn wait(&self, who: usize, wanted: impl Fn(u32) -> bool) -> u32 {
        for _ in 0..POLLS {
            let state = self.state.load(Ordering::Acquire);
            if wanted(state) {
                return state;
            }
            std::hint::spin_loop();
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleeps[who].store(true, Ordering::SeqCst);
        let state = loop {
            let state = self.state.load(Ordering::SeqCst);
            if wanted(state) {
                break state;
            }
            guard = self.changed[who].wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleeps[who].store(false, Ordering::SeqCst);
        state
    }

    /// Changes the state and wakes `who` if it sleeps.
    fn change(&self, state: u32, who: usize) {
        self.state.store(state, Ordering::SeqCst);
        if self.sleeps[who].load(Ordering::SeqCst) {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.changed[who].notify_one();
        }
    }

    fn help(&self) {
        loop {
            if self.wait(HELPER, |state| matches!(state, POSTED | STOP)) == STOP {
                return;
            }
            if self.state.compare_exchange(POSTED, TAKEN, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                continue;
            }
            // SAFETY: a posted job is valid until `both` returns, which waits for DONE.
            let done = catch_unwind(AssertUnwindSafe(|| unsafe {
                if let Some(job) = *self.job.get() {
                    (*job)(1);
                }
            }));
            self.failed.store(done.is_err(), Ordering::SeqCst);
            self.change(DONE, CALLER);
        }
    }
}

/// Each number of threads is tried once in this many runs.
const PERIOD: u32 = 32;

/// Chooses between one thread and two by the durations of recent runs. Two threads are slower if
/// the second core is busy or slow. The results are the same either way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ThreadTiming {
    runs: u32,
    /// Smoothed duration in seconds of a run on one thread, and on two; 0 if not known yet.
    seconds: [f32; 2],
}

impl ThreadTiming {
    /// Whether the next run should use both threads.
    pub(super) fn both(self) -> bool {
        match self.runs % PERIOD {
            0 => false,
            1 => true,
            _ => self.seconds[1] < self.seconds[0],
        }
    }

    /// Records the duration of a run that used one thread, or `both`.
    pub(super) fn record(&mut self, seconds: f32, both: bool) {
        let average = &mut self.seconds[usize::from(both)];
        // Bounds the influence of a run that was interrupted.
        *average = if *average > 0.0 { *average + (seconds.min(2.0 * *average) - *average) / 4.0 } else { seconds };
        self.runs = self.runs.wrapping_add(1);
    }
}

/// The caller's thread and a helper thread.
pub(super) struct ThreadPair {
    shared: Arc<Shared>,
    helper: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for ThreadPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ThreadPair")
    }
}

impl ThreadPair {
    /// Starts the helper.
    pub(super) fn new() -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: AtomicU32::new(IDLE),
            job: UnsafeCell::new(None),
            sleeps: [AtomicBool::new(false), AtomicBool::new(false)],
            failed: AtomicBool::new(false),
            lock: Mutex::new(()),
            changed: [Condvar::new(), Condvar::new()],
        });
        let theirs = Arc::clone(&shared);
        let helper = std::thread::Builder::new().name("net-helper".into()).spawn(move || theirs.help())?;
        Ok(Self { shared, helper: Some(helper) })
    }

    /// Runs `job(0)` and `job(1)`, at the same time if the helper is available.
    ///
    /// # Panics
    /// If either half panics.
    pub(super) fn both(&mut self, job: &Job<'_>) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. The helper uses the job between POSTED and DONE, and
        // this function neither returns nor unwinds before the state has left POSTED and TAKEN. The
        // state is IDLE here, so the borrow is unique.
        unsafe {
            let job: *const Job<'_> = job;
            *shared.job.get() = Some(std::mem::transmute::<*const Job<'_>, *const Job<'static>>(job));
        }
        shared.change(POSTED, HELPER);
        let first = catch_unwind(AssertUnwindSafe(|| job(0)));
        let taken = shared.state.compare_exchange(POSTED, IDLE, Ordering::SeqCst, Ordering::SeqCst).is_err();
        if taken {
            shared.wait(CALLER, |state| state == DONE);
            shared.state.store(IDLE, Ordering::SeqCst);
        }
        if let Err(panic) = first {
            resume_unwind(panic);
        }
        if taken {
            assert!(!shared.failed.load(Ordering::SeqCst), "the second half of a step failed");
        } else {
            job(1);
        }
    }
}

impl Drop for ThreadPair {
    fn drop(&mut self) {
        self.shared.change(STOP, HELPER);
        if let Some(helper) = self.helper.take() {
            // A panic in a half is caught, so the helper always ends normally.
            let _ = helper.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn the_faster_number_of_threads_is_chosen_and_the_other_tried_now_and_then() {
        let mut timing = ThreadTiming::default();
        let mut run = |alone: f32, together: f32| {
            let both = timing.both();
            timing.record(if both { together } else { alone }, both);
            both
        };
        let count = |runs: &[bool]| runs.iter().filter(|both| **both).count();
        let free: Vec<bool> = (0..PERIOD).map(|_| run(1.0, 0.6)).collect();
        assert_eq!(count(&free), free.len() - 1, "all but the first, which tries one thread");
        // Another program takes the second core: within a period one thread is used, except for
        // trials.
        for _ in 0..PERIOD {
            run(1.0, 5.0);
        }
        let busy: Vec<bool> = (0..PERIOD).map(|_| run(1.0, 5.0)).collect();
        assert_eq!(count(&busy), 1, "the trial");
        // The core is free again: the trials find that.
        for _ in 0..20 * PERIOD {
            run(1.0, 0.6);
        }
        let again: Vec<bool> = (0..PERIOD).map(|_| run(1.0, 0.6)).collect();
        assert_eq!(count(&again), again.len() - 1);
    }

    #[test]
    fn every_half_runs_once_whoever_takes_it() {
        let mut pair = ThreadPair::new().expect("a thread");
        for round in 0..2_000 {
            let halves = [AtomicUsize::new(0), AtomicUsize::new(0)];
            pair.both(&|half| {
                halves[half].fetch_add(1 + round, Ordering::Relaxed);
            });
            assert_eq!(halves.map(AtomicUsize::into_inner), [1 + round; 2]);
        }
    }

    #[test]
    fn the_helper_takes_a_half_if_the_caller_waits_for_it() {
        let mut pair = ThreadPair::new().expect("a thread");
        for _ in 0..20 {
            let there = (Mutex::new(false), Condvar::new());
            pair.both(&|half| {
                let mut seen = there.0.lock().expect("no panic");
                if half == 1 {
                    *seen = true;
                    there.1.notify_one();
                }
                while !*seen {
                    seen = there.1.wait(seen).expect("no panic");
                }
            });
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pair_goes_on() {
        let mut pair = ThreadPair::new().expect("a thread");
        for half in [0, 1] {
            let failed = catch_unwind(AssertUnwindSafe(|| pair.both(&|now| assert_ne!(now, half, "expected"))));
            assert!(failed.is_err());
            let count = AtomicUsize::new(0);
            pair.both(&|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 2);
        }
    }
}
