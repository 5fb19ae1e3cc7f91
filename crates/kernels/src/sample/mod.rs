//! The sampler: turns a captured picture into the input tensor of a network in one pass. It takes
//! any rectangle of the picture at any size, averages it over area (or interpolates, if the
//! rectangle is smaller than the grid), converts it to R'G'B', normalises it and writes the layout
//! that the network requires.
//!
//! The rows of the rectangle are first summed down the columns, component by component as they are
//! in memory. Weighted sums along the rows then give the components at the size of the grid, and
//! only those are converted. Because the conversion is linear, the result is the mean of the
//! colours of the pixels, with one exception.
//!
//! A conversion at full size would clamp each pixel to 0..=255; here only the mean is clamped. The
//! two differ by at most the average amount that clamping would remove from the pixels, which is
//! zero if every pixel is a valid colour. `docs/design/sampling.md` explains the method, and
//! [`oracle`] is the reference for tests.
//!
//! Outside the picture its border is replicated. Chroma is sited in the centre of the pixels that
//! share it.
//!
//! A [`Sampler`] is used by one thread at a time. It owns its tables and a few rows of sums. It
//! computes the tables again when the source or the rectangle changes, and allocates only if they
//! need more memory than ever before.

mod area;
#[cfg(target_arch = "arm")]
mod armv7;
#[cfg(any(target_arch = "arm", target_arch = "riscv64"))]
mod edges;
#[cfg(any(test, target_arch = "riscv64"))]
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
pub mod oracle;
mod output;
#[cfg(target_arch = "riscv64")]
mod rvv;
mod spec;

pub use spec::{ChannelLayout, ChannelOrder, Fit, SampleError, SampleSpec, Sampled};

use area::Windows;
use output::{Conversion, apply_interleaved, apply_planar, weigh};

use crate::cast;
use crate::component::{Component, components};
use crate::convert::{Affine, picture_to_rgb};
use crate::picture::{Colorimetry, Picture, PixelFormat, PixelRect, Size};
use crate::scale::{AxisFilter, Filter, Span, fir};
use crate::simd::Usable;

/// The sums down the columns of one plane.
#[derive(Clone, Debug, Default)]
struct ColumnPass {
    plane: usize,
    /// Index of the [`ResolutionGroup`] whose windows apply.
    group: usize,
    /// The last row of the plane. It replaces the rows below it.
    last_row: usize,
    /// The range of bytes of a row that is needed.
    first: usize,
    length: usize,
    sums: Vec<i16>,
    /// The sums of two output rows, in the halves of each number.
    #[cfg(target_arch = "riscv64")]
    halves: Vec<u64>,
}

/// The tables of the components that have the same resolution.
#[derive(Clone, Debug, Default)]
struct ResolutionGroup {
    x: AxisFilter,
    y: Windows,
    /// The taps along a row that have weights.
    #[cfg(target_arch = "riscv64")]
    used: usize,
}

/// The position of one component in the sums of a plane.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    pass: usize,
    group: usize,
    offset: usize,
    step: usize,
    count: usize,
}

/// Samples pictures for one network. See the [module documentation](self).
#[derive(Clone, Debug)]
pub struct Sampler {
    spec: SampleSpec,
    key: Option<(PixelFormat, Size, PixelRect, [usize; 2])>,
    /// One of this many rows of the source is read: of planes of full resolution, and of chroma
    /// planes.
    every: [usize; 2],
    /// The tables for full resolution, and for chroma.
    groups: [ResolutionGroup; 2],
    passes: [ColumnPass; 3],
    pass_count: usize,
    readings: [Reading; 3],
    reading_count: usize,
    samples: Vec<i16>,
    /// The components of one row of the grid.
    row: [Vec<f32>; 3],
    /// The components of the next row, if two are computed at a time.
    #[cfg(target_arch = "riscv64")]
    next_row: [Vec<f32>; 3],
    luma: Vec<u8>,
}

