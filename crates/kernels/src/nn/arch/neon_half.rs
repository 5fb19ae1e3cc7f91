//! The row kernels for AArch64 NEON with half precision, and the inner loops of the dense product in
//! assembly.
#![allow(unsafe_code)]

use crate::nn::generic::dense::{DenseProduct, multiply_groups_by_lane};
use crate::simd::F16;
use crate::simd::neon_half::F16x8;

impl DenseProduct for F16x8 {
    #[inline(always)]
    unsafe fn multiply_groups<const P: usize, const N: usize>(
        acc: &mut [[Self; N]; P],
        pixels: &mut [*const F16; P],
        weights: &mut *const F16,
        groups: usize,
    ) {
        // The loops take eight depths at a time, all that a register of inputs has.
        let eights = groups / 2;
        // SAFETY: the caller upholds this function's contract. Where a pointer is cast to an array
        // of the size that was matched, it has that type already.
        unsafe {
            let left = match (P, N) {
                _ if eights == 0 => groups,
                (4, 4) => {
                    multiply_4x4(&mut *acc.as_mut_ptr().cast(), &mut *pixels.as_mut_ptr().cast(), weights, eights);
                    groups % 2
                }
                (8, 2) => {
                    multiply_8x2(&mut *acc.as_mut_ptr().cast(), &mut *pixels.as_mut_ptr().cast(), weights, eights);
                    groups % 2
                }
                (8, 1) => {
                    multiply_8x1(&mut *acc.as_mut_ptr().cast(), &mut *pixels.as_mut_ptr().cast(), weights, eights);
                    groups % 2
                }
                _ => groups,
            };
            multiply_groups_by_lane(acc, pixels, weights, left);
        }
    }
}

// As in `neon`, the loops are spelled out. `v28` to `v31` hold weights: a lane of 16 bits can only be
// taken from `v0` to `v15`, where the inputs are.

/// Multiplies a pixel by the vector of weights in a register, for one depth.
macro_rules! multiply {
    ($pixel:literal, $vector:literal, $weights:literal, $lane:literal) => {
        concat!("fmla {a", $pixel, $vector, ":v}.8h, ", $weights, ".8h, {g", $pixel, ":v}.h[", $lane, "]\n")
    };
}

/// Loads the weights of one depth and multiplies four pixels by four vectors.
macro_rules! depth_4x4 {
    ($lane:literal) => {
        concat!(
            "ld1 {{v28.8h, v29.8h, v30.8h, v31.8h}}, [{w}], #64\n",
            depth_4x4!($lane, "0"),
            depth_4x4!($lane, "1"),
            depth_4x4!($lane, "2"),
            depth_4x4!($lane, "3")
        )
    };
    ($lane:literal, $p:literal) => {
        concat!(
            multiply!($p, "0", "v28", $lane),
            multiply!($p, "1", "v29", $lane),
            multiply!($p, "2", "v30", $lane),
            multiply!($p, "3", "v31", $lane)
        )
    };
}

/// Multiplies eight pixels by a vector for one depth. The weights are in the register that is named.
macro_rules! depth_8 {
    ($lane:literal, $v:literal, $w:literal) => {
        concat!(
            multiply!("0", $v, $w, $lane),
            multiply!("1", $v, $w, $lane),
            multiply!("2", $v, $w, $lane),
            multiply!("3", $v, $w, $lane),
            multiply!("4", $v, $w, $lane),
            multiply!("5", $v, $w, $lane),
            multiply!("6", $v, $w, $lane),
            multiply!("7", $v, $w, $lane)
        )
    };
}

/// Loads the weights of two depths and multiplies eight pixels by two vectors.
macro_rules! depths_8x2 {
    ($first:literal, $second:literal) => {
        concat!(
            "ld1 {{v28.8h, v29.8h, v30.8h, v31.8h}}, [{w}], #64\n",
            depth_8!($first, "0", "v28"),
            depth_8!($first, "1", "v29"),
            depth_8!($second, "0", "v30"),
            depth_8!($second, "1", "v31")
        )
    };
}

/// Loads the weights of four depths and multiplies eight pixels by one vector.
macro_rules! depths_8x1 {
    ($first:literal, $second:literal, $third:literal, $fourth:literal) => {
        concat!(
            "ld1 {{v28.8h, v29.8h, v30.8h, v31.8h}}, [{w}], #64\n",
            depth_8!($first, "0", "v28"),
            depth_8!($second, "0", "v29"),
            depth_8!($third, "0", "v30"),
            depth_8!($fourth, "0", "v31")
        )
    };
}

