//! Bilinear upsampling of a row to twice the resolution.
#![allow(unsafe_code)]

use super::lanes::lanes_width;
use crate::nn::rows::UpsampleRow;
use crate::simd::Vector;

/// Upsamples one vector of channels. If `PARTIAL`, only the lanes of existing channels are loaded
/// and stored.
///
/// # Safety
/// The row's pointers are valid; the target features are enabled.
#[inline(always)]
unsafe fn upsample_lanes<V: Vector, const PARTIAL: bool>(row: &UpsampleRow<V::Element>, c: usize) {
    // SAFETY: the caller upholds this function's contract; the first and the last pixel are their
    // own neighbours.
    unsafe {
        let left = row.channels - c;
        let load = |at: *const V::Element| if PARTIAL { V::load_partial(at, left) } else { V::load(at) };
        let store = |v: V, at: *mut V::Element| if PARTIAL { v.store_partial(at, left) } else { v.store(at) };
        let (quarter, three) = (V::splat(0.25), V::splat(0.75));
        let (mut near, mut far) = (row.near.add(c), row.far.add(c));
        let mut to = row.output.add(c);
        let mut previous = load(near).mul(three).fma(load(far), quarter);
        let mut current = previous;
        for _ in 1..row.width {
            (near, far) = (near.add(row.input_step), far.add(row.input_step));
            let next = load(near).mul(three).fma(load(far), quarter);
            let middle = current.mul(three);
            store(middle.fma(previous, quarter), to);
            store(middle.fma(next, quarter), to.add(row.output_step));
            to = to.add(2 * row.output_step);
            (previous, current) = (current, next);
        }
        let middle = current.mul(three);
        store(middle.fma(previous, quarter), to);
        store(middle.fma(current, quarter), to.add(row.output_step));
    }
}

/// Computes an [`UpsampleRow`].
///
/// # Safety
/// The row's pointers are valid; the target features are enabled.
#[inline(always)]
pub unsafe fn upsample_row<V: Vector>(row: &UpsampleRow<V::Element>) {
    // SAFETY: the caller upholds this function's contract.
    unsafe {
        let mut c = 0;
        while c < row.channels {
            let width = lanes_width(row.channels - c, V::LANES, V::Half::LANES);
            let whole = row.channels - c >= width;
            match (width == V::LANES, whole) {
                (true, true) => upsample_lanes::<V, false>(row, c),
                (true, false) => upsample_lanes::<V, true>(row, c),
                (false, true) => upsample_lanes::<V::Half, false>(row, c),
                (false, false) => upsample_lanes::<V::Half, true>(row, c),
            }
            c += width;
        }
    }
}
