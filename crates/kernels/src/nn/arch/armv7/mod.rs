//! The row kernels for 32-bit Arm with NEON: four lanes.
//!
//! The NEON intrinsics are not stable on this architecture, and its vector types are not accepted
//! as operands of `asm!`. So the row kernels are whole functions in assembly (`kernels.s`), which
//! assemble whatever the target features of the build are. Blocks of channels are 8 or 4 wide; the
//! scalar kernels compute the one to three channels that may remain.
#![allow(unsafe_code)]

use std::mem::offset_of;

use super::scalar;
use crate::nn::rows::{Activation, ConvRow, DepthwiseRow, Kernels, UpsampleRow};
use crate::simd::Isa;

std::arch::global_asm!(include_str!("kernels.s"), options(raw));

unsafe extern "C" {
    fn portraitd_neon_conv8(row: *const ConvRow, packed: *const f32, first: usize);
    fn portraitd_neon_conv4(row: *const ConvRow, packed: *const f32, first: usize);
    fn portraitd_neon_depthwise8(row: *const DepthwiseRow, packed: *const f32, first: usize);
    fn portraitd_neon_depthwise4(row: *const DepthwiseRow, packed: *const f32, first: usize);
    fn portraitd_neon_upsample(row: *const UpsampleRow, first: usize);
    fn portraitd_neon_sigmoid(data: *mut f32, vectors: usize);
}

// The offsets that the assembly relies on.
const _: () = {
    assert!(offset_of!(ConvRow, offsets) == 8 && offset_of!(ConvRow, depth) == 16 && offset_of!(ConvRow, skip) == 20);
    assert!(
        offset_of!(ConvRow, output) == 32 && offset_of!(ConvRow, residual) == 40 && offset_of!(ConvRow, sums) == 48
    );
    assert!(offset_of!(ConvRow, width) == 52 && offset_of!(ConvRow, activation) == 60);
    assert!(offset_of!(DepthwiseRow, kernel) == 12 && offset_of!(DepthwiseRow, pixel_step) == 20);
    assert!(offset_of!(DepthwiseRow, output) == 28 && offset_of!(DepthwiseRow, addend) == 36);
    assert!(offset_of!(DepthwiseRow, sums) == 40 && offset_of!(DepthwiseRow, width) == 44);
    assert!(offset_of!(DepthwiseRow, activation) == 52);
    assert!(offset_of!(UpsampleRow, output) == 12 && offset_of!(UpsampleRow, width) == 20);
};

fn lanes_width(rest: usize) -> usize {
    match rest {
        8.. => 8,
        4.. => 4,
        _ => (scalar::KERNELS.lanes_width)(rest),
    }
}

fn block_width(rest: usize) -> usize {
    match rest {
        8.. => 8,
        4.. => 4,
        _ => (scalar::KERNELS.block_width)(rest),
    }
}

unsafe fn conv(row: &ConvRow) {
    let sigmoid = row.activation == Activation::Sigmoid;
    // The assembly has no sigmoid, and the sums are taken after the activation.
    let sums = if sigmoid { std::ptr::null_mut() } else { row.sums };
    let inner = ConvRow { sums, activation: if sigmoid { Activation::None } else { row.activation }, ..*row };
    let mut packed = row.packed;
    let mut first = 0;
    while first < row.channels {
        let width = block_width(row.channels - first);
        // SAFETY: the caller guarantees a valid row; blocks are laid out according to
        // `block_width`.
        unsafe {
            match width {
                8 => portraitd_neon_conv8(&raw const inner, packed, first),
                4 => portraitd_neon_conv4(&raw const inner, packed, first),
                _ => {
                    let offset = |at: *const f32| if at.is_null() { at } else { at.add(first) };
                    (scalar::KERNELS.conv)(&ConvRow {
                        packed,
                        output: inner.output.add(first),
                        residual: offset(inner.residual),
                        sums: offset(inner.sums).cast_mut(),
                        channels: row.channels - first,
                        ..inner
                    });
                    break;
                }
            }
            packed = packed.add((1 + row.block_depth) * width);
        }
        first += width;
    }
    if sigmoid {
        for x in 0..row.width {
            // SAFETY: the kernels have just written these pixels; there is one sum per channel.
            unsafe {
                let pixel = row.output.add(x * row.output_step);
                activate(pixel, row.channels, Activation::Sigmoid);
                add(pixel, row.sums, row.channels);
            }
        }
    }
}

