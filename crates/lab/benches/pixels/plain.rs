//! The work of the pixel kernels as plain loops in floating point, as one would first write it in
//! C. The loops ignore caches and vectors. They are the reference for the results and the times of
//! the kernels.

/// A 4:2:0 picture with interleaved chroma: luma, then CbCr.
#[derive(Clone, Copy)]
pub(super) struct Nv12<'a> {
    pub(super) luma: &'a [u8],
    pub(super) chroma: &'a [u8],
    pub(super) width: usize,
    pub(super) height: usize,
}

impl<'a> Nv12<'a> {
    pub(super) fn of(bytes: &'a [u8], width: usize, height: usize) -> Self {
        let (luma, chroma) = bytes.split_at(width * height);
        Self { luma, chroma, width, height }
    }
}

fn byte(value: f32) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let byte = (value + 0.5) as u8;
    byte
}

fn index(value: f32) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a coordinate, not negative")]
    let index = value as usize;
    index
}

/// The mean of the samples over the area `x0..x1`, `y0..y1`. Samples are `step` bytes apart and
/// start at `offset`.
fn area(samples: &[u8], stride: usize, step: usize, offset: usize, (x0, x1): (f32, f32), (y0, y1): (f32, f32)) -> f32 {
    let (mut sum, mut weight) = (0.0, 0.0);
    for y in index(y0)..index(y1.ceil()) {
        let down = (y as f32 + 1.0).min(y1) - (y as f32).max(y0);
        for x in index(x0)..index(x1.ceil()) {
            let across = (x as f32 + 1.0).min(x1) - (x as f32).max(x0);
            sum += f32::from(samples[y * stride + x * step + offset]) * across * down;
            weight += across * down;
        }
    }
    sum / weight
}

/// Scales the picture to `width` by `height` and converts it to planar R'G'B', 0..=1 (BT.601,
/// limited range).
pub(super) fn sample(picture: Nv12<'_>, width: usize, height: usize, out: &mut [f32]) {
    let (across, down) = (picture.width as f32 / width as f32, picture.height as f32 / height as f32);
    let cells = width * height;
    for y in 0..height {
        for x in 0..width {
            let span = |at: usize, scale: f32| (at as f32 * scale, (at + 1) as f32 * scale);
            let luma = area(picture.luma, picture.width, 1, 0, span(x, across), span(y, down));
            let part = |offset| {
                area(picture.chroma, picture.width, 2, offset, span(x, across / 2.0), span(y, down / 2.0)) - 128.0
            };
            let (luma, cb, cr) =
                ((luma - 16.0) * (255.0 / 219.0), part(0) * (255.0 / 224.0), part(1) * (255.0 / 224.0));
            let rgb = [luma + 1.402 * cr, luma - 0.344_136 * cb - 0.714_136 * cr, luma + 1.772 * cb];
            for (channel, value) in rgb.into_iter().enumerate() {
                out[channel * cells + y * width + x] = value.clamp(0.0, 255.0) / 255.0;
            }
        }
    }
}

/// The state of the smoother: filtered value, trend and output of each pixel.
pub(super) type Smoothed = [Vec<f32>; 3];

/// One step of smoothing (`docs/design/mask.md`).
pub(super) fn smooth([filtered, trend, output]: &mut Smoothed, raw: &[f32], dt: f32) {
    let ramp = |value: f32, from: f32, full: f32| ((value - from) / (full - from)).clamp(0.0, 1.0);
    let uncertainty = |value: f32| 4.0 * value * (1.0 - value);
    let gain = dt / (dt + 0.08);
    let k = ((2.0 - gain) / gain).sqrt();
    for i in 0..raw.len() {
        let d = raw[i] - filtered[i];
        trend[i] += (d - trend[i]) * gain;
        let agreement = 1.0 - ramp(d.abs(), 0.15, 0.45).max(ramp(trend[i].abs() * k, 0.1, 0.2));
        filtered[i] += d * dt / (dt + 0.15 * uncertainty(raw[i]) * agreement);
        let backlash = 0.08 * uncertainty(filtered[i]).powi(2) * agreement;
        output[i] = output[i].clamp(filtered[i] - backlash, filtered[i] + backlash);
    }
}

/// The sizes of the 8-connected parts with values of at least 0.5, in descending order, found by
/// flood fill.
pub(super) fn regions(mask: &[f32], width: usize, height: usize) -> Vec<usize> {
    let mut seen = vec![false; mask.len()];
    let (mut sizes, mut open) = (Vec::new(), Vec::new());
    for start in 0..mask.len() {
        if seen[start] || mask[start] < 0.5 {
            continue;
        }
        let mut count = 0;
        seen[start] = true;
        open.push(start);
        while let Some(at) = open.pop() {
            count += 1;
            let (x, y) = (at % width, at / width);
            for row in y.saturating_sub(1)..(y + 2).min(height) {
                for column in x.saturating_sub(1)..(x + 2).min(width) {
                    let next = row * width + column;
                    if !seen[next] && mask[next] >= 0.5 {
                        seen[next] = true;
                        open.push(next);
                    }
                }
            }
        }
        sizes.push(count);
    }
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes
}