/// [`DenseProduct::multiply_groups`] for four pixels times four vectors.
///
/// # Safety
/// The same as there, for `8 * eights` depths; `eights` is at least 1.
#[inline(always)]
unsafe fn multiply_4x4(
    acc: &mut [[F16x8; 4]; 4],
    pixels: &mut [*const F16; 4],
    weights: &mut *const F16,
    eights: usize,
) {
    let [[a00, a01, a02, a03], [a10, a11, a12, a13], [a20, a21, a22, a23], [a30, a31, a32, a33]] = acc;
    let [p0, p1, p2, p3] = pixels;
    // SAFETY: the assembly reads what the contract allows, and nothing else.
    unsafe {
        std::arch::asm!(
            "2:",
            "ldr {g0:q}, [{p0}], #16",
            "ldr {g1:q}, [{p1}], #16",
            "ldr {g2:q}, [{p2}], #16",
            "ldr {g3:q}, [{p3}], #16",
            "subs {k}, {k}, #1",
            depth_4x4!("0"),
            depth_4x4!("1"),
            depth_4x4!("2"),
            depth_4x4!("3"),
            depth_4x4!("4"),
            depth_4x4!("5"),
            depth_4x4!("6"),
            depth_4x4!("7"),
            "b.ne 2b",
            k = inout(reg) eights => _, w = inout(reg) *weights,
            p0 = inout(reg) *p0, p1 = inout(reg) *p1, p2 = inout(reg) *p2, p3 = inout(reg) *p3,
            g0 = out(vreg_low16) _, g1 = out(vreg_low16) _, g2 = out(vreg_low16) _, g3 = out(vreg_low16) _,
            a00 = inout(vreg) a00.0, a01 = inout(vreg) a01.0, a02 = inout(vreg) a02.0, a03 = inout(vreg) a03.0,
            a10 = inout(vreg) a10.0, a11 = inout(vreg) a11.0, a12 = inout(vreg) a12.0, a13 = inout(vreg) a13.0,
            a20 = inout(vreg) a20.0, a21 = inout(vreg) a21.0, a22 = inout(vreg) a22.0, a23 = inout(vreg) a23.0,
            a30 = inout(vreg) a30.0, a31 = inout(vreg) a31.0, a32 = inout(vreg) a32.0, a33 = inout(vreg) a33.0,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack, readonly)
        );
    }
}

/// The loop over groups of eight pixels: `$depths` are the instructions after the inputs are loaded.
macro_rules! eight_pixels {
    ([$($depths:expr),*], $groups:ident, $weights:ident, $pixels:ident, $($accumulator:tt)*) => {{
        let [p0, p1, p2, p3, p4, p5, p6, p7] = $pixels;
        // SAFETY: the assembly reads what the contract of the function allows, and nothing else.
        unsafe {
            std::arch::asm!(
                "2:",
                "ldr {g0:q}, [{p0}], #16",
                "ldr {g1:q}, [{p1}], #16",
                "ldr {g2:q}, [{p2}], #16",
                "ldr {g3:q}, [{p3}], #16",
                "ldr {g4:q}, [{p4}], #16",
                "ldr {g5:q}, [{p5}], #16",
                "ldr {g6:q}, [{p6}], #16",
                "ldr {g7:q}, [{p7}], #16",
                "subs {k}, {k}, #1",
                $($depths,)*
                "b.ne 2b",
                k = inout(reg) $groups => _, w = inout(reg) *$weights,
                p0 = inout(reg) *p0, p1 = inout(reg) *p1, p2 = inout(reg) *p2, p3 = inout(reg) *p3,
                p4 = inout(reg) *p4, p5 = inout(reg) *p5, p6 = inout(reg) *p6, p7 = inout(reg) *p7,
                g0 = out(vreg_low16) _, g1 = out(vreg_low16) _, g2 = out(vreg_low16) _, g3 = out(vreg_low16) _,
                g4 = out(vreg_low16) _, g5 = out(vreg_low16) _, g6 = out(vreg_low16) _, g7 = out(vreg_low16) _,
                out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                $($accumulator)*
                options(nostack, readonly)
            );
        }
    }};
}

/// [`DenseProduct::multiply_groups`] for eight pixels times two vectors.
///
/// # Safety
/// The same as there, for `8 * eights` depths; `eights` is at least 1.
#[inline(always)]
unsafe fn multiply_8x2(
    acc: &mut [[F16x8; 2]; 8],
    pixels: &mut [*const F16; 8],
    weights: &mut *const F16,
    eights: usize,
) {
    let [[a00, a01], [a10, a11], [a20, a21], [a30, a31], [a40, a41], [a50, a51], [a60, a61], [a70, a71]] = acc;
    eight_pixels! {
        [depths_8x2!("0", "1"), depths_8x2!("2", "3"), depths_8x2!("4", "5"), depths_8x2!("6", "7")],
        eights, weights, pixels,
        a00 = inout(vreg) a00.0, a01 = inout(vreg) a01.0, a10 = inout(vreg) a10.0, a11 = inout(vreg) a11.0,
        a20 = inout(vreg) a20.0, a21 = inout(vreg) a21.0, a30 = inout(vreg) a30.0, a31 = inout(vreg) a31.0,
        a40 = inout(vreg) a40.0, a41 = inout(vreg) a41.0, a50 = inout(vreg) a50.0, a51 = inout(vreg) a51.0,
        a60 = inout(vreg) a60.0, a61 = inout(vreg) a61.0, a70 = inout(vreg) a70.0, a71 = inout(vreg) a71.0,
    }
}

/// [`DenseProduct::multiply_groups`] for eight pixels times one vector.
///
/// # Safety
/// The same as there, for `8 * eights` depths; `eights` is at least 1.
#[inline(always)]
unsafe fn multiply_8x1(
    acc: &mut [[F16x8; 1]; 8],
    pixels: &mut [*const F16; 8],
    weights: &mut *const F16,
    eights: usize,
) {
    let [[a00], [a10], [a20], [a30], [a40], [a50], [a60], [a70]] = acc;
    eight_pixels! {
        [depths_8x1!("0", "1", "2", "3"), depths_8x1!("4", "5", "6", "7")],
        eights, weights, pixels,
        a00 = inout(vreg) a00.0, a10 = inout(vreg) a10.0, a20 = inout(vreg) a20.0, a30 = inout(vreg) a30.0,
        a40 = inout(vreg) a40.0, a50 = inout(vreg) a50.0, a60 = inout(vreg) a60.0, a70 = inout(vreg) a70.0,
    }
}

crate::nn::generic::instantiate_kernels! {
    features = ["neon,fp16"], vector = F16x8, isa = Neon,
    blocks = [4 => 4, 2 => 8, 1 => 8], depthwise_tile = 8, group = 32
}
