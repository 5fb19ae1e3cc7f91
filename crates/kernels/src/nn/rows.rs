//! What a row kernel is told, and the table of row kernels of one instruction set.
//!
//! A *row* is a run of output pixels that lie at a fixed distance from each other. Feature maps are channels-last: a
//! pixel's channels are next to each other. All distances are in `f32`s. The structures are `repr(C)`, because the
//! assembly kernels read them by offset.

use crate::simd::Isa;

/// What happens to a number before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Activation {
    /// Nothing.
    None = 0,
    /// `max(x, 0)`.
    Relu = 1,
    /// `x * min(max(x / 6 + 1/2, 0), 1)`.
    HardSwish = 2,
    /// `1 / (1 + e^-x)`.
    Sigmoid = 3,
}

/// A row of a dense convolution (of any kernel size; 1x1 is one segment).
///
/// ```text
/// out[x][n] = activation(bias[n] + residual[x][n]
///     + sum over segments s, depths k of in[x * input_step + offsets[s] + k] * w[s, k][n])
/// ```
///
/// `packed` holds blocks of output channels, widths as [`Kernels::block_width`] says: a block is `width` biases, then
/// `block_depth` times `width` weights, columns beyond the channels being zero.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ConvRow {
    /// First output pixel's window origin.
    pub input: *const f32,
    /// From one output pixel's window to the next.
    pub input_step: usize,
    /// Where each segment starts, from the window's origin.
    pub offsets: *const isize,
    /// Number of segments.
    pub segments: usize,
    /// Numbers in each segment.
    pub depth: usize,
    /// Weights to skip at the start of each block: rows of the kernel that lie above the picture.
    pub skip: usize,
    /// Rows of weights in a block.
    pub block_depth: usize,
    /// Packed biases and weights.
    pub packed: *const f32,
    /// First output pixel.
    pub output: *mut f32,
    /// From one output pixel to the next.
    pub output_step: usize,
    /// Numbers to add before the activation, or null.
    pub residual: *const f32,
    /// From one pixel of the residual to the next.
    pub residual_step: usize,
    /// Sums over the row are added here, one a channel; or null.
    pub sums: *mut f32,
    /// Output pixels.
    pub width: usize,
    /// Output channels.
    pub channels: usize,
    /// Applied last.
    pub activation: Activation,
}

/// A row of a depthwise convolution: each channel with its own `kernel` x `kernel` weights.
///
/// `out[x][c] = activation(bias[c] + sum of rows[y][(x * stride + i) * pixel_step + c] * w[c][first_row + y][i])`, plus
/// `addend[x * pixel_step + c]` if there is one.
///
/// `packed` holds blocks of channels, widths as [`Kernels::lanes_width`] says: `width` biases, then `kernel * kernel` times
/// `width` weights.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DepthwiseRow {
    /// Input rows that the kernel's rows `first_row..first_row + row_count` fall on; each starts at the window of output 0.
    pub rows: *const *const f32,
    /// Input rows.
    pub row_count: usize,
    /// The kernel's row that the first input row belongs to.
    pub first_row: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Input pixels from one output pixel's window to the next.
    pub stride: usize,
    /// From one input pixel to the next.
    pub pixel_step: usize,
    /// Packed biases and weights.
    pub packed: *const f32,
    /// First output pixel.
    pub output: *mut f32,
    /// From one output pixel to the next.
    pub output_step: usize,
    /// Numbers to add after the activation, pixels `pixel_step` apart; or null.
    pub addend: *const f32,
    /// Sums over the row are added here, one a channel; or null.
    pub sums: *mut f32,
    /// Output pixels.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// Applied before the addend.
    pub activation: Activation,
}

/// A row of twice the width, between two rows of half the resolution (half-pixel centres, borders replicated).
///
/// `t = 3/4 near + 1/4 far`; `out[2x] = 3/4 t[x] + 1/4 t[x - 1]`; `out[2x + 1] = 3/4 t[x] + 1/4 t[x + 1]`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct UpsampleRow {
    /// The nearer input row.
    pub near: *const f32,
    /// The farther input row.
    pub far: *const f32,
    /// From one input pixel to the next.
    pub input_step: usize,
    /// First of `2 * width` output pixels.
    pub output: *mut f32,
    /// From one output pixel to the next.
    pub output_step: usize,
    /// Input pixels, at least 1.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

/// The row kernels of one instruction set.
///
/// Each function is unsafe: its caller answers for the pointers and for the instruction set being there.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// Which instruction set they need.
    pub isa: Isa,
    /// Width of the next block of packed dense weights, when `rest` channels (at least 1) are left.
    pub block_width: fn(rest: usize) -> usize,
    /// Width of the next block of packed depthwise weights, when `rest` channels (at least 1) are left.
    pub lanes_width: fn(rest: usize) -> usize,
    /// How many channels a fused block works on at a time.
    pub group: usize,
    /// See [`ConvRow`].
    pub conv: unsafe fn(&ConvRow),
    /// See [`DepthwiseRow`].
    pub depthwise: unsafe fn(&DepthwiseRow),
    /// See [`UpsampleRow`].
    pub upsample: unsafe fn(&UpsampleRow),
    /// `data[i] = activation(data[i])` for `length` numbers.
    pub activate: unsafe fn(data: *mut f32, length: usize, activation: Activation),
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernels").field("isa", &self.isa).field("group", &self.group).finish_non_exhaustive()
    }
}

impl Kernels {
    /// Widths of the blocks of `channels` packed with `width`, in order.
    pub fn blocks(width: fn(usize) -> usize, channels: usize) -> impl Iterator<Item = usize> {
        let mut rest = channels;
        std::iter::from_fn(move || {
            (rest > 0).then(|| {
                let block = width(rest);
                rest = rest.saturating_sub(block);
                block
            })
        })
    }
}