/// Bilinear interpolation of `values` at (`x`, `y`), in cells.
fn bilinear(values: &[f32], width: usize, height: usize, x: f32, y: f32) -> f32 {
    let (x, y) = ((x - 0.5).clamp(0.0, (width - 1) as f32), (y - 0.5).clamp(0.0, (height - 1) as f32));
    let (left, top) = (index(x), index(y));
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let (u, v) = (x - left as f32, y - top as f32);
    let upper = values[top * width + left] * (1.0 - u) + values[top * width + right] * u;
    let lower = values[bottom * width + left] * (1.0 - u) + values[bottom * width + right] * u;
    upper * (1.0 - v) + lower * v
}

fn smoothstep(value: f32, low: f32, high: f32) -> f32 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Scales the mask to the size of a picture, 0..=255, and shapes its edge.
pub(super) fn bilinear_matte(mask: &[f32], grid: (usize, usize), width: usize, height: usize, out: &mut [u8]) {
    let (across, down) = (grid.0 as f32 / width as f32, grid.1 as f32 / height as f32);
    for y in 0..height {
        for x in 0..width {
            let value = bilinear(mask, grid.0, grid.1, (x as f32 + 0.5) * across, (y as f32 + 0.5) * down);
            out[y * width + x] = byte(smoothstep(value, 0.25, 0.75) * 255.0);
        }
    }
}

/// The side of a cell of the guided filter, in pixels.
const CELL: usize = 4;

/// The matte of the guided filter on cells of 4 by 4 pixels (`docs/design/edges.md`). Each window
/// is summed on its own.
pub(super) fn guided_matte(picture: Nv12<'_>, mask: &[f32], grid: (usize, usize), out: &mut [u8]) {
    let (width, height) = (picture.width / CELL, picture.height / CELL);
    let cells = width * height;
    let mut channels = [vec![0.0; cells], vec![0.0; cells], vec![0.0; cells], vec![0.0; cells]];
    for y in 0..height {
        for x in 0..width {
            let span = |at: usize, size: usize| ((at * size) as f32, ((at + 1) * size) as f32);
            let at = y * width + x;
            channels[0][at] = area(picture.luma, picture.width, 1, 0, span(x, CELL), span(y, CELL)) - 128.0;
            for k in 0..2 {
                let half = (span(x, CELL / 2), span(y, CELL / 2));
                channels[k + 1][at] = area(picture.chroma, picture.width, 2, k, half.0, half.1) - 128.0;
            }
            let (across, down) = (grid.0 as f32 / width as f32, grid.1 as f32 / height as f32);
            let value = bilinear(mask, grid.0, grid.1, (x as f32 + 0.5) * across, (y as f32 + 0.5) * down);
            channels[3][at] = smoothstep(value, 0.25, 0.75) * 255.0;
        }
    }
    let mut fits = vec![[0.0; 4]; cells];
    for y in 0..height {
        for x in 0..width {
            let (mut sums, mut products, mut count) = ([0.0; 4], [[0.0; 4]; 3], 0.0);
            for row in y.saturating_sub(3)..(y + 4).min(height) {
                for column in x.saturating_sub(3)..(x + 4).min(width) {
                    let at = row * width + column;
                    let values = [0, 1, 2, 3].map(|k: usize| channels[k][at]);
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum += value;
                    }
                    for (products, a) in products.iter_mut().zip(values) {
                        for (product, b) in products.iter_mut().zip(values) {
                            *product += a * b;
                        }
                    }
                    count += 1.0;
                }
            }
            fits[y * width + x] = solve(sums.map(|sum| sum / count), products.map(|row| row.map(|sum| sum / count)));
        }
    }
    let (mut gains, mut offsets) = (vec![0.0; cells], vec![0.0; cells]);
    for y in 0..height {
        for x in 0..width {
            let (mut mean, mut count) = ([0.0; 4], 0.0);
            for row in y.saturating_sub(2)..(y + 3).min(height) {
                for column in x.saturating_sub(2)..(x + 3).min(width) {
                    for (mean, fit) in mean.iter_mut().zip(fits[row * width + column]) {
                        *mean += fit;
                    }
                    count += 1.0;
                }
            }
            let at = y * width + x;
            gains[at] = mean[0] / count;
            offsets[at] = (mean[1] * channels[1][at] + mean[2] * channels[2][at] + mean[3]) / count;
        }
    }
    for y in 0..picture.height {
        for x in 0..picture.width {
            let (u, v) = ((x as f32 + 0.5) / CELL as f32, (y as f32 + 0.5) / CELL as f32);
            let gain = bilinear(&gains, width, height, u, v);
            let offset = bilinear(&offsets, width, height, u, v);
            let value = gain * (f32::from(picture.luma[y * picture.width + x]) - 128.0) + offset;
            out[y * picture.width + x] = byte(smoothstep(value / 255.0, 0.3, 0.7) * 255.0);
        }
    }
}

