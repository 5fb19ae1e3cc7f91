//! The loops of blending, a row each. Integer arithmetic: 255 gives exactly the foreground, 0 exactly the background.

use crate::cast;

/// `(foreground * alpha + background * (255 - alpha)) / 255`, rounded to nearest.
#[inline]
fn mix(foreground: u8, background: u8, alpha: u8) -> u8 {
    let alpha = u16::from(alpha);
    // At most 255 * 255 + 128 + 254, which 16 bits hold.
    let sum = u16::from(foreground) * alpha + u16::from(background) * (255 - alpha) + 128;
    ((sum + (sum >> 8)) >> 8).to_le_bytes()[0]
}

crate::simd::versions! {
    /// Mixes rows that have one sample to a value of `alpha`.
    pub(crate) fn blend(foreground: &[u8], background: &[u8], alpha: &[u8], out: &mut [u8]) {
        let count = out.len();
        let (foreground, background, alpha) = (&foreground[..count], &background[..count], &alpha[..count]);
        for i in 0..count {
            out[i] = mix(foreground[i], background[i], alpha[i]);
        }
    }
}

/// Every value of `alpha` `N` times, for rows that have `N` samples to a pixel.
pub(crate) fn repeat<const N: usize>(alpha: &[u8], out: &mut [u8]) {
    for (out, &alpha) in out.as_chunks_mut::<N>().0.iter_mut().zip(alpha) {
        *out = [alpha; N];
    }
}

/// The alpha of chroma samples from that of the pixels they share: the mean of each block, twice (Cb and Cr). `lower` is
/// the same row as `upper` at the bottom of a picture of odd height.
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
    /// Smoothstep from `low` to `high` (`low < high`), in place: `t * t * (3 - 2t)` of where a value lies between the two. In 16-bit
    /// steps, within one of the exact value; at or below `low` it is 0, at or above `high` 255.
    pub(crate) fn shape(values: &mut [u8], low: u8, high: u8) {
        let (low, span) = (i16::from(low), i16::from(high) - i16::from(low));
        // `t` is in 0..=ONE. What dividing by the span leaves over is handed out along it, in parts of 128.
        const ONE: i16 = 255 * 128;
        let (gain, over) = (ONE / span, cast::narrow(i32::from(ONE % span) * 128 / i32::from(span)));
        for value in values {
            let above = (i16::from(*value) - low).clamp(0, span);
            let t = above * gain + ((above * over) >> 7);
            let squared = cast::high(i32::from(t) * i32::from(t));
            let rest = ONE / 4 * 3 - (t >> 1);
            // One is 2024 here, and the result is brought to 255.
            let product = cast::high(i32::from(squared) * i32::from(rest)) + 4;
            *value = cast::clamped_i16(cast::high(i32::from(product) * 8257));
        }
    }
}
