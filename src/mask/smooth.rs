//! Smoothing in time: a mask that is calm where nothing happens, and not late where something does.
//!
//! Two steps for each pixel, both of which leave sure pixels (near 0 or 1) alone:
//!
//! 1. A first-order low-pass. Its time constant is [`TIME_CONSTANT_S`] for a pixel of which the net knows nothing, and
//!    falls with the net's certainty and with the disagreement between the new value and the past; a sure pixel, or one
//!    that disagrees by [`DISAGREE_FULL`], follows at once. Time constants are seconds, so the feel is the same at
//!    5 and at 60 frames a second.
//! 2. Backlash: the output stays where it is while the filtered value is within [`BACKLASH`] of it, and else is dragged
//!    along at that distance. Around the threshold this is hysteresis: to turn, a pixel must come back by twice that.
//!    It also makes the output of a still scene bit-identical from frame to frame.
//!
//! The vision thread owns a smoother. It allocates when the size changes, and not otherwise.

use super::clean;
use crate::pixel::Size;

/// The time constant of the low-pass for a pixel at probability 0.5 that agrees with its past.
pub const TIME_CONSTANT_S: f32 = 0.15;

/// The disagreement from which on a new value counts for more.
pub const DISAGREE_FROM: f32 = 0.15;

/// The disagreement from which on a new value is taken at once.
pub const DISAGREE_FULL: f32 = 0.45;

/// Half the width of the backlash for a pixel at probability 0.5.
pub const BACKLASH: f32 = 0.08;

/// After a longer gap between two masks the past says nothing and is forgotten.
pub const RESET_GAP_NS: u64 = 1_000_000_000;

/// The shortest step that is reckoned with: two looks at the same frame.
const SHORTEST_STEP_S: f32 = 1e-6;

/// Smooths one camera's masks in time.
#[derive(Clone, Debug, Default)]
pub struct Smoother {
    size: Size,
    /// Capture time of the newest mask; none after a reset.
    newest_ns: Option<u64>,
    /// The low-pass's state.
    filtered: Vec<f32>,
    /// What was given out.
    output: Vec<f32>,
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
                let step_s = (step_ns as f32 * 1e-9).max(SHORTEST_STEP_S);
                for ((raw, filtered), output) in raw.iter().zip(&mut self.filtered).zip(&mut self.output) {
                    (*filtered, *output) = step(clean(*raw), *filtered, *output, step_s);
                }
            }
            _ => {
                self.size = size;
                self.filtered.clear();
                self.filtered.extend(raw.iter().map(|raw| clean(*raw)));
                self.output.clear();
                self.output.extend_from_slice(&self.filtered);
            }
        }
        &self.output
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

/// One pixel's new (filtered, output) from the net's value and the old two, `step_s` seconds later.
#[inline]
fn step(raw: f32, filtered: f32, output: f32, step_s: f32) -> (f32, f32) {
    let difference = raw - filtered;
    let disagreement = (difference.abs() - DISAGREE_FROM) * (1.0 / (DISAGREE_FULL - DISAGREE_FROM));
    let agreement = 1.0 - disagreement.clamp(0.0, 1.0);
    let time_constant_s = TIME_CONSTANT_S * uncertainty(raw) * agreement;
    // The implicit Euler step of a low-pass: stable for any step, and one division instead of an exponential.
    let filtered = filtered + difference * (step_s / (step_s + time_constant_s));
    let unsure = uncertainty(filtered);
    let backlash = BACKLASH * unsure * unsure;
    // Not `clamp`: its check that the bounds are in order would keep the loop from being vectorised.
    (filtered, output.max(filtered - backlash).min(filtered + backlash))
}

#[cfg(test)]
mod tests;
