//! How the channels of a pixel are divided into vectors.

/// Width of the next block of depthwise weights.
#[must_use]
pub const fn lanes_width(rest: usize, lanes: usize, half: usize) -> usize {
    if rest <= half { half } else { lanes }
}
