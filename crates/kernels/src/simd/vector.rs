//! The operations that the generic kernels need from a vector of `f32`.
#![allow(unsafe_code)]

/// A vector of `LANES` single-precision numbers.
///
/// Implementations are zero-cost wrappers of a register type. Every method is `#[inline(always)]` and must be called only
/// where the target features of the instruction set are enabled: the kernels' entry points in the instruction set's own
/// file enable them, and everything between them and these methods is inlined into those.
///
/// # Safety
/// An implementation's `load`, `store` and their partial forms touch exactly the elements that their docs name, and no
/// method has a precondition beyond those listed.
pub unsafe trait Vector: Copy {
    /// Numbers in a vector.
    const LANES: usize;

    /// A vector of at least 1 and at most `LANES` numbers, for the rest of a row of channels: half as wide where the
    /// instruction set has both widths, else the vector itself.
    type Half: Vector;

    /// Up to four consecutive numbers to be multiplied, one at a time, with a whole vector: a register where the
    /// instruction set multiplies by a lane, an address where it broadcasts from memory.
    type Group: Copy;

    /// All lanes `value`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn splat(value: f32) -> Self;

    /// `LANES` numbers from `from`, unaligned.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` numbers; the target features are enabled.
    unsafe fn load(from: *const f32) -> Self;

    /// `LANES` numbers to `to`, unaligned.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` numbers; the target features are enabled.
    unsafe fn store(self, to: *mut f32);

    /// The first `count` lanes from `from`, the others zero. `count` is at most `LANES`.
    ///
    /// # Safety
    /// `from` is valid for reading `count` numbers; the target features are enabled.
    unsafe fn load_partial(from: *const f32, count: usize) -> Self;

    /// The first `count` lanes to `to`. `count` is at most `LANES`.
    ///
    /// # Safety
    /// `to` is valid for writing `count` numbers; the target features are enabled.
    unsafe fn store_partial(self, to: *mut f32, count: usize);

    /// `self + other`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn add(self, other: Self) -> Self;

    /// `self - other`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn sub(self, other: Self) -> Self;

    /// `self * other`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn mul(self, other: Self) -> Self;

    /// `self / other`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn div(self, other: Self) -> Self;

    /// `self + a * b`, with one rounding where the instruction set can.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn fma(self, a: Self, b: Self) -> Self;

    /// The larger of each pair; which one for a NaN is unspecified.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn max(self, other: Self) -> Self;

    /// The smaller of each pair; which one for a NaN is unspecified.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn min(self, other: Self) -> Self;

    /// Four numbers to multiply by.
    ///
    /// # Safety
    /// `from` is valid for reading 4 numbers for as long as the group is used; the target features are enabled.
    unsafe fn group(from: *const f32) -> Self::Group;

    /// `self + weights * group[LANE]`, `LANE` in `0..4`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled, and the group's memory has not changed.
    unsafe fn fma_lane<const LANE: i32>(self, weights: Self, group: Self::Group) -> Self;

    /// Rounded to the nearest integer `n`, as `(n, 2^n)`. Lanes are within -126..=126.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn round_and_power_of_two(self) -> (Self, Self);
}
