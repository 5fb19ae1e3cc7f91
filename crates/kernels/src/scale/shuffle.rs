//! Loops of the scaler that the compiler does not find by itself.
//!
//! The filter along a row as byte shuffles: from the bytes of a picture straight to weighted sums, channels interleaved
//! as they lie. Four neighbouring outputs take their taps from one load of 16 bytes, so no sample is brought from memory
//! by itself; that is what the plain loops of [`super::fir`] spend their time with. Same sums, same bits.
#![allow(unsafe_code)]

use super::axis::Axis;
use super::fir::ROW_BITS;
use crate::simd::Usable;

/// Outputs that one load of samples serves.
const BLOCK: usize = 4;
/// Outputs of two lines, which are worked on together.
pub(crate) const GROUP: usize = 4 * BLOCK;
/// Taps that one line adds.
const TAPS: usize = 4;
/// Bytes of one load.
const WINDOW: usize = 16;
/// Control byte of a lane that becomes zero.
const ZERO: u8 = 0x80;

/// Four taps of two blocks of outputs, a block in each half of a 256-bit register.
#[derive(Clone, Debug)]
#[repr(C, align(32))]
struct Line {
    /// Which bytes of the window become the 16-bit samples of taps 0 and 1, and of taps 2 and 3, of each output.
    controls: [[u8; 32]; 2],
    /// Their weights.
    weights: [[i16; 16]; 2],
    /// Where the windows begin in the row, bytes.
    bases: [u32; 2],
}

/// How samples of one row lie: bytes to the first sample of each channel, and from sample to sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Channels, 1 to 3; of `offsets` as many are in use.
    pub channels: usize,
    /// The first sample of each channel.
    pub offsets: [usize; 3],
    /// From sample to sample.
    pub step: usize,
}

/// The table of an axis for one layout.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shuffles {
    /// For each group of 16 outputs: the lines of blocks 0 and 2, then those of blocks 1 and 3.
    lines: Vec<Line>,
    /// Lines for a block's taps.
    depth: usize,
    /// Bytes of a row that are read at most.
    reach: usize,
}

/// Whether rows can be filtered by [`Shuffles::run`] on this instruction set.
pub(crate) const fn available(isa: Usable) -> bool {
    isa.has_avx2() || cfg!(target_arch = "aarch64") && matches!(isa.isa(), crate::simd::Isa::Neon)
}

impl Shuffles {
    /// Makes the table for a source of `samples` samples a row. `false` where the taps of four outputs do not lie within
    /// 16 bytes: far shrinking, or few samples.
    pub fn build(&mut self, axis: &Axis, layout: Layout, samples: usize) -> bool {
        self.lines.clear();
        let Layout { channels, offsets, step } = layout;
        let last_offset = offsets[..channels].iter().copied().max().unwrap_or(0);
        let available = (samples - 1) * step + last_offset + 1;
        let count = axis.starts.len() * channels;
        self.depth = axis.taps / TAPS;
        if available < WINDOW || count == 0 {
            return false;
        }
        self.reach = 0;
        for group in 0..count.div_ceil(GROUP) {
            for pair in 0..2 {
                for part in 0..self.depth {
                    let mut line = Line { controls: [[ZERO; 32]; 2], weights: [[0; 16]; 2], bases: [0; 2] };
                    for half in 0..2 {
                        // Blocks 0 and 2, then 1 and 3: so that packing within halves leaves them in order.
                        let first = group * GROUP + (pair + 2 * half) * BLOCK;
                        // Past the end of the row the last output is made again.
                        let outputs: [usize; BLOCK] = std::array::from_fn(|i| (first + i).min(count - 1));
                        if !line.fill(half, axis, layout, outputs, part, available) {
                            return false;
                        }
                        self.reach = self.reach.max(line.bases[half] as usize + WINDOW);
                    }
                    self.lines.push(line);
                }
            }
        }
        true
    }

