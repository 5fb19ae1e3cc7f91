//! The loss of JPEG: blocks of 8x8 pixels are transformed, and their coefficients are rounded to
//! multiples of the steps that the quality gives. What JPEG does beyond that is lossless.
//!
//! Source: ITU-T T.81, A.3 (transform) and annex K (steps); the scale of the steps by quality is that
//! of the Independent JPEG Group's library.

/// The side of a block, in pixels.
const SIDE: usize = 8;
const AREA: usize = SIDE * SIDE;

/// The steps of luma at quality 50, row by row (table K.1).
#[rustfmt::skip]
const LUMA: [u16; AREA] = [
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
];

/// The steps of chroma at quality 50 (table K.2).
#[rustfmt::skip]
const CHROMA: [u16; AREA] = [
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
];

/// JPEG files have levels of 0 to 255. Frames have luma of 16 to 235 and chroma of 16 to 240.
const LUMA_RANGE: f32 = 255.0 / 219.0;
const CHROMA_RANGE: f32 = 255.0 / 224.0;

type Block = [f32; AREA];

/// Loses what a JPEG file of one quality loses.
#[derive(Debug)]
pub(super) struct Quantizer {
    /// The steps, in levels of the frame.
    luma: Block,
    chroma: Block,
    /// The transform: row `u` has the values of the cosine of frequency `u`.
    cosines: Block,
}

impl Quantizer {
    /// For files of `quality`, 1 (worst) to 100.
    pub(super) fn new(quality: u8) -> Self {
        let quality = f32::from(quality.clamp(1, 100));
        let percent = if quality < 50.0 { (5000.0 / quality).floor() } else { 200.0 - 2.0 * quality };
        let step =
            |base: u16, range: f32| ((f32::from(base) * percent + 50.0) / 100.0).floor().clamp(1.0, 255.0) / range;
        let cosines = std::array::from_fn(|index| {
            let (u, x) = ((index / SIDE) as f32, (index % SIDE) as f32);
            let scale = if u == 0.0 { std::f32::consts::FRAC_1_SQRT_2 } else { 1.0 };
            0.5 * scale * ((2.0 * x + 1.0) * u * std::f32::consts::PI / 16.0).cos()
        });
        Self {
            luma: LUMA.map(|base| step(base, LUMA_RANGE)),
            chroma: CHROMA.map(|base| step(base, CHROMA_RANGE)),
            cosines,
        }
    }

    /// Changes a luma plane that is `width` pixels wide.
    pub(super) fn apply_to_luma(&self, plane: &mut [u8], width: usize) {
        self.apply::<1>(plane, width, 0, &self.luma);
    }

    /// Changes a plane of Cb and Cr in turn that is `width` pixels wide.
    pub(super) fn apply_to_chroma(&self, plane: &mut [u8], width: usize) {
        self.apply::<2>(plane, width, 0, &self.chroma);
        self.apply::<2>(plane, width, 1, &self.chroma);
    }

    /// Changes one of `N` interleaved components. Blocks at the right and lower border are filled up
    /// with the last pixel.
    fn apply<const N: usize>(&self, plane: &mut [u8], width: usize, component: usize, steps: &Block) {
        let stride = width * N;
        let height = plane.len() / stride;
        for top in (0..height).step_by(SIDE) {
            for left in (0..width).step_by(SIDE) {
                let mut block: Block = std::array::from_fn(|index| {
                    let (x, y) = ((left + index % SIDE).min(width - 1), (top + index / SIDE).min(height - 1));
                    f32::from(plane[y * stride + x * N + component]) - 128.0
                });
                self.quantize(&mut block, steps);
                for y in top..height.min(top + SIDE) {
                    for x in left..width.min(left + SIDE) {
                        let value = block[(y - top) * SIDE + x - left] + 128.0;
                        plane[y * stride + x * N + component] = super::sprite::to_byte(value);
                    }
                }
            }
        }
    }

    fn quantize(&self, block: &mut Block, steps: &Block) {
        let mut half = [0.0; AREA];
        // Rows, then columns; each product leaves its result transposed.
        product(&self.cosines, block, &mut half);
        product(&self.cosines, &half, block);
        for (coefficient, step) in block.iter_mut().zip(steps) {
            *coefficient = (*coefficient / step).round() * step;
        }
        let back: Block = std::array::from_fn(|index| self.cosines[index % SIDE * SIDE + index / SIDE]);
        product(&back, block, &mut half);
        product(&back, &half, block);
    }
}

/// Multiplies each row of `block` by `matrix`, and transposes the result.
fn product(matrix: &Block, block: &Block, out: &mut Block) {
    for (y, row) in block.chunks_exact(SIDE).enumerate() {
        for (u, factors) in matrix.chunks_exact(SIDE).enumerate() {
            out[u * SIDE + y] = row.iter().zip(factors).map(|(value, factor)| value * factor).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy(count: usize) -> Vec<u8> {
        (0..count as u32).map(|index| 40 + ((index.wrapping_mul(2_654_435_761) >> 24) % 160) as u8).collect()
    }

    fn error(quality: u8, plane: &[u8], width: usize) -> f64 {
        let mut lossy = plane.to_vec();
        Quantizer::new(quality).apply_to_luma(&mut lossy, width);
        let sum: f64 = plane.iter().zip(&lossy).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
        (sum / plane.len() as f64).sqrt()
    }

    #[test]
    fn the_best_quality_loses_less_than_a_level_and_worse_ones_more() {
        let plane = noisy(30 * 21);
        let errors = [100, 90, 50, 10, 1].map(|quality| error(quality, &plane, 30));
        assert!(errors[0] < 0.7, "{errors:?}");
        assert!(errors.is_sorted() && errors[3] > 10.0, "{errors:?}");
    }

    #[test]
    fn an_even_area_stays_even() {
        let mut plane = vec![100; 20 * 12];
        Quantizer::new(10).apply_to_luma(&mut plane, 20);
        assert!(plane.iter().all(|value| *value == plane[0] && value.abs_diff(100) <= 9), "{plane:?}");
        let mut chroma: Vec<u8> = [90, 200].repeat(10 * 6);
        Quantizer::new(90).apply_to_chroma(&mut chroma, 10);
        assert!(chroma.chunks(2).all(|pair| pair[0].abs_diff(90) <= 2 && pair[1].abs_diff(200) <= 2), "{chroma:?}");
    }

    #[test]
    fn an_edge_gets_ripples_within_its_block_alone() {
        let mut plane: Vec<u8> = (0..16 * 8).map(|index| if index % 16 < 3 { 40 } else { 200 }).collect();
        Quantizer::new(10).apply_to_luma(&mut plane, 16);
        assert!(plane[..8].iter().any(|value| !(35..=45).contains(value) && value.abs_diff(200) > 4), "{plane:?}");
        assert!(plane[8..16].iter().all(|value| *value == plane[8]), "{plane:?}");
    }
}
