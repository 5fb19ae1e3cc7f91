//! The few conversions between number types that pixel loops need, each with the reason why it loses nothing.

/// The largest whole number not above `value`, which must lie within a picture's coordinates.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a float's `as` saturates, and coordinates are far smaller")]
pub(crate) fn floor(value: f64) -> i64 {
    value.floor() as i64
}

/// The nearest whole number, saturated to `i16`: quantised weights.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a float's `as` saturates")]
pub(crate) fn round_i16(value: f64) -> i16 {
    value.round() as i16
}

/// The nearest whole number, saturated to `i32`.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a float's `as` saturates")]
pub(crate) fn round_i32(value: f64) -> i32 {
    value.round() as i32
}

/// A coordinate, worked out in double precision, as regions hold it.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "rounding is what is wanted")]
pub(crate) fn single(value: f64) -> f32 {
    value as f32
}

/// A component value from a float: rounded, and clamped to what a byte holds. Not a number becomes 0.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's `as` saturates")]
pub(crate) fn byte(value: f32) -> u8 {
    (value + 0.5) as u8
}

/// A non-negative float as a whole number, saturated; the fraction is cut off.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's `as` saturates")]
pub(crate) fn index(value: f32) -> usize {
    value as usize
}

/// A component value from a sum, clamped to what a byte holds.
#[inline]
#[expect(clippy::cast_sign_loss, reason = "clamped to a byte first")]
pub(crate) fn clamped(value: i32) -> u8 {
    value.clamp(0, 255) as u8
}

/// A component value from a 16-bit sum, clamped to what a byte holds.
#[inline]
#[expect(clippy::cast_sign_loss, reason = "clamped to a byte first")]
pub(crate) fn clamped_i16(value: i16) -> u8 {
    value.clamp(0, 255) as u8
}

/// The upper half of a product of two 16-bit numbers: one instruction a vector on most machines.
#[inline]
pub(crate) fn high(product: i32) -> i16 {
    (product >> 16) as i16
}

/// A sum of weighted samples, brought down to 16 bits. The weights of a filter sum to one, with lobes that stay within a
/// quarter of it, so what is left fits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "see above: 14 bits, and a quarter more")]
pub(crate) fn narrow(sum: i32) -> i16 {
    sum as i16
}

/// A pixel coordinate that is known to lie within a picture.
#[inline]
pub(crate) fn coordinate(value: i64) -> usize {
    usize::try_from(value).unwrap_or(0)
}

/// A centred component value, -128..=127, from a component value.
#[inline]
pub(crate) fn centered(value: u8) -> f32 {
    f32::from(value) - 128.0
}
