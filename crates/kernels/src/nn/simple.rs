//! Steps that take little time in the supported networks, as plain loops over slices.

use super::program::{Arithmetic, Border, Pooling, Shape};
use crate::simd::Element;

/// `a op b`. `b` is as long as `a`, or one pixel long.
pub(super) fn arithmetic<T: Element>(operation: Arithmetic, a: &[T], b: &[T], output: &mut [T]) {
    for (output, a) in output.chunks_mut(b.len()).zip(a.chunks(b.len())) {
        for ((output, a), b) in output.iter_mut().zip(a).zip(b) {
            let (a, b) = (a.to_f32(), b.to_f32());
            *output = T::from_f32(match operation {
                Arithmetic::Add => a + b,
                Arithmetic::Multiply => a * b,
            });
        }
    }
}

/// `x < 0 ? slope[channel] * x : x`.
pub(super) fn leaky_relu<T: Element>(input: &[T], slopes: &[f32], output: &mut [T]) {
    for (output, input) in output.chunks_exact_mut(slopes.len()).zip(input.chunks_exact(slopes.len())) {
        for ((output, x), slope) in output.iter_mut().zip(input).zip(slopes) {
            let x = x.to_f32();
            *output = T::from_f32(if x < 0.0 { x * slope } else { x });
        }
    }
}

/// `min(max(x, low), high)`. NaN stays NaN.
pub(super) fn clamp<T: Element>(input: &[T], low: f32, high: f32, output: &mut [T]) {
    for (output, x) in output.iter_mut().zip(input) {
        *output = T::from_f32(x.to_f32().clamp(low, high));
    }
}

/// Repeats each pixel `factor` times in both directions.
pub(super) fn nearest<T: Element>(input: &[T], shape: Shape, factor: usize, output: &mut [T]) {
    let row = shape.width * shape.channels;
    for (rows, input) in output.chunks_exact_mut(row * factor * factor).zip(input.chunks_exact(row)) {
        let (first, others) = rows.split_at_mut(row * factor);
        for (to, from) in first.chunks_exact_mut(factor * shape.channels).zip(input.chunks_exact(shape.channels)) {
            for to in to.chunks_exact_mut(shape.channels) {
                to.copy_from_slice(from);
            }
        }
        for other in others.chunks_exact_mut(row * factor) {
            other.copy_from_slice(first);
        }
    }
}

/// Channels whose sums are kept in registers.
const SUMS: usize = 16;

/// The mean of each channel over all pixels.
pub(super) fn mean<T: Element>(input: &[T], output: &mut [T]) {
    let channels = output.len();
    let scale = channels as f32 / input.len() as f32;
    for (index, output) in output.chunks_mut(SUMS).enumerate() {
        let mut sums = [0.0; SUMS];
        for pixel in input.chunks_exact(channels) {
            for (sum, x) in sums.iter_mut().zip(&pixel[index * SUMS..][..output.len()]) {
                *sum += x.to_f32();
            }
        }
        for (output, sum) in output.iter_mut().zip(sums) {
            *output = T::from_f32(sum * scale);
        }
    }
}

/// Pooling over square windows of `kernel` pixels that are `stride` apart, with `padding` rows
/// above and columns to the left.
pub(super) fn pool<T: Element>(
    pooling: Pooling,
    (kernel, stride, padding): (usize, usize, [usize; 2]),
    (input, from): (&[T], Shape),
    (output, to): (&mut [T], Shape),
) {
    let channels = to.channels;
    for y in 0..to.height {
        let rows = window(y, stride, padding[0], kernel, from.height);
        for x in 0..to.width {
            let columns = window(x, stride, padding[1], kernel, from.width);
            let pixel = &mut output[(y * to.width + x) * channels..][..channels];
            let scale = 1.0 / (rows.len() * columns.len()).max(1) as f32;
            for (index, pixel) in pixel.chunks_mut(SUMS).enumerate() {
                let mut results = [if pooling == Pooling::Max { f32::NEG_INFINITY } else { 0.0 }; SUMS];
                for row in rows.clone() {
                    for column in columns.clone() {
                        let values = &input[(row * from.width + column) * channels + index * SUMS..][..pixel.len()];
                        for (result, value) in results.iter_mut().zip(values) {
                            let value = value.to_f32();
                            *result = match pooling {
                                Pooling::Max => {
                                    if value > *result {
                                        value
                                    } else {
                                        *result
                                    }
                                }
                                Pooling::Average => *result + value,
                            };
                        }
                    }
                }
                for (pixel, result) in pixel.iter_mut().zip(results) {
                    *pixel = T::from_f32(if pooling == Pooling::Average { result * scale } else { result });
                }
            }
        }
    }
}

