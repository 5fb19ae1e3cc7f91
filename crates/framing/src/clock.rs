//! The director's own clock. It follows the capture timestamps, but an interval between two frames
//! counts for at most [`LONGEST_INTERVAL_NS`]. All timers use this clock, so nobody leaves the
//! group while a camera is stalled.

use crate::tuning::{LONGEST_INTERVAL_NS, STEP_NS};

/// The value of the clock at its start: large enough for observations from before the start.
const START_NS: u64 = 60_000_000_000;

/// If so many timestamps in a row are in order among themselves but older than the newest one, the
/// camera's clock has restarted.
const FRAMES_OF_NEW_CLOCK: u32 = 60;

/// Turns capture timestamps into integration steps.
#[derive(Clone, Debug)]
pub(crate) struct StepClock {
    /// Capture time of the newest frame or observation.
    newest_ns: Option<u64>,
    /// The number of consecutive frames older than the newest, and the timestamp of the last.
    late_frames: (u32, u64),
    /// The director's time of the last integration step.
    step_ns: u64,
    /// The time since then: less than a step between two calls of the director.
    pending_ns: u64,
}

impl StepClock {
    /// A clock that has seen no timestamp.
    pub(crate) const fn new() -> Self {
        Self { newest_ns: None, late_frames: (0, 0), step_ns: START_NS, pending_ns: 0 }
    }

    /// Whether `capture_ns` is newer than every timestamp before.
    pub(crate) fn is_newest(&self, capture_ns: u64) -> bool {
        self.newest_ns.is_none_or(|newest_ns| capture_ns > newest_ns)
    }

    /// How much older than the newest timestamp `capture_ns` is.
    pub(crate) fn age_of(&self, capture_ns: u64) -> u64 {
        self.newest_ns.unwrap_or(capture_ns).saturating_sub(capture_ns)
    }

    /// Counts a frame that may be late. Returns whether the camera's clock has restarted with it.
    pub(crate) fn is_restarted_by(&mut self, capture_ns: u64) -> bool {
        if self.newest_ns.is_none_or(|newest_ns| capture_ns >= newest_ns) {
            self.late_frames = (0, 0);
            return false;
        }
        let (count, last_ns) = self.late_frames;
        let count = if capture_ns > last_ns { count + 1 } else { 1 };
        if count < FRAMES_OF_NEW_CLOCK {
            self.late_frames = (count, capture_ns);
            return false;
        }
        self.newest_ns = Some(capture_ns);
        self.late_frames = (0, 0);
        true
    }

    /// Adds the time up to `capture_ns`, if that is newer than every timestamp before.
    pub(crate) fn advance(&mut self, capture_ns: u64) {
        let passed_ns = self.newest_ns.map_or(0, |newest_ns| capture_ns.saturating_sub(newest_ns));
        self.newest_ns = self.newest_ns.max(Some(capture_ns));
        self.pending_ns += passed_ns.min(LONGEST_INTERVAL_NS);
    }

    /// Advances by one integration step, if one is due. Returns whether it did.
    pub(crate) fn take_step(&mut self) -> bool {
        let due = self.pending_ns >= STEP_NS;
        if due {
            self.pending_ns -= STEP_NS;
            self.step_ns += STEP_NS;
        }
        due
    }

    /// The director's time of the last step, nanoseconds.
    pub(crate) const fn step_ns(&self) -> u64 {
        self.step_ns
    }

    /// The director's time now, nanoseconds.
    pub(crate) const fn now_ns(&self) -> u64 {
        self.step_ns + self.pending_ns
    }

    /// The time since the last step as a fraction of a step.
    pub(crate) fn fraction(&self) -> f64 {
        self.pending_ns as f64 / STEP_NS as f64
    }
}
