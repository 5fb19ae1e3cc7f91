//! Memory for the kernels: buffers that are aligned to cache lines, and weights in the order in
//! which a kernel reads them.
#![allow(unsafe_code)]

use std::marker::PhantomData;

use super::rows::Kernels;
use crate::simd::Element;

/// Numbers to whose multiple places are rounded up: a cache line of `f32`s, half of one of [`F16`]s.
///
/// [`F16`]: crate::simd::F16
pub const CACHE_LINE: usize = 16;

/// The memory of one cache line, 64 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct CacheLine([u32; 16]);

/// A buffer of numbers that starts at a cache line.
#[derive(Clone, Debug, Default)]
pub struct Aligned<T = f32> {
    lines: Vec<CacheLine>,
    length: usize,
    numbers: PhantomData<T>,
}

impl<T: Element> Aligned<T> {
    /// A buffer of `length` zeros.
    #[must_use]
    pub fn zeros(length: usize) -> Self {
        let lines = (length * size_of::<T>()).div_ceil(size_of::<CacheLine>());
        Self { lines: vec![CacheLine([0; 16]); lines], length, numbers: PhantomData }
    }

    /// A buffer with a copy of `from`.
    #[must_use]
    pub fn copy_of(from: &[T]) -> Self {
        let mut buffer = Self::zeros(from.len());
        buffer.as_mut_slice().copy_from_slice(from);
        buffer
    }

    /// The numbers of the buffer.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: cache lines have no padding, together they have at least `length` numbers, and any
        // bits are a number.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }

    /// The numbers of the buffer, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above; the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

/// Packs dense weights `[channel][depth]` and biases `[channel]` for [`super::rows::ConvRow`].
#[must_use]
pub fn dense<T: Element>(kernels: &Kernels<T>, weights: &[f32], bias: &[f32], depth: usize) -> Aligned<T> {
    pack(kernels.block_width, weights, bias, depth)
}

/// Packs depthwise weights `[channel][row][column]` and biases `[channel]` for
/// [`super::rows::DepthwiseRow`].
#[must_use]
pub fn depthwise<T: Element>(kernels: &Kernels<T>, weights: &[f32], bias: &[f32], taps: usize) -> Aligned<T> {
    pack(kernels.lanes_width, weights, bias, taps)
}

fn pack<T: Element>(width: fn(usize) -> usize, weights: &[f32], bias: &[f32], depth: usize) -> Aligned<T> {
    debug_assert_eq!(weights.len(), bias.len() * depth);
    let columns: usize = Kernels::<T>::blocks(width, bias.len()).sum();
    let mut packed = Aligned::zeros(columns * (1 + depth));
    let (mut first, mut rest) = (0, packed.as_mut_slice());
    for width in Kernels::<T>::blocks(width, bias.len()) {
        let (block, after) = rest.split_at_mut(width * (1 + depth));
        for column in 0..width.min(bias.len() - first) {
            let channel = first + column;
            block[column] = T::from_f32(bias[channel]);
            for k in 0..depth {
                block[(1 + k) * width + column] = T::from_f32(weights[channel * depth + k]);
            }
        }
        first += width;
        rest = after;
    }
    packed
}

/// Multiplies packed dense 1x1 weights by a gate on the input's channels: `to[block][k][n] =
/// from[block][k][n] * gate[k]`. Biases are copied.
pub fn gate<T: Element>(kernels: &Kernels<T>, from: &[T], to: &mut [T], widths: &[usize], gate: &[T]) {
    let (mut from, mut to) = (from, to);
    for &width in widths {
        let (block, rest_from) = from.split_at(width * (1 + gate.len()));
        let (scaled, rest_to) = to.split_at_mut(width * (1 + gate.len()));
        scaled[..width].copy_from_slice(&block[..width]);
        let (from_weights, to_weights) = (&block[width..], &mut scaled[width..]);
        // SAFETY: both have `width` weights for each number of the gate, in another buffer each; the
        // kernels are those of this CPU.
        unsafe {
            let depth = gate.len();
            (kernels.gate)(from_weights.as_ptr(), to_weights.as_mut_ptr(), width, gate.as_ptr(), depth);
        }
        (from, to) = (rest_from, rest_to);
    }
}
