//! Loops of the scaler that the compiler does not find by itself.
//!
//! The filter along a row as byte shuffles: from the bytes of a picture straight to weighted sums, channels interleaved
//! as they lie. Four neighbouring outputs take their taps from one load of 16 bytes (16 of them from one of 64, where the
//! CPU has AVX-512 with VBMI), so no sample is brought from memory by itself; that is what the plain loops of [`super::fir`]
//! spend their time with. Same sums, same bits.
#![allow(unsafe_code)]

use super::axis::AxisFilter;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use super::fixed::ROW_BITS;
use crate::simd::Usable;

/// Outputs that one load of samples serves.
const BLOCK: usize = 4;
/// Outputs of two ops, which are worked on together.
pub(crate) const GROUP: usize = 4 * BLOCK;
/// Taps that one op adds.
const TAPS: usize = 4;
/// Bytes of one load.
const WINDOW: usize = 16;
/// Control byte of a lane that becomes zero.
const ZERO: u8 = 0x80;

/// Four taps of two blocks of outputs, a block in each half of a 256-bit register.
#[derive(Clone, Debug)]
#[repr(C, align(32))]
struct ShuffleOp {
    /// Which bytes of the window become the 16-bit samples of taps 0 and 1, and of taps 2 and 3, of each output.
    controls: [[u8; 32]; 2],
    /// Their weights.
    weights: [[i16; 16]; 2],
    /// Where the windows begin in the row, bytes.
    bases: [u32; 2],
}

/// How samples of one row lie: bytes to the first sample of each channel, and from sample to sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShuffleLayout {
    /// Channels, 1 to 3; of `offsets` as many are in use.
    pub channels: usize,
    /// The first sample of each channel.
    pub offsets: [usize; 3],
    /// From sample to sample.
    pub step: usize,
}

/// Bytes of one load of a [`WideShuffleOp`].
const WIDE_WINDOW: usize = 64;

/// Four taps of a whole group of outputs, picked from one window.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct WideShuffleOp {
    /// Which bytes of the window become the 16-bit samples of taps 0 and 1 (the even ones) and of taps 2 and 3 (the odd
    /// ones) of each output: side by side, so that the ops of a row stay in the first-level cache.
    controls: [[u8; 2]; 32],
    /// Their weights.
    weights: [[i16; 32]; 2],
}

/// The table of an axis for one layout.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shuffles {
    /// For each group of 16 outputs: the ops of blocks 0 and 2, then those of blocks 1 and 3. Empty where there are
    /// wide ones.
    ops: Vec<ShuffleOp>,
    /// For each group of 16 outputs its ops, where the CPU picks bytes from a window of 64 and one holds them all.
    wide: Vec<WideShuffleOp>,
    /// Where the windows of the wide ops begin in the row, bytes.
    bases: Vec<u32>,
    /// Lines for a block's taps.
    depth: usize,
    /// Bytes of a row that are read at most.
    reach: usize,
}

/// Whether rows can be filtered by [`Shuffles::run`] on this instruction set.
pub(crate) const fn available(isa: Usable) -> bool {
    isa.has_avx2() || cfg!(target_arch = "aarch64") && matches!(isa.isa(), crate::simd::Isa::Neon)
}

/// What is asked of an axis: outputs are numbered channels interleaved.
#[derive(Clone, Copy, Debug)]
struct OutputTaps<'a> {
    axis: &'a AxisFilter,
    layout: ShuffleLayout,
    /// Bytes of a row.
    available: usize,
}

impl Shuffles {
    /// Makes the table for a source of `samples` samples a row. `false` where the taps of four outputs do not lie within
    /// 16 bytes: far shrinking, or few samples. That answer is the same on every instruction set.
    pub fn build(&mut self, isa: Usable, axis: &AxisFilter, layout: ShuffleLayout, samples: usize) -> bool {
        self.ops.clear();
        self.wide.clear();
        self.bases.clear();
        let ShuffleLayout { channels, offsets, step } = layout;
        let last_offset = offsets[..channels].iter().copied().max().unwrap_or(0);
        let available = (samples - 1) * step + last_offset + 1;
        let count = axis.starts.len() * channels;
        self.depth = axis.taps / TAPS;
        if available < WINDOW || count == 0 {
            return false;
        }
        let wanted = OutputTaps { axis, layout, available };
        self.reach = 0;
        if isa.has_avx512_vbmi() && self.build_wide(&wanted) {
            return true;
        }
        self.wide.clear();
        self.bases.clear();
        self.reach = 0;
        for group in 0..count.div_ceil(GROUP) {
            for pair in 0..2 {
                for part in 0..self.depth {
                    let mut op = ShuffleOp { controls: [[ZERO; 32]; 2], weights: [[0; 16]; 2], bases: [0; 2] };
                    for half in 0..2 {
                        // Blocks 0 and 2, then 1 and 3: so that packing within halves leaves them in order.
                        if !op.fill(half, &wanted, group * GROUP + (pair + 2 * half) * BLOCK, part) {
                            return false;
                        }
                        self.reach = self.reach.max(op.bases[half] as usize + WINDOW);
                    }
                    self.ops.push(op);
                }
            }
        }
        true
    }

