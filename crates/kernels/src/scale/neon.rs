//! The loops of the scaler for 64-bit Arm. The results are the same to the bit as those of the plain
//! loops.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::axis::AxisFilter;
use super::fixed::ROW_BITS;
use super::gather::{Gather, LANES, Step};
use super::shuffle::GROUP;
use crate::simd::neon::load;
use crate::simd::{Isa, Usable};

/// Bits that are cut off when a sum along a row is reduced to [`ROW_BITS`].
const SHIFT: i32 = 14 - ROW_BITS.cast_signed();

/// Whether these loops may run. NEON belongs to the base of the architecture, but another
/// instruction set may have been asked for.
pub(super) fn available(isa: Usable) -> bool {
    isa.isa() == Isa::Neon
}

impl Gather {
    /// Writes the weighted sums of each row to its output. Two rows together take fewer instructions
    /// than one after the other.
    ///
    /// # Panics
    /// If a slice is too short.
    pub(super) fn run<const ROWS: usize>(&self, rows: [&[u8]; ROWS], out: [&mut [i16]; ROWS]) {
        for row in rows {
            assert!(row.len() >= self.reach, "the row has {} bytes, but {} are read", row.len(), self.reach);
        }
        let out = out.map(|out| out.as_chunks_mut::<GROUP>().0);
        let groups = out[0].len();
        assert!(out.iter().all(|out| out.len() == groups), "outputs of the same length");
        let windows = if self.joint { 1 } else { 2 };
        assert_eq!(groups * GROUP / LANES * self.depth, self.steps.len(), "steps for all outputs");
        assert_eq!(self.steps.len() * windows, self.bases.len(), "windows for all steps");
        let (rows, out) = (rows.map(<[u8]>::as_ptr), out.map(<[_]>::as_mut_ptr));
        // SAFETY: every window ends at or before `reach`, which lies in each row; there are steps and
        // windows for all groups of outputs.
        unsafe {
            match (self.joint, self.depth) {
                (true, 1) => along::<ROWS, true, 1>(self, rows, groups, out),
                (true, _) => along::<ROWS, true, 0>(self, rows, groups, out),
                (false, 1) => along::<ROWS, false, 1>(self, rows, groups, out),
                (false, _) => along::<ROWS, false, 0>(self, rows, groups, out),
            }
        }
    }
}

/// [`Gather::run`] for `DEPTH` steps per eight outputs, or for any number if `DEPTH` is 0. `JOINT`:
/// whether one window of a step serves all its outputs.
///
/// # Safety
/// All windows can be read from each of `rows` on; there are steps and windows for `groups`, and as
/// many groups in each output.
#[target_feature(enable = "neon")]
unsafe fn along<const ROWS: usize, const JOINT: bool, const DEPTH: usize>(
    gather: &Gather,
    rows: [*const u8; ROWS],
    groups: usize,
    mut out: [*mut [i16; GROUP]; ROWS],
) {
    let depth = if DEPTH == 0 { gather.depth } else { DEPTH };
    let mut at = (gather.steps.as_ptr(), gather.bases.as_ptr());
    for _ in 0..groups {
        // SAFETY: there are steps for all outputs of the group, and 16 outputs in each row.
        unsafe {
            let low = eight::<ROWS, JOINT, 0>(&mut at, depth, rows);
            let high = eight::<ROWS, JOINT, 2>(&mut at, depth, rows);
            for (row, out) in out.iter_mut().enumerate() {
                vst1q_s16_x2(out.cast(), int16x8x2_t(low[row], high[row]));
                *out = out.add(1);
            }
        }
    }
}

/// The next eight outputs of each row, from `depth` steps and their windows. `SET` is that of
/// [`load`].
///
/// # Safety
/// There are as many steps and windows, and the windows can be read from each of `rows` on.
#[inline(always)]
unsafe fn eight<const ROWS: usize, const JOINT: bool, const SET: usize>(
    (steps, bases): &mut (*const Step, *const u32),
    depth: usize,
    rows: [*const u8; ROWS],
) -> [int16x8_t; ROWS] {
    // SAFETY: the caller guarantees it, and NEON belongs to the base of the architecture.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 2]; ROWS];
        for _ in 0..depth {
            let first = **bases as usize;
            let second = if JOINT { first } else { *bases.add(1) as usize };
            *bases = bases.add(if JOINT { 1 } else { 2 });
            let windows = rows.map(|row| uint8x16x2_t(vld1q_u8(row.add(first)), vld1q_u8(row.add(second))));
            // The weights follow the controls.
            let (controls, weights) = if SET == 0 {
                (load::<0, _>(steps), load::<1, _>(steps))
            } else {
                (load::<2, _>(steps), load::<3, _>(steps))
            };
            for (controls, weights) in controls.into_iter().zip(weights) {
                let weights = vreinterpretq_s16_u8(weights);
                for (windows, [low, high]) in windows.into_iter().zip(&mut sums) {
                    let picked = if JOINT { vqtbl1q_u8(windows.0, controls) } else { vqtbl2q_u8(windows, controls) };
                    let samples = vreinterpretq_s16_u8(picked);
                    *low = vmlal_s16(*low, vget_low_s16(samples), vget_low_s16(weights));
                    *high = vmlal_high_s16(*high, samples, weights);
                }
            }
        }
        sums.map(|[low, high]| vqrshrn_high_n_s32::<SHIFT>(vqrshrn_n_s32::<SHIFT>(low), high))
    }
}

