//! The operations of a vector of numbers that the generic kernels need.
#![allow(unsafe_code)]

use super::element::Element;

/// A vector of `LANES` numbers of single or half precision.
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

    /// The numbers of the vector.
    type Element: Element;

    /// A vector for the remaining channels of a pixel. It has at least 1 and at most `LANES` lanes:
    /// half as many where the instruction set has both widths, else it is the vector itself.
    type Half: Vector<Element = Self::Element>;

    /// Four consecutive numbers that are multiplied, one at a time, with a whole vector. This is a
    /// register if the instruction set multiplies by a lane, and an address if it broadcasts from
    /// memory.
    type Group: Copy;

    /// The sums of many vectors, in single precision.
    type Sum: Copy;

    /// A vector with the number that is nearest to `value` in all lanes.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn splat(value: f32) -> Self;

    /// A vector with the number at `from` in all lanes.
    ///
    /// # Safety
    /// `from` is valid for reading a number; the target features are enabled.
    unsafe fn broadcast(from: *const Self::Element) -> Self;

    /// Loads `LANES` numbers from `from`. No alignment is needed.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` numbers; the target features are enabled.
    unsafe fn load(from: *const Self::Element) -> Self;

    /// Stores `LANES` numbers to `to`. No alignment is needed.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` numbers; the target features are enabled.
    unsafe fn store(self, to: *mut Self::Element);

    /// Loads the first `count` lanes from `from` and sets the others to zero. `count` is at most
    /// `LANES`.
    ///
    /// # Safety
    /// `from` is valid for reading `count` numbers; the target features are enabled.
    unsafe fn load_partial(from: *const Self::Element, count: usize) -> Self;

    /// Stores the first `count` lanes to `to`. `count` is at most `LANES`.
    ///
    /// # Safety
    /// `to` is valid for writing `count` numbers; the target features are enabled.
    unsafe fn store_partial(self, to: *mut Self::Element, count: usize);

    /// `self + other`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn add(self, other: Self) -> Self;

    /// `self * other`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn mul(self, other: Self) -> Self;

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
    unsafe fn group(from: *const Self::Element) -> Self::Group;

    /// `self + weights * group[LANE]`, with `LANE` in `0..4`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled, and the memory of the group has not
    /// changed.
    unsafe fn fma_lane<const LANE: i32>(self, weights: Self, group: Self::Group) -> Self;

    /// `1 / (1 + e^-x)`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn sigmoid(self) -> Self;

    /// The lanes in single precision.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn to_sum(self) -> Self::Sum;

    /// `a + b`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn add_sums(a: Self::Sum, b: Self::Sum) -> Self::Sum;

    /// Adds the first `count` lanes of `sum` to the numbers at `to`. `count` is at most `LANES`.
    ///
    /// # Safety
    /// `to` is valid for reading and writing `count` numbers; the target features are enabled.
    unsafe fn add_sum_to(sum: Self::Sum, to: *mut f32, count: usize);
}
