//! Smoothing over time: makes masks steady where nothing happens without delaying motion.
//!
//! Each pixel passes two steps. Both leave certain pixels (near 0 or 1) unchanged.
//!
//! 1. A first-order low-pass filter. Its time constant is at most [`TIME_CONSTANT_S`]. It decreases
//!    with the certainty of the net, and with the disagreement between the new value and the
//!    history. Disagreement is a single large difference ([`DISAGREE_FROM`] to [`DISAGREE_FULL`]),
//!    or a small one that continues in one direction ([`TREND_FROM`] to [`TREND_FULL`]). Noise
//!    cancels out in the mean of the differences; a moving outline does not. Time constants are in
//!    seconds, so the effect is the same at 5 and at 60 frames per second.
//! 2. Backlash. The output stays constant while the filtered value is within [`BACKLASH`] of it;
//!    otherwise it follows at that distance. At the threshold this acts as hysteresis: to change
//!    back, a pixel must return by twice the backlash. It also makes the output of a still scene
//!    bit-identical from frame to frame.
//!
//! A smoother belongs to the vision thread. It allocates only when the size of the mask changes.

use portraitd_media::{Size, UnitRect};

use crate::grid::{Lattice, resample};
use crate::mask::{is_mask, to_probability};

/// The time constant of the low-pass filter for a pixel at probability 0.5 that agrees with its
/// history.
const TIME_CONSTANT_S: f32 = 0.15;

/// The difference above which a new value counts for more.
const DISAGREE_FROM: f32 = 0.15;

/// The difference above which a new value is accepted at once.
const DISAGREE_FULL: f32 = 0.45;

/// The time constant of the average over the differences, which is the trend.
const TREND_TIME_CONSTANT_S: f32 = 0.08;

/// The trend above which a new value counts for more. The unit is the single difference that would
/// leave this trend if it were noise.
const TREND_FROM: f32 = 0.1;

/// The trend above which a new value is accepted at once, in the same unit.
const TREND_FULL: f32 = 0.2;

/// Half the width of the backlash for a pixel at probability 0.5 that agrees with its history.
const BACKLASH: f32 = 0.08;

/// After a longer gap between two masks, the history is discarded.
const RESET_GAP_NS: u64 = 1_000_000_000;

/// The shortest time step. Two passes on the same frame are this far apart.
const SHORTEST_STEP_S: f32 = 1e-6;

/// Marks a cell without history. Probabilities, trends and outputs are never that low.
const NO_HISTORY: f32 = -2.0;

/// Smooths the masks of one camera over time.
#[derive(Clone, Debug, Default)]
pub struct Smoother {
    size: Size,
    /// The area that the mask covers, in fractions of the frame.
    covers: UnitRect,
    /// Capture time of the newest mask; `None` if there is no history.
    newest_ns: Option<u64>,
    /// The state of the low-pass filter.
    filtered: Vec<f32>,
    /// The mean difference between the net's values and the filtered values.
    trend: Vec<f32>,
    /// The smoothed mask.
    output: Vec<f32>,
    /// Whether there are cells without history, whose `filtered` is [`NO_HISTORY`].
    has_gaps: bool,
    /// Scratch memory for moving the state.
    moved: Vec<f32>,
}

impl Smoother {
    /// A smoother without history.
    pub fn new() -> Self {
        Self::default()
    }

    /// Smooths the mask `raw`, `[height, width]` row-major, of the frame captured at `capture_ns`.
    /// Returns a mask of the same shape with values in 0..=1. NaN counts as 0.
    ///
    /// The history is discarded, and the mask is returned unchanged, if the size differs from that
    /// of the previous mask, if time goes backwards, or after a gap of more than 1 s. If a frame
    /// has two masks, the second one changes only pixels of which it is certain.
    ///
    /// If `raw` does not have `size`, or has no pixels, the history is discarded and the result is
    /// empty.
    pub fn apply(&mut self, raw: &[f32], size: Size, capture_ns: u64) -> &[f32] {
        if !is_mask(raw.len(), size) {
            self.reset();
            return &[];
        }
        let step_ns = self.newest_ns.filter(|_| self.size == size).and_then(|newest| capture_ns.checked_sub(newest));
        self.newest_ns = Some(capture_ns);
        match step_ns {
            Some(step_ns) if step_ns <= RESET_GAP_NS => {
                if self.has_gaps {
                    self.fill_gaps(raw);
                }
                let step = Step::of((step_ns as f32 * 1e-9).max(SHORTEST_STEP_S));
                let state = self.filtered.iter_mut().zip(&mut self.trend).zip(&mut self.output);
                for (((filtered, trend), output), raw) in state.zip(raw) {
                    (*filtered, *trend, *output) = step.take(to_probability(*raw), *filtered, *trend, *output);
                }
            }
            _ => {
                self.size = size;
                self.filtered.clear();
                self.filtered.extend(raw.iter().map(|raw| to_probability(*raw)));
                self.trend.clear();
                self.trend.resize(self.filtered.len(), 0.0);
                self.output.clear();
                self.output.extend_from_slice(&self.filtered);
                self.has_gaps = false;
            }
        }
        &self.output
    }