impl Sampler {
    /// A sampler for a network that requires `spec`.
    ///
    /// # Errors
    /// [`SampleError::Empty`] or [`SampleError::Normalisation`] if `spec` is not valid.
    pub fn new(spec: SampleSpec) -> Result<Self, SampleError> {
        if spec.size.is_empty() {
            return Err(SampleError::Empty(spec.size));
        }
        let finite = spec.mean.iter().chain(&spec.std).all(|value| value.is_finite());
        if !finite || spec.std.contains(&0.0) {
            return Err(SampleError::Normalisation { mean: spec.mean, std: spec.std });
        }
        let (width, height) = (spec.size.width as usize, spec.size.height as usize);
        Ok(Self {
            spec,
            key: None,
            every: [1, 1],
            groups: Default::default(),
            passes: Default::default(),
            pass_count: 0,
            readings: Default::default(),
            reading_count: 0,
            samples: Vec::new(),
            row: std::array::from_fn(|_| vec![0.0; width]),
            #[cfg(target_arch = "riscv64")]
            next_row: std::array::from_fn(|_| vec![0.0; width]),
            luma: vec![0; width * height],
        })
    }

    /// The requirements of the network.
    pub const fn spec(&self) -> SampleSpec {
        self.spec
    }

    /// The positions of the grid and of `region` when [`Sampler::sample`] is called with `region`.
    pub fn covers(&self, region: PixelRect) -> Sampled {
        let Size { width, height } = self.spec.size;
        if self.spec.fit == Fit::Stretch {
            return Sampled { covers: region, content: PixelRect::of_size(self.spec.size) };
        }
        let grid = [f64::from(width), f64::from(height)];
        let extent = [f64::from(region.width), f64::from(region.height)];
        // Source pixels per grid pixel, the same in both directions.
        let scale = (extent[0] / grid[0]).max(extent[1] / grid[1]);
        let margin: [f64; 2] = std::array::from_fn(|i| (scale * grid[i] - extent[i]) / 2.0);
        let [left, top] = margin.map(cast::single);
        let [wide, high] = grid.map(|extent| cast::single(scale * extent));
        let [inner_left, inner_top] = margin.map(|margin| cast::single(margin / scale));
        let [inner_wide, inner_high] = extent.map(|extent| cast::single(extent / scale));
        Sampled {
            covers: PixelRect::new(region.x - left, region.y - top, wide, high),
            content: PixelRect::new(inner_left, inner_top, inner_wide, inner_high),
        }
    }

    /// Fills `output`, the tensor of `3 * width * height` values, with `region` of `source`. The
    /// region is in source pixels; it may start and end within a pixel, and reach outside the
    /// picture.
    ///
    /// # Errors
    /// [`SampleError`] if the region is not valid or the output has the wrong length. Nothing is
    /// written in that case.
    pub fn sample(
        &mut self,
        source: &Picture<'_>,
        region: PixelRect,
        output: &mut [f32],
    ) -> Result<Sampled, SampleError> {
        let pixels = self.luma.len();
        if output.len() != pixels * 3 {
            return Err(SampleError::Output { expected: pixels * 3, found: output.len() });
        }
        let sampled = self.prepare(source, region, [1, 1])?;
        let conversion = self.conversion(source);
        let grey = source.format() == PixelFormat::Grey;
        let luma = self.luma_weights(source);
        let width = self.spec.size.width as usize;
        for y in 0..self.spec.size.height as usize {
            self.components(source, y, self.reading_count);
            let [a, b, c] = &self.row;
            let components = [a, if grey { a } else { b }, if grey { a } else { c }].map(|row| &row[..width]);
            weigh(components, luma, &mut self.luma[y * width..(y + 1) * width]);
            match self.spec.layout {
                ChannelLayout::Planar => {
                    let mut planes = output.chunks_exact_mut(pixels);
                    let rows = std::array::from_fn(|_| match planes.next() {
                        Some(plane) => &mut plane[y * width..(y + 1) * width],
                        None => &mut [],
                    });
                    apply_planar(&conversion, components, rows);
                }
                ChannelLayout::Interleaved => {
                    let row = &mut output[3 * y * width..3 * (y + 1) * width];
                    apply_interleaved(&conversion, components, row);
                }
            }
        }
        Ok(sampled)
    }

