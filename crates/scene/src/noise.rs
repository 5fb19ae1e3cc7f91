//! A sensor's noise: new in every frame, stronger in the shadows, and the same for the same seed and frame.
//!
//! Photon noise grows with the square root of the light; read-out noise is constant; a camera's gamma curve then spreads
//! the shadows. One tile of Gaussian numbers is made once; each row of each frame reads it from a place of its own.

use super::options::SceneOptions;

/// Numbers in the tile. Longer than the longest row by far, so that rows rarely share many.
const TILE: usize = 1 << 16;

/// The longest row of a scene, and so what is repeated at the end of the tile: a row is one slice of it.
const LONGEST_ROW: usize = SceneOptions::SIZES.1.width as usize;

/// Standard deviation of the tile's numbers: 32 stands for 1, so that the largest (3.9 of them) still fits in a byte.
const TILE_SIGMA: f32 = 32.0;

/// The noise of one stream.
#[derive(Debug)]
pub(super) struct Noise {
    tile: Vec<i8>,
    /// Strength by clean luma: standard deviation in 1/128 of an 8-bit step.
    luma_gain: [i16; 256],
    chroma_gain: i16,
    seed: u64,
}

/// A well-mixed value from three (the finaliser of SplitMix64 after a linear combination).
fn mix(seed: u64, frame: u64, row: u64) -> u64 {
    let mut z = seed
        .wrapping_mul(0xd134_2543_de82_ef95)
        .wrapping_add(frame.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(row.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Noise {
    /// Noise whose standard deviation at middle grey is `sigma` 8-bit steps; `None` for 0.
    pub(super) fn new(sigma: f32, seed: u64) -> Option<Self> {
        if sigma <= 0.0 {
            return None;
        }
        let unit = |value: u64| (value >> 40) as f32 / 16_777_216.0;
        let tile = (0..TILE + LONGEST_ROW)
            .map(|at| {
                // Box and Muller.
                let at = (at % TILE) as u64;
                let (u, v) = (unit(mix(seed, at, 1)), unit(mix(seed, at, 2)));
                let gauss = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f32::consts::TAU * v).cos();
                #[expect(clippy::cast_possible_truncation, reason = "within -127..=127 by the clamp")]
                let number = (gauss * TILE_SIGMA).round().clamp(-127.0, 127.0) as i8;
                number
            })
            .collect();
        let relative = |luma: f32| {
            let level = ((luma - 16.0) / 219.0).clamp(0.004, 1.0);
            let light = level.powf(2.2);
            (light + 0.02).sqrt() * light.powf(1.0 / 2.2 - 1.0)
        };
        let middle = relative(126.0);
        let gain = |luma: f32| {
            // Cameras smooth the deepest shadows: at most twice the middle's noise.
            let strength = (relative(luma) / middle).min(2.0);
            #[expect(clippy::cast_possible_truncation, reason = "at most 2 x 20 x 128")]
            let gain = (sigma * strength * 128.0).round() as i16;
            gain
        };
        let luma_gain = std::array::from_fn(|luma| gain(luma as f32));
        Some(Self { tile, luma_gain, chroma_gain: gain(126.0) / 2, seed })
    }

    /// The numbers of a row, and 1 or -1 to multiply them by.
    fn numbers(&self, frame: u64, row: u64) -> (&[i8], i32) {
        let place = mix(self.seed, frame, row);
        let start = usize::try_from(place % TILE as u64).unwrap_or(0);
        (&self.tile[start..], if place >> 63 == 0 { 1 } else { -1 })
    }

    /// Adds noise to row `row` of the luma of frame `frame`.
    pub(super) fn add_to_luma(&self, frame: u64, row: usize, bytes: &mut [u8]) {
        let (numbers, sign) = self.numbers(frame, row as u64);
        for (byte, number) in bytes.iter_mut().zip(numbers) {
            let gain = i32::from(self.luma_gain[usize::from(*byte)]) * sign;
            *byte = shifted(*byte, i32::from(*number) * gain);
        }
    }

    /// Adds noise to row `row` of the chroma of frame `frame`.
    pub(super) fn add_to_chroma(&self, frame: u64, row: usize, bytes: &mut [u8]) {
        let (numbers, sign) = self.numbers(frame, row as u64 | 1 << 32);
        let gain = i32::from(self.chroma_gain) * sign;
        for (byte, number) in bytes.iter_mut().zip(numbers) {
            *byte = shifted(*byte, i32::from(*number) * gain);
        }
    }
}

/// `byte` with a change in 1/4096 (32 x 128), rounded, within 1..=254 as video levels are.
fn shifted(byte: u8, change: i32) -> u8 {
    let level = (i32::from(byte) + ((change + 2048) >> 12)).clamp(1, 254);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1..=254 by the clamp")]
    let byte = level as u8;
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deviation(luma: u8, frame: u64) -> (f64, f64) {
        let noise = Noise::new(2.0, 9).expect("noise");
        let mut values = Vec::new();
        for row in 0..60 {
            let mut bytes = [luma; 1280];
            noise.add_to_luma(frame, row, &mut bytes);
            values.extend(bytes.map(f64::from));
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        (mean, variance.sqrt())
    }

    #[test]
    fn it_has_the_strength_asked_for_and_no_bias() {
        let (mean, sigma) = deviation(126, 3);
        assert!((mean - 126.0).abs() < 0.05 && (sigma - 2.0).abs() < 0.1, "mean {mean}, sigma {sigma}");
        let (_, dark) = deviation(30, 3);
        let (_, bright) = deviation(230, 3);
        assert!(dark > sigma * 1.1 && bright < sigma * 1.05, "dark {dark}, bright {bright}");
    }

    #[test]
    fn it_is_the_same_for_the_same_frame_only() {
        let noise = Noise::new(2.0, 9).expect("noise");
        let row = |noise: &Noise, frame, row| {
            let mut bytes = [126; 640];
            noise.add_to_luma(frame, row, &mut bytes);
            bytes
        };
        assert_eq!(row(&noise, 5, 7), row(&noise, 5, 7));
        assert_ne!(row(&noise, 5, 7), row(&noise, 6, 7));
        assert_ne!(row(&noise, 5, 7), row(&noise, 5, 8));
        assert_ne!(row(&noise, 5, 7), row(&Noise::new(2.0, 10).expect("noise"), 5, 7));
        assert!(Noise::new(0.0, 1).is_none());
    }
}
