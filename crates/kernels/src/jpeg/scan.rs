//! The order of the blocks in a scan, and where their samples go.

use super::JpegError;
use super::bits::{Bits, Block, PADDING, Places, Tables, read_block};
use super::headers::{Headers, Sampling};
use super::idct::{self, Transform};
use crate::cast;
use crate::picture::PictureMut;
use crate::simd::versions::Usable;

/// The entropy-coded data of a picture, segment by segment. A restart marker lies between two
/// segments; any other marker ends the last one.
pub(super) struct Segments<'a> {
    rest: Option<&'a [u8]>,
    buffer: &'a mut Vec<u8>,
}

impl<'a> Segments<'a> {
    /// The segments of `bytes`. Each is copied to `buffer`, which grows to the length of `bytes` at
    /// most.
    pub(super) const fn new(bytes: &'a [u8], buffer: &'a mut Vec<u8>) -> Self {
        Self { rest: Some(bytes), buffer }
    }

    /// The bits of the next segment; `None` after the last one.
    fn next(&mut self) -> Option<Bits<'_>> {
        let rest = self.rest.take()?;
        if self.buffer.len() < rest.len() + PADDING {
            self.buffer.resize(rest.len() + PADDING, 0);
        }
        let (taken, length) = unstuff(rest, self.buffer);
        if matches!(rest.get(taken), Some(0xd0..=0xd7)) {
            self.rest = Some(&rest[taken + 1..]);
        }
        self.buffer[length..length + PADDING].fill(0);
        Some(Bits::new(&self.buffer[..length + PADDING]))
    }
}

/// Copies `from` up to its first marker to `to`, without the zeros that are stuffed behind bytes of
/// 0xff (T.81, B.1.1.5). `to` is longer than `from` by [`PADDING`] bytes. Returns the index of the
/// marker's code in `from`, and the number of bytes that were written.
fn unstuff(from: &[u8], to: &mut [u8]) -> (usize, usize) {
    const LOW: u64 = u64::MAX / 255;
    let (mut read, mut written) = (0, 0);
    while let Some(&byte) = from.get(read) {
        // Eight bytes at a time. The lowest bit that is set here belongs to the first 0xff.
        if let (Some(word), Some(out)) = (from[read..].first_chunk::<8>(), to[written..].first_chunk_mut::<8>()) {
            *out = *word;
            let word = u64::from_le_bytes(*word);
            let found = (!word).wrapping_sub(LOW) & word & (LOW << 7);
            let before = (found.trailing_zeros() / 8) as usize;
            (read, written) = (read + before, written + before);
            if found == 0 {
                continue;
            }
        } else if byte != 0xff {
            to[written] = byte;
            (read, written) = (read + 1, written + 1);
            continue;
        }
        // A marker may follow any number of 0xff.
        while from.get(read + 1) == Some(&0xff) {
            read += 1;
        }
        if from.get(read + 1) != Some(&0) {
            return (read + 1, written);
        }
        to[written] = 0xff;
        (read, written) = (read + 2, written + 1);
    }
    (read, written)
}

/// Decodes the scan to `output`, whose format and size have been checked.
#[allow(unsafe_code, reason = "one call for each instruction set, after a check that the CPU has it")]
pub(super) fn decode(
    isa: Usable,
    headers: &Headers,
    segments: Segments<'_>,
    output: &mut PictureMut<'_>,
) -> Result<(), JpegError> {
    #[cfg(target_arch = "x86_64")]
    if isa.has_avx2() && is_x86_feature_detected!("bmi2") {
        #[target_feature(enable = "avx2,bmi2")]
        fn avx2(headers: &Headers, segments: Segments<'_>, output: &mut PictureMut<'_>) -> Result<(), JpegError> {
            // SAFETY: AVX2 is enabled here.
            unsafe { decode_with::<idct::avx2::Avx2>(headers, segments, output) }
        }
        // SAFETY: the CPU has AVX2, which was checked when the `Usable` was made, and BMI2.
        return unsafe { avx2(headers, segments, output) };
    }
    #[cfg(target_arch = "aarch64")]
    if isa.isa() == crate::simd::Isa::Neon {
        // SAFETY: NEON is part of the base of AArch64.
        return unsafe { decode_with::<idct::neon::Neon>(headers, segments, output) };
    }
    let _ = isa;
    #[cfg(target_arch = "x86_64")]
    type Base = idct::sse2::Sse2;
    #[cfg(not(target_arch = "x86_64"))]
    type Base = idct::portable::Portable;
    // SAFETY: the base of the target is always enabled.
    unsafe { decode_with::<Base>(headers, segments, output) }
}

/// The samples of two blocks: eight rows of 16, those of the second block right of the first.
type Samples = [u8; 128];

/// The rows of [`Samples`].
const STRIDE: usize = 16;

