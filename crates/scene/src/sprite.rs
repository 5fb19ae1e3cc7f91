//! A photograph of a person, prepared for drawing: scaled once to the largest height that it has in
//! the scene, then sampled bilinearly, so that it can move by fractions of a pixel.

use super::resample::Raster;
use portraitd_media::OwnedPicture;

/// A raster of `N` interleaved 8-bit components. The last one is alpha, and the others are
/// premultiplied by it. A border of zeros, one pixel wide, surrounds it, so that sampling needs no
/// test at the edges.
#[derive(Debug)]
pub(super) struct Layer<const N: usize> {
    width: usize,
    height: usize,
    values: Vec<[u8; N]>,
}

/// The luma and chroma of a person, and the person's shadow.
#[derive(Debug)]
pub(super) struct Sprite {
    /// Luma and alpha, at full size.
    pub(super) luma: Layer<2>,
    /// Cb, Cr and alpha, at half the size.
    pub(super) chroma: Layer<3>,
    /// The blurred outline, at a sixteenth of the size.
    pub(super) shadow: Layer<1>,
    /// The part of the whole person that the photograph shows, from the head down: 1 means down to
    /// the feet.
    pub(super) visible_part: f64,
}

/// The position of a layer in a plane: `plane position = origin + layer position * scale`, in
/// pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) scale: f64,
}

/// Converts R'G'B' in 0..=1 to BT.601 limited-range Y, Cb, Cr in 8-bit steps.
pub(super) fn to_ycbcr([r, g, b]: [f32; 3]) -> [f32; 3] {
    let luma = 0.299 * r + 0.587 * g + 0.114 * b;
    [16.0 + 219.0 * luma, 128.0 + 224.0 * (b - luma) / 1.772, 128.0 + 224.0 * (r - luma) / 1.402]
}

/// Rounds to the nearest byte.
pub(super) fn to_byte(value: f32) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=255 by the clamp")]
    let byte = (value + 0.5).clamp(0.0, 255.0) as u8;
    byte
}

impl Sprite {
    /// Prepares a picture with alpha (`Rgbx32`), scaled so that the whole person is `person_px`
    /// pixels tall. `visible_part` is as in the field. `light` is the brightness of the left and
    /// right sides; 1 keeps it as photographed.
    pub(super) fn new(picture: &OwnedPicture, visible_part: f64, person_px: f64, light: [f32; 2]) -> Self {
        let (width, height) = (picture.size().width as usize, picture.size().height as usize);
        let mut values = Vec::with_capacity(width * height * 4);
        for (at, pixel) in picture.bytes().chunks_exact(4).enumerate() {
            let across = (at % width) as f32 / width as f32;
            let gain = light[0] + (light[1] - light[0]) * across;
            let alpha = f32::from(pixel[3]) / 255.0;
            let lit = |value: u8| (f32::from(value) / 255.0 * gain).min(1.0);
            let ycbcr = to_ycbcr([lit(pixel[0]), lit(pixel[1]), lit(pixel[2])]);
            values.extend(ycbcr.map(|value| value * alpha));
            values.push(alpha * 255.0);
        }
        let whole = Raster { width, height, channels: 4, values };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a few thousand pixels")]
        let scaled =
            |length: usize| (length as f64 * person_px * visible_part / height as f64).round().max(2.0) as usize;
        let part = [0.0, 0.0, width as f32, height as f32];
        let mut large = whole.resample(part, scaled(width), scaled(height));
        // The kernel overshoots at edges. Limit each colour to the range that its alpha allows.
        for pixel in large.values.chunks_exact_mut(4) {
            let alpha = pixel[3].clamp(0.0, 255.0);
            let share = alpha / 255.0;
            pixel[0] = pixel[0].clamp(16.0 * share, 235.0 * share);
            pixel[1] = pixel[1].clamp(16.0 * share, 240.0 * share);
            pixel[2] = pixel[2].clamp(16.0 * share, 240.0 * share);
            pixel[3] = alpha;
        }
        let half = large.halved();
        let shadow = shadow_of(&half);
        Self { luma: Layer::new(&large, [0, 3]), chroma: Layer::new(&half, [1, 2, 3]), shadow, visible_part }
    }
}

