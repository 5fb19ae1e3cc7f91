//! The loops of blending, one row each. The arithmetic is on integers: an alpha of 255 gives
//! exactly the foreground, and 0 exactly the background.

use crate::cast;

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
    }
}

/// Repeats every value of `alpha` `N` times, for rows that have `N` samples per pixel.
pub(crate) fn repeat<const N: usize>(alpha: &[u8], out: &mut [u8]) {
    for (out, &alpha) in out.as_chunks_mut::<N>().0.iter_mut().zip(alpha) {
        *out = [alpha; N];
    }
}

/// The alpha of chroma samples from the alpha of the pixels that share them: the mean of each
/// block, twice (Cb and Cr). At the bottom of a picture of odd height, `lower` is the same row as
/// `upper`.
pub(crate) fn chroma_alpha(upper: &[u8], lower: &[u8], out: &mut [u8]) {
    let mean = |a: u8, b: u8, c: u8, d: u8| {
        ((u16::from(a) + u16::from(b) + u16::from(c) + u16::from(d) + 2) >> 2).to_le_bytes()[0]
    };
    let blocks = upper.as_chunks::<2>().0.iter().zip(lower.as_chunks::<2>().0);
    for (out, (a, b)) in out.as_chunks_mut::<2>().0.iter_mut().zip(blocks) {
        *out = [mean(a[0], a[1], b[0], b[1]); 2];
    }
    if upper.len() % 2 == 1 {
        let (a, b) = (upper[upper.len() - 1], lower[lower.len() - 1]);
        if let [.., first, second] = out {
            (*first, *second) = (mean(a, a, b, b), mean(a, a, b, b));
        }
    }
}

crate::simd::versions! {
    /// Applies the smoothstep from `low` to `high` (`low < high`) in place: `t * t * (3 - 2t)`,
    /// where `t` is the position of a value between the two. Values at or below `low` become 0, and
    /// values at or above `high` become 255. The 16-bit arithmetic is within one of the exact
    /// value.
    pub(crate) fn shape(values: &mut [u8], low: u8, high: u8) {
        let (low, span) = (i16::from(low), i16::from(high) - i16::from(low));
        // `t` is in 0..=ONE. The remainder of the division by the span is distributed over the span
        // in units of 1/128.
        const ONE: i16 = 255 * 128;
        let (gain, over) = (ONE / span, cast::narrow(i32::from(ONE % span) * 128 / i32::from(span)));
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
