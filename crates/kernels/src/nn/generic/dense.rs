//! The dense convolution of a row. Const generics set the register blocking: `P` pixels times `N`
//! vectors of accumulators.
#![allow(unsafe_code)]
#![allow(
    clippy::needless_range_loop,
    reason = "indices that are constants once a loop is unrolled keep accumulators in registers"
)]

use super::activation::{activate_all, hard_swish};
use crate::nn::rows::{Activation, ConvRow};
use crate::simd::{Element, Vector};

/// A vector type with the inner loop of the dense product. An instruction set overrides the loop if
/// the compiler's code for it is slow.
pub trait DenseProduct: Vector {
    /// Multiplies a tile of a dense product over `4 * groups` depths: `acc[p][n] += weights[k][n] *
    /// pixels[p][k]` for each depth `k`. Advances `weights` and the addresses of the pixels.
    ///
    /// # Safety
    /// Each pixel is valid for reading `4 * groups` numbers and `weights` for `4 * groups * N`
    /// vectors; the target features are enabled.
    #[inline(always)]
    unsafe fn multiply_groups<const P: usize, const N: usize>(
        acc: &mut [[Self; N]; P],
        pixels: &mut [*const Self::Element; P],
        weights: &mut *const Self::Element,
        groups: usize,
    ) {
        // SAFETY: the caller upholds this function's contract.
        unsafe { multiply_groups_by_lane(acc, pixels, weights, groups) }
    }
}

/// [`DenseProduct::multiply_groups`] in terms of the other methods, one lane of the inputs at a
/// time.
///
/// # Safety
/// The same as [`DenseProduct::multiply_groups`].
#[inline(always)]
pub unsafe fn multiply_groups_by_lane<V: Vector, const P: usize, const N: usize>(
    acc: &mut [[V; N]; P],
    pixels: &mut [*const V::Element; P],
    weights: &mut *const V::Element,
    groups: usize,
) {
    // SAFETY: the caller upholds this function's contract.
    unsafe {
        for _ in 0..groups {
            let mut inputs = [V::group(pixels[0]); P];
            for p in 1..P {
                inputs[p] = V::group(pixels[p]);
            }
            macro_rules! lane {
                ($lane:literal) => {
                    let mut w = [V::splat(0.0); N];
                    for n in 0..N {
                        w[n] = V::load(weights.add(($lane * N + n) * V::LANES));
                    }
                    for p in 0..P {
                        for n in 0..N {
                            acc[p][n] = acc[p][n].fma_lane::<$lane>(w[n], inputs[p]);
                        }
                    }
                };
            }
            lane!(0);
            lane!(1);
            lane!(2);
            lane!(3);
            *weights = weights.add(4 * N * V::LANES);
            for p in 0..P {
                pixels[p] = pixels[p].add(4);
            }
        }
    }
}

/// Width of the next block of packed dense weights, in channels, when `rest` channels are left. A
/// block has `max` vectors unless that leaves a single vector over, else two or one.
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

/// Computes a tile of `P` pixels times `N` vectors of output channels. At the end of the row of
/// channels some of these do not exist and are not stored.
///
/// # Safety
/// The row's pointers are valid for these pixels and channels; the target features are enabled.
#[inline(always)]
unsafe fn conv_tile<V: DenseProduct, const P: usize, const N: usize>(
    row: &ConvRow<V::Element>,
    x: usize,
    packed: *const V::Element,
    n0: usize,
) {
    // SAFETY: the caller upholds this function's contract: every address below is inside the row's
    // input, packed weights, residual or output.
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
                    let value = V::broadcast(here[p]);
                    here[p] = here[p].add(1);
                    for n in 0..N {
                        acc[p][n] = acc[p][n].fma(weights[n], value);
                    }
                }
                w = w.add(width);
                k -= 1;
            }
        }
        // The match is outside the loops, so that each branch is straight-line code. The loops must
        // be short enough for the compiler to unroll, or the accumulators would live in memory. The
        // sigmoid is too long for that, so it is applied after the stores.
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
                        acc[p][n] = hard_swish(acc[p][n]);
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
                    V::add_sum_to(sum[n].to_sum(), at, V::LANES);
                } else {
                    let left = channels.saturating_sub(n * V::LANES).min(V::LANES);
                    V::add_sum_to(sum[n].to_sum(), at, left);
                }
            }
        }
    }
}

/// Applies the sigmoid to `pixels` stored pixels and adds the results to the sums.
///
/// # Safety
/// The row's pointers are valid for these pixels and channels; the target features are enabled.
#[inline(always)]
unsafe fn sigmoid_pixels<V: Vector>(row: &ConvRow<V::Element>, x: usize, pixels: usize, n0: usize, channels: usize) {
    for x in x..x + pixels {
        // SAFETY: the caller upholds this function's contract.
        unsafe {
            let at = row.output.add(x * row.output_step + n0);
            activate_all::<V>(at, channels, Activation::Sigmoid);
            if !row.sums.is_null() {
                for n in 0..channels {
                    *row.sums.add(n0 + n) += (*at.add(n)).to_f32();
                }
            }
        }
    }
}

/// Computes a block of `N` vectors of channels over the whole row, `P` pixels at a time.
///
/// # Safety
/// The pointers of the row are valid; the target features are enabled.
#[inline(always)]
pub unsafe fn conv_block<V: DenseProduct, const P: usize, const N: usize>(
    row: &ConvRow<V::Element>,
    packed: *const V::Element,
    n0: usize,
) {
    // SAFETY: the caller upholds this function's contract; tiles stay within the width of the row.
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
