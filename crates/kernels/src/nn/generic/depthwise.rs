//! The depthwise convolution of a row.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "indices that are constants once a loop is unrolled keep accumulators in registers"
)]

use super::activation::hard_swish;
use super::lanes::lanes_width;
use crate::nn::rows::{Activation, DepthwiseRow};
use crate::simd::Vector;

/// Adds the contribution of one input column to each output of the tile that uses the column.
///
/// # Safety
/// The instruction set's target features are enabled.
#[inline(always)]
unsafe fn depthwise_column<V: Vector, const K: usize, const S: usize, const T: usize, const COLUMN: usize>(
    acc: &mut [V; T],
    value: V,
    weights: &[V; K],
) {
    for t in 0..T {
        if COLUMN >= t * S && COLUMN - t * S < K {
            // SAFETY: the caller upholds this function's contract.
            unsafe { acc[t] = acc[t].fma(value, weights[COLUMN - t * S]) }
        }
    }
}

/// Computes `T` output pixels of one vector of channels. If `PARTIAL`, only the lanes of existing
/// channels are loaded and stored.
///
/// # Safety
/// The row's pointers are valid for these pixels and channels; the target features are enabled.
#[inline(always)]
unsafe fn depthwise_tile<V: Vector, const K: usize, const S: usize, const T: usize, const PARTIAL: bool>(
    row: &DepthwiseRow<V::Element>,
    x: usize,
    packed: *const V::Element,
    c: usize,
    sum: &mut V::Sum,
) {
    // SAFETY: the caller upholds this function's contract: every address below is inside the row's
    // inputs, packed weights or output.
    unsafe {
        let left = row.channels - c;
        let load = |at: *const V::Element| if PARTIAL { V::load_partial(at, left) } else { V::load(at) };
        let mut acc = [V::load(packed); T];
        let mut w = packed.add((1 + row.first_row * K) * V::LANES);
        for y in 0..row.row_count {
            let from = (*row.rows.add(y)).add(x * S * row.pixel_step + c);
            let mut weights = [V::splat(0.0); K];
            for (i, weights) in weights.iter_mut().enumerate() {
                *weights = V::load(w.add(i * V::LANES));
            }
            // Each input is loaded once and used by every output of the tile that needs it. There
            // is one call per column instead of a loop: a loop of this size would not be unrolled,
            // and the accumulators would live in memory.
            macro_rules! columns {
                ($($column:literal)*) => {
                    $(if $column < (T - 1) * S + K {
                        let value = load(from.add($column * row.pixel_step));
                        depthwise_column::<V, K, S, T, $column>(&mut acc, value, &weights);
                    })*
                };
            }
            const { assert!((T - 1) * S + K <= 19, "more columns than are listed below") };
            columns!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18);
            w = w.add(K * V::LANES);
        }
        depthwise_finish::<V, T, PARTIAL>(row, x, c, &mut acc, sum);
    }
}

/// Applies the activation, adds the addend, updates the sums and stores a depthwise tile.
///
/// # Safety
/// The same as [`depthwise_tile`].
#[inline(always)]
unsafe fn depthwise_finish<V: Vector, const T: usize, const PARTIAL: bool>(
    row: &DepthwiseRow<V::Element>,
    x: usize,
    c: usize,
    acc: &mut [V; T],
    sum: &mut V::Sum,
) {
    // SAFETY: the caller upholds this function's contract.
    unsafe {
        let left = row.channels - c;
        match row.activation {
            Activation::None => {}
            Activation::Relu => {
                for t in 0..T {
                    acc[t] = acc[t].max(V::splat(0.0));
                }
            }
            Activation::HardSwish => {
                for t in 0..T {
                    acc[t] = hard_swish(acc[t]);
                }
            }
            Activation::Sigmoid => {
                // A copy, so that this long loop does not force the accumulators into memory.
                let mut copy = *acc;
                for x in &mut copy {
                    *x = x.sigmoid();
                }
                *acc = copy;
            }
        }
        if !row.addend.is_null() {
            let mut at = row.addend.add(x * row.pixel_step + c);
            for t in 0..T {
                acc[t] = acc[t].add(if PARTIAL { V::load_partial(at, left) } else { V::load(at) });
                at = at.add(row.pixel_step);
            }
        }
        let mut to = row.output.add(x * row.output_step + c);
        for t in 0..T {
            if PARTIAL {
                acc[t].store_partial(to, left);
            } else {
                acc[t].store(to);
            }
            to = to.add(row.output_step);
        }
        if !row.sums.is_null() {
            if size_of::<V::Sum>() > size_of::<V>() {
                // Few enough numbers for half precision; it widens once.
                let mut tile = acc[0];
                for t in 1..T {
                    tile = tile.add(acc[t]);
                }
                *sum = V::add_sums(*sum, tile.to_sum());
            } else {
                for t in 0..T {
                    *sum = V::add_sums(*sum, acc[t].to_sum());
                }
            }
        }
    }
}

