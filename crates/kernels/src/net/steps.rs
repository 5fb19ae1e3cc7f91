//! How each kind of step runs: loops over rows that call the row kernels.
//!
//! The functions take raw pointers, because a step reads some maps of the arena while it writes another.
#![allow(unsafe_code)]

use super::pack::{self, Aligned, LINE};
use super::program::{Convolution, Depthwise, MapId, Residual, Shape};
use super::rows::{Activation, ConvRow, DepthwiseRow, Kernels, UpsampleRow};

/// About as many numbers as may stay in the first cache beside the weights.
const CHUNK: usize = 4096;

/// Gives a step's scratch buffers their places.
#[derive(Debug, Default)]
pub(super) struct Places {
    length: usize,
}

impl Places {
    /// A place for `count` numbers.
    fn take(&mut self, count: usize) -> usize {
        let at = self.length;
        self.length += count.next_multiple_of(LINE);
        at
    }

    /// Numbers that all places need.
    pub(super) const fn length(&self) -> usize {
        self.length
    }
}

/// Where a map's numbers are: the first, as a pointer.
pub(super) trait Resolve {
    /// The map's first number.
    fn at(&self, map: MapId) -> *mut f32;
}

/// A convolution, packed for an instruction set.
#[derive(Clone, Debug)]
pub(super) struct Dense {
    kernel: [usize; 2],
    stride: usize,
    padding: [usize; 2],
    activation: Activation,
    residual: Option<Residual>,
    gate: Option<MapId>,
    input: Shape,
    output: Shape,
    /// Packed by groups of channels that are computed together; where each group's channels and weights start.
    packed: Aligned,
    groups: Vec<Group>,
    /// The packed weights times the gate.
    gated: Aligned,
    /// Where the ring's rows are, twice over: a window's rows are next to each other in it, whichever comes first.
    offsets: Vec<isize>,
    ring: usize,
    upsampled: usize,
    sums: Sums,
    units: Units,
}

/// Steps with fewer multiply-adds than this run on one thread: they take less time than telling another thread does.
const WORTH_SPLITTING: usize = 200_000;

/// A step's units (rows, or runs of pixels) and where its second half begins. The split depends on the step alone, and a sum is
/// always that of the first half plus that of the second: one thread and two compute the same, to the bit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    /// How many.
    pub count: usize,
    /// The second half's first; `count` if the step is not worth splitting.
    pub split: usize,
}

impl Units {
    fn new(count: usize, multiply_adds: usize) -> Self {
        let split = if count >= 2 && multiply_adds >= WORTH_SPLITTING { count.div_ceil(2) } else { count };
        Self { count, split }
    }

    /// Whether two threads may share the step.
    pub(super) const fn is_split(self) -> bool {
        self.split < self.count
    }

    /// The units of a half; of both if the step is not to be shared.
    pub(super) const fn of(self, half: Option<usize>) -> std::ops::Range<usize> {
        match half {
            None => 0..self.count,
            Some(0) => 0..self.split,
            Some(_) => self.split..self.count,
        }
    }

    fn half_of(self, unit: usize) -> usize {
        usize::from(unit >= self.split)
    }
}

/// Sums over a map: of one row at a time, so that a small number is never added to a large one, and of the rows of each half.
#[derive(Clone, Copy, Debug)]
struct Sums {
    row: usize,
    halves: [usize; 2],
    channels: usize,
}

impl Sums {
    fn new(channels: usize, places: &mut Places) -> Self {
        Self { row: places.take(channels), halves: [places.take(channels), places.take(channels)], channels }
    }

    /// # Safety
    /// `scratch` is valid for the step's places; so in the methods below.
    unsafe fn clear(self, scratch: *mut f32) {
        for at in [self.row, self.halves[0], self.halves[1]] {
            // SAFETY: the caller's promise.
            unsafe { scratch.add(at).write_bytes(0, self.channels) }
        }
    }

    /// Adds the row's sums of `count` channels from `first` to those of a half.
    unsafe fn end_row(self, scratch: *mut f32, half: usize, first: usize, count: usize) {
        for c in first..first + count {
            // SAFETY: the caller's promise; there are `channels` of each.
            unsafe {
                *scratch.add(self.halves[half] + c) += *scratch.add(self.row + c);
                *scratch.add(self.row + c) = 0.0;
            }
        }
    }

