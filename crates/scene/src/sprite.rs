//! A photographed person, ready to be drawn anywhere: scaled once to the tallest it will ever be, then sampled
//! bilinearly, so that it moves by parts of a pixel.

use super::resample::Raster;
use portraitd_media::OwnedPicture;

/// Bytes of a raster with `N` interleaved components, of which the last is alpha and the others are premultiplied by it.
/// A border of zeros, one pixel wide, is kept about it, so that sampling need not ask where it ends.
#[derive(Debug)]
pub(super) struct Layer<const N: usize> {
    width: usize,
    height: usize,
    values: Vec<[u8; N]>,
}

/// A person's luma and chroma, and the shade that the person throws.
#[derive(Debug)]
pub(super) struct Sprite {
    /// Luma and alpha.
    pub(super) luma: Layer<2>,
    /// Cb, Cr and alpha at half the size.
    pub(super) chroma: Layer<3>,
    /// A blurred outline at a sixteenth of the size; its components are equal.
    pub(super) shade: Layer<1>,
    /// Which part of the whole person the photograph shows, from the head down: 1 is to the feet.
    pub(super) shown: f64,
}

/// Where a layer lies in a plane: `plane position = origin + layer position * scale`, in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapping {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) scale: f64,
}

/// R'G'B' in 0..=1 to BT.601 limited-range Y, Cb, Cr in 8-bit steps.
pub(super) fn to_ycbcr([r, g, b]: [f32; 3]) -> [f32; 3] {
    let luma = 0.299 * r + 0.587 * g + 0.114 * b;
    [16.0 + 219.0 * luma, 128.0 + 224.0 * (b - luma) / 1.772, 128.0 + 224.0 * (r - luma) / 1.402]
}

pub(super) fn to_byte(value: f32) -> u8 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=255 by the clamp")]
    let byte = (value + 0.5).clamp(0.0, 255.0) as u8;
    byte
}

impl Sprite {
    /// From a picture with alpha (`Rgbx32`), scaled so that the whole person is `person_px` tall. `shown` as the field.
    /// `light` is how bright the person's left and right sides are, 1 as photographed.
    pub(super) fn new(picture: &OwnedPicture, shown: f64, person_px: f64, light: [f32; 2]) -> Self {
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
        let scaled = |length: usize| (length as f64 * person_px * shown / height as f64).round().max(2.0) as usize;
        let part = [0.0, 0.0, width as f32, height as f32];
        let mut large = whole.resample(part, scaled(width), scaled(height));
        // The kernel overshoots at edges: colour stays within what its alpha allows.
        for pixel in large.values.chunks_exact_mut(4) {
            let alpha = pixel[3].clamp(0.0, 255.0);
            let share = alpha / 255.0;
            pixel[0] = pixel[0].clamp(16.0 * share, 235.0 * share);
            pixel[1] = pixel[1].clamp(16.0 * share, 240.0 * share);
            pixel[2] = pixel[2].clamp(16.0 * share, 240.0 * share);
            pixel[3] = alpha;
        }
        let half = large.halved();
        let shade = shade_of(&half);
        Self { luma: Layer::new(&large, [0, 3]), chroma: Layer::new(&half, [1, 2, 3]), shade, shown }
    }
}

/// The alpha of `half` at an eighth of its size with a wide border, blurred: what the light of a large window leaves of
/// an outline on a wall some way behind.
fn shade_of(half: &Raster) -> Layer<1> {
    let eighth = half.halved().halved().halved();
    let margin = Sprite::SHADE_MARGIN;
    let (width, height) = (eighth.width + 2 * margin, eighth.height + 2 * margin);
    let mut values = vec![0.0; width * height];
    for (y, row) in eighth.values.chunks_exact(eighth.width * 4).enumerate() {
        for (x, pixel) in row.chunks_exact(4).enumerate() {
            values[(y + margin) * width + x + margin] = pixel[3];
        }
    }
    // Three passes of a box, both ways, are nearly a Gaussian.
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
    /// Pixels of [`Sprite::shade`] around the outline.
    pub(super) const SHADE_MARGIN: usize = 8;

    /// Pixels of [`Sprite::luma`] to one of [`Sprite::shade`].
    pub(super) const SHADE_STEP: usize = 16;
}

impl<const N: usize> Layer<N> {
    /// The components of `raster` that `components` name.
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

    /// Calls `put` with each column of plane row `y` below `columns` that the layer touches, and the layer's value
    /// there, sampled bilinearly. Outside of the layer everything is 0.
    #[inline]
    pub(super) fn sample_row(&self, mapping: Mapping, y: usize, columns: usize, mut put: impl FnMut(usize, [u8; N])) {
        // Places in the layer with its border, in 1/65536 of its pixels: of the middle of row `y`, of the middle of
        // column 0, and how far one column goes.
        let row = fixed((y as f64 + 0.5 - mapping.y) / mapping.scale + 0.5);
        let start = fixed((0.5 - mapping.x) / mapping.scale + 0.5);
        let step = fixed(1.0 / mapping.scale).max(1);
        let Some(above) = usize::try_from(row >> 16).ok().filter(|above| *above <= self.height) else {
            return;
        };
        let stride = self.width + 2;
        let (top, bottom) = self.values[above * stride..][..2 * stride].split_at(stride);
        let down = eighth_bits(row);
        // The columns whose places are from 0 to just under `width + 1`, so that each has a right neighbour.
        let end = i64::try_from(self.width + 1).unwrap_or(0) * ONE;
        let first = usize::try_from((step - 1 - start).div_euclid(step)).unwrap_or(0);
        let last = usize::try_from((end - start + step - 1).div_euclid(step)).unwrap_or(0).min(columns);
        let mut place = start + step * i64::try_from(first).unwrap_or(0);
        for column in first..last {
            let left = usize::try_from(place >> 16).unwrap_or(0);
            let across = eighth_bits(place);
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
            place += step;
        }
    }
}

/// The upper 8 bits of the part of a place after the point.
fn eighth_bits(place: i64) -> u32 {
    u32::try_from((place & 0xffff) >> 8).unwrap_or(0)
}

const ONE: i64 = 1 << 16;

fn fixed(value: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and places are some thousands")]
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
    fn a_layer_lies_where_it_is_mapped() {
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
    fn colour_stays_within_its_alpha() {
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
