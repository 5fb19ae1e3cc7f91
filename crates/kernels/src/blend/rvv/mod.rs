//! The loops of blending for RISC-V vectors 1.0, with any VLEN of 128 or more. The results are the
//! same to the bit as those of the plain loops, whose documentation describes them.
//!
//! The compiler has no vector type without a size, so the loops are assembly (`kernels.s`).
#![allow(unsafe_code)]

use super::fit::{self, COLORS, Cells, MOMENTS};
use crate::simd::{Isa, Usable};

std::arch::global_asm!(include_str!("kernels.s"), options(raw));

unsafe extern "C" {
    fn portraitd_rvv_mix(
        foreground: *const u8,
        background: *const u8,
        alpha: *const u8,
        out: *mut u8,
        count: usize,
        opaque: usize,
        times: usize,
    );
    fn portraitd_rvv_shape(values: *mut u8, count: usize, low: usize, span: isize, gain: isize, over: isize) -> usize;
    fn portraitd_rvv_chroma_alpha(upper: *const u8, lower: *const u8, out: *mut u8, pairs: usize);
    fn portraitd_rvv_between(upper: *const i16, lower: *const i16, weight: isize, out: *mut i16, count: usize);
    fn portraitd_rvv_expand(cells: *const i16, weights: *const i16, phases: usize, out: *mut i16, count: usize);
    fn portraitd_rvv_apply(gains: *const i16, offsets: *const i16, luma: *const u8, out: *mut u8, count: usize);
    fn portraitd_rvv_halve(upper: *const u8, lower: *const u8, out: *mut f32, count: usize);
    fn portraitd_rvv_split(pairs: *const u8, first: *mut f32, second: *mut f32, count: usize);
    fn portraitd_rvv_cell_weights(mask: *const u8, weights: *mut f32, count: usize, opaque: usize);
    fn portraitd_rvv_add_moments(
        y: *const f32,
        cb: *const f32,
        cr: *const f32,
        mask: *const f32,
        sums: *mut f32,
        stride: usize,
        count: usize,
        sign: f32,
    );
    fn portraitd_rvv_add_colors(
        y: *const f32,
        cb: *const f32,
        cr: *const f32,
        weights: *const f32,
        sums: *mut f32,
        stride: usize,
        count: usize,
        sign: f32,
    );
    fn portraitd_rvv_sum_along(row: *const f32, out: *mut f32, count: usize, window: usize);
    fn portraitd_rvv_add(row: *const f32, sums: *mut f32, count: usize);
    fn portraitd_rvv_fit(
        sums: *const f32,
        stride: usize,
        columns: *const f32,
        out: *mut f32,
        count: usize,
        height: f32,
        noise_luma: f32,
        noise_chroma: f32,
    );
    fn portraitd_rvv_finish(rows: *const FinishRows, stride: usize, count: usize, constants: *const [f32; 4]);
    fn portraitd_rvv_mean_color(weights: *const f32, weighted: *const f32, own: *const f32, out: *mut u8, count: usize);
    fn portraitd_rvv_step_down(
        next: *const u16,
        gone: *const u16,
        sums: *mut i32,
        out: *mut u16,
        count: usize,
        inverse: f32,
    );
}

/// The rows of [`finish`], in the order of the assembly.
#[repr(C)]
struct FinishRows {
    fits: *const f32,
    columns: *const f32,
    colors: [*const f32; 3],
    gains: *mut i16,
    offsets: *mut i16,
    mask: *mut u8,
}

/// Whether these loops may run.
pub(super) fn available(isa: Usable) -> bool {
    isa.isa() == Isa::Rvv
}

/// Mixes rows as [`super::rows::blend`].
///
/// # Panics
/// As every function here: if the instruction set is another one, or a slice is too short.
pub(super) fn blend(isa: Usable, foreground: &[u8], background: &[u8], alpha: &[u8], out: &mut [u8]) {
    let count = out.len();
    assert!(available(isa) && foreground.len() >= count && background.len() >= count && alpha.len() >= count);
    if count > 0 {
        let (foreground, background) = (foreground.as_ptr(), background.as_ptr());
        // SAFETY: the CPU has vectors, and no row is shorter than `count`.
        unsafe { portraitd_rvv_mix(foreground, background, alpha.as_ptr(), out.as_mut_ptr(), count, 0, 1) };
    }
}

