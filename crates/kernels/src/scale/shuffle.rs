//! The horizontal filter as byte shuffles, for CPUs where the compiler does not find them.
//!
//! The bytes of a picture become weighted sums directly, with channels interleaved as in memory.
//! Four neighbouring outputs take their taps from one load of 16 bytes (16 outputs from one load of
//! 64 bytes, if the CPU has AVX-512 with VBMI). So no sample is loaded by itself, which takes most
//! of the time of the plain loops in [`super::fir`]. The sums are the same to the bit.
#![allow(unsafe_code)]

use super::axis::AxisFilter;
#[cfg(target_arch = "x86_64")]
use super::fixed::ROW_BITS;
use crate::simd::Usable;

/// Outputs that one load of samples serves.
pub(super) const BLOCK: usize = 4;
/// Outputs of two operations, which are computed together.
pub(crate) const GROUP: usize = 4 * BLOCK;
/// Taps that one operation adds.
pub(super) const TAPS: usize = 4;
/// Bytes per load.
pub(super) const WINDOW: usize = 16;
/// Control byte that sets a lane to zero.
pub(super) const ZERO: u8 = 0x80;

/// One shuffle operation: four taps of two blocks of outputs, one block in each half of a 256-bit
/// register.
#[derive(Clone, Debug)]
#[repr(C, align(32))]
struct ShuffleOp {
    /// The bytes of the window that become the 16-bit samples of taps 0 and 1, and of taps 2 and 3,
    /// of each output.
    controls: [[u8; 32]; 2],
    /// The weights of these taps.
    weights: [[i16; 16]; 2],
    /// Start of the windows in the row, in bytes.
    bases: [u32; 2],
}

/// The layout of the samples of a row: the first sample of each channel, and the distance between
/// samples, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShuffleLayout {
    /// Number of channels, 1 to 3. The same number of `offsets` is used.
    pub channels: usize,
    /// Offset of each channel's first sample, in bytes.
    pub offsets: [usize; 3],
    /// Bytes from one sample to the next.
    pub step: usize,
}

/// Bytes per load of a [`WideShuffleOp`].
const WIDE_WINDOW: usize = 64;

/// One wide shuffle operation: four taps of a whole group of outputs, picked from one window.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct WideShuffleOp {
    /// The bytes of the window that become the 16-bit samples of taps 0 and 1 (even entries) and of
    /// taps 2 and 3 (odd entries) of each output. They are interleaved to save memory, so that the
    /// operations of a row stay in the first-level cache.
    controls: [[u8; 2]; 32],
    /// The weights of these taps.
    weights: [[i16; 32]; 2],
}

/// The shuffle operations of an axis for one layout.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shuffles {
    /// For each group of 16 outputs: the operations of blocks 0 and 2, then those of blocks 1 and
    /// 3. Empty if there are wide operations.
    ops: Vec<ShuffleOp>,
    /// For each group of 16 outputs its wide operations, if the CPU has them and one window of 64
    /// bytes holds all taps.
    wide: Vec<WideShuffleOp>,
    /// Start of the windows of the wide operations in the row, in bytes.
    bases: Vec<u32>,
    /// Operations per block, in the direction of the taps.
    depth: usize,
    /// The largest number of bytes of a row that are read.
    reach: usize,
    /// The operations for RISC-V vectors.
    #[cfg(target_arch = "riscv64")]
    windows: super::rvv::Windows,
    /// The operations for NEON.
    #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
    gather: super::gather::Gather,
}

/// The taps that the outputs of a row need. Outputs are numbered with channels interleaved.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputTaps<'a> {
    pub(super) axis: &'a AxisFilter,
    pub(super) layout: ShuffleLayout,
    /// Bytes per row.
    available: usize,
}

