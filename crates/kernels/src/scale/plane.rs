//! One output plane scaled, row by row. A plane has one channel (luma), two (Cb and Cr) or three (R, G, B).
//!
//! Enlarging, each source row is filtered along once and kept until no output row needs it (*along first*); shrinking,
//! source rows are summed down to one and that is filtered along (*down first*). Either way what is worked on stays in
//! the first-level cache: a few rows.

use super::axis::{Axis, Filter, Span};
use super::component::Channel;
use super::fir;

/// The channels of a plane's source, in the order in which the output holds them.
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
}

/// Marks a place of the ring that holds no row.
const NO_ROW: usize = usize::MAX;

/// Tables and rows for one plane of the output.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlaneScaler {
    spans: Option<(Span, Span, Filter)>,
    x: Axis,
    y: Axis,
    channels: usize,
    /// A row of source samples, as the filter along takes them.
    samples: Vec<i16>,
    /// The result of the filter down, bytes between the samples included.
    column: Vec<i16>,
    wide: Vec<i32>,
    /// Rows that were filtered along, one for each tap, and which source rows they are.
    ring: Vec<i16>,
    held: Vec<usize>,
}

impl PlaneScaler {
    /// Makes ready for a picture: tables are made anew where `x`, `y` or `filter` differ from last time.
    pub fn start(&mut self, x: Span, y: Span, filter: Filter, channels: usize) {
        if self.spans != Some((x, y, filter)) || self.channels != channels {
            self.x.build(x, filter, 4);
            self.x.rebase();
            self.y.build(y, filter, 1);
            self.spans = Some((x, y, filter));
            self.channels = channels;
            self.samples.clear();
            // Zeros follow the samples, for taps of weight 0 past the end of the source.
            self.samples.resize(x.source + self.x.taps, 0);
            self.ring.clear();
            if self.along_first() {
                self.ring.resize(self.y.taps * x.count * channels, 0);
            }
        }
        self.held.clear();
        self.held.resize(self.y.taps, NO_ROW);
    }

    fn along_first(&self) -> bool {
        self.spans.is_some_and(|(_, y, _)| y.scale <= 1.0)
    }

    /// Output row `y` into `out`, channels interleaved. Cheapest with rows in ascending order; any order is right.
    pub fn row(&mut self, source: &Channels<'_>, y: usize, out: &mut [u8]) {
        let first_row = self.y.starts[y];
        if let (Some(columns), Some(rows)) = (self.x.identity, self.y.identity) {
            copy(source, rows + y, columns, out);
        } else if self.along_first() {
            let last_row = self.spans.map_or(0, |(_, y, _)| y.source - 1);
            for tap in 0..self.y.taps {
                self.fetch(source, (first_row + tap).min(last_row));
            }
            let taps = self.y.taps;
            let length = out.len();
            let row = |tap: usize| {
                let place = (first_row + tap).min(last_row) % taps;
                &self.ring[place * length..(place + 1) * length]
            };
            fir::down_samples(row, self.y.weights(y), out);
        } else {
            self.down_first(source, y, out);
        }
    }

    /// Sees to it that source row `row`, filtered along, is in its place of the ring.
    fn fetch(&mut self, source: &Channels<'_>, row: usize) {
        let place = row % self.y.taps;
        if self.held[place] == row {
            return;
        }
        self.held[place] = row;
        let Self { x, samples, ring, channels, .. } = self;
        let length = x.starts.len() * *channels;
        let out = &mut ring[place * length..(place + 1) * length];
        for (index, channel) in source.iter().enumerate() {
            if let Some(first) = x.identity {
                let bytes = channel.samples(row, first, x.starts.len());
                let samples = &mut samples[..x.starts.len()];
                fir::widen(bytes, channel.step, samples);
                for (target, sample) in out[index..].iter_mut().step_by(*channels).zip(samples.iter()) {
                    *target = *sample;
                }
                continue;
            }
            let (first, count) = reach(x, samples.len());
            fir::widen(channel.samples(row, first, count), channel.step, &mut samples[..count]);
            samples[count..count + x.taps].fill(0);
            fir::along_to_samples(samples, &x.starts, &x.weights, x.taps, &mut out[index..], *channels);
        }
    }

    fn down_first(&mut self, source: &Channels<'_>, y: usize, out: &mut [u8]) {
        let Self { x, y: axis, samples, column, wide, channels, .. } = self;
        let first_row = axis.starts[y];
        let weights = axis.weights(y);
        let used = weights.iter().rposition(|&weight| weight != 0).map_or(1, |last| last + 1);
        let weights = &weights[..used];
        let (first, count) = x.identity.map_or_else(|| reach(x, samples.len()), |identity| (identity, x.starts.len()));
        let mut summed: Option<Channel<'_>> = None;
        for (index, channel) in source.iter().enumerate() {
            // Channels of one plane lie between each other: the sum down is made once, from the first channel on.
            let lead = match summed {
                Some(lead) if lead.data.data.as_ptr() == channel.data.data.as_ptr() => lead,
                _ => {
                    let lead = leading(source, &channel);
                    let extra = trailing(source, &channel) - lead.offset;
                    let length = (count - 1) * lead.step + 1 + extra;
                    column.resize(length, 0);
                    let row = |tap: usize| {
                        let start = (first_row + tap) * lead.data.stride_bytes + lead.offset + first * lead.step;
                        &lead.data.data[start..start + length]
                    };
                    fir::down_bytes(row, weights, wide, column);
                    summed = Some(lead);
                    lead
                }
            };
            let column = &column[channel.offset - lead.offset..];
            let samples = &mut samples[..];
            fir::pick_samples(column, channel.step, &mut samples[..count]);
            if x.identity.is_some() {
                fir::samples_to_bytes(&samples[..count], &mut out[index..], *channels);
            } else {
                samples[count..count + x.taps].fill(0);
                fir::along_to_bytes(samples, &x.starts, &x.weights, x.taps, &mut out[index..], *channels);
            }
        }
    }
}

/// The source samples that an axis needs: the first, and how many there really are of them.
fn reach(axis: &Axis, room: usize) -> (usize, usize) {
    let source = room - axis.taps;
    (axis.first, axis.extent.min(source - axis.first))
}

/// The channel that lies first among those in the plane of `channel`.
fn leading<'a>(source: &Channels<'a>, channel: &Channel<'a>) -> Channel<'a> {
    source
        .iter()
        .filter(|other| other.data.data.as_ptr() == channel.data.data.as_ptr())
        .min_by_key(|other| other.offset)
        .unwrap_or(*channel)
}

/// The offset of the channel that lies last among those in the plane of `channel`.
fn trailing(source: &Channels<'_>, channel: &Channel<'_>) -> usize {
    source
        .iter()
        .filter(|other| other.data.data.as_ptr() == channel.data.data.as_ptr())
        .map(|other| other.offset)
        .max()
        .unwrap_or(channel.offset)
}

/// A row as it is.
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
            let x = Span { origin: 1.5, scale, source: 40, count: 16 };
            let y = Span { origin: 0.25, scale, source: 30, count: 12 };
            let mut scaler = PlaneScaler::default();
            scaler.start(x, y, Filter::Cubic, 1);
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