    /// `mean[c]`, of `pixels` pixels; each half's sums are in the scratch memory of whom ran it.
    unsafe fn finish(self, scratch: [*mut f32; 2], mean: *mut f32, pixels: usize) {
        let scale = 1.0 / pixels as f32;
        for c in 0..self.channels {
            // SAFETY: the caller's promise; the mean has as many channels.
            unsafe {
                let sum = *scratch[0].add(self.halves[0] + c) + *scratch[1].add(self.halves[1] + c);
                *mean.add(c) = sum * scale;
            }
        }
    }
}

/// A run of channels.
#[derive(Clone, Debug)]
struct Group {
    first: usize,
    channels: usize,
    packed: usize,
    widths: Vec<usize>,
}

/// Splits channels into groups of `most` and packs each.
fn groups(
    channels: usize,
    most: usize,
    width: fn(usize) -> usize,
    depth: usize,
    mut pack: impl FnMut(usize, usize) -> Aligned,
) -> (Aligned, Vec<Group>) {
    let (mut all, mut groups) = (Vec::new(), Vec::new());
    let mut first = 0;
    while first < channels {
        let count = most.min(channels - first);
        let widths: Vec<_> = Kernels::blocks(width, count).collect();
        groups.push(Group { first, channels: count, packed: all.len(), widths });
        let packed = pack(first, count);
        debug_assert_eq!(packed.as_slice().len() % (1 + depth), 0);
        all.extend_from_slice(packed.as_slice());
        all.resize(all.len().next_multiple_of(LINE), 0.0);
        first += count;
    }
    (Aligned::copy_of(&all), groups)
}

