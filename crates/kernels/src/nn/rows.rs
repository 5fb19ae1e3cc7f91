//! The arguments of the row kernels, and the table of row kernels of one instruction set.
//!
//! A *row* is a run of output pixels at a fixed distance from each other. Feature maps are
//! channels-last: the channels of a pixel are adjacent. Numbers are of single or half precision (`T`),
//! and all distances are in numbers. The structures are `repr(C)`, because the assembly kernels read
//! them by offset.

use crate::simd::Isa;

/// The function that is applied to a number before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Activation {
    /// The number is stored unchanged.
    None = 0,
    /// `max(x, 0)`.
    Relu = 1,
    /// `x * min(max(x / 6 + 1/2, 0), 1)`.
    HardSwish = 2,
    /// `1 / (1 + e^-x)`.
    Sigmoid = 3,
}

/// A row of a dense convolution of any kernel size. A 1x1 kernel has a single segment.
///
/// ```text
/// out[x][n] = activation(bias[n] + residual[x][n]
///     + sum over segments s, depths k of in[x * input_step + offsets[s] + k] * w[s, k][n])
/// ```
///
/// `packed` holds blocks of output channels, whose widths [`Kernels::block_width`] gives. A block
/// is `width` biases, followed by `block_depth` times `width` weights. Columns beyond the last
/// channel are zero.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ConvRow<T = f32> {
    /// Origin of the first output pixel's window.
    pub input: *const T,
    /// Distance from one output pixel's window to the next.
    pub input_step: usize,
    /// Offset of each segment from the origin of the window.
    pub offsets: *const isize,
    /// Number of segments.
    pub segments: usize,
    /// Numbers per segment.
    pub depth: usize,
    /// Weights to skip at the start of each block, because these rows of the kernel lie above the
    /// picture.
    pub skip: usize,
    /// Rows of weights per block.
    pub block_depth: usize,
    /// The packed biases and weights.
    pub packed: *const T,
    /// The first output pixel.
    pub output: *mut T,
    /// Distance from one output pixel to the next.
    pub output_step: usize,
    /// Numbers to add before the activation, or null if there are none.
    pub residual: *const T,
    /// Distance from one pixel of the residual to the next.
    pub residual_step: usize,
    /// The sums over the row are added here, one per channel. Null if they are not needed.
    pub sums: *mut f32,
    /// Number of output pixels.
    pub width: usize,
    /// Number of output channels.
    pub channels: usize,
    /// The activation, which is applied last.
    pub activation: Activation,
}

/// A row of a depthwise convolution, in which each channel has its own `kernel` x `kernel` weights.
///
/// ```text
/// out[x][c] = activation(bias[c]
///     + sum of rows[y][(x * stride + i) * pixel_step + c] * w[c][first_row + y][i])
///     + addend[x * pixel_step + c]
/// ```
///
/// `packed` holds blocks of channels, whose widths [`Kernels::lanes_width`] gives. A block is
/// `width` biases, followed by `kernel * kernel` times `width` weights.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DepthwiseRow<T = f32> {
    /// The input rows under rows `first_row..first_row + row_count` of the kernel. Each pointer is
    /// at the window of output pixel 0.
    pub rows: *const *const T,
    /// Number of input rows.
    pub row_count: usize,
    /// The row of the kernel that lies on the first input row.
    pub first_row: usize,
    /// Side of the kernel, in pixels.
    pub kernel: usize,
    /// Input pixels from one output pixel's window to the next.
    pub stride: usize,
    /// Distance from one input pixel to the next.
    pub pixel_step: usize,
    /// The packed biases and weights.
    pub packed: *const T,
    /// The first output pixel.
    pub output: *mut T,
    /// Distance from one output pixel to the next.
    pub output_step: usize,
    /// Numbers to add after the activation, pixels `pixel_step` apart; or null if there are none.
    pub addend: *const T,
    /// The sums over the row are added here, one per channel. Null if they are not needed.
    pub sums: *mut f32,
    /// Number of output pixels.
    pub width: usize,
    /// Number of channels.
    pub channels: usize,
    /// The activation, which is applied before the addend.
    pub activation: Activation,
}

/// A row of twice the width, between two rows of half the resolution (half-pixel centres,
/// replicated borders).
///
/// ```text
/// t = 3/4 near + 1/4 far
/// out[2x] = 3/4 t[x] + 1/4 t[x - 1]
/// out[2x + 1] = 3/4 t[x] + 1/4 t[x + 1]
/// ```
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct UpsampleRow<T = f32> {
    /// The input row that is nearer to the output row.
    pub near: *const T,
    /// The input row that is farther from the output row.
    pub far: *const T,
    /// Distance from one input pixel to the next.
    pub input_step: usize,
    /// The first of `2 * width` output pixels.
    pub output: *mut T,
    /// Distance from one output pixel to the next.
    pub output_step: usize,
    /// Number of input pixels, at least 1.
    pub width: usize,
    /// Number of channels.
    pub channels: usize,
}

/// The row kernels of one instruction set.
///
/// Each function is unsafe: its caller guarantees that the pointers are valid and that the CPU has
/// the instruction set.
#[derive(Clone, Copy)]
pub struct Kernels<T: 'static = f32> {
    /// The instruction set that the kernels need.
    pub isa: Isa,
    /// Width of the next block of packed dense weights when `rest` channels (at least 1) are left.
    pub block_width: fn(rest: usize) -> usize,
    /// Width of the next block of packed depthwise weights when `rest` channels (at least 1) are
    /// left.
    pub lanes_width: fn(rest: usize) -> usize,
    /// Number of channels that a fused step computes at a time.
    pub group: usize,
    /// Computes a [`ConvRow`].
    pub conv: unsafe fn(&ConvRow<T>),
    /// Computes a [`DepthwiseRow`].
    pub depthwise: unsafe fn(&DepthwiseRow<T>),
    /// Computes an [`UpsampleRow`].
    pub upsample: unsafe fn(&UpsampleRow<T>),
    /// `to[k][n] = from[k][n] * factors[k]` for `depth` rows of `width` packed weights, with a width
    /// of [`Kernels::block_width`].
    pub gate: unsafe fn(from: *const T, to: *mut T, width: usize, factors: *const T, depth: usize),
    /// `data[i] = activation(data[i])` for `length` numbers.
    pub activate: unsafe fn(data: *mut T, length: usize, activation: Activation),
}

impl<T> std::fmt::Debug for Kernels<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernels").field("isa", &self.isa).field("group", &self.group).finish_non_exhaustive()
    }
}

impl<T> Kernels<T> {
    /// The widths of the blocks into which `channels` channels are packed by `width`, in order.
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