/// Decodes the scan with the transform of an instruction set.
///
/// # Safety
/// The target features of `T` are enabled.
#[allow(unsafe_code, reason = "the instruction set is the caller's promise")]
#[inline(always)]
unsafe fn decode_with<T: Transform>(
    headers: &Headers,
    mut segments: Segments<'_>,
    output: &mut PictureMut<'_>,
) -> Result<(), JpegError> {
    let [width, height] = [headers.size().width as usize, headers.size().height as usize];
    let components = headers.components();
    let places: [Places; 3] =
        std::array::from_fn(|index| Places::new(headers.steps(components.get(index).unwrap_or(&components[0]))));
    let tables: [Tables<'_>; 3] = std::array::from_fn(|index| {
        let component = components.get(index).unwrap_or(&components[0]);
        Tables { dc: headers.dc(component), ac: headers.ac(component), places: &places[index] }
    });
    let sampling = headers.sampling();
    let Sampling { across, down, blocks } = sampling.unwrap_or(Sampling { across: 1, down: 1, blocks: [1, 1] });
    // The blocks of luma in an MCU, along and down.
    let luma = [across * blocks[0], down * blocks[1]];
    let mcus = [width.div_ceil(luma[0] * 8), height.div_ceil(luma[1] * 8)];
    let interval = if headers.restart_interval() == 0 { usize::MAX } else { headers.restart_interval() };

    let cut_off = JpegError::Invalid("the picture is cut off, or has a marker in its data");
    let chroma = Chroma { across, down, size: [width, height] };
    let mut samples: Samples = [0; 128];
    let mut pairs = [[Block::ZERO; 2]; 4];
    let mut bits = segments.next().ok_or(cut_off)?;
    let (mut left, mut last_dc) = (interval, [0; 3]);
    for row in 0..mcus[1] {
        for column in 0..mcus[0] {
            if left == 0 {
                if bits.is_overrun() {
                    return Err(cut_off);
                }
                bits = segments.next().ok_or(cut_off)?;
                (left, last_dc) = (interval, [0; 3]);
            }
            left -= 1;
            let (x, y) = (column * luma[0] * 8, row * luma[1] * 8);
            for line in 0..luma[1] {
                let (pair, mut last) = (&mut pairs[0], [0; 2]);
                for (block, last) in pair.iter_mut().zip(&mut last).take(luma[0]) {
                    *last = read_block(&mut bits, &tables[0], &mut last_dc[0], block)?;
                }
                let y = y + line * 8;
                let (plane, stride) = output.plane_mut(0);
                if luma[0] == 2 && x + 16 <= width && y + 8 <= height {
                    // SAFETY: the caller promises the target features.
                    unsafe { idct::transform::<T>(pair, last, &mut plane[y * stride + x..], stride) };
                } else if y < height {
                    // SAFETY: as above.
                    unsafe { idct::transform::<T>(pair, last, &mut samples, STRIDE) };
                    let columns = (luma[0] * 8).min(width - x);
                    for (row, samples) in samples.as_chunks::<STRIDE>().0.iter().enumerate().take(height - y) {
                        plane[(y + row) * stride + x..][..columns].copy_from_slice(&samples[..columns]);
                    }
                }
            }
            if sampling.is_some() {
                let count = blocks[0] * blocks[1];
                let mut last = [[0; 2]; 4];
                for index in 0..2 {
                    for (pair, last) in pairs.iter_mut().zip(&mut last).take(count) {
                        let (tables, last_dc) = (&tables[index + 1], &mut last_dc[index + 1]);
                        last[index] = read_block(&mut bits, tables, last_dc, &mut pair[index])?;
                    }
                }
                for (number, (pair, last)) in pairs.iter().zip(last).enumerate().take(count) {
                    let x = x + number % blocks[0] * across * 8;
                    let y = y + number / blocks[0] * down * 8;
                    if x < width && y < height {
                        // SAFETY: as above.
                        unsafe { idct::transform::<T>(pair, last, &mut samples, STRIDE) };
                        chroma.write(&mut samples, x, y, output);
                    }
                }
            }
        }
        // Some cameras cut off the last bits.
        if bits.is_overrun() && row + 1 < mcus[1] {
            return Err(cut_off);
        }
    }
    if sampling.is_none() {
        let (plane, stride) = output.plane_mut(1);
        for row in plane.chunks_mut(stride).take(height.div_ceil(2)) {
            let used = row.len().min(width.div_ceil(2) * 2);
            row[..used].fill(128);
        }
    }
    Ok(())
}

/// Where the samples of chroma go.
struct Chroma {
    /// The samples of luma for each sample of chroma, along: 1 or 2.
    across: usize,
    /// The same, down.
    down: usize,
    /// The width and height of the picture.
    size: [usize; 2],
}