/// Restores colours as [`fit::restore_colors`].
pub(super) fn restore_colors(isa: Usable, person: &[u8], alpha: &[u8], samples: &mut [u8]) {
    let count = samples.len();
    assert!(available(isa) && person.len() >= count && alpha.len() >= count);
    if count > 0 {
        let (out, opaque) = (samples.as_mut_ptr(), usize::from(fit::OWN_COLOR));
        // SAFETY: the CPU has vectors, and no row is shorter than `count`. Samples are written after
        // they were read.
        unsafe { portraitd_rvv_mix(out, person.as_ptr(), alpha.as_ptr(), out, count, opaque, 5) };
    }
}

/// Applies the smoothstep of [`super::rows::Ramp`]. Returns whether any result is not 0.
pub(super) fn shape(isa: Usable, values: &mut [u8], low: u8, high: u8) -> bool {
    assert!(available(isa) && low < high);
    if values.is_empty() {
        return false;
    }
    let span = i16::from(high - low);
    let (gain, over) = super::rows::slope(span);
    let (out, count) = (values.as_mut_ptr(), values.len());
    // SAFETY: the CPU has vectors.
    unsafe { portraitd_rvv_shape(out, count, low.into(), span.into(), gain.into(), over.into()) != 0 }
}

/// Computes the alpha of whole pairs of pixels as [`super::rows::chroma_alpha`].
pub(super) fn chroma_alpha(isa: Usable, upper: &[u8], lower: &[u8], out: &mut [u8]) {
    let pairs = upper.len() / 2;
    assert!(available(isa) && lower.len() / 2 >= pairs && out.len() / 2 >= pairs);
    if pairs > 0 {
        // SAFETY: the CPU has vectors, and each row has this many pairs.
        unsafe { portraitd_rvv_chroma_alpha(upper.as_ptr(), lower.as_ptr(), out.as_mut_ptr(), pairs) };
    }
    super::rows::last_alpha(upper, lower, out);
}

/// Interpolates as [`fit::between`].
pub(super) fn between(isa: Usable, upper: &[i16], lower: &[i16], weight: i32, out: &mut [i16]) {
    let count = out.len();
    assert!(available(isa) && upper.len() >= count && lower.len() >= count);
    let weight = isize::try_from(weight).unwrap_or(0);
    if count > 0 {
        // SAFETY: the CPU has vectors, and no row is shorter than `count`.
        unsafe { portraitd_rvv_between(upper.as_ptr(), lower.as_ptr(), weight, out.as_mut_ptr(), count) };
    }
}

/// Interpolates as [`fit::expand`].
pub(super) fn expand<const D: usize>(isa: Usable, cells: &[i16], out: &mut [i16]) {
    let (count, weights) = (out.len() / D, fit::weights::<D>());
    assert!(available(isa) && cells.len() > count);
    if count > 0 {
        // SAFETY: the CPU has vectors, and there is one cell more than whole groups of `D` pixels.
        unsafe { portraitd_rvv_expand(cells.as_ptr(), weights.as_ptr(), D, out.as_mut_ptr(), count) };
    }
}

/// Computes the mask of pixels as [`fit::apply`].
pub(super) fn apply(isa: Usable, gains: &[i16], offsets: &[i16], luma: &[u8], out: &mut [u8]) {
    let count = out.len();
    assert!(available(isa) && gains.len() >= count && offsets.len() >= count && luma.len() >= count);
    if count > 0 {
        // SAFETY: the CPU has vectors, and no row is shorter than `count`.
        unsafe { portraitd_rvv_apply(gains.as_ptr(), offsets.as_ptr(), luma.as_ptr(), out.as_mut_ptr(), count) };
    }
}

