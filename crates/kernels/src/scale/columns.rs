//! The vertical filter in explicit vector instructions, where the compiler's code for the plain
//! loops of `fir` is slower. The results are the same to the bit.
#![allow(unsafe_code)]

#[cfg(target_arch = "arm")]
use super::armv7;
#[cfg(target_arch = "x86_64")]
use super::fixed::ROW_BITS;
#[cfg(target_arch = "aarch64")]
use super::neon;
use crate::simd::Usable;

/// The vertical filter of [`super::fir::down_samples`] for whole groups of columns. Returns the
/// number of columns that were computed; 0 if the plain loop is the best version.
pub(crate) fn down_samples<const TAPS: usize>(
    isa: Usable,
    rows: &[&[i16]; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [u8],
) -> usize {
    #[cfg(target_arch = "x86_64")]
    if isa.has_avx2() {
        assert!(rows.iter().all(|row| row.len() >= out.len()), "every row must be as long as the output");
        let mut done = 0;
        if isa.isa() == crate::simd::Isa::Avx512 {
            // SAFETY: the CPU has AVX-512 BW, and no row is shorter than the output.
            done = unsafe { samples_avx512(rows, weights, bias, out) };
        }
        // SAFETY: the CPU has AVX2; the rest as above.
        return done + unsafe { samples_avx2(&rows.map(|row| &row[done..]), weights, bias, &mut out[done..]) };
    }
    #[cfg(target_arch = "aarch64")]
    if neon::available(isa) {
        return neon::down_samples(rows, weights, bias, out);
    }
    #[cfg(target_arch = "arm")]
    if armv7::available(isa) {
        return armv7::down_samples(isa, rows, weights, bias, out);
    }
    let _ = (isa, rows, weights, bias, out);
    0
}

/// The vertical filter of [`super::fir::down_bytes`] for whole groups of columns. Returns the
/// number of columns that were computed.
pub(crate) fn down_bytes<const TAPS: usize>(
    isa: Usable,
    rows: &[&[u8]; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [i16],
) -> usize {
    #[cfg(target_arch = "x86_64")]
    if isa.has_avx2() {
        assert!(rows.iter().all(|row| row.len() >= out.len()), "every row must be as long as the output");
        // SAFETY: the CPU has AVX2, and no row is shorter than the output.
        return unsafe { bytes_avx2(rows, weights, bias, out) };
    }
    #[cfg(target_arch = "aarch64")]
    if neon::available(isa) {
        return neon::down_bytes(rows, weights, bias, out);
    }
    #[cfg(target_arch = "arm")]
    if armv7::available(isa) {
        return armv7::down_bytes(isa, rows, weights, bias, out);
    }
    let _ = (isa, rows, weights, bias, out);
    0
}

/// [`down_samples`] with AVX2.
///
/// # Safety
/// The CPU has AVX2; no row is shorter than `out`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn samples_avx2<const TAPS: usize>(
    rows: &[&[i16]; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [u8],
) -> usize {
    use std::arch::x86_64::*;
    const SHIFT: i32 = ROW_BITS.cast_signed() - 2;
    let weights = weights.map(|weight| _mm256_set1_epi16(weight));
    let groups = out.as_chunks_mut::<32>().0;
    let done = groups.len() * 32;
    for (group, out) in groups.iter_mut().enumerate() {
        let mut sums = [_mm256_set1_epi16(bias); 2];
        for tap in 0..TAPS {
            for (half, sum) in sums.iter_mut().enumerate() {
                // SAFETY: 16 samples from `group * 32 + half * 16` on exist in `out`, and no row is
                // shorter.
                let samples = unsafe { _mm256_loadu_si256(rows[tap].as_ptr().add(group * 32 + half * 16).cast()) };
                *sum = _mm256_add_epi16(*sum, _mm256_mulhi_epi16(samples, weights[tap]));
            }
        }
        let [low, high] = sums.map(|sum| _mm256_srai_epi16::<SHIFT>(sum));
        // Packing works within 128-bit halves, so the two middle quarters must be exchanged.
        let bytes = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi16(low, high));
        // SAFETY: `out` has 32 bytes.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), bytes) };
    }
    done
}

/// [`down_samples`] with AVX-512 BW.
///
/// # Safety
/// The CPU has AVX-512 BW; no row is shorter than `out`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn samples_avx512<const TAPS: usize>(
    rows: &[&[i16]; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [u8],
) -> usize {
    use std::arch::x86_64::*;
    const SHIFT: u32 = ROW_BITS - 2;
    let weights = weights.map(|weight| _mm512_set1_epi16(weight));
    // Packing works within 128-bit quarters; this order puts the results back in sequence.
    let order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    let groups = out.as_chunks_mut::<64>().0;
    let done = groups.len() * 64;
    for (group, out) in groups.iter_mut().enumerate() {
        let mut sums = [_mm512_set1_epi16(bias); 2];
        for tap in 0..TAPS {
            for (half, sum) in sums.iter_mut().enumerate() {
                // SAFETY: 32 samples from `group * 64 + half * 32` on exist in `out`, and no row is
                // shorter.
                let samples = unsafe { _mm512_loadu_si512(rows[tap].as_ptr().add(group * 64 + half * 32).cast()) };
                *sum = _mm512_add_epi16(*sum, _mm512_mulhi_epi16(samples, weights[tap]));
            }
        }
        let [low, high] = sums.map(|sum| _mm512_srai_epi16::<SHIFT>(sum));
        let bytes = _mm512_permutexvar_epi64(order, _mm512_packus_epi16(low, high));
        // SAFETY: `out` has 64 bytes.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), bytes) };
    }
    done
}

/// [`down_bytes`] with AVX2.
///
/// # Safety
/// The CPU has AVX2; no row is shorter than `out`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn bytes_avx2<const TAPS: usize>(
    rows: &[&[u8]; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [i16],
) -> usize {
    use std::arch::x86_64::*;
    let weights = weights.map(|weight| _mm256_set1_epi16(weight));
    let groups = out.as_chunks_mut::<16>().0;
    let done = groups.len() * 16;
    for (group, out) in groups.iter_mut().enumerate() {
        let mut sum = _mm256_set1_epi16(bias);
        for tap in 0..TAPS {
            // SAFETY: 16 bytes from `group * 16` on exist in `out`, and no row is shorter.
            let bytes = unsafe { _mm_loadu_si128(rows[tap].as_ptr().add(group * 16).cast()) };
            let samples = _mm256_slli_epi16::<7>(_mm256_cvtepu8_epi16(bytes));
            sum = _mm256_add_epi16(sum, _mm256_mulhi_epi16(samples, weights[tap]));
        }
        // SAFETY: `out` has 16 samples.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sum) };
    }
    done
}
