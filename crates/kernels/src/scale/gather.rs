//! The horizontal filter as table lookups of NEON: the tables, which are the same for 64-bit and
//! 32-bit Arm.

use super::shuffle::{BLOCK, GROUP, OutputTaps, TAPS, WINDOW, ZERO};

/// Outputs of one [`Step`].
pub(super) const LANES: usize = 8;

/// Four taps of eight outputs.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Step {
    /// For each tap the bytes of the windows that become the 16-bit samples of the outputs.
    controls: [[[u8; 2]; LANES]; TAPS],
    /// For each tap the weights of the outputs.
    weights: [[i16; LANES]; TAPS],
}

/// The horizontal filter of an axis for one layout: a tap of eight outputs is one table lookup and
/// two multiplications.
#[derive(Clone, Debug, Default)]
pub(super) struct Gather {
    /// For each eight outputs, and in them for each four taps. An even number of eights.
    pub(super) steps: Vec<Step>,
    /// The start of the windows in the row, in bytes: one for each step, or one for its first and
    /// one for its last four outputs.
    pub(super) bases: Vec<u32>,
    /// Whether one window of a step serves all its outputs.
    pub(super) joint: bool,
    /// Steps per eight outputs.
    pub(super) depth: usize,
    /// The largest number of bytes of a row that are read.
    pub(super) reach: usize,
}

impl Gather {
    /// Forgets the filter.
    pub(super) fn clear(&mut self) {
        self.steps.clear();
        self.bases.clear();
    }

    /// Whether there is nothing to run.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Computes the filter. Returns `false` if the taps of four neighbouring outputs do not lie
    /// within [`WINDOW`] bytes.
    pub(super) fn build(&mut self, wanted: &OutputTaps<'_>) -> bool {
        self.depth = wanted.axis.taps / TAPS;
        // One window for eight outputs needs fewer instructions, but does not always suffice.
        [true, false].into_iter().any(|joint| self.fill(wanted, joint)) || {
            self.clear();
            false
        }
    }

    /// Computes the filter for windows of eight outputs, or of four. Returns `false` if the taps lie
    /// too far apart for that.
    fn fill(&mut self, wanted: &OutputTaps<'_>, joint: bool) -> bool {
        self.clear();
        (self.joint, self.reach) = (joint, 0);
        let channels = wanted.layout.channels;
        let last = wanted.axis.starts.len() - 1;
        let (mut position, mut channel) = (0, 0);
        for _ in 0..wanted.count().next_multiple_of(GROUP) / LANES {
            // The byte of the first tap, and the weights. The last output is repeated past the end.
            let outputs: [_; LANES] = std::array::from_fn(|_| {
                let output = (wanted.byte_at(position, channel), wanted.axis.weights(position));
                if channel + 1 < channels {
                    channel += 1;
                } else if position < last {
                    (position, channel) = (position + 1, 0);
                }
                output
            });
            for part in 0..self.depth {
                let mut step = Step { controls: [[[0, ZERO]; LANES]; TAPS], weights: [[0; LANES]; TAPS] };
                let width = if joint { LANES } else { BLOCK };
                for (window, outputs) in outputs.chunks(width).enumerate() {
                    let taps = outputs.iter().map(|&(first, weights)| {
                        let weights = weights[part * TAPS..].first_chunk::<TAPS>().unwrap_or(&[0; TAPS]);
                        (first + part * TAPS * wanted.layout.step, weights)
                    });
                    // Taps of weight 0 may lie past the end of the source.
                    let (mut least, mut most) = (usize::MAX, 0);
                    for (first, weights) in taps.clone() {
                        let counts = |&weight: &i16| weight != 0;
                        if let (Some(from), Some(to)) =
                            (weights.iter().position(counts), weights.iter().rposition(counts))
                        {
                            least = least.min(first + from * wanted.layout.step);
                            most = most.max(first + to * wanted.layout.step);
                        }
                    }
                    if least > most {
                        self.bases.push(0);
                        continue;
                    }
                    let Some(base) = wanted.window((least, most), WINDOW) else { return false };
                    let Ok(narrow) = u32::try_from(base) else { return false };
                    self.reach = self.reach.max(base + WINDOW);
                    self.bases.push(narrow);
                    for (lane, (first, weights)) in taps.enumerate() {
                        let first = first.wrapping_sub(base).wrapping_add(window * WINDOW);
                        for (tap, &weight) in weights.iter().enumerate() {
                            // With a weight of 0 any byte will do.
                            let [from, ..] = first.wrapping_add(tap * wanted.layout.step).to_le_bytes();
                            step.controls[tap][window * width + lane] = [from, ZERO];
                            step.weights[tap][window * width + lane] = weight;
                        }
                    }
                }
                self.steps.push(step);
            }
        }
        true
    }
}
