//! The loops of blending, one row each. The arithmetic is on integers: an alpha of 255 gives
//! exactly the foreground, and 0 exactly the background.

use crate::cast;
use crate::simd::Usable;

/// `(foreground * alpha + background * (255 - alpha)) / 255`, rounded to nearest.
#[inline]
fn mix(foreground: u8, background: u8, alpha: u8) -> u8 {
    let alpha = u16::from(alpha);
    // The sum is at most 255 * 255 + 128 + 254, which fits 16 bits.
    let sum = u16::from(foreground) * alpha + u16::from(background) * (255 - alpha) + 128;
    ((sum + (sum >> 8)) >> 8).to_le_bytes()[0]
}

crate::simd::versions! {
    /// Mixes two rows that have one sample for each value of `alpha`.
    pub(crate) fn blend(foreground: &[u8], background: &[u8], alpha: &[u8], out: &mut [u8]) {
        let count = out.len();
        let (foreground, background, alpha) = (&foreground[..count], &background[..count], &alpha[..count]);
        for i in 0..count {
            out[i] = mix(foreground[i], background[i], alpha[i]);
        }
    } rvv => super::rvv::blend
}

/// Repeats every value of `alpha` `N` times, for rows that have `N` samples per pixel.
pub(crate) fn repeat<const N: usize>(alpha: &[u8], out: &mut [u8]) {
    for (out, &alpha) in out.as_chunks_mut::<N>().0.iter_mut().zip(alpha) {
        *out = [alpha; N];
    }
}

crate::simd::versions! {
    /// The alpha of chroma samples from the alpha of the pixels that share them: the mean of each
    /// block, twice (Cb and Cr). At the bottom of a picture of odd height, `lower` is the same row
    /// as `upper`.
    pub(crate) fn chroma_alpha(upper: &[u8], lower: &[u8], out: &mut [u8]) {
        let count = upper.len() / 2;
        let (upper_pairs, lower_pairs) = (&upper.as_chunks::<2>().0[..count], &lower.as_chunks::<2>().0[..count]);
        let pairs = &mut out.as_chunks_mut::<2>().0[..count];
        for i in 0..count {
            pairs[i] = mean(upper_pairs[i], lower_pairs[i]);
        }
        last_alpha(upper, lower, out);
    } rvv => super::rvv::chroma_alpha
}

/// The alpha of the last chroma sample of a row with an odd number of pixels.
pub(super) fn last_alpha(upper: &[u8], lower: &[u8], out: &mut [u8]) {
    if let (&[.., a], &[.., b], [.., first, second]) = (upper, lower, out)
        && upper.len() % 2 == 1
    {
        [*first, *second] = mean([a; 2], [b; 2]);
    }
}

/// The mean of four values, twice. Pairs are added as 16-bit numbers, which stay in their lanes.
#[inline(always)]
fn mean(upper: [u8; 2], lower: [u8; 2]) -> [u8; 2] {
    let [upper, lower] = [upper, lower].map(u16::from_le_bytes);
    let sum = (upper & 255) + (upper >> 8) + (lower & 255) + (lower >> 8);
    let mean = (sum + 2) >> 2;
    (mean | mean << 8).to_le_bytes()
}

/// The smoothstep from one value to a larger one, `t * t * (3 - 2t)`, where `t` is the position of
/// a value between the two. Values at or below the lower one become 0, and values at or above the
/// higher one become 255. The 16-bit arithmetic is within one of the exact value.
#[derive(Clone, Debug)]
pub(crate) struct Ramp {
    low: u8,
    high: u8,
    /// The result of every value.
    table: [u8; 256],
}

/// Whether any value is not 0.
pub(crate) fn any(values: &[u8]) -> bool {
    values.iter().fold(0, |all, value| all | value) != 0
}

/// Whether a lookup per value takes fewer instructions than the arithmetic.
const LOOKUP: bool = !cfg!(target_arch = "x86_64");

impl Ramp {
    /// The smoothstep between two values, of which the second is larger.
    pub(crate) fn new((low, high): (u8, u8)) -> Self {
        let mut table = std::array::from_fn(|value| value.to_le_bytes()[0]);
        if LOOKUP {
            shape(Usable::chosen(), &mut table, low, high);
        }
        Self { low, high, table }
    }

    /// Whether this is the smoothstep between these values.
    pub(crate) const fn is(&self, (low, high): (u8, u8)) -> bool {
        self.low == low && self.high == high
    }

    /// Applies the smoothstep in place. Returns whether any result is not 0.
    pub(crate) fn shape(&self, isa: Usable, values: &mut [u8]) -> bool {
        #[cfg(target_arch = "riscv64")]
        if super::rvv::available(isa) {
            return super::rvv::shape(isa, values, self.low, self.high);
        }
        #[cfg(target_arch = "aarch64")]
        let rest = super::neon::look_up(isa, &self.table, values);
        #[cfg(not(target_arch = "aarch64"))]
        let rest = &mut *values;
        if LOOKUP {
            for value in rest {
                *value = self.table[usize::from(*value)];
            }
        } else {
            shape(isa, rest, self.low, self.high);
        }
        any(values)
    }
}

/// The position 1 between two values.
const ONE: i16 = 255 * 128;

/// The position of one value in `span`, and the remainder of this division in units of 1/128, which
/// is distributed over the span.
pub(super) fn slope(span: i16) -> (i16, i16) {
    (ONE / span, cast::narrow(i32::from(ONE % span) * 128 / i32::from(span)))
}

crate::simd::versions! {
    /// The arithmetic of [`Ramp`], in place.
    fn shape(values: &mut [u8], low: u8, high: u8) {
        let (low, span) = (i16::from(low), i16::from(high) - i16::from(low));
        let (gain, over) = slope(span);
        for value in values {
            let above = (i16::from(*value) - low).clamp(0, span);
            let t = above * gain + ((above * over) >> 7);
            let squared = cast::high(i32::from(t) * i32::from(t));
            let rest = ONE / 4 * 3 - (t >> 1);
            // The value one is 2024 here; it is scaled to 255.
            let product = cast::high(i32::from(squared) * i32::from(rest)) + 4;
            *value = cast::clamped_i16(cast::high(i32::from(product) * 8257));
        }
    }
}
