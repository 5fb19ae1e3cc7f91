//! Smoothing in time: a mask that is calm where nothing happens, and not late where something does.
//!
//! Two steps for each pixel, both of which leave sure pixels (near 0 or 1) alone:
//!
//! 1. A first-order low-pass. Its time constant is [`TIME_CONSTANT_S`] for a pixel of which the net knows nothing, and
//!    falls with the net's certainty and with the disagreement of the present with the past. Disagreement is a single
//!    large difference (from [`DISAGREE_FROM`] to [`DISAGREE_FULL`]), or a small one that goes on in one direction
//!    ([`TREND_FROM`] to [`TREND_FULL`]): noise cancels out in the mean of the differences, an outline that moves does
//!    not. Time constants are seconds, so the feel is the same at 5 and at 60 frames a second.
//! 2. Backlash: the output stays where it is while the filtered value is within [`BACKLASH`] of it, and else is dragged
//!    along at that distance. Around the threshold this is hysteresis: to turn, a pixel must come back by twice that.
//!    It also makes the output of a still scene bit-identical from frame to frame.
//!
//! The vision thread owns a smoother. It allocates when the size changes, and not otherwise.

use super::clean;
use super::grid::{Lattice, resample};
use portraitd_media::{Size, UnitRect};

/// The time constant of the low-pass for a pixel at probability 0.5 that agrees with its past.
pub const TIME_CONSTANT_S: f32 = 0.15;

/// The difference from which on a new value counts for more.
pub const DISAGREE_FROM: f32 = 0.15;

/// The difference from which on a new value is taken at once.
pub const DISAGREE_FULL: f32 = 0.45;

/// The time over which differences are averaged to see a trend.
pub const TREND_TIME_CONSTANT_S: f32 = 0.08;

/// The trend from which on a new value counts for more, in units of what the same noise would leave in the mean.
pub const TREND_FROM: f32 = 0.1;

/// The trend from which on a new value is taken at once, in the same units.
pub const TREND_FULL: f32 = 0.2;

/// Half the width of the backlash for a pixel at probability 0.5 that agrees with its past.
pub const BACKLASH: f32 = 0.08;

/// After a longer gap between two masks the past says nothing and is forgotten.
pub const RESET_GAP_NS: u64 = 1_000_000_000;

/// The shortest step that is reckoned with: two looks at the same frame.
const SHORTEST_STEP_S: f32 = 1e-6;

/// Stands for the past of a cell that has none; no probability, no trend and no output is that low.
const NO_PAST: f32 = -2.0;

/// Smooths one camera's masks in time.
#[derive(Clone, Debug, Default)]
pub struct Smoother {
    size: Size,
    /// What the grid lies over, in fractions of the frame.
    covers: UnitRect,
    /// Capture time of the newest mask; none after a reset.
    newest_ns: Option<u64>,
    /// The low-pass's state.
    filtered: Vec<f32>,
    /// The mean of its differences from the net's values.
    trend: Vec<f32>,
    /// What was given out.
    output: Vec<f32>,
    /// Whether cells have no past: their `filtered` is [`NO_PAST`].
    has_gaps: bool,
    /// Where a state is moved to.
    moved: Vec<f32>,
}

