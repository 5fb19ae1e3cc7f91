//! The loops of the scaler for 32-bit Arm with NEON. The results are the same to the bit as those of
//! the plain loops.
//!
//! The NEON intrinsics are not stable on this architecture, so the loops are assembly (`kernels.s`).
#![allow(unsafe_code)]

use super::axis::AxisFilter;
use super::fir::SHORT_SUM_ROWS;
use super::gather::{Gather, LANES, Step};
use crate::assembly::addresses;
use crate::simd::{Isa, Usable};

std::arch::global_asm!(include_str!("kernels.s"), options(raw));

unsafe extern "C" {
    fn portraitd_neon_down_samples(
        rows: *const *const i16,
        weights: *const i16,
        taps: usize,
        bias: isize,
        out: *mut u8,
        groups: usize,
    );
    fn portraitd_neon_down_bytes(
        rows: *const *const u8,
        weights: *const i16,
        taps: usize,
        bias: isize,
        out: *mut i16,
        groups: usize,
    );
    fn portraitd_neon_along(
        row: *const u8,
        steps: *const Step,
        bases: *const u32,
        depth: usize,
        out: *mut i16,
        eights: usize,
        joint: usize,
    );
    fn portraitd_neon_to_floats(
        samples: *const i16,
        starts: *const usize,
        weights: *const i16,
        taps: usize,
        out: *mut f32,
        fours: usize,
    );
    fn portraitd_neon_pair_to_floats(
        samples: *const i16,
        starts: *const usize,
        weights: *const i16,
        taps: usize,
        out: *mut f32,
        fours: usize,
        second: *mut f32,
    );
}

/// Whether these loops may run.
pub(super) fn available(isa: Usable) -> bool {
    isa.isa() == Isa::Neon
}

/// The columns that the vertical filters compute together.
const COLUMNS: usize = 16;

/// The vertical filter of [`super::columns::down_samples`] on a CPU that has NEON. Returns the number
/// of columns that were computed.
///
/// # Panics
/// If the instruction set is another one, or a row is shorter than `out`.
pub(super) fn down_samples<const TAPS: usize>(
    isa: Usable,
    rows: &[&[i16]; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [u8],
) -> usize {
    let addresses: [_; SHORT_SUM_ROWS] = addresses(rows, out.len());
    let groups = out.len() / COLUMNS;
    assert!(available(isa) && TAPS > 0);
    if groups > 0 {
        let (rows, weights, out) = (addresses.as_ptr(), weights.as_ptr(), out.as_mut_ptr());
        // SAFETY: the CPU has NEON; there is an address and a weight per row, and no row is shorter
        // than the groups of the output.
        unsafe { portraitd_neon_down_samples(rows, weights, TAPS, bias.into(), out, groups) };
    }
    groups * COLUMNS
}

/// The vertical filter of [`super::columns::down_bytes`] on a CPU that has NEON. Returns the number of
/// columns that were computed.
///
/// # Panics
/// If the instruction set is another one, or a row is shorter than `out`.
pub(super) fn down_bytes<const TAPS: usize>(
    isa: Usable,
    rows: &[&[u8]; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [i16],
) -> usize {
    let addresses: [_; SHORT_SUM_ROWS] = addresses(rows, out.len());
    let groups = out.len() / COLUMNS;
    assert!(available(isa) && TAPS > 0);
    if groups > 0 {
        let (rows, weights, out) = (addresses.as_ptr(), weights.as_ptr(), out.as_mut_ptr());
        // SAFETY: as in `down_samples`.
        unsafe { portraitd_neon_down_bytes(rows, weights, TAPS, bias.into(), out, groups) };
    }
    groups * COLUMNS
}

impl Gather {
    /// Writes the weighted sums of a row to `out`.
    ///
    /// # Panics
    /// If the instruction set is another one, or a slice is too short.
    pub(super) fn run_on(&self, isa: Usable, row: &[u8], out: &mut [i16]) {
        assert!(available(isa) && row.len() >= self.reach, "a row of {} bytes or more", self.reach);
        let eights = out.len() / LANES;
        assert_eq!(eights * self.depth, self.steps.len(), "steps for all outputs");
        let windows = if self.joint { 1 } else { 2 };
        assert_eq!(self.steps.len() * windows, self.bases.len(), "windows for all steps");
        if self.steps.is_empty() {
            return;
        }
        let (steps, bases, joint) = (self.steps.as_ptr(), self.bases.as_ptr(), self.joint.into());
        // SAFETY: the CPU has NEON; every window ends at or before `reach`, which lies in the row;
        // there are steps and windows for all outputs.
        unsafe { portraitd_neon_along(row.as_ptr(), steps, bases, self.depth, out.as_mut_ptr(), eights, joint) };
    }
}

/// Filters samples side by side along an axis, to floats. Returns `false`, and writes nothing, if
/// there is no loop for this case.
pub(super) fn to_floats(axis: &AxisFilter, samples: &[i16], step: usize, out: &mut [f32]) -> bool {
    let count = axis.starts.len();
    if step != 1 || out.len() < count || !fits(axis, samples, 1) {
        return false;
    }
    for (first, fours) in parts(count) {
        let (starts, weights) = (axis.starts[first..].as_ptr(), axis.weights[first * axis.taps..].as_ptr());
        let out = out[first..].as_mut_ptr();
        // SAFETY: the caller asked whether the CPU has NEON; every output has `taps` weights and
        // samples, and there is a place for each.
        unsafe { portraitd_neon_to_floats(samples.as_ptr(), starts, weights, axis.taps, out, fours) };
    }
    true
}

/// Filters two channels that alternate, as [`to_floats`] does with one.
pub(super) fn pair_to_floats(axis: &AxisFilter, samples: &[i16], out: [&mut [f32]; 2]) -> bool {
    let count = axis.starts.len();
    if out.iter().any(|out| out.len() < count) || !fits(axis, samples, 2) {
        return false;
    }
    let [out, second] = out;
    for (first, fours) in parts(count) {
        let (starts, weights) = (axis.starts[first..].as_ptr(), axis.weights[first * axis.taps..].as_ptr());
        let (out, second) = (out[first..].as_mut_ptr(), second[first..].as_mut_ptr());
        // SAFETY: as in `to_floats`, for both channels.
        unsafe { portraitd_neon_pair_to_floats(samples.as_ptr(), starts, weights, axis.taps, out, fours, second) };
    }
    true
}

/// Whether the loops take an axis with samples of so many channels: four outputs or more, whose taps
/// exist.
fn fits(axis: &AxisFilter, samples: &[i16], channels: usize) -> bool {
    let count = axis.starts.len();
    let whole = axis.taps > 0 && axis.taps.is_multiple_of(4) && axis.weights.len() == count * axis.taps;
    // No tap lies at or after `extent`, so neither does a load.
    count >= 4 && whole && samples.len() >= axis.extent * channels
}

/// The outputs in groups of four: the first one and the number of groups. The last four outputs may
/// be computed twice.
fn parts(count: usize) -> impl Iterator<Item = (usize, usize)> {
    [(0, count / 4), (count - 4, usize::from(!count.is_multiple_of(4)))].into_iter().filter(|&(_, fours)| fours > 0)
}