impl Dense {
    /// Packs `c`. `group` is how many channels are wanted at a time.
    pub(super) fn new(
        kernels: &Kernels,
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
            packed,
            groups,
            gated,
            offsets: Vec::new(),
            ring: 0,
            upsampled: 0,
            sums: Sums::new(output.channels, places),
            units: Units { count: 0, split: 0 },
        };
        if !dense.direct() {
            dense.ring = places.take(dense.kernel[0] * dense.ring_row());
        }
        if c.residual.is_some_and(|residual| residual.upsampled) {
            dense.upsampled = places.take(output.width * output.channels);
        }
        let row = isize::try_from(dense.ring_row()).expect("a row is small");
        dense.offsets = (0..2).flat_map(|_| (0..).take(c.kernel[0]).map(|slot| slot * row)).collect();
        let pixels = output.height * output.width;
        let count = if dense.chunked() { pixels.div_ceil(dense.chunk()) } else { output.height };
        dense.units = Units::new(count, pixels * output.channels * depth);
        dense
    }

    /// The step's units, if two threads may share it.
    pub(super) const fn units(&self) -> Units {
        self.units
    }

    /// Whether runs of pixels are computed, whatever their rows.
    fn chunked(&self) -> bool {
        self.direct() && !self.residual.is_some_and(|residual| residual.upsampled)
    }

    /// Pixels in such a run.
    fn chunk(&self) -> usize {
        (CHUNK / self.input.channels).max(24).next_multiple_of(24)
    }

    /// Whether the input map can be read in place.
    fn direct(&self) -> bool {
        self.kernel == [1, 1] && self.stride == 1
    }

    /// Numbers in a row of the ring.
    fn ring_row(&self) -> usize {
        (((self.output.width - 1) * self.stride + self.kernel[1]) * self.input.channels).next_multiple_of(LINE)
    }

    /// Applies the gate to the weights, before a run.
    ///
    /// # Safety
    /// The gate's map holds its vector.
    pub(super) unsafe fn gate(&mut self, maps: &impl Resolve) {
        let Some(gate) = self.gate else { return };
        // SAFETY: the map has as many numbers as the input has channels (checked with the program).
        let vector = unsafe { std::slice::from_raw_parts(maps.at(gate), self.input.channels) };
        for group in &self.groups {
            let from = &self.packed.as_slice()[group.packed..];
            pack::gate(from, &mut self.gated.as_mut_slice()[group.packed..], &group.widths, vector);
        }
    }

    /// The weights to use.
    fn weights(&self) -> *const f32 {
        if self.gate.is_some() { self.gated.as_slice().as_ptr() } else { self.packed.as_slice().as_ptr() }
    }

    /// Runs a half of the convolution, or all of it, but for the mean's last step.
    ///
    /// `planar`: the input is channel planes, not interleaved.
    ///
    /// # Safety
    /// [`Dense::gate`] has been called; `input` and `output` are valid for their shapes and don't overlap; `scratch` is valid for the
    /// step's places, and nobody else's.
    #[allow(clippy::too_many_arguments, reason = "one place a buffer")]
    pub(super) unsafe fn run(
        &self,
        kernels: &Kernels,
        half: Option<usize>,
        input: *const f32,
        planar: bool,
        output: *mut f32,
        with_mean: bool,
        scratch: *mut f32,
        maps: &impl Resolve,
    ) {
        // SAFETY: the caller's promise; rows, pixels and channels stay within the shapes, which the program's check has
        // compared with the weights.
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
                        let to = scratch.add(self.upsampled);
                        self.upsample(kernels, residual, y, 0, channels, to);
                        row.residual = to;
                    } else if !residual.is_null() {
                        row.residual = residual.add(y * self.output.width * channels);
                    }
                    if self.direct() {
                        row.input = input.add(y * self.input.width * self.input.channels);
                        self.each_group(kernels, &row, weights);
                    } else {
                        let ring = scratch.add(self.ring);
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

    /// The mean, once every half has run.
    ///
    /// # Safety
    /// Each half ran with its scratch memory; `mean` is valid for the output's channels.
    pub(super) unsafe fn finish(&self, scratch: [*mut f32; 2], mean: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { self.sums.finish(scratch, mean, self.output.height * self.output.width) }
    }

    /// Calls the kernel for each group of channels of a row.
    ///
    /// # Safety
    /// As the kernel's.
    unsafe fn each_group(&self, kernels: &Kernels, row: &ConvRow, weights: *const f32) {
        for group in &self.groups {
            // SAFETY: the caller's promise for the whole row holds for some of its channels.
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
    fn windows(&self, row: &mut ConvRow, y: usize) {
        let (top, rows) = valid_rows(y, self.stride, self.padding[0], self.kernel[0], self.input.height);
        if rows > 0 {
            let first = y * self.stride + top - self.padding[0];
            row.offsets = self.offsets[first % self.kernel[0]..].as_ptr();
        }
        row.segments = rows;
        row.depth = self.kernel[1] * self.input.channels;
        row.skip = top * row.depth;
    }

    /// Copies input rows into the ring up to the last that output row `y` needs, with zeros left and right.
    ///
    /// # Safety
    /// `input` is valid for its shape, `ring` for the ring.
    unsafe fn fill_ring(&self, input: *const f32, planar: bool, ring: *mut f32, y: usize, filled: &mut usize) {
        let channels = self.input.channels;
        let left = self.padding[1] * channels;
        let length = self.ring_row();
        let used = self.input.width.min(length / channels - self.padding[1]);
        let end = (y * self.stride + self.kernel[0]).saturating_sub(self.padding[0]).min(self.input.height);
        // Rows that no window needs (a stride beyond the kernel) are skipped.
        let start = (*filled).max((y * self.stride).saturating_sub(self.padding[0]));
        for from in start..end {
            // SAFETY: the row is inside the input, and the slot inside the ring.
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

    /// Upsamples channels `first..first + count` of the residual's row `y` to `to`, pixels `count` apart.
    ///
    /// # Safety
    /// `low` is valid for the residual's shape, `to` for a row.
    unsafe fn upsample(&self, kernels: &Kernels, low: *const f32, y: usize, first: usize, count: usize, to: *mut f32) {
        let (height, width) = (self.output.height / 2, self.output.width / 2);
        // SAFETY: the caller's promise.
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
}

/// Upsamples `count` channels to row `y` of twice the height and width, output pixels `count` apart.
///
/// # Safety
/// `low` is valid for the shape (less the channels before it), `to` for a row of `2 * width` pixels.
pub(super) unsafe fn upsample_row(
    kernels: &Kernels,
    low: *const f32,
    shape: Shape,
    y: usize,
    count: usize,
    to: *mut f32,
) {
    let near = y / 2;
    let far = if y.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(shape.height - 1) };
    let length = shape.width * shape.channels;
    // SAFETY: both rows are inside the map.
    unsafe {
        (kernels.upsample)(&UpsampleRow {
            near: low.add(near * length),
            far: low.add(far * length),
            input_step: shape.channels,
            output: to,
            output_step: count,
            width: shape.width,
            channels: count,
        });
    }
}

/// Channel planes to interleaved pixels.
///
/// # Safety
/// `from` is valid for `width` numbers in each of `channels` planes, `to` for `width * channels`.
unsafe fn interleave(from: *const f32, plane: usize, to: *mut f32, width: usize, channels: usize) {
    // SAFETY: the caller's promise.
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

/// Which rows of a kernel fall on the input for output row `y`: the first, and how many.
fn valid_rows(y: usize, stride: usize, padding: usize, kernel: usize, height: usize) -> (usize, usize) {
    let top = padding.saturating_sub(y * stride);
    let end = (height + padding).saturating_sub(y * stride).min(kernel);
    (top, end.saturating_sub(top))
}

/// A depthwise convolution and what feeds it, packed for an instruction set.
#[derive(Clone, Debug)]
pub(super) struct Separable {
    expand: Option<Dense>,
    kernel: usize,
    stride: usize,
    padding: [usize; 2],
    activation: Activation,
    add_input: bool,
    input: Shape,
    output: Shape,
    packed: Aligned,
    groups: Vec<Group>,
    /// Addresses of a window's rows.
    rows: usize,
    ring: usize,
    sums: Sums,
    units: Units,
}

impl Separable {
    /// Packs a depthwise convolution and its expansion.
    pub(super) fn new(
        kernels: &Kernels,
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
            packed,
            groups,
            // An address is at most two numbers long.
            rows: places.take(2 * d.kernel),
            ring: 0,
            sums: Sums::new(output.channels, places),
            units: Units { count: 0, split: 0 },
        };
        let expanding = expand.map_or(0, |_| input.height * input.width * output.channels * input.channels);
        separable.units = Units::new(output.height, output.height * output.width * output.channels * taps + expanding);
        separable.ring = places.take(separable.kernel * separable.ring_row(kernels.group.min(output.channels)));
        separable
    }

    /// Numbers in a row of the ring of `channels` channels.
    fn ring_row(&self, channels: usize) -> usize {
        // As wide as the windows or, where the last columns are in no window, as the input.
        let wanted = ((self.output.width - 1) * self.stride + self.kernel).max(self.padding[1] + self.input.width);
        (wanted * channels).next_multiple_of(LINE)
    }

    /// The step's units, if two threads may share it.
    pub(super) const fn units(&self) -> Units {
        self.units
    }

    /// As [`Dense::gate`].
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn gate(&mut self, maps: &impl Resolve) {
        if let Some(expand) = &mut self.expand {
            // SAFETY: the caller's promise.
            unsafe { expand.gate(maps) }
        }
    }

    /// As [`Dense::finish`].
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn finish(&self, scratch: [*mut f32; 2], mean: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { self.sums.finish(scratch, mean, self.output.height * self.output.width) }
    }

    /// Runs a half of the step, or all of it, but for the mean's last step.
    ///
    /// # Safety
    /// As [`Dense::run`].
    #[allow(clippy::too_many_arguments, reason = "one place a buffer")]
    pub(super) unsafe fn run(
        &self,
        kernels: &Kernels,
        half: Option<usize>,
        input: *const f32,
        output: *mut f32,
        with_mean: bool,
        scratch: *mut f32,
        maps: &impl Resolve,
    ) {
        // SAFETY: the caller's promise; see `Dense::run`.
        unsafe {
            let weights = self.expand.as_ref().map_or(std::ptr::null(), Dense::weights);
            let row_addresses = scratch.add(self.rows).cast::<*const f32>();
            if with_mean {
                self.sums.clear(scratch);
            }
            let sums = scratch.add(self.sums.row);
            let ring = scratch.add(self.ring);
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

impl Dense {
    /// One row of one group of channels, pixels next to each other.
    ///
    /// # Safety
    /// As [`Dense::run`]; `to` is valid for a row of the group.
    #[allow(clippy::too_many_arguments, reason = "one place a buffer")]
    unsafe fn expand_row(
        &self,
        kernels: &Kernels,
        input: *const f32,
        y: usize,
        group: usize,
        weights: *const f32,
        to: *mut f32,
        scratch: *mut f32,
        maps: &impl Resolve,
    ) {
        let group = &self.groups[group];
        let zero = 0_isize;
        // SAFETY: the caller's promise.
        unsafe {
            let (residual, residual_step) = match self.residual {
                None => (std::ptr::null(), 0),
                Some(Residual { map, upsampled: true }) => {
                    let row = scratch.add(self.upsampled);
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

/// Copies `count` channels of each pixel of a row.
///
/// # Safety
/// Both rows are valid for `width` pixels.
unsafe fn copy_channels(from: *const f32, from_step: usize, to: *mut f32, count: usize, width: usize) {
    for x in 0..width {
        // SAFETY: the caller's promise.
        unsafe { to.add(x * count).copy_from_nonoverlapping(from.add(x * from_step), count) }
    }
}
