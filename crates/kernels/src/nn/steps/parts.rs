//! The parts that the dense and the depthwise step share: places in the scratch memory, the
//! division into halves for two threads, the sums for means, and groups of channels.
#![allow(unsafe_code)]

use crate::nn::pack::{Aligned, CACHE_LINE};
use crate::nn::program::MapId;
use crate::nn::rows::Kernels;
use crate::simd::Element;

/// Assigns places in the scratch memory to the buffers of a step. Offsets are in `f32`s.
#[derive(Debug, Default)]
pub(crate) struct Places {
    length: usize,
}

impl Places {
    /// Reserves `count` numbers and returns their offset, a multiple of a cache line.
    pub(super) fn take(&mut self, count: usize) -> usize {
        let at = self.length;
        self.length += count.next_multiple_of(CACHE_LINE);
        at
    }

    /// Reserves `count` numbers of another type, see [`Places::take`].
    pub(super) fn take_of<T>(&mut self, count: usize) -> usize {
        self.take((count * size_of::<T>()).div_ceil(size_of::<f32>()))
    }

    /// Numbers that all places need together.
    pub(crate) const fn length(&self) -> usize {
        self.length
    }
}

/// Resolves feature maps to addresses.
pub(crate) trait Resolve<T> {
    /// The address of the map's first number.
    fn at(&self, map: MapId) -> *mut T;
}

/// Steps with fewer multiply-adds run on one thread, because handing a half to another thread would
/// take longer.
const WORTH_SPLITTING: usize = 200_000;

/// The units of a step (rows, or runs of pixels) and the division into two halves. The division
/// depends on the step alone, and a total is always the sum of the first half plus the sum of the
/// second. So one thread and two threads give the same result to the bit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Units {
    /// Number of units.
    pub count: usize,
    /// First unit of the second half; `count` if the step is not worth splitting.
    pub split: usize,
}

impl Units {
    pub(super) fn new(count: usize, multiply_adds: usize) -> Self {
        let split = if count >= 2 && multiply_adds >= WORTH_SPLITTING { count.div_ceil(2) } else { count };
        Self { count, split }
    }

    /// Whether two threads may share the step.
    pub(crate) const fn is_split(self) -> bool {
        self.split < self.count
    }

    /// The units of a half, or all units if `half` is `None`.
    pub(crate) const fn of(self, half: Option<usize>) -> std::ops::Range<usize> {
        match half {
            None => 0..self.count,
            Some(0) => 0..self.split,
            Some(_) => self.split..self.count,
        }
    }

    pub(super) fn half_of(self, unit: usize) -> usize {
        usize::from(unit >= self.split)
    }
}

/// Sums over a map. Each row is summed by itself first, so that a small number is never added to a
/// large one; then the rows of each half are summed. The fields are offsets into the scratch
/// memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    pub(super) row: usize,
    halves: [usize; 2],
    channels: usize,
}

impl Sums {
    pub(super) fn new(channels: usize, places: &mut Places) -> Self {
        Self { row: places.take(channels), halves: [places.take(channels), places.take(channels)], channels }
    }

    /// Sets all sums to zero.
    ///
    /// # Safety
    /// `scratch` is valid for the places of the step. The same holds for the methods below.
    pub(super) unsafe fn clear(self, scratch: *mut f32) {
        for at in [self.row, self.halves[0], self.halves[1]] {
            // SAFETY: the caller upholds this function's contract.
            unsafe { scratch.add(at).write_bytes(0, self.channels) }
        }
    }

    /// Adds the row's sums of `count` channels from `first` on to the sums of a half.
    pub(super) unsafe fn end_row(self, scratch: *mut f32, half: usize, first: usize, count: usize) {
        for c in first..first + count {
            // SAFETY: the caller upholds this function's contract; each sum has `channels` numbers.
            unsafe {
                *scratch.add(self.halves[half] + c) += *scratch.add(self.row + c);
                *scratch.add(self.row + c) = 0.0;
            }
        }
    }

    /// Writes `mean[c]` over `pixels` pixels. The sums of each half are in the scratch memory of
    /// the thread that ran it.
    pub(super) unsafe fn finish<T: Element>(self, scratch: [*mut f32; 2], mean: *mut T, pixels: usize) {
        let scale = 1.0 / pixels as f32;
        for c in 0..self.channels {
            // SAFETY: the caller upholds this function's contract; the mean has as many channels.
            unsafe {
                let sum = *scratch[0].add(self.halves[0] + c) + *scratch[1].add(self.halves[1] + c);
                *mean.add(c) = T::from_f32(sum * scale);
            }
        }
    }
}

/// A run of channels that are computed together, and the position of their packed weights.
#[derive(Clone, Debug)]
pub(super) struct ChannelGroup {
    pub(super) first: usize,
    pub(super) channels: usize,
    pub(super) packed: usize,
    pub(super) widths: Vec<usize>,
}

/// Splits the channels into groups of at most `most` and packs each group.
pub(super) fn groups<T: Element>(
    channels: usize,
    most: usize,
    width: fn(usize) -> usize,
    depth: usize,
    mut pack: impl FnMut(usize, usize) -> Aligned<T>,
) -> (Aligned<T>, Vec<ChannelGroup>) {
    let (mut all, mut groups) = (Vec::new(), Vec::new());
    let mut first = 0;
    while first < channels {
        let count = most.min(channels - first);
        let widths: Vec<_> = Kernels::<T>::blocks(width, count).collect();
        groups.push(ChannelGroup { first, channels: count, packed: all.len(), widths });
        let packed = pack(first, count);
        debug_assert_eq!(packed.as_slice().len() % (1 + depth), 0);
        all.extend_from_slice(packed.as_slice());
        all.resize(all.len().next_multiple_of(CACHE_LINE), T::default());
        first += count;
    }
    (Aligned::copy_of(&all), groups)
}

/// The rows of a kernel that lie on the input for output row `y`: the first one, and their number.
pub(super) fn valid_rows(y: usize, stride: usize, padding: usize, kernel: usize, height: usize) -> (usize, usize) {
    let top = padding.saturating_sub(y * stride);
    let end = (height + padding).saturating_sub(y * stride).min(kernel);
    (top, end.saturating_sub(top))
}