/// Computes one output pixel with a kernel of any size and stride.
///
/// # Safety
/// The same as [`depthwise_tile`].
#[inline(always)]
unsafe fn depthwise_any<V: Vector>(
    row: &DepthwiseRow<V::Element>,
    x: usize,
    packed: *const V::Element,
    c: usize,
    sum: &mut V::Sum,
) {
    // SAFETY: the caller upholds this function's contract.
    unsafe {
        let left = (row.channels - c).min(V::LANES);
        let mut acc = [V::load(packed); 1];
        let mut w = packed.add((1 + row.first_row * row.kernel) * V::LANES);
        for y in 0..row.row_count {
            let from = (*row.rows.add(y)).add(x * row.stride * row.pixel_step + c);
            for i in 0..row.kernel {
                acc[0] = acc[0].fma(V::load_partial(from.add(i * row.pixel_step), left), V::load(w));
                w = w.add(V::LANES);
            }
        }
        depthwise_finish::<V, 1, true>(row, x, c, &mut acc, sum);
    }
}

/// Computes all pixels of one vector of channels.
///
/// # Safety
/// The same as [`depthwise_tile`], for the whole row.
#[inline(always)]
unsafe fn depthwise_lanes<V: Vector, const T: usize>(
    row: &DepthwiseRow<V::Element>,
    packed: *const V::Element,
    c: usize,
) {
    // SAFETY: the caller upholds this function's contract; tiles stay within the width of the row.
    unsafe {
        let mut sum = V::splat(0.0).to_sum();
        let mut x = 0;
        macro_rules! tiles {
            ($kernel:literal, $stride:literal) => {{
                if row.channels - c >= V::LANES {
                    while x + T <= row.width {
                        depthwise_tile::<V, $kernel, $stride, T, false>(row, x, packed, c, &mut sum);
                        x += T;
                    }
                    while x < row.width {
                        depthwise_tile::<V, $kernel, $stride, 1, false>(row, x, packed, c, &mut sum);
                        x += 1;
                    }
                } else {
                    while x < row.width {
                        depthwise_tile::<V, $kernel, $stride, 1, true>(row, x, packed, c, &mut sum);
                        x += 1;
                    }
                }
            }};
        }
        match (row.kernel, row.stride) {
            (3, 1) => tiles!(3, 1),
            (3, 2) => tiles!(3, 2),
            (5, 1) => tiles!(5, 1),
            (5, 2) => tiles!(5, 2),
            _ => {
                while x < row.width {
                    depthwise_any::<V>(row, x, packed, c, &mut sum);
                    x += 1;
                }
            }
        }
        if !row.sums.is_null() {
            let left = (row.channels - c).min(V::LANES);
            V::add_sum_to(sum, row.sums.add(c), left);
        }
    }
}

/// Computes a [`DepthwiseRow`], `T` pixels at a time.
///
/// # Safety
/// The row's pointers are valid; the target features are enabled.
#[inline(always)]
pub unsafe fn depthwise_row<V: Vector, const T: usize>(row: &DepthwiseRow<V::Element>) {
    // SAFETY: the caller upholds this function's contract; blocks are laid out according to
    // `lanes_width`.
    unsafe {
        let mut packed = row.packed;
        let mut c = 0;
        while c < row.channels {
            let width = lanes_width(row.channels - c, V::LANES, V::Half::LANES);
            if width == V::LANES {
                depthwise_lanes::<V, T>(row, packed, c);
            } else {
                depthwise_lanes::<V::Half, T>(row, packed, c);
            }
            packed = packed.add((1 + row.kernel * row.kernel) * width);
            c += width;
        }
    }
}