    /// Samples luma only; [`Sampler::luma`] returns it. This takes a small part of the time of
    /// [`Sampler::sample`] and serves to detect motion. From an RGB source, luma is computed from
    /// all three components. Use a separate sampler if the region differs, because a change of
    /// region computes the tables again.
    ///
    /// Only the middle one of every `every` rows of the source is read, in place of all of them.
    /// The time depends on what is read, and a cell of many rows needs few of them. 1 reads every
    /// row; 0 counts as 1.
    ///
    /// # Errors
    /// [`SampleError`] if the region is not valid.
    pub fn sample_luma(
        &mut self,
        source: &Picture<'_>,
        region: PixelRect,
        every: usize,
    ) -> Result<Sampled, SampleError> {
        let every = every.clamp(1, source.size().height as usize);
        let sampled = self.prepare(source, region, [every, every])?;
        let luma = self.luma_weights(source);
        let width = self.spec.size.width as usize;
        let needed = if source.format().is_rgb() { 3 } else { 1 };
        for y in 0..self.spec.size.height as usize {
            self.components(source, y, needed);
            let components = self.row.each_ref().map(|row| &row[..width]);
            weigh(components, luma, &mut self.luma[y * width..(y + 1) * width]);
        }
        Ok(sampled)
    }

    /// Samples luma and chroma as bytes, to detect motion: fills `cells` with three planes of the
    /// grid, luma, Cb and Cr, each row-major. Luma is as in [`Sampler::sample_luma`]; the chroma of
    /// an RGB source is computed from its components, and that of a grey one is 128.
    ///
    /// Only the middle one of every `every[0]` rows is read, and of every `every[1]` rows of a
    /// chroma plane.
    ///
    /// # Errors
    /// [`SampleError`] if the region is not valid or `cells` has the wrong length. Nothing is
    /// written in that case.
    pub fn sample_cells(
        &mut self,
        source: &Picture<'_>,
        region: PixelRect,
        every: [usize; 2],
        cells: &mut [u8],
    ) -> Result<Sampled, SampleError> {
        let pixels = self.luma.len();
        if cells.len() != 3 * pixels {
            return Err(SampleError::Output { expected: 3 * pixels, found: cells.len() });
        }
        let height = source.size().height as usize;
        let sampled = self.prepare(source, region, every.map(|every| every.clamp(1, height)))?;
        let scales = self.scales();
        let map = Affine::from_rgb(Colorimetry { range: crate::picture::Range::Full, ..source.color() });
        let count = self.reading_count;
        let width = self.spec.size.width as usize;
        for y in 0..self.spec.size.height as usize {
            self.components(source, y, count);
            let components = self.row.each_ref().map(|row| &row[..width]);
            for (plane, cells) in cells.chunks_exact_mut(pixels).enumerate() {
                let out = &mut cells[y * width..(y + 1) * width];
                if source.format().is_rgb() {
                    let weights: [f32; 3] = std::array::from_fn(|i| map.matrix[plane][i] * scales[i]);
                    let [a, b, c] = components;
                    for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
                        let value = weights[0] * a + weights[1] * b + weights[2] * c + map.offset[plane];
                        *out = cast::byte(value);
                    }
                } else if plane < count {
                    weigh([components[plane]; 3], [scales[plane], 0.0, 0.0], out);
                } else {
                    out.fill(128);
                }
            }
        }
        Ok(sampled)
    }

    /// The luma of the last sampled picture at the size of the grid, row-major, in the range of the
    /// source. From an RGB source it has full range and the weights of the picture's matrix.
    pub fn luma(&self) -> &[u8] {
        &self.luma
    }

    /// Prepares for a picture. The tables are computed again if the format, the size, the region or
    /// the selection of rows has changed.
    fn prepare(&mut self, source: &Picture<'_>, region: PixelRect, every: [usize; 2]) -> Result<Sampled, SampleError> {
        if !region.is_valid() {
            return Err(SampleError::PixelRect(region));
        }
        let sampled = self.covers(region);
        let (covers, size) = (sampled.covers, self.spec.size);
        let scale = (covers.width / size.width as f32).max(covers.height / size.height as f32);
        if !covers.is_valid() || scale > 16_384.0 {
            return Err(SampleError::Ratio { region: covers, size });
        }
        let key = (source.format(), source.size(), covers, every);
        if self.key != Some(key) {
            self.every = every;
            self.build(source, covers);
            self.key = Some(key);
        }
        Ok(sampled)
    }

    fn build(&mut self, source: &Picture<'_>, covers: PixelRect) {
        let all = components(source.format());
        self.reading_count = if source.format() == PixelFormat::Grey { 1 } else { 3 };
        for ((group, component), every) in self.groups.iter_mut().zip([all[0], all[1]]).zip(self.every) {
            let (x, y) = spans(&component, source, covers, self.spec.size);
            group.x.build(x, Filter::Linear, 4);
            group.x.rebase();
            group.x.index(Usable::chosen(), component.step);
            group.y.build(y.thinned(every));
            #[cfg(target_arch = "riscv64")]
            {
                group.used = group.x.used();
            }
        }
        self.pass_count = 0;
        let mut most = 0;
        for (index, component) in all.into_iter().enumerate().take(self.reading_count) {
            let group = usize::from(component.across != all[0].across);
            let x = &self.groups[group].x;
            let first = component.offset + x.first * component.step;
            let (columns, rows) = component.extent(source.size());
            let count = x.extent.min(columns - x.first);
            let end = first + (count - 1) * component.step + 1;
            let found = self.passes[..self.pass_count].iter().position(|pass| pass.plane == component.plane);
            let pass = found.unwrap_or(self.pass_count);
            let entry = &mut self.passes[pass];
            if found.is_none() {
                (entry.plane, entry.first, entry.length) = (component.plane, first, end - first);
                // Components of one plane have the same rows, so they share the windows.
                (entry.group, entry.last_row) = (group, rows - 1);
                self.pass_count += 1;
            } else {
                let end = end.max(entry.first + entry.length);
                entry.first = entry.first.min(first);
                entry.length = end - entry.first;
            }
            // This is an offset in the row for now, because the start of the pass is not known yet.
            self.readings[index] = Reading { pass, group, offset: first, step: component.step, count };
            most = most.max(count + x.taps);
        }
        for reading in &mut self.readings[..self.reading_count] {
            reading.offset -= self.passes[reading.pass].first;
        }
        for pass in &mut self.passes[..self.pass_count] {
            // Taps of weight 0 may lie past the end of the source.
            let taps = self.groups[0].x.taps.max(self.groups[1].x.taps);
            let step = all.map(|component| component.step).into_iter().max().unwrap_or(1);
            pass.sums.resize(pass.length + taps * step, 0);
            #[cfg(target_arch = "riscv64")]
            {
                pass.halves.clear();
                pass.halves.resize(pass.length + taps * step, 0);
            }
        }
        self.samples.resize(most, 0);
    }

    /// Computes the first `count` components of row `y` of the grid. Rows are asked for in order.
    fn components(&mut self, source: &Picture<'_>, y: usize, count: usize) {
        #[cfg(target_arch = "riscv64")]
        if !rvv::available(Usable::chosen()) {
            if y % 2 == 0 {
                self.two_rows(source, y, count);
            } else {
                std::mem::swap(&mut self.row, &mut self.next_row);
            }
            return;
        }
        let Self { groups, passes, readings, samples, row, pass_count, every, .. } = self;
        let last_pass = readings[..count].iter().map(|reading| reading.pass).max().unwrap_or(0);
        for pass in &mut passes[..(last_pass + 1).min(*pass_count)] {
            let ColumnPass { plane, group, last_row, first, length, sums, .. } = pass;
            let plane = source.plane(*plane);
            let every = every[*group];
            let bytes = |row: usize| {
                let start = (row * every + every / 2).min(*last_row) * plane.stride_bytes + *first;
                &plane.data[start..start + *length]
            };
            groups[*group].y.sum(Usable::chosen(), y, bytes, &mut sums[..*length]);
        }
        let mut alone = count;
        if let ([luma, first, second], [_, a, b]) = (&readings[..count], &mut *row) {
            // The two channels of an interleaved chroma plane.
            let alternating = first.pass == second.pass && first.step == 2 && second.offset == first.offset + 1;
            let sums = &passes[first.pass].sums[first.offset..];
            if alternating
                && luma.pass != first.pass
                && fir::pair_to_floats(Usable::chosen(), &groups[first.group].x, sums, [a, b])
            {
                alone = 1;
            }
        }
        for (reading, out) in readings[..alone].iter().zip(row) {
            let x = &groups[reading.group].x;
            let sums = &passes[reading.pass].sums[reading.offset..];
            fir::axis_to_floats(Usable::chosen(), x, (sums, reading.step, reading.count), samples, out);
        }
    }

    /// Computes the first `count` components of row `y` of the grid and of the next row.
    #[cfg(target_arch = "riscv64")]
    #[allow(unsafe_code, reason = "numbers are read as their quarters")]
    fn two_rows(&mut self, source: &Picture<'_>, y: usize, count: usize) {
        let last = self.spec.size.height as usize - 1;
        let Self { groups, passes, readings, row, next_row, pass_count, every, .. } = self;
        let last_pass = readings[..count].iter().map(|reading| reading.pass).max().unwrap_or(0);
        for pass in &mut passes[..(last_pass + 1).min(*pass_count)] {
            let ColumnPass { plane, group, last_row, first, length, sums, halves } = pass;
            let plane = source.plane(*plane);
            let every = every[*group];
            let bytes = |row: usize| {
                let start = (row * every + every / 2).min(*last_row) * plane.stride_bytes + *first;
                &plane.data[start..start + *length]
            };
            // SAFETY: a number is four quarters, and the other way round.
            let (_, quarters, _) = unsafe { halves.align_to_mut::<u16>() };
            for (y, quarter) in [(y, 0), ((y + 1).min(last), 2)] {
                let half = &mut quarters[quarter..];
                groups[*group].y.sum_half(Usable::chosen(), y, bytes, half, &mut sums[..*length]);
            }
        }
        for (reading, (row, next_row)) in readings[..count].iter().zip(row.iter_mut().zip(next_row)) {
            let group = &groups[reading.group];
            let sums = &passes[reading.pass].halves[reading.offset..];
            lanes::along(&group.x, group.used, sums, reading.step, [row, next_row]);
        }
    }

    /// The maps from sums to output values, one for each channel of the output.
    fn conversion(&self, source: &Picture<'_>) -> [Conversion; 3] {
        let map = picture_to_rgb(source.format(), source.color());
        let scales = self.scales();
        std::array::from_fn(|channel| {
            let primary = if self.spec.order == ChannelOrder::Rgb { channel } else { 2 - channel };
            let (mean, std) = (self.spec.mean[channel], self.spec.std[channel]);
            Conversion {
                weights: std::array::from_fn(|i| map.matrix[primary][i] * scales[i]),
                offset: map.offset[primary],
                gain: 1.0 / (255.0 * std),
                shift: -mean / std,
            }
        })
    }

    /// The factors that turn sums into component values 0..=255.
    fn scales(&self) -> [f32; 3] {
        std::array::from_fn(|index| {
            let reading = self.readings[index];
            1.0 / (self.groups[self.passes[reading.pass].group].y.unit() * f32::from(crate::scale::ONE))
        })
    }

    /// The weights of the three sums in luma.
    fn luma_weights(&self, source: &Picture<'_>) -> [f32; 3] {
        let scales = self.scales();
        if !source.format().is_rgb() {
            return [scales[0], 0.0, 0.0];
        }
        let full = Colorimetry { range: crate::picture::Range::Full, ..source.color() };
        let map = Affine::from_rgb(full);
        std::array::from_fn(|i| map.matrix[0][i] * scales[i])
    }
}

/// The positions of the samples of a component under the grid.
fn spans(component: &Component, source: &Picture<'_>, covers: PixelRect, size: Size) -> (Span, Span) {
    #[expect(clippy::cast_precision_loss, reason = "1 or 2")]
    let span = |origin: f32, extent: f32, count: u32, covered: usize, source: usize| Span {
        origin: f64::from(origin) / covered as f64,
        scale: f64::from(extent) / f64::from(count) / covered as f64,
        source,
        from: 0,
        count: count as usize,
    };
    let (columns, rows) = component.extent(source.size());
    (
        span(covers.x, covers.width, size.width, component.across, columns),
        span(covers.y, covers.height, size.height, component.down, rows),
    )
}

#[cfg(test)]
mod tests;
