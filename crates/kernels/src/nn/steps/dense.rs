//! The dense convolution: loops over rows that call the row kernel.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::parts::{ChannelGroup, Places, Resolve, Sums, Units, groups, valid_rows};
use super::upsample::upsample_row;
use crate::nn::pack::{self, Aligned, CACHE_LINE};
use crate::nn::program::{Convolution, MapId, Residual, Shape};
use crate::nn::rows::{Activation, ConvRow, Kernels};
use crate::simd::Element;

/// Number of values that may stay in the first-level cache beside the weights.
const CHUNK: usize = 4096;

/// A dense convolution that is packed for an instruction set.
#[derive(Clone, Debug)]
pub(crate) struct Dense<T> {
    kernel: [usize; 2],
    stride: usize,
    padding: [usize; 2],
    activation: Activation,
    residual: Option<Residual>,
    gate: Option<MapId>,
    input: Shape,
    output: Shape,
    /// The packed weights, by groups of channels that are computed together.
    packed: Arc<Aligned<T>>,
    groups: Vec<ChannelGroup>,
    /// The packed weights multiplied by the gate.
    gated: Aligned<T>,
    /// The offsets of the ring's rows, listed twice, so that the rows of a window are adjacent in
    /// the list whichever row comes first.
    offsets: Vec<isize>,
    ring: usize,
    upsampled: usize,
    sums: Sums,
    units: Units,
}

impl<T: Element> Dense<T> {
    /// Packs `c` in groups of `group` channels and reserves the scratch memory.
    pub(crate) fn new(
        kernels: &Kernels<T>,
        c: &Convolution,
        input: Shape,
        output: Shape,
        group: usize,
        places: &mut Places,
    ) -> Self {
        let depth = c.kernel[0] * c.kernel[1] * input.channels;
        let (packed, groups) = groups(output.channels, group, kernels.block_width, depth, |first, count| {
            let weights = &c.weights[first * depth..(first + count) * depth];
            pack::dense(kernels, weights, &c.bias[first..first + count], depth)
        });
        let gated = if c.gate.is_some() { packed.clone() } else { Aligned::default() };
        let mut dense = Self {
            kernel: c.kernel,
            stride: c.stride,
            padding: c.padding,
            activation: c.activation,
            residual: c.residual,
            gate: c.gate,
            input,
            output,
            packed: Arc::new(packed),
            groups,
            gated,
            offsets: Vec::new(),
            ring: 0,
            upsampled: 0,
            sums: Sums::new(output.channels, places),
            units: Units { count: 0, split: 0 },
        };
        if !dense.direct() {
            dense.ring = places.take_of::<T>(dense.kernel[0] * dense.ring_row());
        }
        if c.residual.is_some_and(|residual| residual.upsampled) {
            dense.upsampled = places.take_of::<T>(output.width * output.channels);
        }
        let row = isize::try_from(dense.ring_row()).expect("a row is small");
        dense.offsets = (0..2).flat_map(|_| (0..).take(c.kernel[0]).map(|slot| slot * row)).collect();
        let pixels = output.height * output.width;
        let count = if dense.chunked() { pixels.div_ceil(dense.chunk()) } else { output.height };
        dense.units = Units::new(count, pixels * output.channels * depth);
        dense
    }

    /// The units of the step.
    pub(crate) const fn units(&self) -> Units {
        self.units
    }

    /// Whether the step works on runs of pixels that may span rows.
    fn chunked(&self) -> bool {
        self.direct() && !self.residual.is_some_and(|residual| residual.upsampled)
    }

    /// Pixels per run.
    fn chunk(&self) -> usize {
        (CHUNK / self.input.channels).max(24).next_multiple_of(24)
    }

    /// Whether the input map can be read in place.
    fn direct(&self) -> bool {
        self.kernel == [1, 1] && self.stride == 1
    }

    /// Numbers in a row of the ring.
    fn ring_row(&self) -> usize {
        (((self.output.width - 1) * self.stride + self.kernel[1]) * self.input.channels).next_multiple_of(CACHE_LINE)
    }

    /// Applies the gate to the weights. Must be called before each run.
    ///
    /// # Safety
    /// The map of the gate holds its vector.
    pub(crate) unsafe fn gate(&mut self, kernels: &Kernels<T>, maps: &impl Resolve<T>) {
        let Some(gate) = self.gate else { return };
        // SAFETY: the map has as many numbers as the input has channels; the program's check
        // compared them.
        let vector = unsafe { std::slice::from_raw_parts(maps.at(gate), self.input.channels) };
        for group in &self.groups {
            let from = &self.packed.as_slice()[group.packed..];
            pack::gate(kernels, from, &mut self.gated.as_mut_slice()[group.packed..], &group.widths, vector);
        }
    }

    /// The weights to use: gated ones if there is a gate.
    pub(super) fn weights(&self) -> *const T {
        if self.gate.is_some() { self.gated.as_slice().as_ptr() } else { self.packed.as_slice().as_ptr() }
    }

