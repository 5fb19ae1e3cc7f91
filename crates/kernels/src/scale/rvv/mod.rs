//! The loops of the scaler for RISC-V vectors 1.0, with any VLEN of 128 or more. The results are
//! the same to the bit as those of the plain loops.
//!
//! The compiler has no vector type without a size, so the loops are assembly (`kernels.s`).
#![allow(unsafe_code)]

use super::axis::AxisFilter;
use super::fir::SHORT_SUM_ROWS;
use super::shuffle::ShuffleLayout;
use crate::assembly::addresses;
use crate::simd::{Isa, Usable};

std::arch::global_asm!(include_str!("kernels.s"), options(raw));

unsafe extern "C" {
    fn portraitd_rvv_bytes() -> usize;
    fn portraitd_rvv_down_samples(
        rows: *const *const i16,
        weights: *const i16,
        taps: usize,
        bias: isize,
        out: *mut u8,
        count: usize,
    );
    fn portraitd_rvv_down_bytes(
        rows: *const *const u8,
        weights: *const i16,
        taps: usize,
        bias: isize,
        out: *mut i16,
        count: usize,
    );
    fn portraitd_rvv_along(
        row: *const u8,
        groups: *const Group,
        count: usize,
        controls: *const u8,
        weights: *const i16,
        parts: usize,
        step: usize,
        out: *mut i16,
    );
    fn portraitd_rvv_indexed_to_floats(
        samples: *const i16,
        offsets: *const u16,
        weights: *const i16,
        taps: usize,
        step: usize,
        out: *mut f32,
        count: usize,
        spread: usize,
    );
    fn portraitd_rvv_indexed_to_bytes(
        samples: *const i16,
        offsets: *const u16,
        weights: *const i16,
        taps: usize,
        step: usize,
        out: *mut u8,
        count: usize,
        spread: usize,
    );
}

/// Whether these loops may run.
pub(super) fn available(isa: Usable) -> bool {
    isa.isa() == Isa::Rvv
}

/// The vertical filter of [`super::fir::down_samples`].
///
/// # Panics
/// If the instruction set is another one, or a row is shorter than `out`.
pub(super) fn down_samples(isa: Usable, rows: &[&[i16]], weights: &[i16], bias: i16, out: &mut [u8]) {
    assert!(available(isa) && rows.len() == weights.len() && !rows.is_empty(), "one weight per row");
    let addresses: [_; SHORT_SUM_ROWS] = addresses(rows, out.len());
    if out.is_empty() {
        return;
    }
    // SAFETY: the CPU has vectors; there is an address and a weight per row, and no row is shorter
    // than the output.
    unsafe {
        portraitd_rvv_down_samples(
            addresses.as_ptr(),
            weights.as_ptr(),
            rows.len(),
            bias.into(),
            out.as_mut_ptr(),
            out.len(),
        );
    }
}

/// The vertical filter of [`super::fir::down_bytes`].
///
/// # Panics
/// If the instruction set is another one, or a row is shorter than `out`.
pub(super) fn down_bytes(isa: Usable, rows: &[&[u8]], weights: &[i16], bias: i16, out: &mut [i16]) {
    assert!(available(isa) && rows.len() == weights.len() && !rows.is_empty(), "one weight per row");
    let addresses: [_; SHORT_SUM_ROWS] = addresses(rows, out.len());
    if out.is_empty() {
        return;
    }
    // SAFETY: as in `down_samples`.
    unsafe {
        portraitd_rvv_down_bytes(
            addresses.as_ptr(),
            weights.as_ptr(),
            rows.len(),
            bias.into(),
            out.as_mut_ptr(),
            out.len(),
        );
    }
}

/// Neighbouring outputs whose first taps lie within a register of bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Group {
    /// Start of the window of the first tap in the row, in bytes.
    base: u32,
    /// Bytes of the window.
    length: u16,
    /// Number of outputs.
    outputs: u16,
}

/// The horizontal filter of an axis for one layout: all outputs of a group take a tap from one load
/// of bytes. The window of the next tap starts one sample further on, so that all taps pick the
/// same bytes of their windows.
#[derive(Clone, Debug, Default)]
pub(super) struct Windows {
    groups: Vec<Group>,
    /// For each output the byte of its group's windows.
    controls: Vec<u8>,
    /// For each group, and in it for each tap, the weights of the outputs.
    weights: Vec<i16>,
    /// Taps divided by four.
    parts: usize,
    /// Bytes from the window of a tap to that of the next tap.
    step: usize,
    /// The number of bytes of a row that are read.
    reach: usize,
}