impl Shuffles {
    /// Computes the operations for a source of `samples` samples per row. Returns `false` if the
    /// taps of four outputs do not lie within 16 bytes, which happens for strong shrinking or short
    /// rows. The answer is the same on every instruction set. If the instruction set has no byte
    /// shuffles, there are no operations ([`Shuffles::is_empty`]).
    pub(super) fn build(&mut self, isa: Usable, axis: &AxisFilter, layout: ShuffleLayout, samples: usize) -> bool {
        self.ops.clear();
        self.wide.clear();
        self.bases.clear();
        #[cfg(target_arch = "riscv64")]
        self.windows.clear();
        #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
        self.gather.clear();
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
        #[cfg(target_arch = "riscv64")]
        self.windows.build(isa, axis, layout, samples);
        #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
        if isa.isa() == crate::simd::Isa::Neon {
            return self.gather.build(&wanted);
        }
        if !isa.has_avx2() {
            return wanted.fit();
        }
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
                        // Blocks 0 and 2 come first, then 1 and 3, so that packing within halves
                        // leaves them in order.
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

    /// Whether there are no operations to run.
    pub(super) fn is_empty(&self) -> bool {
        #[cfg(target_arch = "riscv64")]
        if !self.windows.is_empty() {
            return false;
        }
        #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
        if !self.gather.is_empty() {
            return false;
        }
        self.ops.is_empty() && self.wide.is_empty()
    }

    /// Computes the wide operations. Returns `false` if the taps of 16 outputs do not lie within 64
    /// bytes, or those of four outputs not within 16.
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

    /// Writes the weighted sums of `row`, with [`ROW_BITS`], to `out`: as many as there are
    /// outputs, rounded up to [`GROUP`].
    ///
    /// # Panics
    /// If a slice is too short, if the operations were computed for another instruction set, or if
    /// there are none ([`Shuffles::is_empty`]).
    pub(super) fn run(&self, isa: Usable, row: &[u8], out: &mut [i16]) {
        #[cfg(target_arch = "riscv64")]
        if !self.windows.is_empty() {
            return self.windows.run(row, out);
        }
        #[cfg(target_arch = "aarch64")]
        if !self.gather.is_empty() {
            return self.gather.run([row], [out]);
        }
        #[cfg(target_arch = "arm")]
        if !self.gather.is_empty() {
            return self.gather.run_on(isa, row, out);
        }
        assert!(row.len() >= self.reach, "the row has {} bytes, but {} are read", row.len(), self.reach);
        let groups = out.len() / GROUP;
        let wide = !self.wide.is_empty();
        let fits =
            if wide { groups * self.depth == self.wide.len() } else { groups * 2 * self.depth == self.ops.len() };
        assert!(fits, "the operations were not computed for {groups} groups of outputs");
        #[cfg(target_arch = "x86_64")]
        if wide && isa.has_avx512_vbmi() {
            // SAFETY: the CPU has the required features; every window ends at or before `reach`,
            // which lies in the row; `out` has a group of outputs for each set of operations.
            unsafe { avx512(&self.wide, &self.bases, self.depth, row, out) };
            return;
        }
        assert!(!wide, "operations for AVX-512 cannot run on {}", isa.isa());
        #[cfg(target_arch = "x86_64")]
        if isa.has_avx2() {
            // SAFETY: the CPU has AVX2; every window ends at or before `reach`, which lies in the
            // row; `out` has a group of outputs for each two sets of operations.
            unsafe { avx2(&self.ops, self.depth, row, out) };
            return;
        }
        panic!("byte shuffles are not available on {}", isa.isa());
    }
}

impl Shuffles {
    /// Whether [`Shuffles::run_pair`] is faster than two rows one after the other.
    pub(super) fn has_pairs(&self) -> bool {
        #[cfg(target_arch = "aarch64")]
        return !self.gather.is_empty();
        #[cfg(not(target_arch = "aarch64"))]
        false
    }

    /// [`Shuffles::run`] for two rows.
    pub(super) fn run_pair(&self, isa: Usable, rows: [&[u8]; 2], out: [&mut [i16]; 2]) {
        #[cfg(target_arch = "aarch64")]
        if self.has_pairs() {
            return self.gather.run(rows, out);
        }
        for (row, out) in rows.into_iter().zip(out) {
            self.run(isa, row, out);
        }
    }
}

impl OutputTaps<'_> {
    /// The number of outputs.
    pub(super) fn count(&self) -> usize {
        self.axis.starts.len() * self.layout.channels
    }

    /// The four outputs from `first` on. Past the end of the row, the last output is repeated.
    fn block(&self, first: usize) -> [usize; BLOCK] {
        let last = self.count() - 1;
        std::array::from_fn(|i| (first + i).min(last))
    }

    /// The byte of the row that a tap of an output reads.
    #[inline]
    fn byte(&self, output: usize, tap: usize) -> usize {
        let ShuffleLayout { channels, step, .. } = self.layout;
        self.byte_at(output / channels, output % channels) + tap * step
    }

    /// The byte that the first tap of a position reads.
    #[inline]
    pub(super) fn byte_at(&self, position: usize, channel: usize) -> usize {
        (self.axis.first + self.axis.starts[position]) * self.layout.step + self.layout.offsets[channel]
    }

    /// The weights of taps `part * 4..part * 4 + 4` of an output.
    #[inline]
    fn weights(&self, output: usize, part: usize) -> &[i16] {
        &self.axis.weights(output / self.layout.channels)[part * TAPS..(part + 1) * TAPS]
    }