    /// Fills the wide ops. `false` where the taps of 16 outputs do not lie within 64 bytes, or those of four not within 16.
    fn build_wide(&mut self, wanted: &OutputTaps<'_>) -> bool {
        if wanted.available < WIDE_WINDOW {
            return false;
        }
        for group in 0..wanted.count().div_ceil(GROUP) {
            for part in 0..self.depth {
                let mut op = WideShuffleOp { controls: [[0; 2]; 32], weights: [[0; 32]; 2] };
                let Some(base) = op.fill(wanted, group * GROUP, part) else { return false };
                self.reach = self.reach.max(base as usize + WIDE_WINDOW);
                self.wide.push(op);
                self.bases.push(base);
            }
        }
        true
    }

    /// The weighted sums of `row`, with [`ROW_BITS`], into `out`: as many as there are outputs, rounded up to [`GROUP`].
    ///
    /// # Panics
    /// Where a slice is too short, or the instruction set is none for which this is [`available`], or another than the
    /// table was built for.
    pub fn run(&self, isa: Usable, row: &[u8], out: &mut [i16]) {
        assert!(row.len() >= self.reach, "a row of {} bytes, of which {} are read", row.len(), self.reach);
        let groups = out.len() / GROUP;
        let wide = !self.wide.is_empty();
        let fits =
            if wide { groups * self.depth == self.wide.len() } else { groups * 2 * self.depth == self.ops.len() };
        assert!(fits, "{groups} groups of outputs are not those that the table was built for");
        #[cfg(target_arch = "x86_64")]
        if wide && isa.has_avx512_vbmi() {
            // SAFETY: the CPU has what is needed; every window ends at or before `reach`, which lies in the row; `out` has a
            // group of outputs for each set of ops.
            unsafe { avx512(&self.wide, &self.bases, self.depth, row, out) };
            return;
        }
        assert!(!wide, "a table for AVX-512, run on {}", isa.isa());
        #[cfg(target_arch = "x86_64")]
        if isa.has_avx2() {
            // SAFETY: the CPU has AVX2; every window ends at or before `reach`, which lies in the row; `out` has a group of
            // outputs for each two sets of ops.
            unsafe { avx2(&self.ops, self.depth, row, out) };
            return;
        }
        #[cfg(target_arch = "aarch64")]
        if isa.isa() == crate::simd::Isa::Neon {
            // SAFETY: NEON is part of the architecture; the rest as above.
            unsafe { neon(&self.ops, self.depth, row, out) };
            return;
        }
        panic!("no shuffles on {}", isa.isa());
    }
}

