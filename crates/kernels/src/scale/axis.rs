//! The filter of one axis as a table: for every output position, the source samples that contribute
//! to it and their weights.
//!
//! The filters, by scale `s` (source samples per output sample):
//! - *linear*: a box as wide as an output sample, but at least one source sample wide. When
//!   shrinking, this is the exact area average; when enlarging, it is linear interpolation between
//!   the centres of samples. The two agree at `s` = 1.
//! - *cubic*: when enlarging, the Catmull-Rom spline (Keys' cubic convolution with a = -0.5, IEEE
//!   TASSP 29(6), 1981). From `s` = 1 to 1.25 it changes gradually into the area average, so that
//!   sharpness does not jump during a zoom.
//!
//! The border is replicated: the weights of samples outside the source are added to the weight of
//! the border sample.

use super::fixed::ONE;
use crate::cast;
use crate::simd::Usable;

/// The interpolation filter of a scaler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Area average when shrinking, linear interpolation when enlarging.
    Linear,
    /// Area average when shrinking, Catmull-Rom spline when enlarging. It is sharper, and stays
    /// equally sharp while a crop moves slowly.
    #[default]
    Cubic,
}

/// The positions of one axis of the output over the source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Span {
    /// Start of output sample 0, in source samples.
    pub origin: f64,
    /// Source samples per output sample.
    pub scale: f64,
    /// Number of source samples.
    pub source: usize,
    /// The output sample that is computed first, and the number of those that are computed.
    pub from: usize,
    pub count: usize,
}

impl Span {
    /// The centre of the `j`th of these output samples, in source samples. Source sample `i` covers `i..i + 1`.
    #[expect(clippy::cast_precision_loss, reason = "output positions are below 2^24")]
    pub(crate) fn center(&self, j: usize) -> f64 {
        self.origin + ((self.from + j) as f64 + 0.5) * self.scale
    }

    /// The same positions over a source that keeps one of `every` neighbouring samples.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^24")]
    pub(crate) fn thinned(self, every: usize) -> Self {
        let by = every as f64;
        Self { origin: self.origin / by, scale: self.scale / by, source: self.source.div_ceil(every), ..self }
    }
}

/// The filter table of one axis. Every output position has `taps` weights that sum to [`ONE`], for
/// the samples from `starts[j]` on. Weights past the end of the source are 0.
#[derive(Clone, Debug, Default)]
pub(crate) struct AxisFilter {
    pub taps: usize,
    pub starts: Vec<usize>,
    pub weights: Vec<i16>,
    /// If the axis copies samples unchanged: the source sample that becomes the first output.
    pub identity: Option<usize>,
    /// Set by [`AxisFilter::rebase`]: the source sample from which `starts` count, and the number
    /// of samples from there on that have a tap (those past the end of the source have weight 0).
    pub first: usize,
    pub extent: usize,
    scratch: Vec<f64>,
    /// The same table as the loop for RISC-V vectors takes it.
    #[cfg(target_arch = "riscv64")]
    pub indexed: super::rvv::IndexedTaps,
}

impl AxisFilter {
    /// Computes the table of `span`. `taps` becomes a multiple of `multiple`, padded with zeros.
    /// Allocates only if the table needs more memory than any table before.
    pub(crate) fn build(&mut self, span: Span, filter: Filter, multiple: usize) {
        self.starts.clear();
        self.weights.clear();
        #[cfg(target_arch = "riscv64")]
        self.indexed.clear();
        let radius = radius(span.scale, filter);
        // The kernel can start within a sample, so it needs one tap more than its width. Folding
        // weights at the border only reduces the number. The spline starts between two samples.
        let spline = filter == Filter::Cubic && span.scale <= 1.0;
        let widest = if spline { 4 } else { cast::floor(2.0 * radius) + 2 };
        self.taps = cast::coordinate(widest).min(span.source).next_multiple_of(multiple);
        self.weights.resize(span.count * self.taps, 0);
        for j in 0..span.count {
            let weights = &mut self.weights[j * self.taps..(j + 1) * self.taps];
            let center = span.center(j);
            let start = if spline && self.taps >= 4 {
                catmull_rom(center, span.source, weights)
            } else {
                general(center, &span, filter, radius, &mut self.scratch, weights)
            };
            self.starts.push(start);
        }
        self.trim(multiple);
        self.identity = self.find_identity();
    }

