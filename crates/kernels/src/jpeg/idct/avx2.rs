//! Rows of two blocks in a YMM register: one block in each half.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::super::bits::Block;
use super::generic::{Lanes, Rows, WithRows};

/// Eight numbers of each of two blocks.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(in super::super) struct I16x16(__m256i);

/// The transform of two blocks at once.
pub(in super::super) type Avx2 = WithRows<I16x16>;

/// Two factors in every pair of numbers.
#[inline(always)]
unsafe fn pairs([a, b]: [i16; 2]) -> __m256i {
    let pair = i32::from(a.cast_unsigned()) | i32::from(b) << 16;
    // SAFETY: the caller guarantees that AVX2 is enabled. The same holds in every method below.
    unsafe { _mm256_set1_epi32(pair) }
}

// SAFETY: the methods are intrinsics of AVX2.
unsafe impl Lanes for I16x16 {
    /// The numbers 0-3 of each half, and 4-7.
    type Wide = [__m256i; 2];

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see `pairs`.
        unsafe { Self(_mm256_add_epi16(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn dot(self, other: Self, factors: [i16; 2]) -> [__m256i; 2] {
        // SAFETY: see `pairs`.
        unsafe {
            let factors = pairs(factors);
            [
                _mm256_madd_epi16(_mm256_unpacklo_epi16(self.0, other.0), factors),
                _mm256_madd_epi16(_mm256_unpackhi_epi16(self.0, other.0), factors),
            ]
        }
    }
    #[inline(always)]
    unsafe fn wide_add(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: see `pairs`.
        unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn wide_sub(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        // SAFETY: see `pairs`.
        unsafe { [_mm256_sub_epi32(a[0], b[0]), _mm256_sub_epi32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn wide_splat(value: i32) -> [__m256i; 2] {
        // SAFETY: see `pairs`.
        unsafe { [_mm256_set1_epi32(value); 2] }
    }
    #[inline(always)]
    unsafe fn narrow<const SHIFT: i32>(wide: [__m256i; 2]) -> Self {
        // SAFETY: see `pairs`.
        unsafe { Self(_mm256_packs_epi32(_mm256_srai_epi32::<SHIFT>(wide[0]), _mm256_srai_epi32::<SHIFT>(wide[1]))) }
    }
}

// SAFETY: a load reads a row of two blocks; a store writes 16 bytes at each row.
unsafe impl Rows for I16x16 {
    const BLOCKS: usize = 2;

    #[inline(always)]
    unsafe fn load(blocks: &[Block], y: usize) -> Self {
        // SAFETY: a row lies inside its block.
        unsafe {
            let first = _mm_load_si128(blocks[0].0.as_ptr().add(y * 8).cast());
            Self(_mm256_set_m128i(_mm_load_si128(blocks[1].0.as_ptr().add(y * 8).cast()), first))
        }
    }
    #[inline(always)]
    unsafe fn transpose(rows: [Self; 8]) -> [Self; 8] {
        let [Self(a), Self(b), Self(c), Self(d), Self(e), Self(f), Self(g), Self(h)] = rows;
        // SAFETY: see `pairs`.
        unsafe {
            let (ab, cd, ef, gh) = (
                [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)],
                [_mm256_unpacklo_epi16(c, d), _mm256_unpackhi_epi16(c, d)],
                [_mm256_unpacklo_epi16(e, f), _mm256_unpackhi_epi16(e, f)],
                [_mm256_unpacklo_epi16(g, h), _mm256_unpackhi_epi16(g, h)],
            );
            let mut columns = [Self(a); 8];
            for half in 0..2 {
                let top = [_mm256_unpacklo_epi32(ab[half], cd[half]), _mm256_unpackhi_epi32(ab[half], cd[half])];
                let bottom = [_mm256_unpacklo_epi32(ef[half], gh[half]), _mm256_unpackhi_epi32(ef[half], gh[half])];
                for quarter in 0..2 {
                    let at = half * 4 + quarter * 2;
                    columns[at] = Self(_mm256_unpacklo_epi64(top[quarter], bottom[quarter]));
                    columns[at + 1] = Self(_mm256_unpackhi_epi64(top[quarter], bottom[quarter]));
                }
            }
            columns
        }
    }
    #[inline(always)]
    unsafe fn store(rows: [Self; 8], out: *mut u8, stride: usize) {
        // SAFETY: the caller promises 16 writable bytes at each row.
        unsafe {
            let middle = _mm256_set1_epi8(-128);
            for y in [0, 2, 4, 6] {
                // Saturated to -128..=127, then moved to 0..=255.
                let bytes = _mm256_xor_si256(_mm256_packs_epi16(rows[y].0, rows[y + 1].0), middle);
                // Row `y` of both blocks, then row `y + 1`.
                let bytes = _mm256_permute4x64_epi64::<0b11_01_10_00>(bytes);
                _mm_storeu_si128(out.add(y * stride).cast(), _mm256_castsi256_si128(bytes));
                _mm_storeu_si128(out.add((y + 1) * stride).cast(), _mm256_extracti128_si256::<1>(bytes));
            }
        }
    }
}
