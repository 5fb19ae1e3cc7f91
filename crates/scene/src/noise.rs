//! The noise of a sensor: different in every frame, stronger in dark areas, and equal for the same
//! seed and frame.
//!
//! Photon noise grows with the square root of the light. Read-out noise is constant. The camera's
//! gamma curve then amplifies both in dark areas. One table of Gaussian numbers is computed once,
//! and each row of each frame reads it from another position.

use super::options::SceneOptions;

/// The length of the table. It is much longer than a row, so that two rows rarely share many
/// numbers.
const TABLE_LENGTH: usize = 1 << 16;

/// The longest row of a scene. As many numbers are repeated at the end of the table, so that each
/// row is one slice of it.
const LONGEST_ROW: usize = SceneOptions::SIZES.1.width as usize;

/// The standard deviation of the numbers in the table. Values up to 3.9 standard deviations fit in
/// a byte.
const TABLE_SIGMA: f32 = 32.0;

/// The noise of one scene.
#[derive(Debug)]
pub(super) struct Noise {
    table: Vec<i8>,
    /// The standard deviation for each luma value, in 1/128 of an 8-bit step.
    luma_gain: [i16; 256],
    chroma_gain: i16,
    seed: u64,
}

/// A hash of three values: the finaliser of SplitMix64 after a linear combination.
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
    /// Noise with a standard deviation of `sigma` 8-bit steps at middle grey; `None` if `sigma` is
    /// 0.
    pub(super) fn new(sigma: f32, seed: u64) -> Option<Self> {
        if sigma <= 0.0 {
            return None;
        }
        let unit = |value: u64| (value >> 40) as f32 / 16_777_216.0;
        let table = (0..TABLE_LENGTH + LONGEST_ROW)
            .map(|at| {
                // The Box-Muller transform.
                let at = (at % TABLE_LENGTH) as u64;
                let (u, v) = (unit(mix(seed, at, 1)), unit(mix(seed, at, 2)));
                let gauss = (-2.0 * (1.0 - u).ln()).sqrt() * (std::f32::consts::TAU * v).cos();
                #[expect(clippy::cast_possible_truncation, reason = "within -127..=127 by the clamp")]
                let number = (gauss * TABLE_SIGMA).round().clamp(-127.0, 127.0) as i8;
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
            // Cameras smooth the darkest areas, so their noise is limited to twice that of middle
            // grey.
            let strength = (relative(luma) / middle).min(2.0);
            #[expect(clippy::cast_possible_truncation, reason = "at most 2 x 20 x 128")]
            let gain = (sigma * strength * 128.0).round() as i16;
            gain
        };
        let luma_gain = std::array::from_fn(|luma| gain(luma as f32));
        Some(Self { table, luma_gain, chroma_gain: gain(126.0) / 2, seed })
    }

    /// The numbers of a row, and the sign (1 or -1) by which they are multiplied.
    fn numbers(&self, frame: u64, row: u64) -> (&[i8], i32) {
        let hash = mix(self.seed, frame, row);
        let start = usize::try_from(hash % TABLE_LENGTH as u64).unwrap_or(0);
        (&self.table[start..], if hash >> 63 == 0 { 1 } else { -1 })
    }

    /// Adds noise to row `row` of the luma plane of frame `frame`.
    pub(super) fn add_to_luma(&self, frame: u64, row: usize, bytes: &mut [u8]) {
        let (numbers, sign) = self.numbers(frame, row as u64);
        for (byte, number) in bytes.iter_mut().zip(numbers) {
            let gain = i32::from(self.luma_gain[usize::from(*byte)]) * sign;
            *byte = shifted(*byte, i32::from(*number) * gain);
        }
    }

    /// Adds noise to row `row` of the chroma plane of frame `frame`.
    pub(super) fn add_to_chroma(&self, frame: u64, row: usize, bytes: &mut [u8]) {
        let (numbers, sign) = self.numbers(frame, row as u64 | 1 << 32);
        let gain = i32::from(self.chroma_gain) * sign;
        for (byte, number) in bytes.iter_mut().zip(numbers) {
            *byte = shifted(*byte, i32::from(*number) * gain);
        }
    }
}

/// `byte` plus `change` / 4096 (32 x 128), rounded and limited to the video levels 1..=254.
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
    fn the_noise_has_the_requested_strength_and_no_bias() {
        let (mean, sigma) = deviation(126, 3);
        assert!((mean - 126.0).abs() < 0.05 && (sigma - 2.0).abs() < 0.1, "mean {mean}, sigma {sigma}");
        let (_, dark) = deviation(30, 3);
        let (_, bright) = deviation(230, 3);
        assert!(dark > sigma * 1.1 && bright < sigma * 1.05, "dark {dark}, bright {bright}");
    }

    #[test]
    fn the_noise_is_equal_only_for_the_same_seed_frame_and_row() {
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
