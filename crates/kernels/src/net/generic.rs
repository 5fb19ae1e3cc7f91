//! The row kernels, written once over [`Vector`].
//!
//! Each is `#[inline(always)]` and is instantiated inside a function that enables the instruction set's features (see
//! `instantiate_kernels`). Register blocking is by const generics: `P` pixels times `N` vectors of accumulators.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "indices that are constants once a loop is unrolled keep accumulators in registers"
)]

use super::rows::{Activation, ConvRow, DepthwiseRow, UpsampleRow};
use crate::simd::Vector;

/// Applies an activation to a vector.
///
/// # Safety
/// The instruction set's target features are enabled.
#[inline(always)]
unsafe fn activate<V: Vector>(x: V, activation: Activation) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        match activation {
            Activation::None => x,
            Activation::Relu => x.max(V::splat(0.0)),
            Activation::HardSwish => x.hard_swish(),
            Activation::Sigmoid => x.sigmoid(),
        }
    }
}

/// Width of the next block of dense weights: `max` vectors if that leaves no single vector behind, else two or one.
#[must_use]
pub const fn block_width(rest: usize, lanes: usize, half: usize, max: usize) -> usize {
    let vectors = rest / lanes;
    if vectors == 0 {
        return if rest <= half { half } else { lanes };
    }
    let count = if vectors >= max && !(max == 3 && vectors == 4) {
        max
    } else if vectors >= 2 {
        2
    } else {
        1
    };
    count * lanes
}

/// Width of the next block of depthwise weights.
#[must_use]
pub const fn lanes_width(rest: usize, lanes: usize, half: usize) -> usize {
    if rest <= half { half } else { lanes }
}

/// `P` pixels times `N` vectors of output channels, `channels` of which exist.
///
/// # Safety
/// The row's pointers are valid for these pixels and channels; the target features are enabled.
#[inline(always)]
unsafe fn conv_tile<V: Vector, const P: usize, const N: usize>(row: &ConvRow, x: usize, packed: *const f32, n0: usize) {
    // SAFETY: the caller's promise: every address below is inside the row's input, packed weights, residual or output.
    unsafe {
        let width = N * V::LANES;
        let channels = (row.channels - n0).min(width);
        let mut pixels = [row.input.add(x * row.input_step); P];
        for p in 1..P {
            pixels[p] = pixels[p - 1].add(row.input_step);
        }
        let mut acc = [[V::splat(0.0); N]; P];
        let mut bias = [V::splat(0.0); N];
        for (n, bias) in bias.iter_mut().enumerate() {
            *bias = V::load(packed.add(n * V::LANES));
        }
        if row.residual.is_null() {
            for p in 0..P {
                acc[p] = bias;
            }
        } else {
            let mut from = row.residual.add(x * row.residual_step + n0);
            for p in 0..P {
                for n in 0..N {
                    let at = from.add(n * V::LANES);
                    let left = channels.saturating_sub(n * V::LANES);
                    acc[p][n] = bias[n].add(if left >= V::LANES { V::load(at) } else { V::load_partial(at, left) });
                }
                from = from.add(row.residual_step);
            }
        }
        let mut w = packed.add((1 + row.skip) * width);
        for s in 0..row.segments {
            let at = *row.offsets.add(s);
            let mut here = pixels;
            for p in 0..P {
                here[p] = pixels[p].offset(at);
            }
            V::multiply_groups(&mut acc, &mut here, &mut w, row.depth / 4);
            let mut k = row.depth % 4;
            while k > 0 {
                let mut weights = [V::splat(0.0); N];
                for (n, weights) in weights.iter_mut().enumerate() {
                    *weights = V::load(w.add(n * V::LANES));
                }
                for p in 0..P {
                    let value = V::splat(*here[p]);
                    here[p] = here[p].add(1);
                    for n in 0..N {
                        acc[p][n] = acc[p][n].fma(weights[n], value);
                    }
                }
                w = w.add(width);
                k -= 1;
            }
        }
        // The match is outside the loops, so that each branch is straight-line code. The loops must be short enough for the
        // compiler to unroll: else the accumulators live in memory. So the sigmoid comes after the stores.
        match row.activation {
            Activation::None | Activation::Sigmoid => {}
            Activation::Relu => {
                for p in 0..P {
                    for n in 0..N {
                        acc[p][n] = acc[p][n].max(V::splat(0.0));
                    }
                }
            }
            Activation::HardSwish => {
                for p in 0..P {
                    for n in 0..N {
                        acc[p][n] = acc[p][n].hard_swish();
                    }
                }
            }
        }
        let mut to = row.output.add(x * row.output_step + n0);
        if channels == width {
            for p in 0..P {
                for n in 0..N {
                    acc[p][n].store(to.add(n * V::LANES));
                }
                to = to.add(row.output_step);
            }
        } else {
            for p in 0..P {
                for n in 0..N {
                    let left = channels.saturating_sub(n * V::LANES).min(V::LANES);
                    acc[p][n].store_partial(to.add(n * V::LANES), left);
                }
                to = to.add(row.output_step);
            }
        }
        if row.activation == Activation::Sigmoid {
            sigmoid_pixels::<V>(row, x, P, n0, channels);
            return;
        }
        if !row.sums.is_null() {
            let mut sum = acc[0];
            for p in 1..P {
                for n in 0..N {
                    sum[n] = sum[n].add(acc[p][n]);
                }
            }
            for n in 0..N {
                let at = row.sums.add(n0 + n * V::LANES);
                if channels == width {
                    V::load(at).add(sum[n]).store(at);
                } else {
                    let left = channels.saturating_sub(n * V::LANES).min(V::LANES);
                    V::load_partial(at, left).add(sum[n]).store_partial(at, left);
                }
            }
        }
    }
}