impl Windows {
    /// Computes the groups for a source of `samples` samples per row. Returns `false` if the loop
    /// cannot be used: on another instruction set, and for sources that are narrower than the
    /// filter.
    pub(super) fn build(&mut self, isa: Usable, axis: &AxisFilter, layout: ShuffleLayout, samples: usize) -> bool {
        self.clear();
        self.controls.clear();
        self.weights.clear();
        if !available(isa) || samples < axis.taps {
            return false;
        }
        // SAFETY: the CPU has vectors.
        let width = unsafe { portraitd_rvv_bytes() }.min(256);
        let ShuffleLayout { channels, offsets, step } = layout;
        (self.parts, self.step, self.reach) = (axis.taps / 4, step, 0);
        let count = axis.starts.len() * channels;
        // Taps past the end of the source have weight 0. The outputs there start further left, so
        // that no window exceeds the row.
        let last = samples - axis.taps;
        let start = |output: usize| (axis.first + axis.starts[output / channels]).min(last);
        let byte = |output: usize| start(output) * step + offsets[output % channels];
        let mut from = 0;
        while from < count {
            let (mut least, mut most, mut end) = (byte(from), byte(from), from + 1);
            while end < count && end - from < width {
                let at = byte(end);
                if most.max(at) - least.min(at) >= width {
                    break;
                }
                (least, most) = (least.min(at), most.max(at));
                end += 1;
            }
            let Ok(base) = u32::try_from(least) else { return false };
            let narrow = |value: usize| u16::try_from(value).unwrap_or(0);
            self.groups.push(Group { base, length: narrow(most - least + 1), outputs: narrow(end - from) });
            self.controls.extend((from..end).map(|output| (byte(output) - least).to_le_bytes()[0]));
            self.reach = self.reach.max((axis.taps - 1) * step + most + 1);
            let first = self.weights.len();
            self.weights.resize(first + (end - from) * axis.taps, 0);
            for output in from..end {
                let position = output / channels;
                let left_out = axis.first + axis.starts[position] - start(output);
                for (tap, &weight) in axis.weights(position)[..axis.taps - left_out].iter().enumerate() {
                    self.weights[first + (tap + left_out) * (end - from) + output - from] = weight;
                }
            }
            from = end;
        }
        true
    }

    /// Forgets the filter.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
    }

    /// Whether there is nothing to run.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Writes the weighted sums of `row` to `out`.
    ///
    /// # Panics
    /// If a slice is too short.
    pub(super) fn run(&self, row: &[u8], out: &mut [i16]) {
        assert!(row.len() >= self.reach, "the row has {} bytes, but {} are read", row.len(), self.reach);
        assert!(out.len() >= self.controls.len(), "there are {} outputs", self.controls.len());
        if self.groups.is_empty() {
            return;
        }
        // SAFETY: groups are only made on a CPU with vectors. Their windows end at or before
        // `reach`, which lies in the row; the outputs of all groups fit in `out`, and each has a
        // control below the length of its window and a weight per tap.
        unsafe {
            portraitd_rvv_along(
                row.as_ptr(),
                self.groups.as_ptr(),
                self.groups.len(),
                self.controls.as_ptr(),
                self.weights.as_ptr(),
                self.parts,
                self.step,
                out.as_mut_ptr(),
            );
        }
    }
}

/// The horizontal filter of an axis for samples of 16 bits, which may be `step` samples apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct IndexedTaps {
    /// The offset of the first tap of each output, in bytes.
    offsets: Vec<u16>,
    /// For each tap the weights of all outputs.
    weights: Vec<i16>,
    taps: usize,
    step: usize,
    /// The number of samples that are read.
    reach: usize,
}

impl IndexedTaps {
    /// Forgets the filter.
    pub(super) fn clear(&mut self) {
        self.offsets.clear();
    }

    /// Computes the table of an axis. It stays empty on another instruction set, and for rows of
    /// more than 64 KiB.
    pub(super) fn build(&mut self, isa: Usable, axis: &AxisFilter, step: usize) {
        self.offsets.clear();
        self.weights.clear();
        (self.taps, self.step, self.reach) = (axis.taps, step, (axis.extent.max(1) - 1) * step + 1);
        if !available(isa) || 2 * self.reach > usize::from(u16::MAX) {
            return;
        }
        self.offsets.extend(axis.starts.iter().map(|start| u16::try_from(2 * start * step).unwrap_or(0)));
        for tap in 0..axis.taps {
            self.weights.extend(axis.weights.iter().skip(tap).step_by(axis.taps));
        }
    }

    /// Whether the filter can be applied to `samples`, with a table for `step`.
    fn fits(&self, samples: &[i16], step: usize, outputs: usize) -> bool {
        let all = outputs == self.offsets.len() && self.weights.len() == outputs * self.taps;
        outputs > 0 && all && self.step == step && samples.len() >= self.reach
    }

    /// Writes the weighted sums as floats. Returns `false`, and writes nothing, if there is no table
    /// for this case.
    pub(super) fn to_floats(&self, samples: &[i16], step: usize, out: &mut [f32]) -> bool {
        if !self.fits(samples, step, out.len()) {
            return false;
        }
        // SAFETY: the table is only made on a CPU with vectors; all taps lie below `reach`, which
        // lies in `samples`; there is an offset per output, and a weight per tap.
        unsafe {
            portraitd_rvv_indexed_to_floats(
                samples.as_ptr(),
                self.offsets.as_ptr(),
                self.weights.as_ptr(),
                self.taps,
                2 * self.step,
                out.as_mut_ptr(),
                out.len(),
                size_of::<f32>(),
            );
        }
        true
    }

    /// Writes the weighted sums as bytes to every `spread`-th place of `out`. Returns `false`, and
    /// writes nothing, if there is no table for this case.
    pub(super) fn to_bytes(&self, samples: &[i16], step: usize, out: &mut [u8], spread: usize) -> bool {
        if !self.fits(samples, step, out.len().div_ceil(spread)) {
            return false;
        }
        // SAFETY: as above; the last output lies within `out`.
        unsafe {
            portraitd_rvv_indexed_to_bytes(
                samples.as_ptr(),
                self.offsets.as_ptr(),
                self.weights.as_ptr(),
                self.taps,
                2 * self.step,
                out.as_mut_ptr(),
                self.offsets.len(),
                spread,
            );
        }
        true
    }
}