/// Computes means as [`fit::halve`].
pub(super) fn halve(isa: Usable, upper: &[u8], lower: &[u8], out: &mut [f32]) {
    let count = out.len().min(upper.len() / 2).min(lower.len() / 2);
    assert!(available(isa));
    if count > 0 {
        // SAFETY: the CPU has vectors, and each row has this many pairs.
        unsafe { portraitd_rvv_halve(upper.as_ptr(), lower.as_ptr(), out.as_mut_ptr(), count) };
    }
}

/// Splits pairs as [`fit::split_chroma`].
pub(super) fn split_chroma(isa: Usable, chroma: &[u8], blue: &mut [f32], red: &mut [f32]) {
    let count = blue.len().min(red.len()).min(chroma.len() / 2);
    assert!(available(isa));
    if count > 0 {
        // SAFETY: the CPU has vectors, and no row is shorter than `count`.
        unsafe { portraitd_rvv_split(chroma.as_ptr(), blue.as_mut_ptr(), red.as_mut_ptr(), count) };
    }
}

/// Computes weights as [`fit::weigh`].
pub(super) fn weigh(isa: Usable, mask: &[u8], weights: &mut [f32]) {
    let count = mask.len().min(weights.len());
    assert!(available(isa));
    if count > 0 {
        // SAFETY: the CPU has vectors, and no row is shorter than `count`.
        unsafe { portraitd_rvv_cell_weights(mask.as_ptr(), weights.as_mut_ptr(), count, fit::OWN_COLOR.into()) };
    }
}

/// 1, or -1 to subtract.
const fn sign(subtract: bool) -> f32 {
    if subtract { -1.0 } else { 1.0 }
}

/// Adds or subtracts moments as [`fit::add_moments`].
pub(super) fn add_moments<const SUBTRACT: bool>(isa: Usable, cells: Cells<'_>, columns: &mut [f32]) {
    let count = columns.len() / MOMENTS;
    assert!(available(isa) && cells.iter().all(|row| row.len() >= count));
    let ([y, cb, cr, mask], stride) = (cells.map(<[f32]>::as_ptr), size_of::<f32>() * count);
    if count > 0 {
        // SAFETY: the CPU has vectors; no row is shorter than `count`, and as many sums follow each
        // other for each moment.
        unsafe { portraitd_rvv_add_moments(y, cb, cr, mask, columns.as_mut_ptr(), stride, count, sign(SUBTRACT)) };
    }
}

/// Adds or subtracts colours as [`fit::add_colors`].
pub(super) fn add_colors<const SUBTRACT: bool>(isa: Usable, cells: Cells<'_>, weights: &[f32], columns: &mut [f32]) {
    let count = columns.len() / COLORS;
    assert!(available(isa) && weights.len() >= count && cells.iter().all(|row| row.len() >= count));
    let ([y, cb, cr, _], stride) = (cells.map(<[f32]>::as_ptr), size_of::<f32>() * count);
    let (weights, sums) = (weights.as_ptr(), columns.as_mut_ptr());
    if count > 0 {
        // SAFETY: as in `add_moments`.
        unsafe { portraitd_rvv_add_colors(y, cb, cr, weights, sums, stride, count, sign(SUBTRACT)) };
    }
}

/// Sums neighbours as [`fit::sum_along`].
pub(super) fn sum_along<const WINDOW: usize>(isa: Usable, padded: &[f32], rows: usize, out: &mut [f32]) {
    let (from, to) = (padded.len() / rows, out.len() / rows);
    assert!(available(isa) && WINDOW > 0 && from + 1 >= to + WINDOW);
    if to == 0 {
        return;
    }
    for (padded, out) in padded.chunks_exact(from).zip(out.chunks_exact_mut(to)) {
        // SAFETY: the CPU has vectors, and the window of the last sum lies within the row.
        unsafe { portraitd_rvv_sum_along(padded.as_ptr(), out.as_mut_ptr(), to, WINDOW) };
    }
}