impl OutputTaps<'_> {
    /// How many outputs there are.
    fn count(&self) -> usize {
        self.axis.starts.len() * self.layout.channels
    }

    /// Four outputs from `first` on. Past the end of the row the last output is made again.
    fn block(&self, first: usize) -> [usize; BLOCK] {
        let last = self.count() - 1;
        std::array::from_fn(|i| (first + i).min(last))
    }

    /// Where in the row a tap of an output lies.
    #[inline]
    fn byte(&self, output: usize, tap: usize) -> usize {
        let ShuffleLayout { channels, offsets, step } = self.layout;
        let (position, channel) = (output / channels, output % channels);
        (self.axis.first + self.axis.starts[position] + tap) * step + offsets[channel]
    }

    /// The weights of taps `part * 4..part * 4 + 4` of an output.
    #[inline]
    fn weights(&self, output: usize, part: usize) -> &[i16] {
        &self.axis.weights(output / self.layout.channels)[part * TAPS..(part + 1) * TAPS]
    }

    /// The first and the last byte that these taps of a block read. Taps without weight may lie past the end of the source,
    /// and do not count; `None` where none has any.
    fn extent(&self, outputs: [usize; BLOCK], part: usize) -> Option<(usize, usize)> {
        let mut extent: Option<(usize, usize)> = None;
        for output in outputs {
            for (index, &weight) in self.weights(output, part).iter().enumerate() {
                if weight != 0 {
                    let at = self.byte(output, part * TAPS + index);
                    let (least, most) = extent.unwrap_or((at, at));
                    extent = Some((least.min(at), most.max(at)));
                }
            }
        }
        extent
    }

    /// Where a window of `bytes` that holds these taps of a block begins. `None` where they are too far apart.
    fn window(&self, (least, most): (usize, usize), bytes: usize) -> Option<usize> {
        let base = least.min(self.available - bytes);
        (most - base < bytes).then_some(base)
    }
}

impl ShuffleOp {
    /// Sets one half to taps `part * 4..part * 4 + 4` of the four outputs from `first` on. `false` where they are too far
    /// apart.
    fn fill(&mut self, half: usize, wanted: &OutputTaps<'_>, first: usize, part: usize) -> bool {
        let outputs = wanted.block(first);
        let Some(extent) = wanted.extent(outputs, part) else { return true };
        let Some(base) = wanted.window(extent, WINDOW) else { return false };
        let Ok(narrow) = u32::try_from(base) else { return false };
        self.bases[half] = narrow;
        for (lane, &output) in outputs.iter().enumerate() {
            for (index, &weight) in wanted.weights(output, part).iter().enumerate() {
                let (pair, place) = (index / 2, half * 8 + lane * 2 + index % 2);
                if weight != 0 {
                    self.weights[pair][place] = weight;
                    let from = wanted.byte(output, part * TAPS + index) - base;
                    self.controls[pair][place * 2] = from.to_le_bytes()[0];
                }
            }
        }
        true
    }
}

impl WideShuffleOp {
    /// The same for the 16 outputs from `first` on; returns where their window begins. `None` where they are too far apart.
    fn fill(&mut self, wanted: &OutputTaps<'_>, first: usize, part: usize) -> Option<u32> {
        let blocks: [_; GROUP / BLOCK] = std::array::from_fn(|block| wanted.block(first + block * BLOCK));
        let mut all: Option<(usize, usize)> = None;
        for outputs in blocks {
            let Some((least, most)) = wanted.extent(outputs, part) else { continue };
            wanted.window((least, most), WINDOW)?;
            let (first, last) = all.unwrap_or((least, most));
            all = Some((first.min(least), last.max(most)));
        }
        let Some(extent) = all else { return Some(0) };
        let base = wanted.window(extent, WIDE_WINDOW)?;
        for (lane, output) in blocks.into_iter().flatten().enumerate() {
            for (index, &weight) in wanted.weights(output, part).iter().enumerate() {
                let (pair, place) = (index / 2, lane * 2 + index % 2);
                if weight != 0 {
                    self.weights[pair][place] = weight;
                    let from = wanted.byte(output, part * TAPS + index) - base;
                    self.controls[place][pair] = from.to_le_bytes()[0];
                }
            }
        }
        u32::try_from(base).ok()
    }
}

/// Half of what is lost when a sum is brought to [`ROW_BITS`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const HALF: i32 = 1 << (13 - ROW_BITS);
/// What a sum of bytes has more than [`ROW_BITS`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const SHIFT: i32 = 14 - ROW_BITS.cast_signed();

