//! Scales one output plane, row by row. A plane has one channel (luma), two (Cb and Cr) or three
//! (R, G, B).
//!
//! When enlarging, or shrinking to at least a half, each source row is filtered along once and
//! retained until no output row needs it (*along first*). When shrinking further, source rows are
//! summed down to one row, which is then filtered along (*down first*). Either method works on a
//! few rows, which stay in the first-level cache.

use super::axis::{AxisFilter, Filter, Span};
use super::fir;
use super::lanes::{self, Lanes};
use super::shuffle::{GROUP, ShuffleLayout, Shuffles};
use crate::component::Channel;
use crate::simd::Usable;

/// Up to this scale, rows are filtered along first if byte shuffles can do it.
const ALONG_FIRST: f64 = 2.0;

/// Whether [`Lanes`] are faster than plain loops: on 64-bit CPUs whose base has no vectors.
const LANES: bool = cfg!(target_arch = "riscv64");

/// The channels of the source of a plane, in the order of the output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channels<'a> {
    pub channels: [Option<Channel<'a>>; 3],
}

impl<'a> Channels<'a> {
    fn iter(&self) -> impl Iterator<Item = Channel<'a>> {
        self.channels.into_iter().flatten()
    }

    fn count(&self) -> usize {
        self.iter().count()
    }

    /// The layout of the samples of a row: of all channels if they share a plane, or of each
    /// channel if they have planes of their own. `None` in any other case.
    fn layout(&self) -> Option<(ShuffleLayout, RowMethod)> {
        let [first, ..] = self.channels;
        let first = first?;
        let together = self.iter().all(|other| other.data.data.as_ptr() == first.data.data.as_ptr());
        let alike = self.iter().all(|other| other.step == first.step && (together || other.offset == first.offset));
        if !alike {
            return None;
        }
        let mut layout = ShuffleLayout { channels: 1, offsets: [first.offset, 0, 0], step: first.step };
        if together {
            layout.channels = self.count();
            layout.offsets = self.channels.map(|channel| channel.map_or(0, |channel| channel.offset));
        }
        Some((layout, if together { RowMethod::Together } else { RowMethod::Apart }))
    }
}

/// The method that filters rows along before the vertical filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RowMethod {
    /// Sample by sample, one channel at a time.
    #[default]
    Widened,
    /// By byte shuffles, all channels at once.
    Together,
    /// By byte shuffles, each channel from its own plane.
    Apart,
}

/// Marks a place of the ring that holds no row.
const NO_ROW: usize = usize::MAX;

/// The filter tables and row buffers of one plane of the output.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlaneScaler {
    isa: Usable,
    /// The parameters for which the tables were computed.
    spans: Option<(Span, Span, Filter)>,
    layout: Option<(ShuffleLayout, RowMethod)>,
    x: AxisFilter,
    y: AxisFilter,
    channels: usize,
    shuffles: Shuffles,
    rows: RowMethod,
    along_first: bool,
    /// Whether two rows are filtered along at once.
    pairs: bool,
    /// Holds the rows if [`LANES`] and rows are filtered sample by sample.
    lanes: Lanes,
    in_lanes: bool,
    /// A row of source samples, as the horizontal filter takes them.
    samples: Vec<i16>,
    /// The result of the vertical filter, including the bytes between the samples.
    column: Vec<i16>,
    wide: Vec<i32>,
    /// Rows that were filtered along: one for each tap, and the next one if rows are filtered in
    /// pairs. `held` has the numbers of these source rows.
    ring: Vec<i16>,
    held: Vec<usize>,
    /// Values per row of the ring.
    stride: usize,
}

impl PlaneScaler {
    /// A scaler that runs on `isa`.
    pub(crate) fn new(isa: Usable) -> Self {
        Self { isa, ..Self::default() }
    }