    /// The weighted sums of `row`, with [`ROW_BITS`], into `out`: as many as there are outputs, rounded up to [`GROUP`].
    ///
    /// # Panics
    /// Where a slice is too short, or the instruction set is none for which this is [`available`].
    pub fn run(&self, isa: Usable, row: &[u8], out: &mut [i16]) {
        assert!(row.len() >= self.reach, "a row of {} bytes, of which {} are read", row.len(), self.reach);
        assert_eq!(out.len() / GROUP * 2 * self.depth, self.lines.len(), "one group of outputs for two sets of lines");
        #[cfg(target_arch = "x86_64")]
        if isa.has_avx2() {
            // SAFETY: the CPU has AVX2; every window ends at or before `reach`, which lies in the row; `out` has a group of
            // outputs for each two sets of lines.
            unsafe { avx2(&self.lines, self.depth, row, out) };
            return;
        }
        #[cfg(target_arch = "aarch64")]
        if isa.isa() == crate::simd::Isa::Neon {
            // SAFETY: NEON is part of the architecture; the rest as above.
            unsafe { neon(&self.lines, self.depth, row, out) };
            return;
        }
        panic!("no shuffles on {}", isa.isa());
    }
}

impl Line {
    /// Sets one half to taps `part * 4..part * 4 + 4` of `outputs` (interleaved). `false` where they are too far apart.
    fn fill(
        &mut self,
        half: usize,
        axis: &Axis,
        layout: Layout,
        outputs: [usize; BLOCK],
        part: usize,
        available: usize,
    ) -> bool {
        let Layout { channels, offsets, step } = layout;
        let byte = |output: usize, tap: usize| {
            let (position, channel) = (output / channels, output % channels);
            (axis.first + axis.starts[position] + tap) * step + offsets[channel]
        };
        let weight = |output: usize, tap: usize| axis.weights(output / channels)[tap];
        let taps = part * TAPS..(part + 1) * TAPS;
        // Taps without weight may lie past the end of the source.
        let used = outputs.iter().flat_map(|&output| taps.clone().map(move |tap| (output, tap)));
        let used = used.filter(|&(output, tap)| weight(output, tap) != 0);
        let (least, most) = used.fold((usize::MAX, 0), |(least, most), (output, tap)| {
            let at = byte(output, tap);
            (least.min(at), most.max(at))
        });
        if least > most {
            return true;
        }
        let base = least.min(available - WINDOW);
        if most - base >= WINDOW {
            return false;
        }
        let Ok(narrow) = u32::try_from(base) else { return false };
        self.bases[half] = narrow;
        for (lane, &output) in outputs.iter().enumerate() {
            for (index, tap) in taps.clone().enumerate() {
                let (pair, place) = (index / 2, half * 8 + lane * 2 + index % 2);
                let weight = weight(output, tap);
                if weight != 0 {
                    self.weights[pair][place] = weight;
                    self.controls[pair][place * 2] = (byte(output, tap) - base).to_le_bytes()[0];
                }
            }
        }
        true
    }
}

/// Half of what is lost when a sum is brought to [`ROW_BITS`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const HALF: i32 = 1 << (13 - ROW_BITS);
/// What a sum of bytes has more than [`ROW_BITS`].
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const SHIFT: i32 = 14 - ROW_BITS.cast_signed();

/// # Safety
/// The CPU has AVX2; `bases[..] + 16` of all lines lies within `row`; `out` has 16 values for each `2 * depth` lines.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2(lines: &[Line], depth: usize, row: &[u8], out: &mut [i16]) {
    use std::arch::x86_64::*;
    let row = row.as_ptr();
    for (lines, out) in lines.chunks_exact(2 * depth).zip(out.as_chunks_mut::<GROUP>().0) {
        let sums = [&lines[..depth], &lines[depth..]].map(|lines| {
            let mut sum = _mm256_set1_epi32(HALF);
            for line in lines {
                // SAFETY: the windows lie within the row; controls and weights are 32 bytes, and aligned as the line is.
                unsafe {
                    let window = |half: usize| _mm_loadu_si128(row.add(line.bases[half] as usize).cast());
                    let samples = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(window(0)), window(1));
                    for pair in 0..2 {
                        let picked =
                            _mm256_shuffle_epi8(samples, _mm256_load_si256(line.controls[pair].as_ptr().cast()));
                        let weights = _mm256_load_si256(line.weights[pair].as_ptr().cast());
                        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(picked, weights));
                    }
                }
            }
            _mm256_srai_epi32::<SHIFT>(sum)
        });
        // SAFETY: `out` is 16 values.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_packs_epi32(sums[0], sums[1])) };
    }
}