/// The alpha of `half` at an eighth of its size, blurred, with a wide border: a soft shadow, as a
/// large window casts it on a distant wall.
fn shadow_of(half: &Raster) -> Layer<1> {
    let eighth = half.halved().halved().halved();
    let margin = Sprite::SHADOW_MARGIN;
    let (width, height) = (eighth.width + 2 * margin, eighth.height + 2 * margin);
    let mut values = vec![0.0; width * height];
    for (y, row) in eighth.values.chunks_exact(eighth.width * 4).enumerate() {
        for (x, pixel) in row.chunks_exact(4).enumerate() {
            values[(y + margin) * width + x + margin] = pixel[3];
        }
    }
    // Three box filters in each direction approximate a Gaussian.
    for _ in 0..3 {
        values = box_blur(&values, width, height);
        values = transpose(&values, width, height);
        values = box_blur(&values, height, width);
        values = transpose(&values, height, width);
    }
    Layer::new(&Raster { width, height, channels: 1, values }, [0])
}

fn box_blur(values: &[f32], width: usize, height: usize) -> Vec<f32> {
    const RADIUS: usize = 2;
    let mut out = Vec::with_capacity(values.len());
    for y in 0..height {
        let row = &values[y * width..(y + 1) * width];
        for x in 0..width {
            let window = &row[x.saturating_sub(RADIUS)..(x + RADIUS + 1).min(width)];
            out.push(window.iter().sum::<f32>() / (2 * RADIUS + 1) as f32);
        }
    }
    out
}

fn transpose(values: &[f32], width: usize, height: usize) -> Vec<f32> {
    (0..width).flat_map(|x| (0..height).map(move |y| values[y * width + x])).collect()
}

impl Sprite {
    /// The width of the border of [`Sprite::shadow`] around the outline, in its pixels.
    pub(super) const SHADOW_MARGIN: usize = 8;

    /// The number of pixels of [`Sprite::luma`] for one pixel of [`Sprite::shadow`].
    pub(super) const SHADOW_STEP: usize = 16;
}

impl<const N: usize> Layer<N> {
    /// A layer of the components of `raster` whose indices are `components`.
    fn new(raster: &Raster, components: [usize; N]) -> Self {
        let (width, height) = (raster.width, raster.height);
        let mut values = vec![[0; N]; (width + 2) * (height + 2)];
        let rows = raster.values.chunks_exact(width * raster.channels);
        for (row, out) in rows.zip(values.chunks_exact_mut(width + 2).skip(1)) {
            for (pixel, out) in row.chunks_exact(raster.channels).zip(&mut out[1..]) {
                *out = components.map(|component| to_byte(pixel[component]));
            }
        }
        Self { width, height, values }
    }

    pub(super) const fn width(&self) -> usize {
        self.width
    }

    pub(super) const fn height(&self) -> usize {
        self.height
    }

    /// Calls `put` for each column below `columns` of plane row `y` that the layer covers, with the
    /// bilinearly sampled value of the layer. Outside the layer all values are 0.
    #[inline]
    pub(super) fn sample_row(&self, mapping: Mapping, y: usize, columns: usize, mut put: impl FnMut(usize, [u8; N])) {
        // Positions in the layer with its border, in 1/65536 pixel: the centre of row `y`, the
        // centre of column 0, and the distance between two columns.
        let row = fixed((y as f64 + 0.5 - mapping.y) / mapping.scale + 0.5);
        let start = fixed((0.5 - mapping.x) / mapping.scale + 0.5);
        let step = fixed(1.0 / mapping.scale).max(1);
        let Some(above) = usize::try_from(row >> 16).ok().filter(|above| *above <= self.height) else {
            return;
        };
        let stride = self.width + 2;
        let (top, bottom) = self.values[above * stride..][..2 * stride].split_at(stride);
        let down = fraction_bits(row);
        // The columns whose positions are at least 0 and less than `width + 1`, so that each has a
        // right neighbour.
        let end = i64::try_from(self.width + 1).unwrap_or(0) * ONE;
        let first = usize::try_from((step - 1 - start).div_euclid(step)).unwrap_or(0);
        let last = usize::try_from((end - start + step - 1).div_euclid(step)).unwrap_or(0).min(columns);
        let mut position = start + step * i64::try_from(first).unwrap_or(0);
        for column in first..last {
            let left = usize::try_from(position >> 16).unwrap_or(0);
            let across = fraction_bits(position);
            let (above, below) = (&top[left..left + 2], &bottom[left..left + 2]);
            put(
                column,
                std::array::from_fn(|i| {
                    let upper = u32::from(above[0][i]) * (256 - across) + u32::from(above[1][i]) * across;
                    let lower = u32::from(below[0][i]) * (256 - across) + u32::from(below[1][i]) * across;
                    let sum = upper * (256 - down) + lower * down + (1 << 15);
                    #[expect(clippy::cast_possible_truncation, reason = "a mean of bytes")]
                    let mean = (sum >> 16) as u8;
                    mean
                }),
            );
            position += step;
        }
    }
}