    /// Sets the area that the next masks cover, in fractions of the frame. The history of each cell
    /// is interpolated at its new position; this is exact if the area moves by whole cells. Cells
    /// that were not covered before have no history.
    pub fn set_covered(&mut self, covers: UnitRect) {
        let from = Lattice { size: self.size, covers: std::mem::replace(&mut self.covers, covers) };
        if from.covers == covers || self.newest_ns.is_none() {
            return;
        }
        if self.has_gaps || from.covers.is_empty() || covers.is_empty() {
            self.reset();
            return;
        }
        for state in [&mut self.filtered, &mut self.trend, &mut self.output] {
            self.moved.resize(state.len(), NO_HISTORY);
            resample(state, from, &mut self.moved, Lattice { covers, ..from }, NO_HISTORY);
            std::mem::swap(state, &mut self.moved);
        }
        self.has_gaps = true;
    }

    /// Records that nothing has moved up to the frame captured at `capture_ns`. That time does not
    /// weaken the history, so the next mask of a still scene counts as the next frame and not as
    /// one a second later.
    pub fn skip_still_time(&mut self, capture_ns: u64) {
        self.newest_ns = self.newest_ns.map(|newest| newest.max(capture_ns));
    }

    /// Gives cells without history the net's value as their history.
    fn fill_gaps(&mut self, raw: &[f32]) {
        let state = self.filtered.iter_mut().zip(&mut self.trend).zip(&mut self.output);
        for (((filtered, trend), output), raw) in
            state.zip(raw).filter(|(((filtered, ..), ..), _)| **filtered == NO_HISTORY)
        {
            (*filtered, *trend, *output) = (to_probability(*raw), 0.0, to_probability(*raw));
        }
        self.has_gaps = false;
    }

    /// Discards the history: the next mask is returned unchanged. Memory is kept.
    pub fn reset(&mut self) {
        self.newest_ns = None;
    }
}

/// The uncertainty of a probability: 1 at 0.5, and 0 at 0 and 1.
#[inline]
fn uncertainty(probability: f32) -> f32 {
    4.0 * probability * (1.0 - probability)
}

/// 0 up to `from`, 1 from `full`, and linear between them.
#[inline]
fn ramp(value: f32, from: f32, full: f32) -> f32 {
    ((value - from) * (1.0 / (full - from))).clamp(0.0, 1.0)
}

/// The parameters that all pixels of a mask share.
struct Step {
    /// Time since the previous mask.
    seconds: f32,
    /// The weight of a new difference in the trend.
    trend_gain: f32,
    /// The factor from a trend to the single differences that would leave it if they were noise.
    /// With it, the trend of the same noise counts the same at any rate of masks.
    trend_scale: f32,
}

impl Step {
    fn of(seconds: f32) -> Self {
        let trend_gain = seconds / (seconds + TREND_TIME_CONSTANT_S);
        Self { seconds, trend_gain, trend_scale: ((2.0 - trend_gain) / trend_gain).sqrt() }
    }

    /// The new `(filtered, trend, output)` of a pixel, from the net's value and the previous three.
    #[inline]
    fn take(&self, raw: f32, filtered: f32, trend: f32, output: f32) -> (f32, f32, f32) {
        let difference = raw - filtered;
        let trend = trend + (difference - trend) * self.trend_gain;
        let jumps = ramp(difference.abs(), DISAGREE_FROM, DISAGREE_FULL);
        let drifts = ramp(trend.abs() * self.trend_scale, TREND_FROM, TREND_FULL);
        let agreement = 1.0 - if jumps > drifts { jumps } else { drifts };
        let time_constant_s = TIME_CONSTANT_S * uncertainty(raw) * agreement;
        // An implicit Euler step of the low-pass filter. It is stable for any step, and it needs a
        // division instead of an exponential.
        let filtered = filtered + difference * (self.seconds / (self.seconds + time_constant_s));
        let uncertain = uncertainty(filtered);
        let backlash = BACKLASH * uncertain * uncertain * agreement;
        let (low, high) = (filtered - backlash, filtered + backlash);
        // `clamp` would check the order of its bounds, which prevents vectorization of the loop.
        let output = if output > low { output } else { low };
        (filtered, trend, if output < high { output } else { high })
    }
}

#[cfg(test)]
mod tests;
