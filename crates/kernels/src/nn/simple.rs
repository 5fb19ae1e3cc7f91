//! Steps that take little time in the supported networks, as plain loops over slices.

use super::program::{Arithmetic, Border, Pooling, Shape};

/// `a op b`. `b` is as long as `a`, or one pixel long.
pub(super) fn arithmetic(operation: Arithmetic, a: &[f32], b: &[f32], output: &mut [f32]) {
    for (output, a) in output.chunks_mut(b.len()).zip(a.chunks(b.len())) {
        for ((output, a), b) in output.iter_mut().zip(a).zip(b) {
            *output = match operation {
                Arithmetic::Add => a + b,
                Arithmetic::Multiply => a * b,
            };
        }
    }
}

/// `x < 0 ? slope[channel] * x : x`.
pub(super) fn leaky_relu(input: &[f32], slopes: &[f32], output: &mut [f32]) {
    for (output, input) in output.chunks_exact_mut(slopes.len()).zip(input.chunks_exact(slopes.len())) {
        for ((output, &x), slope) in output.iter_mut().zip(input).zip(slopes) {
            *output = if x < 0.0 { x * slope } else { x };
        }
    }
}

/// `min(max(x, low), high)`. NaN stays NaN.
pub(super) fn clamp(input: &[f32], low: f32, high: f32, output: &mut [f32]) {
    for (output, x) in output.iter_mut().zip(input) {
        *output = x.clamp(low, high);
    }
}

/// Repeats each pixel `factor` times in both directions.
pub(super) fn nearest(input: &[f32], shape: Shape, factor: usize, output: &mut [f32]) {
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

/// The mean of each channel over all pixels.
pub(super) fn mean(input: &[f32], output: &mut [f32]) {
    output.fill(0.0);
    for pixel in input.chunks_exact(output.len()) {
        for (sum, x) in output.iter_mut().zip(pixel) {
            *sum += x;
        }
    }
    let scale = output.len() as f32 / input.len() as f32;
    for sum in output {
        *sum *= scale;
    }
}

/// Pooling over square windows of `kernel` pixels that are `stride` apart, with `padding` rows
/// above and columns to the left.
pub(super) fn pool(
    pooling: Pooling,
    (kernel, stride, padding): (usize, usize, [usize; 2]),
    (input, from): (&[f32], Shape),
    (output, to): (&mut [f32], Shape),
) {
    let channels = to.channels;
    for y in 0..to.height {
        let rows = window(y, stride, padding[0], kernel, from.height);
        for x in 0..to.width {
            let columns = window(x, stride, padding[1], kernel, from.width);
            let pixel = &mut output[(y * to.width + x) * channels..][..channels];
            pixel.fill(if pooling == Pooling::Max { f32::NEG_INFINITY } else { 0.0 });
            for row in rows.clone() {
                for column in columns.clone() {
                    let values = &input[(row * from.width + column) * channels..][..channels];
                    for (pixel, &value) in pixel.iter_mut().zip(values) {
                        *pixel = match pooling {
                            Pooling::Max => {
                                if value > *pixel {
                                    value
                                } else {
                                    *pixel
                                }
                            }
                            Pooling::Average => *pixel + value,
                        };
                    }
                }
            }
            if pooling == Pooling::Average {
                let scale = 1.0 / (rows.len() * columns.len()).max(1) as f32;
                for pixel in pixel {
                    *pixel *= scale;
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
pub(super) fn pad(
    border: Border,
    padding: [usize; 2],
    (input, from): (&[f32], Shape),
    (output, to): (&mut [f32], Shape),
) {
    let channels = to.channels;
    let (row, left) = (from.width * channels, padding[1] * channels);
    for (y, rows) in output.chunks_exact_mut(to.width * channels).enumerate() {
        let inside = y.wrapping_sub(padding[0]) < from.height;
        if border == Border::Zero && !inside {
            rows.fill(0.0);
            continue;
        }
        let source = y.saturating_sub(padding[0]).min(from.height - 1);
        let source = &input[source * row..][..row];
        let (before, rest) = rows.split_at_mut(left);
        let (middle, after) = rest.split_at_mut(row);
        middle.copy_from_slice(source);
        match border {
            Border::Zero => {
                before.fill(0.0);
                after.fill(0.0);
            }
            Border::Replicate => {
                before.chunks_exact_mut(channels).for_each(|pixel| pixel.copy_from_slice(&source[..channels]));
                after.chunks_exact_mut(channels).for_each(|pixel| pixel.copy_from_slice(&source[row - channels..]));
            }
        }
    }
}

/// Copies one input of a concatenation to the channels from `offset` on.
pub(super) fn concatenate(input: &[f32], channels: usize, output: &mut [f32], output_channels: usize, offset: usize) {
    for (to, from) in output.chunks_exact_mut(output_channels).zip(input.chunks_exact(channels)) {
        to[offset..offset + channels].copy_from_slice(from);
    }
}

/// `e^x / sum of e^x` over each pixel.
pub(super) fn softmax(input: &[f32], channels: usize, output: &mut [f32]) {
    for (to, from) in output.chunks_exact_mut(channels).zip(input.chunks_exact(channels)) {
        let most = from.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (to, from) in to.iter_mut().zip(from) {
            *to = (from - most).exp();
            sum += *to;
        }
        for to in to {
            *to /= sum;
        }
    }
}

/// Turns channels into pixels, see [`super::program::Step::PixelShuffle`].
pub(super) fn pixel_shuffle(input: &[f32], shape: Shape, factor: usize, output: &mut [f32]) {
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
