//! The division of a pixel's channels into vectors.

/// Width of the next block of packed depthwise weights, in channels, when `rest` channels are left.
#[must_use]
pub const fn lanes_width(rest: usize, lanes: usize, half: usize) -> usize {
    if rest <= half { half } else { lanes }
}