impl Chroma {
    /// Writes the samples of a block of Cb and one of Cr, which belong to the pixels from (`x`,
    /// `y`) on.
    #[inline(always)]
    fn write(&self, samples: &mut Samples, x: usize, y: usize, output: &mut PictureMut<'_>) {
        let [width, height] = self.size;
        let used = [(width - x).div_ceil(self.across).min(8), (height - y).div_ceil(self.down).min(8)];
        if used != [8, 8] {
            repeat_edges(samples, used);
        }
        let pairs = reduce(samples, self.across, self.down);
        let columns = used[0].div_ceil(3 - self.across);
        let rows = used[1].div_ceil(3 - self.down);
        let (plane, stride) = output.plane_mut(1);
        let start = y / 2 * stride + x;
        for (row, pairs) in pairs.as_chunks::<STRIDE>().0.iter().enumerate().take(rows) {
            let to = &mut plane[start + row * stride..];
            if columns == 8 {
                to[..16].copy_from_slice(pairs);
            } else {
                to[..columns * 2].copy_from_slice(&pairs[..columns * 2]);
            }
        }
    }
}

/// Repeats the last of the `used` columns and rows of both blocks, so that what lies outside of the
/// picture does not count in a mean.
#[cold]
fn repeat_edges(samples: &mut Samples, used: [usize; 2]) {
    for row in samples.as_chunks_mut::<8>().0 {
        let edge = row[used[0] - 1];
        row[used[0]..].fill(edge);
    }
    let (inside, outside) = samples.split_at_mut(used[1] * STRIDE);
    for row in outside.as_chunks_mut::<STRIDE>().0 {
        row.copy_from_slice(&inside[inside.len() - STRIDE..]);
    }
}

/// The mean of two samples, rounded up: one instruction for a vector of them.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a mean of bytes")]
fn mean(a: u8, b: u8) -> u8 {
    ((u16::from(a) + u16::from(b) + 1) >> 1) as u8
}

/// The samples of Cb and Cr in pairs, at half the width and height of luma: rows of 16 bytes, from
/// the left.
#[inline(always)]
fn reduce(samples: &Samples, across: usize, down: usize) -> Samples {
    let rows = samples.as_chunks::<STRIDE>().0;
    let mut out = [0; 128];
    let pairs = out.as_chunks_mut::<STRIDE>().0.iter_mut().enumerate();
    match (across, down) {
        (2, 2) => {
            for (row, pairs) in pairs {
                *pairs = std::array::from_fn(|i| rows[row][i / 2 + i % 2 * 8]);
            }
        }
        (2, _) => {
            for (row, pairs) in pairs.take(4) {
                let [upper, lower] = [rows[row * 2], rows[row * 2 + 1]];
                let means: [u8; 16] = std::array::from_fn(|i| mean(upper[i], lower[i]));
                *pairs = std::array::from_fn(|i| means[i / 2 + i % 2 * 8]);
            }
        }
        (_, 2) => {
            for (row, pairs) in pairs {
                for (i, value) in pairs.iter_mut().enumerate().take(8) {
                    let at = i / 2 * 2 + i % 2 * 8;
                    *value = mean(rows[row][at], rows[row][at + 1]);
                }
            }
        }
        _ => {
            for (row, pairs) in pairs.take(4) {
                let [upper, lower] = [rows[row * 2], rows[row * 2 + 1]];
                for (i, value) in pairs.iter_mut().enumerate().take(8) {
                    let at = i / 2 * 2 + i % 2 * 8;
                    let sum: i32 =
                        [upper[at], upper[at + 1], lower[at], lower[at + 1]].into_iter().map(i32::from).sum();
                    *value = cast::clamped((sum + 2) >> 2);
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same, byte by byte.
    fn unstuff_slowly(from: &[u8]) -> (usize, Vec<u8>) {
        let (mut read, mut out) = (0, Vec::new());
        while read < from.len() {
            if from[read] != 0xff {
                out.push(from[read]);
                read += 1;
                continue;
            }
            while from.get(read + 1) == Some(&0xff) {
                read += 1;
            }
            if from.get(read + 1) != Some(&0) {
                return (read + 1, out);
            }
            out.push(0xff);
            read += 2;
        }
        (read, out)
    }

    proptest! {
        #![proptest_config(crate::testing::config(2000))]

        #[test]
        fn unstuffing_is_that_of_the_oracle(
            bytes in prop::collection::vec(prop::sample::select(&[0, 1, 0x80, 0xfe, 0xff, 0xff, 0xd0][..]), 0..80),
            stuffed in any::<bool>(),
        ) {
            let bytes = if stuffed {
                bytes.into_iter().flat_map(|byte| if byte == 0xff { vec![byte, 0] } else { vec![byte] }).collect()
            } else {
                bytes
            };
            let mut out = vec![7; bytes.len() + PADDING];
            let (read, written) = unstuff(&bytes, &mut out);
            let (expected_read, expected) = unstuff_slowly(&bytes);
            prop_assert_eq!((read, &out[..written]), (expected_read, &expected[..]));
        }
    }
}
