//! The row kernels for AArch64 NEON, and the inner loop of the dense product in assembly.
#![allow(unsafe_code)]

use crate::nn::generic::dense::{DenseProduct, multiply_groups_by_lane};
use crate::simd::neon::F32x4;

impl DenseProduct for F32x4 {
    #[inline(always)]
    unsafe fn multiply_groups<const P: usize, const N: usize>(
        acc: &mut [[Self; N]; P],
        pixels: &mut [*const f32; P],
        weights: &mut *const f32,
        groups: usize,
    ) {
        // SAFETY: the caller upholds this function's contract. Where a pointer is cast to an array
        // of the size that was matched, it has that type already.
        unsafe {
            match (P, N) {
                _ if groups == 0 => {}
                (4, 4) => {
                    multiply_4x4(&mut *acc.as_mut_ptr().cast(), &mut *pixels.as_mut_ptr().cast(), weights, groups)
                }
                (8, 2) => {
                    multiply_8x2(&mut *acc.as_mut_ptr().cast(), &mut *pixels.as_mut_ptr().cast(), weights, groups)
                }
                _ => multiply_groups_by_lane(acc, pixels, weights, groups),
            }
        }
    }
}

// The inner loops of the dense product are in assembly, because the compiler loads the weights two
// registers at a time and keeps an address and a counter for each, which made up a third of the
// instructions of the loop. `v0` to `v3` hold weights.

/// Loads the weights of one depth and multiplies four pixels by four vectors.
macro_rules! depth_4x4 {
    ($lane:literal) => {
        concat!(
            "ld1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{w}], #64\n",
            depth_4x4!($lane, "0"),
            depth_4x4!($lane, "1"),
            depth_4x4!($lane, "2"),
            depth_4x4!($lane, "3")
        )
    };
    ($lane:literal, $p:literal) => {
        concat!(
            "fmla {a",
            $p,
            "0:v}.4s, v0.4s, {g",
            $p,
            ":v}.s[",
            $lane,
            "]\n",
            "fmla {a",
            $p,
            "1:v}.4s, v1.4s, {g",
            $p,
            ":v}.s[",
            $lane,
            "]\n",
            "fmla {a",
            $p,
            "2:v}.4s, v2.4s, {g",
            $p,
            ":v}.s[",
            $lane,
            "]\n",
            "fmla {a",
            $p,
            "3:v}.4s, v3.4s, {g",
            $p,
            ":v}.s[",
            $lane,
            "]\n"
        )
    };
}

/// Multiplies eight pixels by two vectors for one depth. The weights are in the registers that are
/// named.
macro_rules! depth_8x2 {
    ($lane:literal, $v:literal, $w:literal) => {
        concat!(
            depth_8x2!($lane, $v, $w, "0"),
            depth_8x2!($lane, $v, $w, "1"),
            depth_8x2!($lane, $v, $w, "2"),
            depth_8x2!($lane, $v, $w, "3"),
            depth_8x2!($lane, $v, $w, "4"),
            depth_8x2!($lane, $v, $w, "5"),
            depth_8x2!($lane, $v, $w, "6"),
            depth_8x2!($lane, $v, $w, "7")
        )
    };
    ($lane:literal, $v:literal, $w:literal, $p:literal) => {
        concat!(
            "fmla {a",
            $p,
            "0:v}.4s, ",
            $v,
            ".4s, {g",
            $p,
            ":v}.s[",
            $lane,
            "]\n",
            "fmla {a",
            $p,
            "1:v}.4s, ",
            $w,
            ".4s, {g",
            $p,
            ":v}.s[",
            $lane,
            "]\n"
        )
    };
}

/// [`DenseProduct::multiply_groups`] for four pixels times four vectors.
///
/// # Safety
/// The same as there; `groups` is at least 1.
#[inline(always)]
unsafe fn multiply_4x4(
    acc: &mut [[F32x4; 4]; 4],
    pixels: &mut [*const f32; 4],
    weights: &mut *const f32,
    groups: usize,
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
            "b.ne 2b",
            k = inout(reg) groups => _, w = inout(reg) *weights,
            p0 = inout(reg) *p0, p1 = inout(reg) *p1, p2 = inout(reg) *p2, p3 = inout(reg) *p3,
            g0 = out(vreg) _, g1 = out(vreg) _, g2 = out(vreg) _, g3 = out(vreg) _,
            a00 = inout(vreg) a00.0, a01 = inout(vreg) a01.0, a02 = inout(vreg) a02.0, a03 = inout(vreg) a03.0,
            a10 = inout(vreg) a10.0, a11 = inout(vreg) a11.0, a12 = inout(vreg) a12.0, a13 = inout(vreg) a13.0,
            a20 = inout(vreg) a20.0, a21 = inout(vreg) a21.0, a22 = inout(vreg) a22.0, a23 = inout(vreg) a23.0,
            a30 = inout(vreg) a30.0, a31 = inout(vreg) a31.0, a32 = inout(vreg) a32.0, a33 = inout(vreg) a33.0,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            options(nostack, readonly)
        );
    }
}

/// [`DenseProduct::multiply_groups`] for eight pixels times two vectors.
///
/// # Safety
/// The same as there; `groups` is at least 1.
#[inline(always)]
unsafe fn multiply_8x2(
    acc: &mut [[F32x4; 2]; 8],
    pixels: &mut [*const f32; 8],
    weights: &mut *const f32,
    groups: usize,
) {
    let [[a00, a01], [a10, a11], [a20, a21], [a30, a31], [a40, a41], [a50, a51], [a60, a61], [a70, a71]] = acc;
    let [p0, p1, p2, p3, p4, p5, p6, p7] = pixels;
    // SAFETY: the assembly reads what the contract allows, and nothing else.
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
            "ld1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{w}], #64",
            depth_8x2!("0", "v0", "v1"),
            depth_8x2!("1", "v2", "v3"),
            "ld1 {{v0.4s, v1.4s, v2.4s, v3.4s}}, [{w}], #64",
            depth_8x2!("2", "v0", "v1"),
            depth_8x2!("3", "v2", "v3"),
            "b.ne 2b",
            k = inout(reg) groups => _, w = inout(reg) *weights,
            p0 = inout(reg) *p0, p1 = inout(reg) *p1, p2 = inout(reg) *p2, p3 = inout(reg) *p3,
            p4 = inout(reg) *p4, p5 = inout(reg) *p5, p6 = inout(reg) *p6, p7 = inout(reg) *p7,
            g0 = out(vreg) _, g1 = out(vreg) _, g2 = out(vreg) _, g3 = out(vreg) _,
            g4 = out(vreg) _, g5 = out(vreg) _, g6 = out(vreg) _, g7 = out(vreg) _,
            a00 = inout(vreg) a00.0, a01 = inout(vreg) a01.0, a10 = inout(vreg) a10.0, a11 = inout(vreg) a11.0,
            a20 = inout(vreg) a20.0, a21 = inout(vreg) a21.0, a30 = inout(vreg) a30.0, a31 = inout(vreg) a31.0,
            a40 = inout(vreg) a40.0, a41 = inout(vreg) a41.0, a50 = inout(vreg) a50.0, a51 = inout(vreg) a51.0,
            a60 = inout(vreg) a60.0, a61 = inout(vreg) a61.0, a70 = inout(vreg) a70.0, a71 = inout(vreg) a71.0,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            options(nostack, readonly)
        );
    }
}

crate::nn::generic::instantiate_kernels! {
    features = ["neon"], vector = F32x4, isa = Neon,
    blocks = [4 => 4, 2 => 8, 1 => 8], depthwise_tile = 8, group = 16
}
