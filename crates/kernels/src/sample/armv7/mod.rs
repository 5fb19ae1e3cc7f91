//! The loops of the sampler for 32-bit Arm with NEON. The results are the same to the bit as those of
//! the plain loops.
//!
//! The NEON intrinsics are not stable on this architecture, so the loops are assembly (`kernels.s`).
#![allow(unsafe_code)]

use super::area::{AT_ONCE, Weighted};
use super::edges::Edges;
use crate::assembly::addresses;
use crate::simd::{Isa, Usable};

std::arch::global_asm!(include_str!("kernels.s"), options(raw));

unsafe extern "C" {
    fn portraitd_neon_sum_rows(
        rows: *const *const u8,
        row_count: usize,
        edges: *const Edges,
        bits: usize,
        out: *mut i16,
        groups: usize,
        add: usize,
    );
    fn portraitd_neon_convert(
        components: *const *const f32,
        conversions: *const [f32; 6],
        out: *mut [f32; 3],
        fours: usize,
    );
    fn portraitd_neon_convert_one(
        components: *const *const f32,
        conversion: *const [f32; 6],
        out: *mut f32,
        fours: usize,
    );
    fn portraitd_neon_scale(row: *const f32, weight: u32, out: *mut u8, eights: usize);
}

/// Whether these loops may run.
pub(super) fn available(isa: Usable) -> bool {
    isa.isa() == Isa::Neon
}

/// The columns that are computed together.
const COLUMNS: usize = 16;

/// The sums of whole rows with `bits` fractional bits, plus what `out` holds if `ADD` is set.
/// Returns the number of columns that were computed.
///
/// # Panics
/// If a row is shorter than `out`.
pub(super) fn sum<const INNER: usize, const ADD: bool>(rows: [&[u8]; INNER], bits: u32, out: &mut [i16]) -> usize {
    run(&rows, None, bits, out, ADD)
}

/// The sums of two weighted rows and `INNER` whole ones. Returns the number of columns that were
/// computed.
///
/// # Panics
/// If a row is shorter than `out`.
pub(super) fn sum_edged<const INNER: usize>(
    edge_rows: [&[u8]; 2],
    edges: [Weighted; 2],
    rows: [&[u8]; INNER],
    bits: u32,
    out: &mut [i16],
) -> usize {
    let edges = Edges::new(edge_rows, edges, bits, out.len()).shifting_left();
    run(&rows, Some(&edges), bits, out, false)
}

/// Both kinds of sums. The caller asked whether the CPU has NEON.
fn run(rows: &[&[u8]], edges: Option<&Edges>, bits: u32, out: &mut [i16], add: bool) -> usize {
    assert!(bits < 8 && rows.len() <= AT_ONCE, "a number of bits and of rows that fits");
    let addresses: [_; AT_ONCE] = addresses(rows, out.len());
    let (edges, groups) = (edges.map_or(std::ptr::null(), std::ptr::from_ref), out.len() / COLUMNS);
    if groups > 0 {
        let (rows, count, out) = (addresses.as_ptr(), rows.len(), out.as_mut_ptr());
        // SAFETY: the CPU has NEON, and no row is shorter than the groups of the output.
        unsafe { portraitd_neon_sum_rows(rows, count, edges, bits as usize, out, groups, add.into()) };
    }
    groups * COLUMNS
}

/// Converts whole groups of pixels to three channels, one pixel after the other. Each channel has
/// three weights, an offset, a gain and a shift. Returns the number of pixels that were converted.
///
/// # Panics
/// If the instruction set is another one, or a row is shorter than the output.
pub(super) fn convert(
    isa: Usable,
    components: [&[f32]; 3],
    conversions: &[[f32; 6]; 3],
    out: &mut [[f32; 3]],
) -> usize {
    assert!(available(isa) && components.iter().all(|row| row.len() >= out.len()), "components for all pixels");
    let fours = out.len() / 4;
    if fours > 0 {
        let rows = components.map(<[f32]>::as_ptr);
        // SAFETY: the CPU has NEON, and no row is shorter than the groups of the output.
        unsafe { portraitd_neon_convert(rows.as_ptr(), conversions.as_ptr(), out.as_mut_ptr(), fours) };
    }
    4 * fours
}

/// Converts whole groups of pixels to one channel, as [`convert`].
///
/// # Panics
/// If the instruction set is another one, or a row is shorter than the output.
pub(super) fn convert_one(isa: Usable, components: [&[f32]; 3], conversion: &[f32; 6], out: &mut [f32]) -> usize {
    assert!(available(isa) && components.iter().all(|row| row.len() >= out.len()), "components for all pixels");
    let fours = out.len() / 4;
    if fours > 0 {
        let rows = components.map(<[f32]>::as_ptr);
        // SAFETY: as in `convert`.
        unsafe { portraitd_neon_convert_one(rows.as_ptr(), conversion, out.as_mut_ptr(), fours) };
    }
    4 * fours
}

/// Multiplies whole groups of numbers by a weight, and rounds them to bytes. Returns the number of
/// results.
///
/// # Panics
/// If the instruction set is another one, or the row is shorter than the output.
pub(super) fn scale(isa: Usable, row: &[f32], weight: f32, out: &mut [u8]) -> usize {
    assert!(available(isa) && row.len() >= out.len(), "a number for each result");
    let eights = out.len() / 8;
    if eights > 0 {
        // SAFETY: the CPU has NEON, and the row is not shorter than the groups of the output.
        unsafe { portraitd_neon_scale(row.as_ptr(), weight.to_bits(), out.as_mut_ptr(), eights) };
    }
    8 * eights
}
