//! The numbers in which a net is computed: single precision, and half precision (IEEE 754 binary16).
#![allow(unsafe_code)]

use std::fmt;

/// A number as the kernels of a net store it.
///
/// # Safety
/// Every pattern of bits is a number, and zero has no bit set.
pub unsafe trait Element: Copy + Default + fmt::Debug + Send + Sync + 'static {
    /// The nearest number of this type; infinity if `value` is too large for it.
    fn from_f32(value: f32) -> Self;

    /// The number in single precision, which holds every number of this type.
    fn to_f32(self) -> f32;

    /// [`Element::from_f32`] of every number. Both slices are equally long.
    fn narrow(from: &[f32], to: &mut [Self]) {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = Self::from_f32(from);
        }
    }

    /// [`Element::to_f32`] of every number. Both slices are equally long.
    fn widen(from: &[Self], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = from.to_f32();
        }
    }

    /// Starts to watch this thread for numbers that become too large for the type.
    fn watch_overflow();

    /// Whether a number became too large since [`Element::watch_overflow`] was called on this
    /// thread. Always `false` for `f32`, which is not watched.
    fn has_overflowed() -> bool;
}

// SAFETY: as IEEE 754 defines it.
unsafe impl Element for f32 {
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn watch_overflow() {}
    #[inline(always)]
    fn has_overflowed() -> bool {
        false
    }
}

/// A number in half precision: 11 significant bits, at most 65504.
///
/// The type holds the bits only: the compiler's own type is not stable. Arithmetic on single numbers
/// is done in wider types and rounded; vectors of them are in the file of their instruction set.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct F16(u16);

impl F16 {
    /// The number with these bits.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The bits of the number.
    #[must_use]
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// The nearest number, the even one of two. It needs no instruction of half precision, and the
    /// compiler evaluates it for constants.
    #[inline(always)]
    #[must_use]
    pub const fn nearest(value: f32) -> Self {
        // The smallest numbers that become infinite, and that are normal.
        const INFINITE: u32 = 65520.0_f32.to_bits();
        const NORMAL: u32 = 6.103_515_6e-5_f32.to_bits();
        let sign = (value.to_bits() >> 16) & 0x8000;
        let magnitude = value.to_bits() & 0x7fff_ffff;
        let bits = if magnitude > 0x7f80_0000 {
            0x7e00
        } else if magnitude >= INFINITE {
            0x7c00
        } else if magnitude < NORMAL {
            // The last bit of 0.5 is worth as much as that of a subnormal half.
            (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5_f32.to_bits()
        } else {
            // The exponents differ by 112, the significands by 13 bits.
            (magnitude + 0xfff + ((magnitude >> 13) & 1) - (112 << 23)) >> 13
        };
        #[expect(clippy::cast_possible_truncation, reason = "the sign and at most 15 bits")]
        Self((sign | bits) as u16)
    }

    /// The nearest number to one in double precision, rounded once.
    #[inline(always)]
    pub(crate) fn nearest_to_double(value: f64) -> Self {
        // Rounding to odd keeps the second rounding from being decided by the first.
        #[expect(clippy::cast_possible_truncation, reason = "rounding is intended")]
        let single = value as f32;
        let back = f64::from(single);
        if back == value || !back.is_finite() || value.is_nan() {
            return Self::from_f32(single);
        }
        let toward_zero = single.to_bits() - u32::from(back.abs() > value.abs());
        Self::from_f32(f32::from_bits(toward_zero | 1))
    }

    /// [`Element::to_f32`] without an instruction of half precision.
    #[cfg(any(test, not(target_arch = "aarch64")))]
    #[inline(always)]
    const fn widened(self) -> f32 {
        let sign = (self.0 as u32 & 0x8000) << 16;
        let magnitude = self.0 as u32 & 0x7fff;
        if magnitude >= 0x7c00 {
            return f32::from_bits(sign | 0x7f80_0000 | ((magnitude & 0x3ff) << 13));
        }
        // The exponent is corrected by a product, which is exact and handles subnormal numbers.
        const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
        let scaled = f32::from_bits(magnitude << 13) * TWO_TO_112;
        f32::from_bits(scaled.to_bits() | sign)
    }
}

impl fmt::Debug for F16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_f32().fmt(f)
    }
}

