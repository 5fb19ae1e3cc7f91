//! Rows of one block in an XMM register. SSE2 is part of the base of x86-64.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::super::bits::Block;
use super::generic::{Lanes, Rows, WithRows};

/// Eight numbers.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(in super::super) struct I16x8(__m128i);

/// The transform of one block after the other.
pub(in super::super) type Sse2 = WithRows<I16x8>;

/// Two factors in every pair of numbers.
#[inline(always)]
unsafe fn pairs([a, b]: [i16; 2]) -> __m128i {
    let pair = i32::from(a.cast_unsigned()) | i32::from(b) << 16;
    // SAFETY: SSE2 is always enabled.
    unsafe { _mm_set1_epi32(pair) }
}

// SAFETY: the methods are intrinsics of SSE2.
unsafe impl Lanes for I16x8 {
    /// The numbers 0-3, and 4-7.
    type Wide = [__m128i; 2];

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see `pairs`.
        unsafe { Self(_mm_add_epi16(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn dot(self, other: Self, factors: [i16; 2]) -> [__m128i; 2] {
        // SAFETY: see `pairs`.
        unsafe {
            let factors = pairs(factors);
            [
                _mm_madd_epi16(_mm_unpacklo_epi16(self.0, other.0), factors),
                _mm_madd_epi16(_mm_unpackhi_epi16(self.0, other.0), factors),
            ]
        }
    }
    #[inline(always)]
    unsafe fn wide_add(a: [__m128i; 2], b: [__m128i; 2]) -> [__m128i; 2] {
        // SAFETY: see `pairs`.
        unsafe { [_mm_add_epi32(a[0], b[0]), _mm_add_epi32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn wide_sub(a: [__m128i; 2], b: [__m128i; 2]) -> [__m128i; 2] {
        // SAFETY: see `pairs`.
        unsafe { [_mm_sub_epi32(a[0], b[0]), _mm_sub_epi32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn wide_splat(value: i32) -> [__m128i; 2] {
        // SAFETY: see `pairs`.
        unsafe { [_mm_set1_epi32(value); 2] }
    }
    #[inline(always)]
    unsafe fn narrow<const SHIFT: i32>(wide: [__m128i; 2]) -> Self {
        // SAFETY: see `pairs`.
        unsafe { Self(_mm_packs_epi32(_mm_srai_epi32::<SHIFT>(wide[0]), _mm_srai_epi32::<SHIFT>(wide[1]))) }
    }
}

// SAFETY: a load reads one row of a block; a store writes eight bytes at each row.
unsafe impl Rows for I16x8 {
    const BLOCKS: usize = 1;

    #[inline(always)]
    unsafe fn load(blocks: &[Block], y: usize) -> Self {
        // SAFETY: a row lies inside its block.
        unsafe { Self(_mm_load_si128(blocks[0].0.as_ptr().add(y * 8).cast())) }
    }
    #[inline(always)]
    unsafe fn transpose(rows: [Self; 8]) -> [Self; 8] {
        let [Self(a), Self(b), Self(c), Self(d), Self(e), Self(f), Self(g), Self(h)] = rows;
        // SAFETY: see `pairs`.
        unsafe {
            let (ab, cd, ef, gh) = (
                [_mm_unpacklo_epi16(a, b), _mm_unpackhi_epi16(a, b)],
                [_mm_unpacklo_epi16(c, d), _mm_unpackhi_epi16(c, d)],
                [_mm_unpacklo_epi16(e, f), _mm_unpackhi_epi16(e, f)],
                [_mm_unpacklo_epi16(g, h), _mm_unpackhi_epi16(g, h)],
            );
            let mut columns = [Self(a); 8];
            for half in 0..2 {
                let top = [_mm_unpacklo_epi32(ab[half], cd[half]), _mm_unpackhi_epi32(ab[half], cd[half])];
                let bottom = [_mm_unpacklo_epi32(ef[half], gh[half]), _mm_unpackhi_epi32(ef[half], gh[half])];
                for quarter in 0..2 {
                    let at = half * 4 + quarter * 2;
                    columns[at] = Self(_mm_unpacklo_epi64(top[quarter], bottom[quarter]));
                    columns[at + 1] = Self(_mm_unpackhi_epi64(top[quarter], bottom[quarter]));
                }
            }
            columns
        }
    }
    #[inline(always)]
    unsafe fn store(rows: [Self; 8], out: *mut u8, stride: usize) {
        // SAFETY: the caller promises eight writable bytes at each row.
        unsafe {
            let middle = _mm_set1_epi8(-128);
            for y in [0, 2, 4, 6] {
                // Saturated to -128..=127, then moved to 0..=255.
                let bytes = _mm_xor_si128(_mm_packs_epi16(rows[y].0, rows[y + 1].0), middle);
                _mm_storel_epi64(out.add(y * stride).cast(), bytes);
                _mm_storel_epi64(out.add((y + 1) * stride).cast(), _mm_unpackhi_epi64(bytes, bytes));
            }
        }
    }
}