/// # Safety
/// `bases[..] + 16` of all lines lies within `row`; `out` has 16 values for each `2 * depth` lines.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn neon(lines: &[Line], depth: usize, row: &[u8], out: &mut [i16]) {
    use std::arch::aarch64::*;
    let row = row.as_ptr();
    for (lines, out) in lines.chunks_exact(2 * depth).zip(out.as_chunks_mut::<GROUP>().0) {
        for (pair_of_blocks, lines) in [&lines[..depth], &lines[depth..]].into_iter().enumerate() {
            for half in 0..2 {
                let mut sum = vdupq_n_s32(HALF);
                for line in lines {
                    // SAFETY: the window lies within the row; each half of controls and weights is 16 bytes.
                    unsafe {
                        let samples = vld1q_u8(row.add(line.bases[half] as usize));
                        for pair in 0..2 {
                            let controls = vld1q_u8(line.controls[pair].as_ptr().add(16 * half));
                            let picked = vreinterpretq_s16_u8(vqtbl1q_u8(samples, controls));
                            let weights = vld1q_s16(line.weights[pair].as_ptr().add(8 * half));
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

/// The sums down of [`super::fir::down_samples`] for whole groups of columns: how many columns were done, 0 where there is
/// nothing better than the plain loop. The same bits.
pub(crate) fn down_samples<const TAPS: usize>(
    isa: Usable,
    rows: &[&[i16]; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [u8],
) -> usize {
    #[cfg(target_arch = "x86_64")]
    if isa.has_avx2() {
        assert!(rows.iter().all(|row| row.len() >= out.len()), "a row for every output");
        // SAFETY: the CPU has AVX2, and each row is as long as the output.
        return unsafe { samples_avx2(rows, weights, bias, out) };
    }
    let _ = (isa, rows, weights, bias, out);
    0
}

/// The same for [`super::fir::down_bytes`].
pub(crate) fn down_bytes<const TAPS: usize>(
    isa: Usable,
    rows: &[&[u8]; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [i16],
) -> usize {
    #[cfg(target_arch = "x86_64")]
    if isa.has_avx2() {
        assert!(rows.iter().all(|row| row.len() >= out.len()), "a row for every output");
        // SAFETY: the CPU has AVX2, and each row is as long as the output.
        return unsafe { bytes_avx2(rows, weights, bias, out) };
    }
    let _ = (isa, rows, weights, bias, out);
    0
}

/// # Safety
/// The CPU has AVX2; no row is shorter than `out`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn samples_avx2<const TAPS: usize>(
    rows: &[&[i16]; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [u8],
) -> usize {
    use std::arch::x86_64::*;
    const SHIFT: i32 = ROW_BITS.cast_signed() - 2;
    let weights = weights.map(|weight| _mm256_set1_epi16(weight));
    let groups = out.as_chunks_mut::<32>().0;
    let done = groups.len() * 32;
    for (group, out) in groups.iter_mut().enumerate() {
        let mut sums = [_mm256_set1_epi16(bias); 2];
        for tap in 0..TAPS {
            for (half, sum) in sums.iter_mut().enumerate() {
                // SAFETY: 16 samples from `group * 32 + half * 16`, which `out` has too, and the row is not shorter.
                let samples = unsafe { _mm256_loadu_si256(rows[tap].as_ptr().add(group * 32 + half * 16).cast()) };
                *sum = _mm256_add_epi16(*sum, _mm256_mulhi_epi16(samples, weights[tap]));
            }
        }
        let [low, high] = sums.map(|sum| _mm256_srai_epi16::<SHIFT>(sum));
        // Packing works within halves: the middle quarters come out exchanged.
        let bytes = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi16(low, high));
        // SAFETY: `out` is 32 bytes.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), bytes) };
    }
    done
}

/// # Safety
/// The CPU has AVX2; no row is shorter than `out`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn bytes_avx2<const TAPS: usize>(
    rows: &[&[u8]; TAPS],
    weights: &[i16; TAPS],
    bias: i16,
    out: &mut [i16],
) -> usize {
    use std::arch::x86_64::*;
    let weights = weights.map(|weight| _mm256_set1_epi16(weight));
    let groups = out.as_chunks_mut::<16>().0;
    let done = groups.len() * 16;
    for (group, out) in groups.iter_mut().enumerate() {
        let mut sum = _mm256_set1_epi16(bias);
        for tap in 0..TAPS {
            // SAFETY: 16 bytes from `group * 16`, which `out` has too, and the row is not shorter.
            let bytes = unsafe { _mm_loadu_si128(rows[tap].as_ptr().add(group * 16).cast()) };
            let samples = _mm256_slli_epi16::<7>(_mm256_cvtepu8_epi16(bytes));
            sum = _mm256_add_epi16(sum, _mm256_mulhi_epi16(samples, weights[tap]));
        }
        // SAFETY: `out` is 16 samples.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sum) };
    }
    done
}
