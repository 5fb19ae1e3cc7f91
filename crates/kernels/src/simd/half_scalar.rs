//! Half precision without vectors: one number, computed in double precision and rounded.
//!
//! It gives the results of instructions of half precision on any CPU, and is slow. Tests use it.
#![allow(unsafe_code)]

use super::element::{Element, F16};
use super::single::sigmoid;
use super::vector::Vector;

/// `addend + a * b`, rounded once: the product is exact in double precision, and so is nearly every
/// sum. It is not inlined: the kernels call it in hundreds of places.
#[inline(never)]
fn multiply_add(addend: F16, a: F16, b: F16) -> F16 {
    let [addend, a, b] = [addend, a, b].map(|number| f64::from(number.to_f32()));
    F16::nearest_to_double(addend + a * b)
}

/// 1.
const ONE: F16 = F16::from_bits(0x3c00);
/// Minus zero, to which anything can be added without a change.
const NOTHING: F16 = F16::from_bits(0x8000);

// SAFETY: `load` and `store` touch one number, and their partial forms `count` numbers, 0 or 1.
unsafe impl Vector for F16 {
    const LANES: usize = 1;
    type Element = F16;
    type Half = F16;
    type Group = *const F16;
    type Sum = f32;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        F16::nearest(value)
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const F16) -> Self {
        // SAFETY: the caller upholds this function's contract.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn load(from: *const F16) -> Self {
        // SAFETY: the caller upholds this function's contract.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut F16) {
        // SAFETY: the caller upholds this function's contract.
        unsafe { *to = self }
    }
    #[inline(always)]
    unsafe fn load_partial(from: *const F16, count: usize) -> Self {
        // SAFETY: the caller upholds this function's contract; nothing is read for a count of 0.
        if count > 0 { unsafe { *from } } else { F16::default() }
    }
    #[inline(always)]
    unsafe fn store_partial(self, to: *mut F16, count: usize) {
        if count > 0 {
            // SAFETY: the caller upholds this function's contract.
            unsafe { *to = self }
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        multiply_add(self, other, ONE)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        multiply_add(NOTHING, self, other)
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        multiply_add(self, a, b)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        if self.to_f32() > other.to_f32() { self } else { other }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        if self.to_f32() < other.to_f32() { self } else { other }
    }
    #[inline(always)]
    unsafe fn group(from: *const F16) -> Self::Group {
        from
    }
    #[inline(always)]
    unsafe fn fma_lane<const LANE: i32>(self, weights: Self, group: Self::Group) -> Self {
        // SAFETY: a group has four numbers.
        unsafe { self.fma(weights, *group.offset(LANE as isize)) }
    }
    #[inline(always)]
    unsafe fn sigmoid(self) -> Self {
        // SAFETY: a single number needs no instruction set.
        F16::from_f32(unsafe { sigmoid(self.to_f32()) })
    }
    #[inline(always)]
    unsafe fn to_sum(self) -> f32 {
        self.to_f32()
    }
    #[inline(always)]
    unsafe fn add_sums(a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    unsafe fn add_sum_to(sum: f32, to: *mut f32, count: usize) {
        if count > 0 {
            // SAFETY: the caller upholds this function's contract.
            unsafe { *to += sum }
        }
    }
}
