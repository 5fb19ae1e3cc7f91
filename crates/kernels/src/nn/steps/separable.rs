//! The depthwise convolution with the 1x1 convolution that may feed it: loops over rows that call
//! the row kernels.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::dense::Dense;
use super::parts::{ChannelGroup, Places, Resolve, Sums, Units, groups, valid_rows};
use crate::nn::pack::{self, Aligned, CACHE_LINE};
use crate::nn::program::{Convolution, Depthwise, Shape};
use crate::nn::rows::{Activation, DepthwiseRow, Kernels};
use crate::simd::Element;

/// A depthwise convolution and the optional 1x1 convolution before it, packed for an instruction
/// set.
#[derive(Clone, Debug)]
pub(crate) struct Separable<T> {
    expand: Option<Dense<T>>,
    kernel: usize,
    stride: usize,
    padding: [usize; 2],
    activation: Activation,
    add_input: bool,
    input: Shape,
    output: Shape,
    packed: Arc<Aligned<T>>,
    groups: Vec<ChannelGroup>,
    /// Place of the addresses of a window's rows.
    rows: usize,
    ring: usize,
    sums: Sums,
    units: Units,
}

impl<T: Element> Separable<T> {
    /// Packs a depthwise convolution and its expansion.
    pub(crate) fn new(
        kernels: &Kernels<T>,
        expand: Option<&Convolution>,
        d: &Depthwise,
        input: Shape,
        output: Shape,
        places: &mut Places,
    ) -> Self {
        let taps = d.kernel * d.kernel;
        let (packed, groups) = groups(output.channels, kernels.group, kernels.lanes_width, taps, |first, count| {
            let weights = &d.weights[first * taps..(first + count) * taps];
            pack::depthwise(kernels, weights, &d.bias[first..first + count], taps)
        });
        let middle = Shape { channels: output.channels, ..input };
        let mut separable = Self {
            expand: expand.map(|c| Dense::new(kernels, c, input, middle, kernels.group, places)),
            kernel: d.kernel,
            stride: d.stride,
            padding: d.padding,
            activation: d.activation,
            add_input: d.add_input,
            input,
            output,
            packed: Arc::new(packed),
            groups,
            rows: places.take_of::<*const T>(d.kernel),
            ring: 0,
            sums: Sums::new(output.channels, places),
            units: Units { count: 0, split: 0 },
        };
        let expanding = expand.map_or(0, |_| input.height * input.width * output.channels * input.channels);
        separable.units = Units::new(output.height, output.height * output.width * output.channels * taps + expanding);
        separable.ring = places.take_of::<T>(separable.kernel * separable.ring_row(kernels.group.min(output.channels)));
        separable
    }

    /// Numbers in a row of the ring of `channels` channels.
    fn ring_row(&self, channels: usize) -> usize {
        // The ring is as wide as the windows or, if the last columns are in no window, as the
        // input.
        let wanted = ((self.output.width - 1) * self.stride + self.kernel).max(self.padding[1] + self.input.width);
        (wanted * channels).next_multiple_of(CACHE_LINE)
    }

    /// The units of the step.
    pub(crate) const fn units(&self) -> Units {
        self.units
    }

    /// Applies the gate of the 1x1 convolution, see [`Dense::gate`].
    ///
    /// # Safety
    /// The same as there.
    pub(crate) unsafe fn gate(&mut self, kernels: &Kernels<T>, maps: &impl Resolve<T>) {
        if let Some(expand) = &mut self.expand {
            // SAFETY: the caller upholds this function's contract.
            unsafe { expand.gate(kernels, maps) }
        }
    }

    /// Computes the mean, see [`Dense::finish`].
    ///
    /// # Safety
    /// The same as there.
    pub(crate) unsafe fn finish(&self, scratch: [*mut f32; 2], mean: *mut T) {
        // SAFETY: the caller upholds this function's contract.
        unsafe { self.sums.finish(scratch, mean, self.output.height * self.output.width) }
    }

    /// Runs one half of the step, or all of it. The mean is completed by [`Separable::finish`].
    ///
    /// # Safety
    /// The same as [`Dense::run`].
    #[allow(clippy::too_many_arguments, reason = "one argument per buffer")]
    pub(crate) unsafe fn run(
        &self,
        kernels: &Kernels<T>,
        half: Option<usize>,
        input: *const T,
        output: *mut T,
        with_mean: bool,
        scratch: *mut f32,
        maps: &impl Resolve<T>,
    ) {
        // SAFETY: the caller upholds this function's contract; see `Dense::run`.
        unsafe {
            let weights = self.expand.as_ref().map_or(std::ptr::null(), Dense::weights);
            let row_addresses = scratch.add(self.rows).cast::<*const T>();
            if with_mean {
                self.sums.clear(scratch);
            }
            let sums = scratch.add(self.sums.row);
            let ring = scratch.add(self.ring).cast::<T>();
            for (index, group) in self.groups.iter().enumerate() {
                let channels = group.channels;
                let length = self.ring_row(channels);
                let left = self.padding[1] * channels;
                let right = left + self.input.width * channels;
                for slot in 0..self.kernel {
                    ring.add(slot * length).write_bytes(0, left);
                    ring.add(slot * length + right).write_bytes(0, length - right);
                }
                let mut filled = 0;
                for y in self.units.of(half) {
                    let origin = y * self.stride;
                    let end = (origin + self.kernel).saturating_sub(self.padding[0]).min(self.input.height);
                    let start = filled.max(origin.saturating_sub(self.padding[0]));
                    for from in start..end {
                        let to = ring.add((from % self.kernel) * length + left);
                        match &self.expand {
                            Some(expand) => {
                                expand.expand_row(kernels, input, from, index, weights, to, scratch, maps);
                            }
                            None => copy_channels(
                                input.add(from * self.input.width * self.input.channels + group.first),
                                self.input.channels,
                                to,
                                channels,
                                self.input.width,
                            ),
                        }
                    }
                    filled = end.max(filled);
                    let (top, rows) = valid_rows(y, self.stride, self.padding[0], self.kernel, self.input.height);
                    for i in 0..rows {
                        let from = origin + top + i - self.padding[0];
                        row_addresses.add(i).write(ring.add((from % self.kernel) * length));
                    }
                    let addend = if self.add_input {
                        ring.add((y % self.kernel) * length + left).cast_const()
                    } else {
                        std::ptr::null()
                    };
                    (kernels.depthwise)(&DepthwiseRow {
                        rows: row_addresses,
                        row_count: rows,
                        first_row: top,
                        kernel: self.kernel,
                        stride: self.stride,
                        pixel_step: channels,
                        packed: self.packed.as_slice().as_ptr().add(group.packed),
                        output: output.add(y * self.output.width * self.output.channels + group.first),
                        output_step: self.output.channels,
                        addend,
                        sums: if with_mean { sums.add(group.first) } else { std::ptr::null_mut() },
                        width: self.output.width,
                        channels,
                        activation: self.activation,
                    });
                    if with_mean {
                        self.sums.end_row(scratch, self.units.half_of(y), group.first, channels);
                    }
                }
            }
        }
    }
}

/// Copies `count` channels of each pixel of a row.
///
/// # Safety
/// Both rows are valid for `width` pixels.
unsafe fn copy_channels<T: Copy>(from: *const T, from_step: usize, to: *mut T, count: usize, width: usize) {
    for x in 0..width {
        // SAFETY: the caller upholds this function's contract.
        unsafe { to.add(x * count).copy_from_nonoverlapping(from.add(x * from_step), count) }
    }
}
