//! The bilinear upsampling of one row of a map.
#![allow(unsafe_code)]

use crate::nn::program::Shape;
use crate::nn::rows::{Kernels, UpsampleRow};

/// Upsamples `count` channels to row `y` of a map of twice the height and width, with output pixels
/// `count` apart.
///
/// # Safety
/// `low` is valid for the shape (less the channels before it), and `to` for a row of `2 * width`
/// pixels.
pub(crate) unsafe fn upsample_row<T>(
    kernels: &Kernels<T>,
    low: *const T,
    shape: Shape,
    y: usize,
    count: usize,
    to: *mut T,
) {
    let near = y / 2;
    let far = if y.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(shape.height - 1) };
    let length = shape.width * shape.channels;
    // SAFETY: both rows are inside the map.
    unsafe {
        (kernels.upsample)(&UpsampleRow {
            near: low.add(near * length),
            far: low.add(far * length),
            input_step: shape.channels,
            output: to,
            output_step: count,
            width: shape.width,
            channels: count,
        });
    }
}