    /// Runs one half of the convolution, or all of it. The mean is completed by [`Dense::finish`].
    ///
    /// If `planar` is set, the input consists of channel planes instead of interleaved pixels.
    ///
    /// # Safety
    /// [`Dense::gate`] has been called; `input` and `output` are valid for their shapes and do not
    /// overlap; `scratch` is valid for the step's places and is used by no other thread.
    #[allow(clippy::too_many_arguments, reason = "one argument per buffer")]
    pub(crate) unsafe fn run(
        &self,
        kernels: &Kernels<T>,
        half: Option<usize>,
        input: *const T,
        planar: bool,
        output: *mut T,
        with_mean: bool,
        scratch: *mut f32,
        maps: &impl Resolve<T>,
    ) {
        // SAFETY: the caller upholds this function's contract; rows, pixels and channels stay
        // within the shapes, which the program's check has compared with the weights.
        unsafe {
            let weights = self.weights();
            let (pixels, channels) = (self.output.height * self.output.width, self.output.channels);
            if with_mean {
                self.sums.clear(scratch);
            }
            let zero = 0_isize;
            let residual = self.residual.map_or(std::ptr::null(), |residual| maps.at(residual.map).cast_const());
            let upsampled = self.residual.is_some_and(|residual| residual.upsampled);
            let mut row = ConvRow {
                input,
                input_step: self.input.channels * self.stride,
                offsets: &raw const zero,
                segments: 1,
                depth: self.input.channels,
                skip: 0,
                block_depth: self.kernel[0] * self.kernel[1] * self.input.channels,
                packed: weights,
                output,
                output_step: channels,
                residual,
                residual_step: channels,
                sums: if with_mean { scratch.add(self.sums.row) } else { std::ptr::null_mut() },
                width: pixels,
                channels,
                activation: self.activation,
            };
            if self.chunked() {
                let chunk = self.chunk();
                for unit in self.units.of(half) {
                    let x = unit * chunk;
                    row.width = chunk.min(pixels - x);
                    row.input = input.add(x * self.input.channels);
                    row.output = output.add(x * channels);
                    if !residual.is_null() {
                        row.residual = residual.add(x * channels);
                    }
                    self.each_group(kernels, &row, weights);
                    if with_mean {
                        self.sums.end_row(scratch, self.units.half_of(unit), 0, channels);
                    }
                }
            } else {
                row.width = self.output.width;
                let mut filled = 0;
                for y in self.units.of(half) {
                    row.output = output.add(y * self.output.width * channels);
                    if upsampled {
                        let to = scratch.add(self.upsampled).cast::<T>();
                        self.upsample(kernels, residual, y, 0, channels, to);
                        row.residual = to;
                    } else if !residual.is_null() {
                        row.residual = residual.add(y * self.output.width * channels);
                    }
                    if self.direct() {
                        row.input = input.add(y * self.input.width * self.input.channels);
                        self.each_group(kernels, &row, weights);
                    } else {
                        let ring = scratch.add(self.ring).cast::<T>();
                        self.fill_ring(input, planar, ring, y, &mut filled);
                        row.input = ring;
                        self.windows(&mut row, y);
                        self.each_group(kernels, &row, weights);
                    }
                    if with_mean {
                        self.sums.end_row(scratch, self.units.half_of(y), 0, channels);
                    }
                }
            }
        }
    }

    /// Computes the mean after every half has run.
    ///
    /// # Safety
    /// Each half ran with its scratch memory; `mean` is valid for the channels of the output.
    pub(crate) unsafe fn finish(&self, scratch: [*mut f32; 2], mean: *mut T) {
        // SAFETY: the caller upholds this function's contract.
        unsafe { self.sums.finish(scratch, mean, self.output.height * self.output.width) }
    }

    /// Calls the kernel for each group of channels of a row.
    ///
    /// # Safety
    /// The same as for the kernel.
    unsafe fn each_group(&self, kernels: &Kernels<T>, row: &ConvRow<T>, weights: *const T) {
        for group in &self.groups {
            // SAFETY: a contract that holds for the whole row holds for some of its channels.
            unsafe {
                let mut row = *row;
                row.packed = weights.add(group.packed);
                row.output = row.output.add(group.first);
                row.channels = group.channels;
                if !row.residual.is_null() {
                    row.residual = row.residual.add(group.first);
                }
                if !row.sums.is_null() {
                    row.sums = row.sums.add(group.first);
                }
                (kernels.conv)(&row);
            }
        }
    }

    /// Points `row` at the rows of the ring that output row `y` needs.
    fn windows(&self, row: &mut ConvRow<T>, y: usize) {
        let (top, rows) = valid_rows(y, self.stride, self.padding[0], self.kernel[0], self.input.height);
        if rows > 0 {
            let first = y * self.stride + top - self.padding[0];
            row.offsets = self.offsets[first % self.kernel[0]..].as_ptr();
        }
        row.segments = rows;
        row.depth = self.kernel[1] * self.input.channels;
        row.skip = top * row.depth;
    }