/// The indices of the input that window `at` covers.
fn window(at: usize, stride: usize, padding: usize, kernel: usize, side: usize) -> std::ops::Range<usize> {
    (at * stride).saturating_sub(padding)..(at * stride + kernel).saturating_sub(padding).min(side)
}

/// Adds pixels around a map: `padding` rows above and columns to the left, and below and to the right
/// as many as the output is larger. No step of a checked program pads an empty map.
pub(super) fn pad<T: Element>(
    border: Border,
    padding: [usize; 2],
    (input, from): (&[T], Shape),
    (output, to): (&mut [T], Shape),
) {
    let channels = to.channels;
    let (row, left) = (from.width * channels, padding[1] * channels);
    for (y, rows) in output.chunks_exact_mut(to.width * channels).enumerate() {
        let inside = y.wrapping_sub(padding[0]) < from.height;
        if border == Border::Zero && !inside {
            rows.fill(T::default());
            continue;
        }
        let source = y.saturating_sub(padding[0]).min(from.height - 1);
        let source = &input[source * row..][..row];
        let (before, rest) = rows.split_at_mut(left);
        let (middle, after) = rest.split_at_mut(row);
        middle.copy_from_slice(source);
        match border {
            Border::Zero => {
                before.fill(T::default());
                after.fill(T::default());
            }
            Border::Replicate => {
                before.chunks_exact_mut(channels).for_each(|pixel| pixel.copy_from_slice(&source[..channels]));
                after.chunks_exact_mut(channels).for_each(|pixel| pixel.copy_from_slice(&source[row - channels..]));
            }
        }
    }
}

/// Copies one input of a concatenation to the channels from `offset` on.
pub(super) fn concatenate<T: Element>(
    input: &[T],
    channels: usize,
    output: &mut [T],
    output_channels: usize,
    offset: usize,
) {
    for (to, from) in output.chunks_exact_mut(output_channels).zip(input.chunks_exact(channels)) {
        to[offset..offset + channels].copy_from_slice(from);
    }
}

/// `e^x / sum of e^x` over each pixel.
pub(super) fn softmax<T: Element>(input: &[T], channels: usize, output: &mut [T]) {
    for (to, from) in output.chunks_exact_mut(channels).zip(input.chunks_exact(channels)) {
        let most = from.iter().fold(f32::NEG_INFINITY, |most, x| most.max(x.to_f32()));
        let mut sum = 0.0;
        for (to, from) in to.iter_mut().zip(from) {
            let power = (from.to_f32() - most).exp();
            *to = T::from_f32(power);
            sum += power;
        }
        for to in to {
            *to = T::from_f32(to.to_f32() / sum);
        }
    }
}

/// Turns channels into pixels, see [`super::program::Step::PixelShuffle`].
pub(super) fn pixel_shuffle<T: Element>(input: &[T], shape: Shape, factor: usize, output: &mut [T]) {
    let channels = shape.channels / (factor * factor);
    let run = factor * channels;
    for (rows, input) in
        output.chunks_exact_mut(shape.width * shape.channels).zip(input.chunks_exact(shape.width * shape.channels))
    {
        for (dy, row) in rows.chunks_exact_mut(shape.width * run).enumerate() {
            if run == 2 {
                // One channel at twice the size is the usual last step of a mask.
                for (to, from) in row.chunks_exact_mut(2).zip(input.chunks_exact(4)) {
                    to.copy_from_slice(&from[2 * dy..2 * dy + 2]);
                }
            } else {
                for (to, from) in row.chunks_exact_mut(run).zip(input.chunks_exact(shape.channels)) {
                    to.copy_from_slice(&from[dy * run..(dy + 1) * run]);
                }
            }
        }
    }
}