// SAFETY: as IEEE 754 defines it.
#[cfg(target_arch = "aarch64")]
unsafe impl Element for F16 {
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits: u32;
        // SAFETY: the conversion is part of the base of AArch64; it reads and writes two registers.
        // It is not `pure`, so that it stays before a look at the flag of overflows.
        unsafe {
            std::arch::asm!(
                "fcvt {to:h}, {from:s}",
                "fmov {bits:w}, {to:s}",
                from = in(vreg) value, to = out(vreg) _, bits = lateout(reg) bits,
                options(nomem, nostack, preserves_flags)
            );
        }
        #[expect(clippy::cast_possible_truncation, reason = "a half has 16 bits; the others are zero")]
        Self(bits as u16)
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        let value: f32;
        // SAFETY: as above.
        unsafe {
            std::arch::asm!(
                "fmov {value:s}, {bits:w}",
                "fcvt {value:s}, {value:h}",
                bits = in(reg) u32::from(self.0), value = out(vreg) value,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        value
    }
    fn narrow(from: &[f32], to: &mut [Self]) {
        let (blocks, rest) = from.as_chunks::<8>();
        let (to_blocks, to_rest) = to.as_chunks_mut::<8>();
        for (from, to) in blocks.iter().zip(to_blocks) {
            // SAFETY: reads and writes eight numbers, with instructions of the base of AArch64.
            unsafe {
                std::arch::asm!(
                    "ldp {low:q}, {high:q}, [{from}]",
                    "fcvtn {low:v}.4h, {low:v}.4s",
                    "fcvtn2 {low:v}.8h, {high:v}.4s",
                    "str {low:q}, [{to}]",
                    from = in(reg) from, to = in(reg) to, low = out(vreg) _, high = out(vreg) _,
                    options(nostack, preserves_flags)
                );
            }
        }
        for (to, &from) in to_rest.iter_mut().zip(rest) {
            *to = Self::from_f32(from);
        }
    }
    fn widen(from: &[Self], to: &mut [f32]) {
        let (blocks, rest) = from.as_chunks::<8>();
        let (to_blocks, to_rest) = to.as_chunks_mut::<8>();
        for (from, to) in blocks.iter().zip(to_blocks) {
            // SAFETY: as above.
            unsafe {
                std::arch::asm!(
                    "ldr {low:q}, [{from}]",
                    "fcvtl2 {high:v}.4s, {low:v}.8h",
                    "fcvtl {low:v}.4s, {low:v}.4h",
                    "stp {low:q}, {high:q}, [{to}]",
                    from = in(reg) from, to = in(reg) to, low = out(vreg) _, high = out(vreg) _,
                    options(nostack, preserves_flags)
                );
            }
        }
        for (to, from) in to_rest.iter_mut().zip(rest) {
            *to = from.to_f32();
        }
    }
    #[inline]
    fn watch_overflow() {
        // SAFETY: clears the cumulative flags of floating-point exceptions. Nothing else reads them.
        unsafe { std::arch::asm!("msr fpsr, xzr", options(nomem, nostack, preserves_flags)) }
    }
    #[inline]
    fn has_overflowed() -> bool {
        let status: u64;
        // SAFETY: reads the status register of floating point.
        unsafe { std::arch::asm!("mrs {}, fpsr", out(reg) status, options(nomem, nostack, preserves_flags)) }
        // Bit 2 (OFC) is set by a result that is too large for the instruction's type.
        status & 4 != 0
    }
}

#[cfg(not(target_arch = "aarch64"))]
mod overflow {
    thread_local! {
        /// Whether a number became too large on this thread.
        pub(super) static SEEN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
}

// SAFETY: as above.
#[cfg(not(target_arch = "aarch64"))]
unsafe impl Element for F16 {
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let result = Self::nearest(value);
        if result.0 & 0x7fff == 0x7c00 && value.is_finite() {
            overflow::SEEN.set(true);
        }
        result
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self.widened()
    }
    fn watch_overflow() {
        overflow::SEEN.set(false);
    }
    fn has_overflowed() -> bool {
        overflow::SEEN.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of the bits by the definition of the format.
    fn defined(bits: u16) -> f64 {
        let (exponent, fraction) = (i32::from((bits >> 10) & 31), f64::from(bits & 1023));
        let magnitude = match exponent {
            0 => fraction * 2_f64.powi(-24),
            31 if bits & 1023 == 0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
        };
        if bits >> 15 == 0 { magnitude } else { -magnitude }
    }

    #[test]
    fn every_half_has_its_value() {
        for bits in 0..=u16::MAX {
            let (half, expected) = (F16::from_bits(bits), defined(bits));
            for value in [half.to_f32(), half.widened()] {
                assert!(f64::from(value) == expected || value.is_nan() && expected.is_nan(), "{bits:04x}: {value}");
                assert!(value.is_nan() || value.is_sign_negative() == (bits >> 15 == 1), "{bits:04x}: {value}");
                for back in [F16::from_f32(value), F16::nearest(value), F16::nearest_to_double(value.into())] {
                    assert!(back == half || value.is_nan() && back.to_f32().is_nan(), "{bits:04x}: {back:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_between_two_halves_go_to_the_nearer() {
        // The largest finite number is followed by infinity, which stands for 65536.
        let value = |bits: u16| if bits == 0x7c00 { 65536.0 } else { defined(bits) };
        for bits in 0..0x7c00 {
            let (low, high) = (value(bits), value(bits + 1));
            let middle = f64::midpoint(low, high);
            let even = bits + (bits & 1);
            let (step, sliver) = ((high - low) / 1024.0, (high - low) * 1e-9);
            for (between, expected) in
                [(low + step, bits), (middle - step, bits), (middle, even), (middle + step, bits + 1)]
            {
                #[expect(clippy::cast_possible_truncation, reason = "eleven bits more than a half")]
                let single = between as f32;
                for half in [F16::from_f32(single), F16::nearest(single), F16::nearest_to_double(between)] {
                    assert_eq!(half.to_bits(), expected, "{between:e}: {half:?}");
                }
                assert_eq!(F16::from_f32(-single).to_bits(), expected | 0x8000, "-{between:e}");
            }
            // No single is so near the middle, but a double is.
            assert_eq!(F16::nearest_to_double(middle - sliver).to_bits(), bits);
            assert_eq!(F16::nearest_to_double(middle + sliver).to_bits(), bits + 1);
        }
    }

    #[test]
    fn an_overflow_is_noticed_once() {
        F16::watch_overflow();
        assert_eq!(F16::from_f32(65504.0).to_f32(), 65504.0);
        assert_eq!(F16::from_f32(f32::INFINITY).to_f32(), f32::INFINITY);
        assert!(!F16::has_overflowed(), "infinity is no overflow");
        assert_eq!(F16::from_f32(-65520.0).to_f32(), f32::NEG_INFINITY);
        assert!(F16::has_overflowed());
        F16::watch_overflow();
        assert!(!F16::has_overflowed());
    }
}
