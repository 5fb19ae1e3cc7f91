//! The row kernels for RISC-V vectors 1.0, with any VLEN of 128 or more.
//!
//! The compiler has no vector type without a size, so the row kernels are assembly (`kernels.s`).
//! All of them use groups of four registers (`LMUL` 4). A block of channels is as wide as such a
//! group (16 at a VLEN of 128), and a narrower remainder uses a shorter vector length. The packed
//! weights have no padding.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};

use super::scalar;
use crate::nn::rows::{Activation, ConvRow, DepthwiseRow, Kernels, UpsampleRow};
use crate::simd::Isa;

std::arch::global_asm!(include_str!("kernels.s"), options(raw));

unsafe extern "C" {
    fn portraitd_rvv_lanes() -> usize;
    fn portraitd_rvv_conv(row: *const ConvRow, packed: *const f32, first: usize, channels: usize);
    fn portraitd_rvv_depthwise(row: *const DepthwiseRow, packed: *const f32, first: usize, channels: usize);
    fn portraitd_rvv_upsample(row: *const UpsampleRow, first: usize, channels: usize);
    fn portraitd_rvv_sigmoid(data: *mut f32, length: usize);
}

/// The numbers in a group of four registers. May only be called on a CPU with the vector extension.
fn lanes() -> usize {
    static LANES: AtomicUsize = AtomicUsize::new(0);
    match LANES.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: these kernels only run on a CPU with vectors.
            let lanes = unsafe { portraitd_rvv_lanes() };
            LANES.store(lanes, Ordering::Relaxed);
            lanes
        }
        lanes => lanes,
    }
}

fn width(rest: usize) -> usize {
    rest.min(lanes())
}

unsafe fn conv(row: &ConvRow) {
    let sigmoid = row.activation == Activation::Sigmoid;
    // The sums are taken after the activation.
    let inner = ConvRow { sums: if sigmoid { std::ptr::null_mut() } else { row.sums }, ..*row };
    let mut packed = row.packed;
    let mut first = 0;
    while first < row.channels {
        let width = width(row.channels - first);
        // SAFETY: the caller guarantees a valid row; blocks are laid out according to `width`.
        unsafe {
            portraitd_rvv_conv(&raw const inner, packed, first, width);
            packed = packed.add((1 + row.block_depth) * width);
        }
        first += width;
    }
    if sigmoid {
        for x in 0..row.width {
            // SAFETY: the kernel has just written these pixels; there is one sum per channel.
            unsafe {
                let pixel = row.output.add(x * row.output_step);
                portraitd_rvv_sigmoid(pixel, row.channels);
                if !row.sums.is_null() {
                    for n in 0..row.channels {
                        *row.sums.add(n) += *pixel.add(n);
                    }
                }
            }
        }
    }
}

unsafe fn depthwise(row: &DepthwiseRow) {
    if row.activation == Activation::Sigmoid {
        // The assembly has no sigmoid: the supported networks do not need it here.
        // SAFETY: the caller guarantees a valid row.
        return unsafe { depthwise_sigmoid(row) };
    }
    let mut packed = row.packed;
    let mut first = 0;
    while first < row.channels {
        let width = width(row.channels - first);
        // SAFETY: as above.
        unsafe {
            portraitd_rvv_depthwise(row, packed, first, width);
            packed = packed.add((1 + row.kernel * row.kernel) * width);
        }
        first += width;
    }
}

/// Computes a depthwise row with a sigmoid: the linear part first, then the sigmoid, the addend and
/// the sums.
unsafe fn depthwise_sigmoid(row: &DepthwiseRow) {
    let addend = std::ptr::null();
    let linear = DepthwiseRow { activation: Activation::None, addend, sums: std::ptr::null_mut(), ..*row };
    // SAFETY: the caller guarantees a valid row.
    unsafe {
        depthwise(&linear);
        for x in 0..row.width {
            let pixel = row.output.add(x * row.output_step);
            portraitd_rvv_sigmoid(pixel, row.channels);
            for c in 0..row.channels {
                if !row.addend.is_null() {
                    *pixel.add(c) += *row.addend.add(x * row.pixel_step + c);
                }
                if !row.sums.is_null() {
                    *row.sums.add(c) += *pixel.add(c);
                }
            }
        }
    }
}

unsafe fn upsample(row: &UpsampleRow) {
    let mut first = 0;
    while first < row.channels {
        let width = width(row.channels - first);
        // SAFETY: as above.
        unsafe { portraitd_rvv_upsample(row, first, width) }
        first += width;
    }
}

unsafe fn activate(data: *mut f32, length: usize, activation: Activation) {
    // SAFETY: the caller guarantees valid memory.
    unsafe {
        match activation {
            Activation::Sigmoid => portraitd_rvv_sigmoid(data, length),
            _ => (scalar::KERNELS.activate)(data, length, activation),
        }
    }
}

unsafe fn gate(from: *const f32, to: *mut f32, width: usize, factors: *const f32, depth: usize) {
    // SAFETY: the caller guarantees valid memory.
    unsafe { (scalar::KERNELS.gate)(from, to, width, factors, depth) }
}

/// The row kernels of this instruction set.
pub static KERNELS: Kernels = Kernels {
    isa: Isa::Rvv,
    block_width: width,
    lanes_width: width,
    group: 64,
    conv,
    depthwise,
    upsample,
    gate,
    activate,
};