/// # Safety
/// The CPU has AVX2; `bases[..] + 16` of all ops lies within `row`; `out` has 16 values for each `2 * depth` ops.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(ops: &[ShuffleOp], depth: usize, row: &[u8], out: &mut [i16]) {
    use std::arch::x86_64::*;
    let row = row.as_ptr();
    let (groups, _) = out.as_chunks_mut::<GROUP>();
    // No closure about the sums: as a function of its own it brings each of them back through memory.
    for (ops, out) in ops.chunks_exact(2 * depth).zip(groups) {
        let mut sums = [_mm256_set1_epi32(HALF); 2];
        for (sum, ops) in sums.iter_mut().zip(ops.chunks_exact(depth)) {
            for op in ops {
                // SAFETY: the windows lie within the row; controls and weights are 32 bytes, and aligned as the op is.
                unsafe {
                    let windows = [
                        _mm_loadu_si128(row.add(op.bases[0] as usize).cast()),
                        _mm_loadu_si128(row.add(op.bases[1] as usize).cast()),
                    ];
                    let samples = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(windows[0]), windows[1]);
                    for (controls, weights) in op.controls.iter().zip(&op.weights) {
                        let picked = _mm256_shuffle_epi8(samples, _mm256_load_si256(controls.as_ptr().cast()));
                        let weights = _mm256_load_si256(weights.as_ptr().cast());
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(picked, weights));
                    }
                }
            }
        }
        let [low, high] = [_mm256_srai_epi32::<SHIFT>(sums[0]), _mm256_srai_epi32::<SHIFT>(sums[1])];
        // SAFETY: `out` is 16 values.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_packs_epi32(low, high)) };
    }
}

/// # Safety
/// The CPU has AVX-512 with VBMI and VNNI; `bases[..] + 64` lies within `row`; `out` has 16 values for each `depth` ops.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
unsafe fn avx512(ops: &[WideShuffleOp], bases: &[u32], depth: usize, row: &[u8], out: &mut [i16]) {
    use std::arch::x86_64::*;
    /// The low byte of each sample; the high one is zero.
    const LOW: u64 = 0x5555_5555_5555_5555;
    let row = row.as_ptr();
    let ops = ops.chunks_exact(depth).zip(bases.chunks_exact(depth));
    for ((ops, bases), out) in ops.zip(out.as_chunks_mut::<GROUP>().0) {
        let mut sum = _mm512_set1_epi32(HALF);
        for (op, &base) in ops.iter().zip(bases) {
            // SAFETY: the window lies within the row; controls and weights are 64 bytes, and aligned as the op is.
            unsafe {
                let samples = _mm512_loadu_si512(row.add(base as usize).cast());
                let controls = _mm512_load_si512(op.controls.as_ptr().cast());
                // Of a control only the lower six bits count, and what odd ones pick is not taken.
                let first = _mm512_maskz_permutexvar_epi8(LOW, controls, samples);
                let second = _mm512_maskz_permutexvar_epi8(LOW, _mm512_srli_epi16::<8>(controls), samples);
                sum = _mm512_dpwssd_epi32(sum, first, _mm512_load_si512(op.weights[0].as_ptr().cast()));
                sum = _mm512_dpwssd_epi32(sum, second, _mm512_load_si512(op.weights[1].as_ptr().cast()));
            }
        }
        let sums = _mm512_cvtsepi32_epi16(_mm512_srai_epi32::<{ SHIFT.cast_unsigned() }>(sum));
        // SAFETY: `out` is 16 values.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sums) };
    }
}

/// # Safety
/// `bases[..] + 16` of all ops lies within `row`; `out` has 16 values for each `2 * depth` ops.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn neon(ops: &[ShuffleOp], depth: usize, row: &[u8], out: &mut [i16]) {
    use std::arch::aarch64::*;
    let row = row.as_ptr();
    for (ops, out) in ops.chunks_exact(2 * depth).zip(out.as_chunks_mut::<GROUP>().0) {
        for (pair_of_blocks, ops) in [&ops[..depth], &ops[depth..]].into_iter().enumerate() {
            for half in 0..2 {
                let mut sum = vdupq_n_s32(HALF);
                for op in ops {
                    // SAFETY: the window lies within the row; each half of controls and weights is 16 bytes.
                    unsafe {
                        let samples = vld1q_u8(row.add(op.bases[half] as usize));
                        for pair in 0..2 {
                            let controls = vld1q_u8(op.controls[pair].as_ptr().add(16 * half));
                            let picked = vreinterpretq_s16_u8(vqtbl1q_u8(samples, controls));
                            let weights = vld1q_s16(op.weights[pair].as_ptr().add(8 * half));
                            let low = vmull_s16(vget_low_s16(picked), vget_low_s16(weights));
                            sum = vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(picked, weights)));
                        }
                    }
                }
                let at = (pair_of_blocks + 2 * half) * BLOCK;
                // SAFETY: four values from `at` on, which is at most 12.
                unsafe { vst1_s16(out.as_mut_ptr().add(at), vqmovn_s32(vshrq_n_s32::<SHIFT>(sum))) };
            }
        }
    }
}