/// `to[i] += from[i]` for `count` numbers. Does nothing if `to` is null.
///
/// # Safety
/// `from`, and `to` unless it is null, are valid for `count` numbers.
unsafe fn add(from: *const f32, to: *mut f32, count: usize) {
    for i in 0..if to.is_null() { 0 } else { count } {
        // SAFETY: the caller upholds this function's contract.
        unsafe { *to.add(i) += *from.add(i) }
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
        let width = lanes_width(row.channels - first);
        // SAFETY: as above.
        unsafe {
            match width {
                8 => portraitd_neon_depthwise8(&raw const *row, packed, first),
                4 => portraitd_neon_depthwise4(&raw const *row, packed, first),
                _ => {
                    depthwise_rest(row, packed, first);
                    break;
                }
            }
            packed = packed.add((1 + row.kernel * row.kernel) * width);
        }
        first += width;
    }
}

/// Computes the channels from `first` on with plain loops. The scalar kernel would need an array of
/// shifted row addresses, for which there is no memory here.
///
/// # Safety
/// The row is valid; its activation is not the sigmoid; the weights are packed one channel after
/// another.
unsafe fn depthwise_rest(row: &DepthwiseRow, mut packed: *const f32, first: usize) {
    for c in first..row.channels {
        // SAFETY: the caller upholds this function's contract.
        unsafe {
            for x in 0..row.width {
                let mut sum = *packed;
                let mut weight = packed.add(1 + row.first_row * row.kernel);
                for y in 0..row.row_count {
                    let from = (*row.rows.add(y)).add(x * row.stride * row.pixel_step + c);
                    for i in 0..row.kernel {
                        sum += *from.add(i * row.pixel_step) * *weight;
                        weight = weight.add(1);
                    }
                }
                (scalar::KERNELS.activate)(&raw mut sum, 1, row.activation);
                if !row.addend.is_null() {
                    sum += *row.addend.add(x * row.pixel_step + c);
                }
                *row.output.add(x * row.output_step + c) = sum;
                if !row.sums.is_null() {
                    *row.sums.add(c) += sum;
                }
            }
            packed = packed.add(1 + row.kernel * row.kernel);
        }
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
            activate(pixel, row.channels, Activation::Sigmoid);
            if !row.addend.is_null() {
                add(row.addend.add(x * row.pixel_step), pixel, row.channels);
            }
            add(pixel, row.sums, row.channels);
        }
    }
}

unsafe fn upsample(row: &UpsampleRow) {
    let whole = row.channels / 4 * 4;
    // SAFETY: the caller guarantees a valid row.
    unsafe {
        for first in (0..whole).step_by(4) {
            portraitd_neon_upsample(row, first);
        }
        if whole < row.channels {
            (scalar::KERNELS.upsample)(&UpsampleRow {
                near: row.near.add(whole),
                far: row.far.add(whole),
                output: row.output.add(whole),
                channels: row.channels - whole,
                ..*row
            });
        }
    }
}

unsafe fn activate(data: *mut f32, length: usize, activation: Activation) {
    let whole = if activation == Activation::Sigmoid { length / 4 * 4 } else { 0 };
    // SAFETY: the caller guarantees valid memory.
    unsafe {
        if whole > 0 {
            portraitd_neon_sigmoid(data, whole / 4);
        }
        (scalar::KERNELS.activate)(data.add(whole), length - whole, activation);
    }
}

unsafe fn gate(from: *const f32, to: *mut f32, width: usize, factors: *const f32, depth: usize) {
    // SAFETY: the caller guarantees valid memory.
    unsafe { (scalar::KERNELS.gate)(from, to, width, factors, depth) }
}

/// The row kernels of this instruction set.
pub static KERNELS: Kernels =
    Kernels { isa: Isa::Neon, block_width, lanes_width, group: 16, conv, depthwise, upsample, gate, activate };