    /// Copies input rows into the ring, up to the last one that output row `y` needs, with zeros on
    /// the left and right.
    ///
    /// # Safety
    /// `input` is valid for its shape, and `ring` for all rows of the ring.
    unsafe fn fill_ring(&self, input: *const T, planar: bool, ring: *mut T, y: usize, filled: &mut usize) {
        let channels = self.input.channels;
        let left = self.padding[1] * channels;
        let length = self.ring_row();
        let used = self.input.width.min(length / channels - self.padding[1]);
        let end = (y * self.stride + self.kernel[0]).saturating_sub(self.padding[0]).min(self.input.height);
        // Rows that no window needs (if the stride exceeds the kernel) are skipped.
        let start = (*filled).max((y * self.stride).saturating_sub(self.padding[0]));
        for from in start..end {
            // SAFETY: the row is inside the input, and its place is inside the ring.
            unsafe {
                let to = ring.add((from % self.kernel[0]) * length);
                to.write_bytes(0, left);
                to.add(left + used * channels).write_bytes(0, length - left - used * channels);
                if planar {
                    let plane = self.input.height * self.input.width;
                    interleave(input.add(from * self.input.width), plane, to.add(left), used, channels);
                } else {
                    let at = input.add(from * self.input.width * channels);
                    to.add(left).copy_from_nonoverlapping(at, used * channels);
                }
            }
        }
        *filled = end.max(*filled);
    }

    /// Upsamples channels `first..first + count` of row `y` of the residual to `to`, with pixels
    /// `count` apart.
    ///
    /// # Safety
    /// `low` is valid for the shape of the residual, and `to` for a row.
    unsafe fn upsample(&self, kernels: &Kernels<T>, low: *const T, y: usize, first: usize, count: usize, to: *mut T) {
        let (height, width) = (self.output.height / 2, self.output.width / 2);
        // SAFETY: the caller upholds this function's contract.
        unsafe {
            upsample_row(
                kernels,
                low.add(first),
                Shape { height, width, channels: self.output.channels },
                y,
                count,
                to,
            );
        }
    }

    /// Computes one row of one group of channels. Pixels are adjacent in `to`.
    ///
    /// # Safety
    /// The same as [`Dense::run`]; `to` is valid for a row of the group.
    #[allow(clippy::too_many_arguments, reason = "one argument per buffer")]
    pub(super) unsafe fn expand_row(
        &self,
        kernels: &Kernels<T>,
        input: *const T,
        y: usize,
        group: usize,
        weights: *const T,
        to: *mut T,
        scratch: *mut f32,
        maps: &impl Resolve<T>,
    ) {
        let group = &self.groups[group];
        let zero = 0_isize;
        // SAFETY: the caller upholds this function's contract.
        unsafe {
            let (residual, residual_step) = match self.residual {
                None => (std::ptr::null(), 0),
                Some(Residual { map, upsampled: true }) => {
                    let row = scratch.add(self.upsampled).cast::<T>();
                    self.upsample(kernels, maps.at(map), y, group.first, group.channels, row);
                    (row.cast_const(), group.channels)
                }
                Some(Residual { map, upsampled: false }) => {
                    let row = maps.at(map).add(y * self.output.width * self.output.channels + group.first);
                    (row.cast_const(), self.output.channels)
                }
            };
            (kernels.conv)(&ConvRow {
                input: input.add(y * self.input.width * self.input.channels),
                input_step: self.input.channels,
                offsets: &raw const zero,
                segments: 1,
                depth: self.input.channels,
                skip: 0,
                block_depth: self.input.channels,
                packed: weights.add(group.packed),
                output: to,
                output_step: group.channels,
                residual,
                residual_step,
                sums: std::ptr::null_mut(),
                width: self.input.width,
                channels: group.channels,
                activation: self.activation,
            });
        }
    }
}

/// Converts channel planes to interleaved pixels. `plane` is the distance between planes.
///
/// # Safety
/// `from` is valid for `width` numbers in each of `channels` planes, `to` for `width * channels`.
unsafe fn interleave<T: Copy>(from: *const T, plane: usize, to: *mut T, width: usize, channels: usize) {
    // SAFETY: the caller upholds this function's contract.
    unsafe {
        if channels == 3 {
            let planes = [0, 1, 2].map(|c| std::slice::from_raw_parts(from.add(c * plane), width));
            let to = std::slice::from_raw_parts_mut(to, width * 3);
            for (((to, r), g), b) in to.chunks_exact_mut(3).zip(planes[0]).zip(planes[1]).zip(planes[2]) {
                to[0] = *r;
                to[1] = *g;
                to[2] = *b;
            }
        } else {
            for c in 0..channels {
                for x in 0..width {
                    *to.add(x * channels + c) = *from.add(c * plane + x);
                }
            }
        }
    }
}