/// The sigmoid of `pixels` stored pixels, and their sums.
///
/// # Safety
/// The row's pointers are valid for these pixels and channels; the target features are enabled.
#[inline(always)]
unsafe fn sigmoid_pixels<V: Vector>(row: &ConvRow, x: usize, pixels: usize, n0: usize, channels: usize) {
    for x in x..x + pixels {
        // SAFETY: the caller's promise.
        unsafe {
            let at = row.output.add(x * row.output_step + n0);
            activate_all::<V>(at, channels, Activation::Sigmoid);
            if !row.sums.is_null() {
                for n in 0..channels {
                    *row.sums.add(n0 + n) += *at.add(n);
                }
            }
        }
    }
}

/// A block of `N` vectors of channels over the whole row, `P` pixels at a time.
///
/// # Safety
/// As [`conv_tile`], for the whole row.
#[inline(always)]
pub unsafe fn conv_block<V: Vector, const P: usize, const N: usize>(row: &ConvRow, packed: *const f32, n0: usize) {
    // SAFETY: the caller's promise; tiles stay within the row's width.
    unsafe {
        let mut x = 0;
        while x + P <= row.width {
            conv_tile::<V, P, N>(row, x, packed, n0);
            x += P;
        }
        while x + 2 <= row.width {
            conv_tile::<V, 2, N>(row, x, packed, n0);
            x += 2;
        }
        if x < row.width {
            conv_tile::<V, 1, N>(row, x, packed, n0);
        }
    }
}

/// Adds one input column's part to each output of a tile that it reaches.
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
            // SAFETY: the caller's promise.
            unsafe { acc[t] = acc[t].fma(value, weights[COLUMN - t * S]) }
        }
    }
}

/// `T` output pixels of one vector of channels; `left` of its lanes exist if `PARTIAL`.
///
/// # Safety
/// The row's pointers are valid for these pixels and channels; the target features are enabled.
#[inline(always)]
unsafe fn depthwise_tile<V: Vector, const K: usize, const S: usize, const T: usize, const PARTIAL: bool>(
    row: &DepthwiseRow,
    x: usize,
    packed: *const f32,
    c: usize,
    sum: &mut V,
) {
    // SAFETY: the caller's promise: every address below is inside the row's inputs, packed weights or output.
    unsafe {
        let left = row.channels - c;
        let load = |at: *const f32| if PARTIAL { V::load_partial(at, left) } else { V::load(at) };
        let mut acc = [V::load(packed); T];
        let mut w = packed.add((1 + row.first_row * K) * V::LANES);
        for y in 0..row.row_count {
            let from = (*row.rows.add(y)).add(x * S * row.pixel_step + c);
            let mut weights = [V::splat(0.0); K];
            for (i, weights) in weights.iter_mut().enumerate() {
                *weights = V::load(w.add(i * V::LANES));
            }
            // Each input is loaded once and used by every output of the tile that it reaches. One call a column instead of a
            // loop: a loop of this size would not be unrolled, and the accumulators would live in memory.
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

/// Activation, addend, sums and stores of a depthwise tile.
///
/// # Safety
/// As [`depthwise_tile`].
#[inline(always)]
unsafe fn depthwise_finish<V: Vector, const T: usize, const PARTIAL: bool>(
    row: &DepthwiseRow,
    x: usize,
    c: usize,
    acc: &mut [V; T],
    sum: &mut V,
) {
    // SAFETY: the caller's promise.
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
                    acc[t] = acc[t].hard_swish();
                }
            }
            Activation::Sigmoid => {
                // A copy, so that this long loop does not keep the accumulators in memory.
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
            for t in 0..T {
                *sum = sum.add(acc[t]);
            }
        }
    }
}

/// One output pixel with a kernel of any side and stride.
///
/// # Safety
/// As [`depthwise_tile`].
#[inline(always)]
unsafe fn depthwise_any<V: Vector>(row: &DepthwiseRow, x: usize, packed: *const f32, c: usize, sum: &mut V) {
    // SAFETY: the caller's promise.
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

/// All pixels of one vector of channels.
///
/// # Safety
/// As [`depthwise_tile`], for the whole row.
#[inline(always)]
unsafe fn depthwise_lanes<V: Vector, const T: usize>(row: &DepthwiseRow, packed: *const f32, c: usize) {
    // SAFETY: the caller's promise; tiles stay within the row's width.
    unsafe {
        let mut sum = V::splat(0.0);
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
            V::load_partial(row.sums.add(c), left).add(sum).store_partial(row.sums.add(c), left);
        }
    }
}

