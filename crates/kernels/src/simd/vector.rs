//! The operations of a vector of `f32` that the generic kernels need.
#![allow(unsafe_code)]

/// A vector of `LANES` single-precision numbers.
///
/// Implementations are zero-cost wrappers of a register type. Every method is `#[inline(always)]`
/// and may only be called where the target features of the instruction set are enabled. The entry
/// points of the kernels enable them, and everything between an entry point and these methods is
/// inlined.
///
/// # Safety
/// The `load` and `store` methods of an implementation and their partial forms touch exactly the
/// elements that their documentation names. No method has a precondition beyond those listed.
pub unsafe trait Vector: Copy {
    /// Numbers in a vector.
    const LANES: usize;

    /// A vector for the remaining channels of a pixel. It has at least 1 and at most `LANES` lanes:
    /// half as many where the instruction set has both widths, else it is the vector itself.
    type Half: Vector;

    /// Four consecutive numbers that are multiplied, one at a time, with a whole vector. This is a
    /// register if the instruction set multiplies by a lane, and an address if it broadcasts from
    /// memory.
    type Group: Copy;

    /// A vector with `value` in all lanes.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn splat(value: f32) -> Self;

    /// Loads `LANES` numbers from `from`. No alignment is needed.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` numbers; the target features are enabled.
    unsafe fn load(from: *const f32) -> Self;

    /// Stores `LANES` numbers to `to`. No alignment is needed.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` numbers; the target features are enabled.
    unsafe fn store(self, to: *mut f32);

    /// Loads the first `count` lanes from `from` and sets the others to zero. `count` is at most
    /// `LANES`.
    ///
    /// # Safety
    /// `from` is valid for reading `count` numbers; the target features are enabled.
    unsafe fn load_partial(from: *const f32, count: usize) -> Self;

    /// Stores the first `count` lanes to `to`. `count` is at most `LANES`.
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

    /// `self + a * b`, with a single rounding where the instruction set can do that.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn fma(self, a: Self, b: Self) -> Self;

    /// The larger number of each pair. If one of them is NaN, either may be returned.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn max(self, other: Self) -> Self;

    /// The smaller number of each pair. If one of them is NaN, either may be returned.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn min(self, other: Self) -> Self;

    /// The four numbers at `from`, ready for [`Vector::fma_lane`].
    ///
    /// # Safety
    /// `from` is valid for reading 4 numbers for as long as the group is used; the target features
    /// are enabled.
    unsafe fn group(from: *const f32) -> Self::Group;

    /// `self + weights * group[LANE]`, with `LANE` in `0..4`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled, and the memory of the group has not
    /// changed.
    unsafe fn fma_lane<const LANE: i32>(self, weights: Self, group: Self::Group) -> Self;

    /// Rounds each lane to the nearest integer `n` and returns `(n, 2^n)`. Lanes must be within
    /// -126..=126.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn round_and_power_of_two(self) -> (Self, Self);
}
