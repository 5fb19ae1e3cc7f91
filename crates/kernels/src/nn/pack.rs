//! Memory for the kernels: buffers that are aligned to cache lines, and weights in the order in
//! which a kernel reads them.
#![allow(unsafe_code)]

use super::rows::Kernels;

/// The memory of one cache line, 64 bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct CacheLine([f32; 16]);

/// Number of `f32`s in a cache line.
pub const CACHE_LINE: usize = 16;

/// A buffer of `f32`s that starts at a cache line.
#[derive(Clone, Debug, Default)]
pub struct Aligned {
    lines: Vec<CacheLine>,
    length: usize,
}

impl Aligned {
    /// A buffer of `length` zeros.
    #[must_use]
    pub fn zeros(length: usize) -> Self {
        Self { lines: vec![CacheLine([0.0; CACHE_LINE]); length.div_ceil(CACHE_LINE)], length }
    }

    /// A buffer with a copy of `from`.
    #[must_use]
    pub fn copy_of(from: &[f32]) -> Self {
        let mut buffer = Self::zeros(from.len());
        buffer.as_mut_slice().copy_from_slice(from);
        buffer
    }

    /// The numbers of the buffer.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: a cache line is sixteen `f32`s without padding, and there are at least `length`
        // of them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }

    /// The numbers of the buffer, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as above; the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

/// Packs dense weights `[channel][depth]` and biases `[channel]` for [`super::rows::ConvRow`].
#[must_use]
pub fn dense(kernels: &Kernels, weights: &[f32], bias: &[f32], depth: usize) -> Aligned {
    pack(kernels.block_width, weights, bias, depth)
}

/// Packs depthwise weights `[channel][row][column]` and biases `[channel]` for
/// [`super::rows::DepthwiseRow`].
#[must_use]
pub fn depthwise(kernels: &Kernels, weights: &[f32], bias: &[f32], taps: usize) -> Aligned {
    pack(kernels.lanes_width, weights, bias, taps)
}

fn pack(width: fn(usize) -> usize, weights: &[f32], bias: &[f32], depth: usize) -> Aligned {
    debug_assert_eq!(weights.len(), bias.len() * depth);
    let columns: usize = Kernels::blocks(width, bias.len()).sum();
    let mut packed = Aligned::zeros(columns * (1 + depth));
    let (mut first, mut rest) = (0, packed.as_mut_slice());
    for width in Kernels::blocks(width, bias.len()) {
        let (block, after) = rest.split_at_mut(width * (1 + depth));
        for column in 0..width.min(bias.len() - first) {
            let channel = first + column;
            block[column] = bias[channel];
            for k in 0..depth {
                block[(1 + k) * width + column] = weights[channel * depth + k];
            }
        }
        first += width;
        rest = after;
    }
    packed
}

/// Multiplies packed dense 1x1 weights by a gate on the input's channels: `to[block][k][n] =
/// from[block][k][n] * gate[k]`. Biases are copied.
pub fn gate(from: &[f32], to: &mut [f32], widths: &[usize], gate: &[f32]) {
    let (mut from, mut to) = (from, to);
    for &width in widths {
        let (block, rest_from) = from.split_at(width * (1 + gate.len()));
        let (scaled, rest_to) = to.split_at_mut(width * (1 + gate.len()));
        scaled[..width].copy_from_slice(&block[..width]);
        for (k, &factor) in gate.iter().enumerate() {
            let row = (1 + k) * width..(2 + k) * width;
            for (to, from) in scaled[row.clone()].iter_mut().zip(&block[row]) {
                *to = from * factor;
            }
        }
        (from, to) = (rest_from, rest_to);
    }
}