/// The vertical filter of [`super::columns::down_samples`]. Returns the number of columns that were
/// computed.
///
/// The upper half of a product is half of what `sqdmulh` gives, so it takes two instructions: the
/// halving also adds.
///
/// # Panics
/// If a row is shorter than `out`.
pub(super) fn down_samples<const TAPS: usize>(
    rows: &[&[i16]; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [u8],
) -> usize {
    assert!(rows.iter().all(|row| row.len() >= out.len()), "every row must be as long as the output");
    let groups = out.as_chunks_mut::<32>().0;
    let done = groups.len() * 32;
    let mut rows = rows.map(<[i16]>::as_ptr);
    for out in groups {
        // SAFETY: there are 32 outputs in a group, and as many samples in each row.
        unsafe { down_group(&mut rows, weights, bias, out) };
    }
    done
}

/// 32 columns of [`down_samples`]. Advances the rows.
///
/// # Safety
/// 32 samples can be read from each row.
#[inline(always)]
unsafe fn down_group<const TAPS: usize>(
    rows: &mut [*const i16; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [u8; 32],
) {
    const SHIFT: i32 = ROW_BITS.cast_signed() - 2;
    // SAFETY: the caller guarantees it, and NEON belongs to the base of the architecture.
    unsafe {
        // The first product is halved with twice the bias.
        let mut sums = [vdupq_n_s16(2 * bias); 4];
        for (tap, (row, &weight)) in rows.iter_mut().zip(weights).enumerate() {
            let samples = match tap % 4 {
                0 => load::<0, _>(row),
                1 => load::<1, _>(row),
                2 => load::<2, _>(row),
                _ => load::<3, _>(row),
            };
            for (sum, samples) in sums.iter_mut().zip(samples) {
                let doubled = vqdmulhq_n_s16(vreinterpretq_s16_u8(samples), weight);
                *sum = if tap == 0 { vhaddq_s16(doubled, *sum) } else { vsraq_n_s16::<1>(*sum, doubled) };
            }
        }
        let [a, b, c, d] = sums;
        let low = vqshrun_high_n_s16::<SHIFT>(vqshrun_n_s16::<SHIFT>(a), b);
        let high = vqshrun_high_n_s16::<SHIFT>(vqshrun_n_s16::<SHIFT>(c), d);
        vst1q_u8_x2(out.as_mut_ptr(), uint8x16x2_t(low, high));
    }
}

/// The vertical filter of [`super::columns::down_bytes`]. Returns the number of columns that were
/// computed.
///
/// # Panics
/// If a row is shorter than `out`.
pub(super) fn down_bytes<const TAPS: usize>(
    rows: &[&[u8]; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [i16],
) -> usize {
    assert!(rows.iter().all(|row| row.len() >= out.len()), "every row must be as long as the output");
    let groups = out.as_chunks_mut::<16>().0;
    let done = groups.len() * 16;
    let mut rows = rows.map(<[u8]>::as_ptr);
    for out in groups {
        // SAFETY: there are 16 outputs, and as many bytes in each row.
        unsafe {
            let mut sums = [vdupq_n_s16(bias); 2];
            for (row, &weight) in rows.iter_mut().zip(weights) {
                let bytes = vld1q_u8(*row);
                *row = row.add(16);
                // `sqdmulh` doubles the product, so six bits of the seven are enough.
                let samples = [vshll_n_u8::<6>(vget_low_u8(bytes)), vshll_high_n_u8::<6>(bytes)];
                for (sum, samples) in sums.iter_mut().zip(samples) {
                    *sum = vaddq_s16(*sum, vqdmulhq_n_s16(vreinterpretq_s16_u16(samples), weight));
                }
            }
            vst1q_s16_x2(out.as_mut_ptr(), int16x8x2_t(sums[0], sums[1]));
        }
    }
    done
}

/// Filters samples that lie `step` apart along an axis, to floats. Returns `false`, and writes
/// nothing, if there is no loop for this case.
pub(super) fn to_floats(axis: &AxisFilter, samples: &[i16], step: usize, out: &mut [f32]) -> bool {
    match step {
        1 => filter::<1, 1>(axis, samples, [out]),
        2 => filter::<2, 1>(axis, samples, [out]),
        _ => false,
    }
}

/// Filters two channels that alternate, as [`to_floats`] does with one.
pub(super) fn pair_to_floats(axis: &AxisFilter, samples: &[i16], out: [&mut [f32]; 2]) -> bool {
    filter::<2, 2>(axis, samples, out)
}

/// The first `CHANNELS` of `STEP` alternating channels.
fn filter<const STEP: usize, const CHANNELS: usize>(
    axis: &AxisFilter,
    samples: &[i16],
    out: [&mut [f32]; CHANNELS],
) -> bool {
    let count = axis.starts.len();
    // No tap lies at or after `extent`, so neither does a load.
    let fits = samples.len() >= axis.extent * STEP && axis.weights.len() == count * axis.taps;
    if count < 4 || !fits || out.iter().any(|out| out.len() < count) {
        return false;
    }
    let out = out.map(<[f32]>::as_mut_ptr);
    // SAFETY: every output has `taps` weights, and as many samples of each channel; there is a place
    // for each output.
    unsafe {
        match axis.taps {
            4 => filter_taps::<STEP, CHANNELS, 4>(axis, samples, out),
            8 => filter_taps::<STEP, CHANNELS, 8>(axis, samples, out),
            12 => filter_taps::<STEP, CHANNELS, 12>(axis, samples, out),
            16 => filter_taps::<STEP, CHANNELS, 16>(axis, samples, out),
            20 => filter_taps::<STEP, CHANNELS, 20>(axis, samples, out),
            _ => return false,
        }
    }
    true
}

/// [`filter`] with a number of taps.
///
/// # Safety
/// The axis has `TAPS` weights for each of its four outputs or more; `STEP * TAPS` samples exist
/// from the start of each output on; there is a place for each output.
#[target_feature(enable = "neon")]
unsafe fn filter_taps<const STEP: usize, const CHANNELS: usize, const TAPS: usize>(
    axis: &AxisFilter,
    samples: &[i16],
    out: [*mut f32; CHANNELS],
) {
    let count = axis.starts.len();
    let (mut starts, mut weights, mut to) = (axis.starts.as_ptr(), axis.weights.as_ptr(), out);
    // SAFETY: the caller guarantees it. The last four outputs may be computed twice.
    unsafe {
        for _ in 0..count / 4 {
            four::<STEP, CHANNELS, TAPS>(samples.as_ptr(), starts, weights, to);
            (starts, weights, to) = (starts.add(4), weights.add(4 * TAPS), to.map(|to| to.add(4)));
        }
        if count % 4 != 0 {
            let last = count - 4;
            let (starts, weights) = (axis.starts.as_ptr().add(last), axis.weights.as_ptr().add(last * TAPS));
            four::<STEP, CHANNELS, TAPS>(samples.as_ptr(), starts, weights, out.map(|out| out.add(last)));
        }
    }
}

/// Four outputs of each channel.
///
/// # Safety
/// As of [`filter_taps`], for the four outputs at `starts`, `weights` and `out`.
#[inline(always)]
unsafe fn four<const STEP: usize, const CHANNELS: usize, const TAPS: usize>(
    samples: *const i16,
    starts: *const usize,
    weights: *const i16,
    out: [*mut f32; CHANNELS],
) {
    // SAFETY: the caller guarantees it, and NEON belongs to the base of the architecture.
    unsafe {
        let mut sums = [[vdupq_n_s32(0); 4]; CHANNELS];
        for output in 0..4 {
            let from = samples.add(*starts.add(output) * STEP);
            for tap in (0..TAPS).step_by(4) {
                let weights = vld1_s16(weights.add(output * TAPS + tap));
                let picked = if STEP == 1 {
                    [vld1_s16(from.add(tap)); 2]
                } else {
                    let both = vld1q_s16(from.add(STEP * tap));
                    let (low, high) = (vget_low_s16(both), vget_high_s16(both));
                    [vuzp1_s16(low, high), vuzp2_s16(low, high)]
                };
                for (sums, picked) in sums.iter_mut().zip(picked) {
                    sums[output] = vmlal_s16(sums[output], picked, weights);
                }
            }
        }
        for ([a, b, c, d], out) in sums.into_iter().zip(out) {
            vst1q_f32(out, vcvtq_f32_s32(vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))));
        }
    }
}