    /// Prepares for a picture. The tables are computed again if `x`, `y`, `filter` or the layout of
    /// `source` has changed.
    pub(crate) fn start(&mut self, x: Span, y: Span, filter: Filter, source: &Channels<'_>) {
        let (channels, layout) = (source.count(), source.layout());
        if self.spans != Some((x, y, filter)) || self.channels != channels || self.layout != layout {
            self.x.build(x, filter, 4);
            self.x.rebase();
            self.y.build(y, filter, 1);
            self.spans = Some((x, y, filter));
            (self.channels, self.layout) = (channels, layout);
            self.samples.clear();
            // Zeros follow the samples, for taps of weight 0 past the end of the source.
            self.samples.resize(x.source + self.x.taps, 0);
            // The method does not depend on the instruction set, because the two methods round
            // differently.
            let few = self.y.taps <= fir::SHORT_SUM_ROWS;
            let copied = self.x.identity.is_some() && self.y.identity.is_some();
            let wanted = layout.filter(|_| few && !copied && y.scale <= ALONG_FIRST);
            let built = wanted.filter(|(layout, _)| self.shuffles.build(self.isa, &self.x, *layout, x.source));
            self.along_first = few && (y.scale <= 1.0 || built.is_some());
            self.rows = built.filter(|_| !self.shuffles.is_empty()).map_or(RowMethod::Widened, |(_, rows)| rows);
            self.stride = (x.count * channels).next_multiple_of(GROUP);
            self.in_lanes = LANES && self.along_first && self.rows == RowMethod::Widened;
            self.pairs = self.rows == RowMethod::Together && self.shuffles.has_pairs();
            self.ring.clear();
            if self.in_lanes {
                self.lanes.resize(self.places(), &self.x, channels);
            } else if self.along_first {
                self.ring.resize(self.places() * self.stride, 0);
            }
            if !self.along_first && self.x.identity.is_none() {
                self.x.index(self.isa, source.iter().map(|channel| channel.step).max().unwrap_or(1));
            }
            self.column.clear();
            if self.rows == RowMethod::Apart {
                self.column.resize(x.count.next_multiple_of(GROUP), 0);
            }
        }
        self.held.clear();
        self.held.resize(self.places(), NO_ROW);
    }

    /// The number of rows in the ring: as many as there are taps, and the one that is filtered along
    /// with the last one. If rows are in lanes, the number of bundles that have the rows of all taps.
    fn places(&self) -> usize {
        if self.in_lanes {
            return (self.y.taps + lanes::ROWS - 2) / lanes::ROWS + 1;
        }
        self.y.taps + usize::from(self.pairs)
    }

    /// Writes output row `y` to `out`, channels interleaved. Rows in ascending order are fastest,
    /// but any order works.
    pub(crate) fn row(&mut self, source: &Channels<'_>, y: usize, out: &mut [u8]) {
        let first_row = self.y.starts[y];
        if let (Some(columns), Some(rows)) = (self.x.identity, self.y.identity) {
            copy(source, rows + y, columns, out);
        } else if self.along_first {
            let last_row = self.spans.map_or(0, |(_, y, _)| y.source - 1);
            // No row past the end of the source has a weight.
            let used = self.y.weights(y).iter().rposition(|&weight| weight != 0).map_or(1, |last| last + 1);
            if self.in_lanes {
                return self.row_of_lanes(source, (first_row, used), last_row, y, out);
            }
            let places = self.places();
            let first_place = first_row % places;
            let place =
                |tap: usize| if first_place + tap < places { first_place + tap } else { first_place + tap - places };
            for tap in 0..used {
                if self.held[place(tap)] != first_row + tap {
                    self.fetch(source, first_row + tap, last_row);
                }
            }
            let mut rows: [&[i16]; fir::SHORT_SUM_ROWS] = [&[]; fir::SHORT_SUM_ROWS];
            for (tap, row) in rows.iter_mut().enumerate().take(used) {
                *row = &self.ring[place(tap) * self.stride..][..self.stride];
            }
            fir::down_samples(self.isa, &rows[..used], &self.y.weights(y)[..used], out);
        } else {
            self.down_first(source, y, out);
        }
    }