impl Smoother {
    /// A smoother with no past.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a mask from the net, `[height, width]` row-major, made from the frame captured at `capture_ns`, and
    /// returns the smoothed one: same shape, every value 0..=1. What is not a number counts as nobody.
    ///
    /// The past is forgotten, and the mask returned as it is, after a gap of more than [`RESET_GAP_NS`], where time
    /// goes backwards, and where the size changes. A second mask of the same frame is taken where it is sure.
    ///
    /// Where `raw` is not of `size`, or has no pixel, there is no mask: the past is forgotten and the result is empty.
    pub fn apply(&mut self, raw: &[f32], size: Size, capture_ns: u64) -> &[f32] {
        if !super::fits(raw.len(), size) {
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
                    (*filtered, *trend, *output) = step.take(clean(*raw), *filtered, *trend, *output);
                }
            }
            _ => {
                self.size = size;
                self.filtered.clear();
                self.filtered.extend(raw.iter().map(|raw| clean(*raw)));
                self.trend.clear();
                self.trend.resize(self.filtered.len(), 0.0);
                self.output.clear();
                self.output.extend_from_slice(&self.filtered);
                self.has_gaps = false;
            }
        }
        &self.output
    }

    /// The next masks lie over `covers` (fractions of the frame): the past of each cell is brought to where the cell is now,
    /// by interpolation, and exactly where the grid moves by whole cells. What was not covered before has no past.
    pub fn look_at(&mut self, covers: UnitRect) {
        let from = Lattice { size: self.size, covers: std::mem::replace(&mut self.covers, covers) };
        if from.covers == covers || self.newest_ns.is_none() {
            return;
        }
        if self.has_gaps || from.covers.is_empty() || covers.is_empty() {
            self.reset();
            return;
        }
        for state in [&mut self.filtered, &mut self.trend, &mut self.output] {
            self.moved.resize(state.len(), NO_PAST);
            resample(state, from, &mut self.moved, Lattice { covers, ..from }, NO_PAST);
            std::mem::swap(state, &mut self.moved);
        }
        self.has_gaps = true;
    }

    /// Nothing has changed up to the frame captured at `capture_ns`: the time until then makes the past no weaker, so that a
    /// look at a still scene is one frame's worth of news and not a second's.
    pub fn rest(&mut self, capture_ns: u64) {
        self.newest_ns = self.newest_ns.map(|newest| newest.max(capture_ns));
    }

    /// Cells without a past take the net's word.
    fn fill_gaps(&mut self, raw: &[f32]) {
        let state = self.filtered.iter_mut().zip(&mut self.trend).zip(&mut self.output);
        for (((filtered, trend), output), raw) in
            state.zip(raw).filter(|(((filtered, ..), ..), _)| **filtered == NO_PAST)
        {
            (*filtered, *trend, *output) = (clean(*raw), 0.0, clean(*raw));
        }
        self.has_gaps = false;
    }

    /// Forgets the past; the next mask is returned as it is. Memory is kept.
    pub fn reset(&mut self) {
        self.newest_ns = None;
    }
}

/// How little a probability says: 1 at 0.5, 0 at 0 and 1.
#[inline]
fn uncertainty(probability: f32) -> f32 {
    4.0 * probability * (1.0 - probability)
}

/// 0 up to `from`, 1 from `full` on.
#[inline]
fn ramp(value: f32, from: f32, full: f32) -> f32 {
    ((value - from) * (1.0 / (full - from))).clamp(0.0, 1.0)
}

/// What all pixels of a mask share.
struct Step {
    seconds: f32,
    /// The weight of a new difference in the trend.
    trend_gain: f32,
    /// From a trend to the size of the single differences that would leave it if they were noise. So the trend of the
    /// same noise counts alike at any rate of masks.
    trend_scale: f32,
}

impl Step {
    fn of(seconds: f32) -> Self {
        let trend_gain = seconds / (seconds + TREND_TIME_CONSTANT_S);
        Self { seconds, trend_gain, trend_scale: ((2.0 - trend_gain) / trend_gain).sqrt() }
    }

    /// One pixel's new (filtered, trend, output) from the net's value and the old three.
    #[inline]
    fn take(&self, raw: f32, filtered: f32, trend: f32, output: f32) -> (f32, f32, f32) {
        let difference = raw - filtered;
        let trend = trend + (difference - trend) * self.trend_gain;
        let jumps = ramp(difference.abs(), DISAGREE_FROM, DISAGREE_FULL);
        let drifts = ramp(trend.abs() * self.trend_scale, TREND_FROM, TREND_FULL);
        let agreement = 1.0 - if jumps > drifts { jumps } else { drifts };
        let time_constant_s = TIME_CONSTANT_S * uncertainty(raw) * agreement;
        // The implicit Euler step of a low-pass: stable for any step, and one division instead of an exponential.
        let filtered = filtered + difference * (self.seconds / (self.seconds + time_constant_s));
        let unsure = uncertainty(filtered);
        let backlash = BACKLASH * unsure * unsure * agreement;
        let (low, high) = (filtered - backlash, filtered + backlash);
        // Not `clamp`: its check that the bounds are in order would keep the loop from being vectorised.
        let output = if output > low { output } else { low };
        (filtered, trend, if output < high { output } else { high })
    }
}

#[cfg(test)]
mod tests;