/// The upper 8 bits of the fraction of a position.
fn fraction_bits(position: i64) -> u32 {
    u32::try_from((position & 0xffff) >> 8).unwrap_or(0)
}

const ONE: i64 = 1 << 16;

/// A position in 1/65536 pixel.
fn fixed(value: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and positions are a few thousand")]
    let fixed = (value * 65536.0).floor() as i64;
    fixed
}

#[cfg(test)]
mod tests {
    use super::*;
    use portraitd_media::{Colorimetry, PixelFormat, Size};

    fn layer() -> Layer<1> {
        Layer::new(&Raster { width: 2, height: 1, channels: 1, values: vec![200.0, 100.0] }, [0])
    }

    fn row(mapping: Mapping, y: usize, columns: usize) -> Vec<u8> {
        let mut out = vec![0; columns];
        layer().sample_row(mapping, y, columns, |column, [value]| out[column] = value);
        out
    }

    #[test]
    fn a_layer_is_sampled_at_its_mapped_position() {
        assert_eq!(row(Mapping { x: 1.0, y: 3.0, scale: 1.0 }, 3, 5), [0, 200, 100, 0, 0]);
        assert_eq!(row(Mapping { x: 1.5, y: 3.0, scale: 1.0 }, 3, 5), [0, 100, 150, 50, 0]);
        assert_eq!(row(Mapping { x: 1.0, y: 3.25, scale: 1.0 }, 3, 5), [0, 150, 75, 0, 0]);
        assert_eq!(row(Mapping { x: -1.0, y: 0.0, scale: 1.0 }, 0, 3), [100, 0, 0], "cut off at the left");
        assert_eq!(row(Mapping { x: 2.0, y: 0.0, scale: 1.0 }, 0, 3), [0, 0, 200], "cut off at the right");
        assert_eq!(row(Mapping { x: 1.0, y: 3.0, scale: 1.0 }, 5, 5), [0; 5], "another row");
        assert_eq!(row(Mapping { x: 90.0, y: 3.0, scale: 1.0 }, 3, 5), [0; 5], "far outside");
        assert_eq!(row(Mapping { x: -90.0, y: 3.0, scale: 1.0 }, 3, 5), [0; 5], "far outside");
    }

    #[test]
    fn colours_are_limited_by_their_alpha() {
        let size = Size::new(12, 20);
        let mut picture = OwnedPicture::zeroed(PixelFormat::Rgbx32, size, Colorimetry::default()).expect("has pixels");
        for (at, pixel) in picture.bytes_mut().chunks_exact_mut(4).enumerate() {
            pixel.copy_from_slice(if (at / 5) % 2 == 0 { &[255, 255, 255, 255] } else { &[0, 0, 0, 0] });
        }
        let sprite = Sprite::new(&picture, 1.0, 50.0, [1.0, 1.0]);
        assert_eq!((sprite.luma.width(), sprite.luma.height()), (30, 50));
        assert_eq!((sprite.chroma.width(), sprite.chroma.height()), (15, 25));
        for [luma, alpha] in &sprite.luma.values {
            assert!(luma <= alpha, "luma {luma} of alpha {alpha}");
        }
    }
}