    /// Filters source row `row` along, into its place of the ring, and the next row with it if that
    /// is faster and there is one.
    #[inline(never)]
    fn fetch(&mut self, source: &Channels<'_>, row: usize, last_row: usize) {
        let place = row % self.places();
        let next = (place + 1) % self.places();
        let pair = self.pairs && row < last_row;
        self.held[place] = row;
        let Self { isa, x, samples, column, ring, channels, rows, shuffles, stride, .. } = self;
        if let (true, [Some(channel), ..]) = (pair, source.channels) {
            self.held[next] = row + 1;
            let bytes = [row, row + 1].map(|row| &channel.data.data[row * channel.data.stride_bytes..]);
            let (low, high) = ring.split_at_mut(place.max(next) * *stride);
            let (low, high) = (&mut low[place.min(next) * *stride..][..*stride], &mut high[..*stride]);
            return shuffles.run_pair(*isa, bytes, if place < next { [low, high] } else { [high, low] });
        }
        let out = &mut ring[place * *stride..(place + 1) * *stride];
        if *rows != RowMethod::Widened {
            for (index, channel) in source.iter().enumerate() {
                let bytes = &channel.data.data[row * channel.data.stride_bytes..];
                if *rows == RowMethod::Together {
                    shuffles.run(*isa, bytes, out);
                    return;
                }
                shuffles.run(*isa, bytes, column);
                spread(*isa, &column[..x.starts.len()], &mut out[index..], *channels);
            }
            return;
        }
        for (index, channel) in source.iter().enumerate() {
            if let Some(first) = x.identity {
                let bytes = channel.samples(row, first, x.starts.len());
                let samples = &mut samples[..x.starts.len()];
                fir::widen(bytes, channel.step, samples);
                spread(*isa, samples, &mut out[index..], *channels);
                continue;
            }
            let (first, count) = reach(x, samples.len());
            let bytes = channel.samples(row, first, count);
            fir::widen(bytes, channel.step, &mut samples[..count]);
            samples[count..count + x.taps].fill(0);
            fir::along_to_samples(*isa, samples, &x.starts, &x.weights, x.taps, &mut out[index..], *channels);
        }
    }

    /// Writes output row `y` from `used` rows of the source, which are in lanes.
    fn row_of_lanes(
        &mut self,
        source: &Channels<'_>,
        (first_row, used): (usize, usize),
        last_row: usize,
        y: usize,
        out: &mut [u8],
    ) {
        let bundles = self.places();
        for bundle in first_row / lanes::ROWS..=(first_row + used - 1) / lanes::ROWS {
            if self.held[bundle % bundles] != bundle {
                self.held[bundle % bundles] = bundle;
                self.fetch_bundle(source, bundle, last_row);
            }
        }
        let rows = bundles * lanes::ROWS;
        let places: [usize; fir::SHORT_SUM_ROWS] = std::array::from_fn(|tap| (first_row + tap) % rows);
        self.lanes.down(&places[..used], &self.y.weights(y)[..used], fir::bias(used), out);
    }

    /// Filters the rows of a bundle along, into its place of the ring.
    #[inline(never)]
    fn fetch_bundle(&mut self, source: &Channels<'_>, bundle: usize, last_row: usize) {
        let place = bundle % self.places();
        let Self { x, samples, lanes, channels, .. } = self;
        let (first, count) = reach(x, samples.len());
        for (index, channel) in source.iter().enumerate() {
            let bytes =
                std::array::from_fn(|row| channel.samples((bundle * lanes::ROWS + row).min(last_row), first, count));
            lanes.along(x, bytes, (channel.step, count), place, (index, *channels));
        }
    }

    #[inline(never)]
    fn down_first(&mut self, source: &Channels<'_>, y: usize, out: &mut [u8]) {
        let Self { isa, x, y: axis, samples, column, wide, channels, .. } = self;
        let first_row = axis.starts[y];
        let weights = axis.weights(y);
        let used = weights.iter().rposition(|&weight| weight != 0).map_or(1, |last| last + 1);
        let weights = &weights[..used];
        let (first, count) = x.identity.map_or_else(|| reach(x, samples.len()), |identity| (identity, x.starts.len()));
        let mut summed: Option<Channel<'_>> = None;
        for (index, channel) in source.iter().enumerate() {
            // Channels of one plane are interleaved, so the vertical sum is computed once, starting
            // with the first channel.
            let lead = match summed {
                Some(lead) if lead.data.data.as_ptr() == channel.data.data.as_ptr() => lead,
                _ => {
                    let lead = leading(source, &channel);
                    let extra = trailing(source, &channel) - lead.offset;
                    let length = (count - 1) * lead.step + 1 + extra;
                    // Taps of weight 0 may lie past the end of the source.
                    column.resize(length + x.taps * lead.step, 0);
                    let row = |tap: usize| {
                        let start = (first_row + tap) * lead.data.stride_bytes + lead.offset + first * lead.step;
                        &lead.data.data[start..start + length]
                    };
                    sum_down(*isa, row, weights, wide, &mut column[..length]);
                    summed = Some(lead);
                    lead
                }
            };
            let column = &column[channel.offset - lead.offset..];
            if x.identity.is_some() {
                fir::samples_to_bytes(column, channel.step, count, &mut out[index..], *channels);
            } else {
                fir::axis_to_bytes(*isa, x, (column, channel.step, count), samples, &mut out[index..], *channels);
            }
        }
    }
}

