//! What all stages assume of a mask: its threshold, its size, and valid probabilities.

use portraitd_media::Size;

/// A pixel belongs to a person if its probability is at least this.
pub const THRESHOLD: f32 = 0.5;

/// Whether `length` values form a mask of `size` with at least one pixel and at most `u32::MAX`.
pub(crate) fn is_mask(length: usize, size: Size) -> bool {
    !size.is_empty() && u64::try_from(length) == Ok(size.area()) && u32::try_from(length).is_ok()
}

/// Limits a value to 0..=1. NaN becomes 0, so that a defective net shows nobody rather than the
/// room.
#[inline]
pub(crate) fn to_probability(value: f32) -> f32 {
    // Comparisons instead of `clamp`, which returns NaN for NaN.
    let value = if value > 0.0 { value } else { 0.0 };
    if value < 1.0 { value } else { 1.0 }
}