/// Adds rows as [`fit::add`].
pub(super) fn add(isa: Usable, row: &[f32], sums: &mut [f32]) {
    let count = row.len().min(sums.len());
    assert!(available(isa));
    if count > 0 {
        // SAFETY: the CPU has vectors, and no row is shorter than `count`.
        unsafe { portraitd_rvv_add(row.as_ptr(), sums.as_mut_ptr(), count) };
    }
}

/// Fits the mask as [`fit::fit`].
pub(super) fn fit(isa: Usable, sums: &[f32], columns: &[f32], height: f32, out: &mut [f32]) {
    let count = columns.len();
    assert!(available(isa) && sums.len() >= MOMENTS * count && out.len() >= 4 * count);
    let stride = size_of_val(columns);
    if count > 0 {
        // SAFETY: the CPU has vectors; 13 rows of sums and 4 rows of results have `count` values.
        unsafe {
            portraitd_rvv_fit(
                sums.as_ptr(),
                stride,
                columns.as_ptr(),
                out.as_mut_ptr(),
                count,
                height,
                fit::NOISE_LUMA,
                fit::NOISE_CHROMA,
            );
        }
    }
}

/// Computes gains, offsets and masks as [`fit::finish`].
#[allow(clippy::too_many_arguments, reason = "the inputs of a loop")]
pub(super) fn finish(
    isa: Usable,
    fits: &[f32],
    columns: &[f32],
    height: f32,
    cells: Cells<'_>,
    gains: &mut [i16],
    offsets: &mut [i16],
    mask: &mut [u8],
) {
    let count = columns.len();
    assert!(available(isa) && fits.len() >= 4 * count && cells.iter().all(|row| row.len() >= count));
    assert!(gains.len() >= count && offsets.len() >= count && mask.len() >= count);
    let [y, cb, cr, _] = cells.map(<[f32]>::as_ptr);
    let rows = FinishRows {
        fits: fits.as_ptr(),
        columns: columns.as_ptr(),
        colors: [y, cb, cr],
        gains: gains.as_mut_ptr(),
        offsets: offsets.as_mut_ptr(),
        mask: mask.as_mut_ptr(),
    };
    let constants = [height, fit::scale(fit::GAIN_BITS), fit::scale(fit::OFFSET_BITS), fit::LARGEST];
    if count > 0 {
        // SAFETY: the CPU has vectors; no row is shorter than `count`, and there are four of fits.
        unsafe { portraitd_rvv_finish(&raw const rows, size_of_val(columns), count, &raw const constants) };
    }
}

/// Computes colours as [`fit::mean_colors`].
pub(super) fn mean_colors(isa: Usable, sums: &[f32], cells: Cells<'_>, out: &mut [u8]) {
    let count = out.len() / (COLORS - 1);
    assert!(available(isa) && sums.len() >= COLORS * count && cells.iter().all(|row| row.len() >= count));
    if count == 0 {
        return;
    }
    let (weights, weighted) = sums.split_at(count);
    for ((out, weighted), own) in out.chunks_exact_mut(count).zip(weighted.chunks_exact(count)).zip(cells) {
        // SAFETY: the CPU has vectors, and no row is shorter than `count`.
        unsafe {
            portraitd_rvv_mean_color(weights.as_ptr(), weighted.as_ptr(), own.as_ptr(), out.as_mut_ptr(), count);
        }
    }
}

/// Moves sums on as [`super::blur::step_down`].
pub(super) fn step_down(isa: Usable, next: &[u16], gone: &[u16], inverse: f32, sums: &mut [i32], out: &mut [u16]) {
    let count = out.len();
    assert!(available(isa) && next.len() >= count && gone.len() >= count && sums.len() >= count);
    let (next, gone) = (next.as_ptr(), gone.as_ptr());
    if count > 0 {
        // SAFETY: the CPU has vectors, and no row is shorter than `count`.
        unsafe { portraitd_rvv_step_down(next, gone, sums.as_mut_ptr(), out.as_mut_ptr(), count, inverse) };
    }
}