    /// Drops taps that no output uses: fewer are needed if the kernel never starts within a sample.
    fn trim(&mut self, multiple: usize) {
        let used = self
            .weights
            .chunks_exact(self.taps)
            .map(|weights| weights.iter().rposition(|&weight| weight != 0).map_or(1, |last| last + 1))
            .max()
            .unwrap_or(1)
            .next_multiple_of(multiple);
        if used < self.taps {
            for j in 0..self.starts.len() {
                self.weights.copy_within(j * self.taps..j * self.taps + used, j * used);
            }
            self.weights.truncate(self.starts.len() * used);
            self.taps = used;
        }
    }

    /// The largest number of taps of an output up to the last one whose weight is not 0.
    #[cfg(any(test, target_arch = "riscv64"))]
    pub(crate) fn used(&self) -> usize {
        let used = |weights: &[i16]| weights.iter().rposition(|&weight| weight != 0).map_or(1, |last| last + 1);
        self.weights.chunks_exact(self.taps).map(used).max().unwrap_or(1)
    }

    fn find_identity(&self) -> Option<usize> {
        let mut first = None;
        for (j, (start, weights)) in self.starts.iter().zip(self.weights.chunks_exact(self.taps)).enumerate() {
            let tap = weights.iter().position(|&weight| weight == ONE)?;
            let base = (start + tap).checked_sub(j)?;
            if *first.get_or_insert(base) != base {
                return None;
            }
        }
        first
    }

    /// Makes `starts` relative to the first source sample that any output uses, for filtering along
    /// a row.
    pub(crate) fn rebase(&mut self) {
        self.first = self.starts.iter().copied().min().unwrap_or(0);
        for start in &mut self.starts {
            *start -= self.first;
        }
        self.extent = self.starts.iter().copied().max().unwrap_or(0) + self.taps;
    }

    /// Prepares for filtering along a row of samples of 16 bits, which lie `step` samples apart.
    /// Follows [`AxisFilter::rebase`].
    pub(crate) fn index(&mut self, isa: Usable, step: usize) {
        #[cfg(target_arch = "riscv64")]
        {
            let mut indexed = std::mem::take(&mut self.indexed);
            indexed.build(isa, self, step);
            self.indexed = indexed;
        }
        let _ = (isa, step);
    }

    /// The weights of output `j`, `taps` of them.
    #[inline]
    pub(crate) fn weights(&self, j: usize) -> &[i16] {
        &self.weights[j * self.taps..(j + 1) * self.taps]
    }
}

/// Half the width of the kernel, in source samples.
fn radius(scale: f64, filter: Filter) -> f64 {
    let area = scale.max(1.0) / 2.0;
    match filter {
        Filter::Cubic if area_share(scale) < 1.0 => 2.0 * scale.max(1.0),
        _ => area,
    }
}

/// The share of the area average in the cubic filter, 0..=1.
fn area_share(scale: f64) -> f64 {
    ((scale - 1.0) * 4.0).clamp(0.0, 1.0)
}

/// Keys' kernel with a = -0.5 at distance `d` from its centre.
fn cubic(d: f64) -> f64 {
    let d = d.abs();
    if d < 1.0 {
        (1.5 * d - 2.5) * d * d + 1.0
    } else if d < 2.0 {
        ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    } else {
        0.0
    }
}

/// The common case in closed form: the four weights of the Catmull-Rom spline. Returns the first
/// sample.
fn catmull_rom(center: f64, source: usize, weights: &mut [i16]) -> usize {
    let before = cast::floor(center - 0.5);
    #[expect(clippy::cast_precision_loss, reason = "coordinates are below 2^24")]
    let t = center - 0.5 - before as f64;
    let (t2, t3) = (t * t, t * t * t);
    let one = f64::from(ONE);
    let left = cast::round_i16((-0.5 * t3 + t2 - 0.5 * t) * one);
    let right = cast::round_i16((0.5 * t3 - 0.5 * t2) * one);
    let second = cast::round_i16((-1.5 * t3 + 2.0 * t2 + 0.5 * t) * one);
    let quantised = [left, ONE - left - right - second, second, right];
    let last = i64::try_from(source).unwrap_or(i64::MAX) - 1;
    if before >= 1 && before + 2 <= last {
        weights[..4].copy_from_slice(&quantised);
        return cast::coordinate(before - 1);
    }
    let start = (before - 1).clamp(0, (last - 3).max(0));
    for (i, weight) in (before - 1..).zip(quantised) {
        weights[cast::coordinate(i.clamp(0, last) - start)] += weight;
    }
    cast::coordinate(start)
}