    /// The first and the last byte that these taps of a block read. Taps of weight 0 are ignored,
    /// because they may lie past the end of the source. `None` if all have weight 0.
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

    /// Whether the taps of any four neighbouring outputs lie within [`WINDOW`] bytes.
    fn fit(&self) -> bool {
        (0..self.count()).step_by(BLOCK).all(|first| {
            let outputs = self.block(first);
            let mut parts = (0..self.axis.taps / TAPS).filter_map(|part| self.extent(outputs, part));
            parts.all(|extent| self.window(extent, WINDOW).is_some())
        })
    }

    /// The start of a window of `bytes` bytes that holds these taps. `None` if they are too far
    /// apart.
    pub(super) fn window(&self, (least, most): (usize, usize), bytes: usize) -> Option<usize> {
        let base = least.min(self.available - bytes);
        (most - base < bytes).then_some(base)
    }
}

impl ShuffleOp {
    /// Sets one half to taps `part * 4..part * 4 + 4` of the four outputs from `first` on. Returns
    /// `false` if they are too far apart.
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
    /// Sets the taps of the 16 outputs from `first` on, and returns the start of their window.
    /// `None` if they are too far apart.
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

/// Half of the unit that is lost when a sum is reduced to [`ROW_BITS`], for rounding.
#[cfg(target_arch = "x86_64")]
const HALF: i32 = 1 << (13 - ROW_BITS);
/// The number of fractional bits of a sum of bytes beyond [`ROW_BITS`].
#[cfg(target_arch = "x86_64")]
const SHIFT: i32 = 14 - ROW_BITS.cast_signed();

/// [`Shuffles::run`] with AVX2.
///
/// # Safety
/// The CPU has AVX2; `bases[..] + 16` of all operations lies within `row`; `out` has 16 values for
/// each `2 * depth` operations.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(ops: &[ShuffleOp], depth: usize, row: &[u8], out: &mut [i16]) {
    use std::arch::x86_64::*;
    let row = row.as_ptr();
    let (groups, _) = out.as_chunks_mut::<GROUP>();
    // The sums are not handled in a closure: that compiles to a function that passes each of them
    // through memory.
    for (ops, out) in ops.chunks_exact(2 * depth).zip(groups) {
        let mut sums = [_mm256_set1_epi32(HALF); 2];
        for (sum, ops) in sums.iter_mut().zip(ops.chunks_exact(depth)) {
            for op in ops {
                // SAFETY: the windows lie within the row; controls and weights have 32 bytes, and
                // are aligned as the operation is.
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
        // SAFETY: `out` has 16 values.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_packs_epi32(low, high)) };
    }
}

/// [`Shuffles::run`] with AVX-512.
///
/// # Safety
/// The CPU has AVX-512 with VBMI and VNNI; `bases[..] + 64` lies within `row`; `out` has 16 values
/// for each `depth` operations.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
unsafe fn avx512(ops: &[WideShuffleOp], bases: &[u32], depth: usize, row: &[u8], out: &mut [i16]) {
    use std::arch::x86_64::*;
    /// Selects the low byte of each sample; the high byte becomes zero.
    const LOW: u64 = 0x5555_5555_5555_5555;
    let row = row.as_ptr();
    let ops = ops.chunks_exact(depth).zip(bases.chunks_exact(depth));
    for ((ops, bases), out) in ops.zip(out.as_chunks_mut::<GROUP>().0) {
        let mut sum = _mm512_set1_epi32(HALF);
        for (op, &base) in ops.iter().zip(bases) {
            // SAFETY: the window lies within the row; controls and weights have 64 bytes, and are
            // aligned as the operation is.
            unsafe {
                let samples = _mm512_loadu_si512(row.add(base as usize).cast());
                let controls = _mm512_load_si512(op.controls.as_ptr().cast());
                // Only the lower six bits of a control count, and the bytes that odd controls pick
                // are masked.
                let first = _mm512_maskz_permutexvar_epi8(LOW, controls, samples);
                let second = _mm512_maskz_permutexvar_epi8(LOW, _mm512_srli_epi16::<8>(controls), samples);
                sum = _mm512_dpwssd_epi32(sum, first, _mm512_load_si512(op.weights[0].as_ptr().cast()));
                sum = _mm512_dpwssd_epi32(sum, second, _mm512_load_si512(op.weights[1].as_ptr().cast()));
            }
        }
        let sums = _mm512_cvtsepi32_epi16(_mm512_srai_epi32::<{ SHIFT.cast_unsigned() }>(sum));
        // SAFETY: `out` has 16 values.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sums) };
    }
}
