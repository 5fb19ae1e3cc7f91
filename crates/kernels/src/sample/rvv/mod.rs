//! The loops of the sampler for RISC-V vectors 1.0, with any VLEN of 128 or more. The results are
//! the same to the bit as those of the plain loops.
//!
//! The compiler has no vector type without a size, so the loops are assembly (`kernels.s`).
#![allow(unsafe_code)]

use super::area::{AT_ONCE, Weighted};
use super::edges::Edges;
use crate::assembly::addresses;
use crate::simd::{Isa, Usable};

std::arch::global_asm!(include_str!("kernels.s"), options(raw));

unsafe extern "C" {
    fn portraitd_rvv_sum_rows(
        rows: *const *const u8,
        row_count: usize,
        edges: *const Edges,
        bits: usize,
        out: *mut i16,
        count: usize,
        add: usize,
    );
    fn portraitd_rvv_convert(
        components: *const *const f32,
        conversion: *const f32,
        out: *mut f32,
        count: usize,
        step: usize,
    );
    fn portraitd_rvv_weigh(components: *const *const f32, weights: *const f32, out: *mut u8, count: usize);
}

/// Whether these loops may run.
pub(super) fn available(isa: Usable) -> bool {
    isa.isa() == Isa::Rvv
}

/// The sums of `rows` with `bits` fractional bits, plus those of two weighted rows if there are
/// any, plus what `out` holds if `add` is set.
///
/// # Panics
/// If the instruction set is another one, if a row is shorter than `out`, or if there are more than
/// [`AT_ONCE`] rows.
pub(super) fn sum(
    isa: Usable,
    rows: &[&[u8]],
    edges: Option<([&[u8]; 2], [Weighted; 2])>,
    bits: u32,
    out: &mut [i16],
    add: bool,
) {
    assert!(available(isa) && bits < 8, "vectors and a number of bits that fits");
    let addresses: [_; AT_ONCE] = addresses(rows, out.len());
    if out.is_empty() {
        return;
    }
    let edges = edges.map(|(edge_rows, weights)| Edges::new(edge_rows, weights, bits, out.len()));
    let edges = edges.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the CPU has vectors, and no row is shorter than the output.
    unsafe {
        portraitd_rvv_sum_rows(
            addresses.as_ptr(),
            rows.len(),
            edges,
            bits as usize,
            out.as_mut_ptr(),
            out.len(),
            add.into(),
        );
    }
}

/// One channel of the output from three rows of components: weights and offset, then gain and shift
/// of the clamped value. Every `step`-th place of `out` is written.
///
/// # Panics
/// If the instruction set is another one, or a row is shorter than needed.
pub(super) fn convert(isa: Usable, components: [&[f32]; 3], conversion: &[f32; 6], out: &mut [f32], step: usize) {
    let count = out.len().div_ceil(step);
    assert!(available(isa) && components.iter().all(|row| row.len() >= count), "components for all outputs");
    if count == 0 {
        return;
    }
    let rows = components.map(<[f32]>::as_ptr);
    // SAFETY: the CPU has vectors, no row is shorter than the outputs, and the last output lies
    // within `out`.
    unsafe {
        portraitd_rvv_convert(rows.as_ptr(), conversion.as_ptr(), out.as_mut_ptr(), count, step * size_of::<f32>());
    }
}

/// The weighted sum of three rows with an offset as bytes. With one component, the offset is not
/// added.
///
/// # Panics
/// If the instruction set is another one, or a row is shorter than `out`.
pub(super) fn weigh(isa: Usable, components: &[&[f32]], weights: &[f32; 4], out: &mut [u8]) {
    assert!(available(isa) && matches!(components.len(), 1 | 3), "one component or three");
    assert!(components.iter().all(|row| row.len() >= out.len()), "components for all outputs");
    if out.is_empty() {
        return;
    }
    let mut rows = [std::ptr::null(); 3];
    for (row, component) in rows.iter_mut().zip(components) {
        *row = component.as_ptr();
    }
    // SAFETY: the CPU has vectors, and no row is shorter than the output.
    unsafe { portraitd_rvv_weigh(rows.as_ptr(), weights.as_ptr(), out.as_mut_ptr(), out.len()) };
}