/// The weights of any filter at any scale. Returns the first sample.
fn general(
    center: f64,
    span: &Span,
    filter: Filter,
    radius: f64,
    scratch: &mut Vec<f64>,
    weights: &mut [i16],
) -> usize {
    let last = i64::try_from(span.source).unwrap_or(i64::MAX) - 1;
    let half = span.scale.max(1.0) / 2.0;
    let share = if filter == Filter::Cubic { area_share(span.scale) } else { 1.0 };
    let (from, to) = (cast::floor(center - radius), cast::floor(center + radius));
    let start = from.clamp(0, last);
    scratch.clear();
    scratch.resize(weights.len(), 0.0);
    let mut cubic_sum = 0.0;
    if share < 1.0 {
        for i in from..=to {
            cubic_sum += cubic(distance(i, center) / (2.0 * half));
        }
    }
    for i in from..=to {
        let offset = distance(i, center);
        let covered = ((offset + 0.5).min(half) - (offset - 0.5).max(-half)).max(0.0) / (2.0 * half);
        let mut weight = covered * share;
        if share < 1.0 {
            weight += (1.0 - share) * cubic(offset / (2.0 * half)) / cubic_sum;
        }
        let tap = cast::coordinate(i.clamp(0, last) - start);
        // A tap past the table has weight 0: the kernel ended exactly between two samples.
        if let Some(sum) = scratch.get_mut(tap) {
            *sum += weight;
        }
    }
    quantise(scratch, weights);
    cast::coordinate(start)
}

/// The distance from the centre of the output sample to the centre of source sample `i`.
#[expect(clippy::cast_precision_loss, reason = "coordinates are below 2^24")]
fn distance(i: i64, center: f64) -> f64 {
    i as f64 + 0.5 - center
}

/// Quantises weights so that they sum to exactly [`ONE`]. The running sum is rounded, so the error
/// of each weight is under one unit whatever their number.
fn quantise(real: &[f64], weights: &mut [i16]) {
    let total: f64 = real.iter().sum();
    let mut sum = 0.0;
    let mut before = 0;
    for (weight, value) in weights.iter_mut().zip(real) {
        sum += value;
        let now = cast::round_i32(sum / total * f64::from(ONE));
        *weight = cast::narrow(now - before);
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(span: Span, filter: Filter) -> AxisFilter {
        let mut axis = AxisFilter::default();
        axis.build(span, filter, 1);
        axis
    }

    #[test]
    fn the_whole_source_at_its_own_size_is_the_identity() {
        for filter in [Filter::Linear, Filter::Cubic] {
            for origin in [0.0, 3.0] {
                let axis = table(Span { origin, scale: 1.0, source: 20, from: 0, count: 17 }, filter);
                assert_eq!(axis.identity, Some(cast::coordinate(cast::floor(origin))), "{filter:?}");
            }
            let axis = table(Span { origin: 0.25, scale: 1.0, source: 20, from: 0, count: 17 }, filter);
            assert_eq!(axis.identity, None);
        }
    }

    #[test]
    fn known_weights() {
        let half = table(Span { origin: 0.0, scale: 0.5, source: 4, from: 0, count: 8 }, Filter::Linear);
        assert_eq!(half.weights(1)[..2], [ONE / 4 * 3, ONE / 4]);
        let area = table(Span { origin: 0.5, scale: 2.0, source: 8, from: 0, count: 3 }, Filter::Linear);
        assert_eq!(area.weights(0), [ONE / 4, ONE / 2, ONE / 4]);
        assert_eq!(area.starts, [0, 2, 4]);
        let cubic = table(Span { origin: 0.5, scale: 1.0, source: 8, from: 0, count: 4 }, Filter::Cubic);
        assert_eq!(cubic.weights(2), [-ONE / 16, ONE / 16 * 9, ONE / 16 * 9, -ONE / 16]);
    }

    proptest! {
        #[test]
        fn weights_sum_to_one_and_stay_inside(
            origin in -3000.0..3000.0_f64,
            scale in prop_oneof![0.01..1.0_f64, 1.0..1.3_f64, 1.0..40.0_f64],
            source in 1_usize..200,
            count in 1_usize..60,
            cubic: bool,
        ) {
            let filter = if cubic { Filter::Cubic } else { Filter::Linear };
            let axis = table(Span { origin, scale, source, from: 0, count }, filter);
            for j in 0..count {
                let sum: i32 = axis.weights(j).iter().map(|&weight| i32::from(weight)).sum();
                prop_assert_eq!(sum, i32::from(ONE));
                let magnitudes: i32 = axis.weights(j).iter().map(|&weight| i32::from(weight).abs()).sum();
                prop_assert!(magnitudes <= i32::from(ONE) / 2 * 3, "{} at {}", magnitudes, j);
                for (tap, &weight) in axis.weights(j).iter().enumerate() {
                    prop_assert!(weight == 0 || axis.starts[j] + tap < source, "tap {} of {}", tap, j);
                }
            }
        }
    }
}