/// Regularised least squares: the gains of three colours, and an offset. The variance of the noise
/// is the regularisation.
fn solve(mean: [f32; 4], products: [[f32; 4]; 3]) -> [f32; 4] {
    let noise = [325.0, 11.0, 11.0];
    let mut rows = products;
    for (a, row) in rows.iter_mut().enumerate() {
        for (value, other) in row.iter_mut().zip(mean) {
            *value -= mean[a] * other;
        }
        row[a] += noise[a];
    }
    for pivot in 0..3 {
        for other in 0..3 {
            if other != pivot {
                let (from, times) = (rows[pivot], rows[other][pivot] / rows[pivot][pivot]);
                for (value, from) in rows[other].iter_mut().zip(from) {
                    *value -= times * from;
                }
            }
        }
    }
    let gains = [0, 1, 2].map(|k| rows[k][3] / rows[k][k]);
    [gains[0], gains[1], gains[2], mean[3] - gains[0] * mean[0] - gains[1] * mean[1] - gains[2] * mean[2]]
}

fn catmull_rom(t: f32) -> [f32; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [-0.5 * t3 + t2 - 0.5 * t, 1.5 * t3 - 2.5 * t2 + 1.0, -1.5 * t3 + 2.0 * t2 + 0.5 * t, 0.5 * t3 - 0.5 * t2]
}

/// Enlarges one plane with the Catmull-Rom filter. `crop` is x, y, width, height in samples.
fn enlarge(
    samples: &[u8],
    size: (usize, usize),
    step: usize,
    offset: usize,
    crop: [f32; 4],
    out: &mut [u8],
    to: (usize, usize),
) {
    for y in 0..to.1 {
        let v = crop[1] + (y as f32 + 0.5) * crop[3] / to.1 as f32 - 0.5;
        let down = catmull_rom(v - v.floor());
        for x in 0..to.0 {
            let u = crop[0] + (x as f32 + 0.5) * crop[2] / to.0 as f32 - 0.5;
            let across = catmull_rom(u - u.floor());
            let mut sum = 0.0;
            for (j, down) in down.iter().enumerate() {
                let row = index((v.floor() + j as f32 - 1.0).clamp(0.0, (size.1 - 1) as f32));
                for (i, across) in across.iter().enumerate() {
                    let column = index((u.floor() + i as f32 - 1.0).clamp(0.0, (size.0 - 1) as f32));
                    sum += f32::from(samples[row * size.0 * step + column * step + offset]) * across * down;
                }
            }
            out[y * to.0 * step + x * step + offset] = byte(sum);
        }
    }
}

/// The view: `crop` scaled to the size of the picture.
pub(super) fn view(picture: Nv12<'_>, crop: [f32; 4], out: &mut [u8]) {
    let (width, height) = (picture.width, picture.height);
    let (luma, chroma) = out.split_at_mut(width * height);
    enlarge(picture.luma, (width, height), 1, 0, crop, luma, (width, height));
    let half = (width / 2, height / 2);
    for k in 0..2 {
        enlarge(picture.chroma, half, 2, k, crop.map(|side| side / 2.0), chroma, half);
    }
}

/// Blends the picture over one colour with a matte.
pub(super) fn blend(picture: Nv12<'_>, matte: &[u8], color: [u8; 3], out: &mut [u8]) {
    let (width, height) = (picture.width, picture.height);
    let mix = |front: u8, back: u8, alpha: f32| byte(f32::from(front) * alpha + f32::from(back) * (1.0 - alpha));
    for i in 0..width * height {
        out[i] = mix(picture.luma[i], color[0], f32::from(matte[i]) / 255.0);
    }
    for y in 0..height / 2 {
        for x in 0..width / 2 {
            let at = |dx: usize, dy: usize| f32::from(matte[(2 * y + dy) * width + 2 * x + dx]);
            let alpha = (at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)) / 4.0 / 255.0;
            for k in 0..2 {
                let i = y * width + 2 * x + k;
                out[width * height + i] = mix(picture.chroma[i], color[1 + k], alpha);
            }
        }
    }
}

/// Turns a picture clockwise by 90, 180 or 270 degrees.
pub(super) fn turn(picture: Nv12<'_>, degrees: u32, out: &mut [u8]) {
    let (luma, chroma) = out.split_at_mut(picture.width * picture.height);
    turn_plane(picture.luma, picture.width, picture.height, 1, degrees, luma);
    turn_plane(picture.chroma, picture.width / 2, picture.height / 2, 2, degrees, chroma);
}

fn turn_plane(plane: &[u8], width: usize, height: usize, bytes: usize, degrees: u32, out: &mut [u8]) {
    for y in 0..height {
        for x in 0..width {
            let to = match degrees {
                90 => x * height + height - 1 - y,
                180 => (height - 1 - y) * width + width - 1 - x,
                _ => (width - 1 - x) * height + y,
            };
            for byte in 0..bytes {
                out[to * bytes + byte] = plane[(y * width + x) * bytes + byte];
            }
        }
    }
}
