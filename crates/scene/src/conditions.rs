//! What light, lens and link do to a frame: blur, little light, a camera without colour, and a
//! lossy link. The truth of the frame stays as it is.
//!
//! The order is that of a camera: the lens blurs, the light is attenuated, the sensor adds its
//! noise, the colour is removed, and JPEG quantises the result.

use super::noise::Noise;
use super::options::SceneOptions;
use super::quantize::Quantizer;
use portraitd_media::Size;

/// The level of a chroma component without colour.
const GREY: u8 = 128;

/// The conditions of one scene.
#[derive(Debug)]
pub(super) struct Conditions {
    /// The luma and the chroma of each level under the light that is left.
    light: Option<([u8; 256], [u8; 256])>,
    /// The radius of the blur, in pixels.
    blur: usize,
    grey: bool,
    jpeg: Option<Quantizer>,
}

impl Conditions {
    /// The conditions in `options`; `None` if there are none.
    pub(super) fn new(options: &SceneOptions) -> Option<Self> {
        let light = (options.dark < 1.0).then(|| (levels(16.0, options.dark), levels(f32::from(GREY), options.dark)));
        let jpeg = options.jpeg.map(Quantizer::new);
        let is_any = light.is_some() || options.blur > 0 || options.grey || jpeg.is_some();
        is_any.then_some(Self { light, blur: options.blur.into(), grey: options.grey, jpeg })
    }

    /// Changes frame `sequence`, which has `size` pixels and no noise yet: its `luma` plane, and its
    /// `chroma` plane of half the size, Cb and Cr in turn. `scratch` is memory to work in.
    pub(super) fn apply(
        &self,
        (sequence, size): (u64, Size),
        luma: &mut [u8],
        chroma: &mut [u8],
        noise: Option<&Noise>,
        scratch: &mut Vec<u8>,
    ) {
        let width = size.width as usize;
        if self.blur > 0 {
            // Twice the mean of a box is close to the disc of a lens that is out of focus.
            for _ in 0..2 {
                box_mean::<1>(luma, width, self.blur, scratch);
                box_mean::<2>(chroma, width / 2, self.blur.div_ceil(2), scratch);
            }
        }
        if let Some((luma_levels, chroma_levels)) = &self.light {
            luma.iter_mut().for_each(|byte| *byte = luma_levels[usize::from(*byte)]);
            chroma.iter_mut().for_each(|byte| *byte = chroma_levels[usize::from(*byte)]);
        }
        if let Some(noise) = noise {
            luma.chunks_exact_mut(width).enumerate().for_each(|(y, row)| noise.add_to_luma(sequence, y, row));
            chroma.chunks_exact_mut(width).enumerate().for_each(|(y, row)| noise.add_to_chroma(sequence, y, row));
        }
        if self.grey {
            chroma.fill(GREY);
        }
        if let Some(jpeg) = &self.jpeg {
            jpeg.apply_to_luma(luma, width);
            jpeg.apply_to_chroma(chroma, width / 2);
        }
    }
}

/// Each level, with its distance from `black` multiplied by `gain`.
fn levels(black: f32, gain: f32) -> [u8; 256] {
    std::array::from_fn(|level| super::sprite::to_byte(black + (level as f32 - black) * gain))
}

/// Replaces each value of a plane of `N` interleaved components, `width` pixels wide, by the mean of
/// the box that reaches `radius` pixels to each side. The border is repeated outside the plane.
fn box_mean<const N: usize>(plane: &mut [u8], width: usize, radius: usize, scratch: &mut Vec<u8>) {
    let stride = width * N;
    let height = plane.len() / stride;
    scratch.clear();
    scratch.extend_from_slice(plane);
    for (from, to) in scratch.chunks_exact(stride).zip(plane.chunks_exact_mut(stride)) {
        for component in 0..N {
            let at = |x: usize| from[x * N + component];
            running_mean(width, radius, at, |x, mean| to[x * N + component] = mean);
        }
    }
    scratch.clear();
    scratch.extend_from_slice(plane);
    for column in 0..stride {
        let at = |y: usize| scratch[y * stride + column];
        running_mean(height, radius, at, |y, mean| plane[y * stride + column] = mean);
    }
}

/// Calls `put` for each of `count` places with the mean of the `2 * radius + 1` values around it.
/// Outside, the first and the last value are repeated.
fn running_mean(count: usize, radius: usize, at: impl Fn(usize) -> u8, mut put: impl FnMut(usize, u8)) {
    let value = |place: usize| u32::from(at(place.saturating_sub(radius).min(count - 1)));
    // Places are counted from `radius` before the first one.
    let length = 2 * radius + 1;
    let mut sum: u32 = (0..length).map(value).sum();
    let divisor = u32::try_from(length).unwrap_or(u32::MAX);
    for place in 0..count {
        put(place, u8::try_from((sum + divisor / 2) / divisor).unwrap_or(u8::MAX));
        sum = sum + value(place + length) - value(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean around each pixel, term by term.
    fn plain(plane: &[u8], width: usize, radius: usize, along: bool) -> Vec<u8> {
        let height = plane.len() / width;
        let reach = -(radius as i64)..=radius as i64;
        let at = |x: i64, y: i64| {
            let x = x.clamp(0, width as i64 - 1) as usize;
            u32::from(plane[y.clamp(0, height as i64 - 1) as usize * width + x])
        };
        (0..plane.len() as i64)
            .map(|index| {
                let (x, y) = (index % width as i64, index / width as i64);
                let sum: u32 = reach.clone().map(|d| if along { at(x + d, y) } else { at(x, y + d) }).sum();
                ((sum + radius as u32) / (2 * radius as u32 + 1)) as u8
            })
            .collect()
    }

    #[test]
    fn a_box_mean_is_the_mean_of_its_values() {
        let plane: Vec<u8> = (0..7 * 9_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for radius in [1, 2, 5, 20] {
            let mut mean = plane.clone();
            box_mean::<1>(&mut mean, 9, radius, &mut Vec::new());
            assert_eq!(mean, plain(&plain(&plane, 9, radius, true), 9, radius, false), "radius {radius}");
            let mut both: Vec<u8> = plane.iter().flat_map(|value| [*value, 255 - *value]).collect();
            box_mean::<2>(&mut both, 9, radius, &mut Vec::new());
            assert_eq!(both.iter().step_by(2).copied().collect::<Vec<_>>(), mean, "radius {radius}");
        }
    }

    #[test]
    fn less_light_moves_every_level_towards_black_and_grey() {
        let (luma, chroma) = (levels(16.0, 0.25), levels(128.0, 0.25));
        assert_eq!((luma[16], luma[136], luma[236]), (16, 46, 71));
        assert_eq!((chroma[128], chroma[168], chroma[88]), (128, 138, 118));
        assert!(luma.is_sorted() && chroma.is_sorted());
    }
}