/// See [`DepthwiseRow`].
///
/// # Safety
/// The row's pointers are valid; the target features are enabled.
#[inline(always)]
pub unsafe fn depthwise_row<V: Vector, const T: usize>(row: &DepthwiseRow) {
    // SAFETY: the caller's promise; blocks are laid out as `lanes_width` says.
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

/// One vector of channels of an upsampled row; `left` of its lanes exist if `PARTIAL`.
///
/// # Safety
/// The row's pointers are valid; the target features are enabled.
#[inline(always)]
unsafe fn upsample_lanes<V: Vector, const PARTIAL: bool>(row: &UpsampleRow, c: usize) {
    // SAFETY: the caller's promise; the first and the last pixel are their own neighbours.
    unsafe {
        let left = row.channels - c;
        let load = |at: *const f32| if PARTIAL { V::load_partial(at, left) } else { V::load(at) };
        let store = |v: V, at: *mut f32| if PARTIAL { v.store_partial(at, left) } else { v.store(at) };
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

/// See [`UpsampleRow`].
///
/// # Safety
/// The row's pointers are valid; the target features are enabled.
#[inline(always)]
pub unsafe fn upsample_row<V: Vector>(row: &UpsampleRow) {
    // SAFETY: the caller's promise.
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

/// `data[i] = activation(data[i])`.
///
/// # Safety
/// `data` is valid for `length` numbers; the target features are enabled.
#[inline(always)]
pub unsafe fn activate_all<V: Vector>(data: *mut f32, length: usize, activation: Activation) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut i = 0;
        while i + V::LANES <= length {
            activate(V::load(data.add(i)), activation).store(data.add(i));
            i += V::LANES;
        }
        if i < length {
            activate(V::load_partial(data.add(i), length - i), activation).store_partial(data.add(i), length - i);
        }
    }
}

/// Makes the `KERNELS` table of a vector type: each entry enables the features and inlines the generic kernel.
///
/// `blocks` lists how many vectors of output channels a tile of the dense product has, most first, and with each how many
/// pixels: their product is the number of accumulators.
macro_rules! instantiate_kernels {
    (features = [$($feature:literal)?], vector = $vector:ty, isa = $isa:ident,
     blocks = [$most:literal => $most_pixels:literal $(, $vectors:literal => $pixels:literal)*], depthwise_tile = $tile:literal,
     group = $group:literal) => {
        mod entry {
            use super::*;
            use crate::net::generic;
            use crate::net::rows::{Activation, ConvRow, DepthwiseRow, Kernels, UpsampleRow};
            use crate::simd::{Isa, Vector};

            type Half = <$vector as Vector>::Half;
            const LANES: usize = <$vector as Vector>::LANES;
            const HALF: usize = <Half as Vector>::LANES;

            pub(super) fn block_width(rest: usize) -> usize {
                generic::block_width(rest, LANES, HALF, $most)
            }

            pub(super) fn lanes_width(rest: usize) -> usize {
                generic::lanes_width(rest, LANES, HALF)
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn conv(row: &ConvRow) {
                // SAFETY: the caller answers for the pointers; the features are enabled here.
                unsafe {
                    let mut packed = row.packed;
                    let mut n = 0;
                    while n < row.channels {
                        let width = block_width(row.channels - n);
                        if width == $most * LANES {
                            generic::conv_block::<$vector, $most_pixels, $most>(row, packed, n);
                        }
                        $(else if width == $vectors * LANES {
                            generic::conv_block::<$vector, $pixels, $vectors>(row, packed, n);
                        })*
                        else {
                            generic::conv_block::<Half, 8, 1>(row, packed, n);
                        }
                        packed = packed.add((1 + row.block_depth) * width);
                        n += width;
                    }
                }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn depthwise(row: &DepthwiseRow) {
                // SAFETY: as above.
                unsafe { generic::depthwise_row::<$vector, $tile>(row) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn upsample(row: &UpsampleRow) {
                // SAFETY: as above.
                unsafe { generic::upsample_row::<$vector>(row) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn activate(data: *mut f32, length: usize, activation: Activation) {
                // SAFETY: as above.
                unsafe { generic::activate_all::<$vector>(data, length, activation) }
            }

            pub const TABLE: Kernels = Kernels {
                isa: Isa::$isa,
                block_width,
                lanes_width,
                group: $group,
                conv,
                depthwise,
                upsample,
                activate,
            };
        }

        /// The row kernels of this instruction set.
        pub static KERNELS: crate::net::Kernels = entry::TABLE;
    };
}

pub(crate) use instantiate_kernels;