/// The vertical filter from rows of bytes to samples with 5 fractional bits, one row per weight. Up
/// to [`fir::SHORT_SUM_ROWS`] rows are summed in 16 bits, more in `wide`.
fn sum_down<'a>(isa: Usable, row: impl Fn(usize) -> &'a [u8], weights: &[i16], wide: &mut Vec<i32>, out: &mut [i16]) {
    let count = weights.len();
    if count <= fir::SHORT_SUM_ROWS {
        let mut rows: [&[u8]; fir::SHORT_SUM_ROWS] = [&[]; fir::SHORT_SUM_ROWS];
        for (tap, place) in rows.iter_mut().enumerate().take(count) {
            *place = row(tap);
        }
        fir::down_bytes(isa, &rows[..count], weights, out);
        return;
    }
    wide.clear();
    wide.resize(out.len(), fir::SUMS_START);
    for (tap, &weight) in weights.iter().enumerate() {
        fir::add_bytes(isa, row(tap), weight, wide);
    }
    fir::sums_to_samples(wide, out);
}

crate::simd::versions! {
    /// Writes the samples to every `step`-th place of `out`.
    fn spread(samples: &[i16], out: &mut [i16], step: usize) {
        match step {
            1 => out[..samples.len()].copy_from_slice(samples),
            2 => out.chunks_mut(2).zip(samples).for_each(|(to, &sample)| to[0] = sample),
            _ => out.chunks_mut(3).zip(samples).for_each(|(to, &sample)| to[0] = sample),
        }
    }
}

/// The source samples that an axis needs: the first one, and how many of them exist.
fn reach(axis: &AxisFilter, room: usize) -> (usize, usize) {
    let source = room - axis.taps;
    (axis.first, axis.extent.min(source - axis.first))
}

/// The first channel in memory among those in the plane of `channel`.
fn leading<'a>(source: &Channels<'a>, channel: &Channel<'a>) -> Channel<'a> {
    source
        .iter()
        .filter(|other| other.data.data.as_ptr() == channel.data.data.as_ptr())
        .min_by_key(|other| other.offset)
        .unwrap_or(*channel)
}

/// The offset of the last channel in memory among those in the plane of `channel`.
fn trailing(source: &Channels<'_>, channel: &Channel<'_>) -> usize {
    source
        .iter()
        .filter(|other| other.data.data.as_ptr() == channel.data.data.as_ptr())
        .map(|other| other.offset)
        .max()
        .unwrap_or(channel.offset)
}

/// Copies a row without filtering.
fn copy(source: &Channels<'_>, row: usize, first: usize, out: &mut [u8]) {
    let count = source.count();
    let samples = out.len() / count;
    let mut consecutive = true;
    for (index, channel) in source.iter().enumerate() {
        consecutive &= channel.step == count && channel.offset == index;
    }
    for (index, channel) in source.iter().enumerate() {
        if consecutive {
            let start = row * channel.data.stride_bytes + first * channel.step;
            out.copy_from_slice(&channel.data.data[start..start + out.len()]);
            return;
        }
        fir::pick(channel.samples(row, first, samples), channel.step, &mut out[index..], count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Plane;

    #[test]
    fn rows_may_be_asked_for_in_any_order() {
        let data: Vec<u8> = (0..40 * 30).map(|i: u32| u8::try_from(i * 31 % 251).expect("small")).collect();
        let channel = Channel { data: Plane { data: &data, stride_bytes: 40 }, offset: 0, step: 1 };
        let source = Channels { channels: [Some(channel), None, None] };
        for scale in [0.4, 1.7] {
            let x = Span { origin: 1.5, scale, source: 40, from: 0, count: 16 };
            let y = Span { origin: 0.25, scale, source: 30, from: 0, count: 12 };
            let mut scaler = PlaneScaler::default();
            scaler.start(x, y, Filter::Cubic, &source);
            let mut rows = vec![vec![0; 16]; 12];
            for (y, row) in rows.iter_mut().enumerate() {
                scaler.row(&source, y, row);
            }
            for y in [7, 0, 11, 3, 3, 4] {
                let mut again = [0; 16];
                scaler.row(&source, y, &mut again);
                assert_eq!(again[..], rows[y][..]);
            }
        }
    }
}
