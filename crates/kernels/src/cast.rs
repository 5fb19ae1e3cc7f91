//! The conversions between number types that pixel loops need, each with the reason why it loses
//! nothing that matters.

/// The largest whole number that is not above `value`. `value` must lie within the coordinates of a
/// picture.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a float's `as` saturates, and coordinates are far smaller")]
pub(crate) fn floor(value: f64) -> i64 {
    // `f64::floor` is a call on CPUs whose base has no instruction for it, x86-64 among them.
    let whole = value as i32;
    i64::from(whole) - i64::from(f64::from(whole) > value)
}

/// The nearest whole number, saturated to `i16`. Used for quantised weights.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a float's `as` saturates")]
pub(crate) fn round_i16(value: f64) -> i16 {
    // `f64::round` is a call, see above.
    (value + 0.5_f64.copysign(value)) as i16
}

/// The nearest whole number, saturated to `i32`.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a float's `as` saturates")]
pub(crate) fn round_i32(value: f64) -> i32 {
    (value + 0.5_f64.copysign(value)) as i32
}

/// A coordinate that was computed in double precision, as a region stores it.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "rounding is intended")]
pub(crate) fn single(value: f64) -> f32 {
    value as f32
}

/// A component value from a float: rounded, and clamped to 0..=255. NaN becomes 0.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's `as` saturates")]
pub(crate) fn byte(value: f32) -> u8 {
    (value + 0.5) as u8
}

/// A non-negative float as a whole number: the fraction is cut off, and large values saturate.
#[inline]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's `as` saturates")]
pub(crate) fn index(value: f32) -> usize {
    value as usize
}

/// A component value from a sum, clamped to 0..=255.
#[inline]
#[expect(clippy::cast_sign_loss, reason = "clamped to a byte first")]
pub(crate) fn clamped(value: i32) -> u8 {
    value.clamp(0, 255) as u8
}

/// A component value from a 16-bit sum, clamped to 0..=255.
#[inline]
#[expect(clippy::cast_sign_loss, reason = "clamped to a byte first")]
pub(crate) fn clamped_i16(value: i16) -> u8 {
    value.clamp(0, 255) as u8
}

/// The upper half of a product of two 16-bit numbers: one instruction per vector on most CPUs.
#[inline]
pub(crate) fn high(product: i32) -> i16 {
    (product >> 16) as i16
}

/// The lower half of a number.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the upper half is cut off on purpose")]
pub(crate) fn low_half(value: u64) -> u32 {
    value as u32
}

/// The lowest quarter of a number.
#[inline]
#[cfg(any(test, target_arch = "riscv64"))]
#[expect(clippy::cast_possible_truncation, reason = "the other quarters are cut off on purpose")]
pub(crate) fn low_quarter(value: u64) -> u16 {
    value as u16
}

/// The upper half of a product: one instruction on 64-bit CPUs.
#[inline]
pub(crate) fn upper_half(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

/// A sum of weighted samples, reduced to 16 bits. It fits, because the weights of a filter sum to
/// one and its lobes exceed that by at most a quarter.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the sum has 14 bits and at most a quarter more")]
pub(crate) fn narrow(sum: i32) -> i16 {
    sum as i16
}

/// A pixel coordinate that is known to lie within a picture.
#[inline]
pub(crate) fn coordinate(value: i64) -> usize {
    usize::try_from(value).unwrap_or(0)
}

/// A component value moved from 0..=255 to -128..=127.
#[inline]
pub(crate) fn centered(value: u8) -> f32 {
    f32::from(value) - 128.0
}
