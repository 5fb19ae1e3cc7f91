//! Where in the mask there are people: connected components, their boxes, and a mask cleaned of specks on the way.
//!
//! The vision thread owns a finder. It allocates when a mask of a new size comes, and not otherwise.

use super::THRESHOLD;
use super::label::{Connectivity, Labels, Run};
use portraitd_media::{PixelRect, Size, UnitRect};

/// A share of pixels, in parts of 10,000: compared in whole numbers, so that a component of exactly that share counts alike
/// on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u64);

/// A component smaller than this share of the frame (0.5 %) is no person, and is taken out of the mask.
pub const SMALLEST_SHARE_OF_FRAME: Share = Share(50);

/// A component smaller than this share of the largest one (15 %) is no person (it may be a hand, and stays in the mask).
pub const SMALLEST_SHARE_OF_LARGEST: Share = Share(1500);

/// A hole of at most this share of the frame (0.05 %) is filled: 18 pixels of 256x144, about 4 by 4.
pub const PIN_HOLE_SHARE_OF_FRAME: Share = Share(5);

impl Share {
    /// How `part` compares with this share of `whole`, both in pixels.
    const fn compare(self, part: u32, whole: u64) -> std::cmp::Ordering {
        let (part, share) = (part as u64 * 10_000, self.0 * whole);
        if part < share {
            std::cmp::Ordering::Less
        } else if part > share {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Equal
        }
    }
}

/// Below this probability is background; above it and not joined to a person is a faint speck, which is taken out.
pub const FAINT: f32 = 0.1;

/// A box leaves this share of the component's probability outside on each of its four sides, so that a strand of hair
/// or a noisy pixel does not move it.
pub const BOX_QUANTILE: f32 = 0.02;

/// The most regions there can be: each has at least [`SMALLEST_SHARE_OF_FRAME`]. One more for rounding.
const MOST_REGIONS: usize = 201;

/// A connected part of the mask, large enough for a person.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Its box, in fractions of the frame.
    pub bounds: UnitRect,
    /// The number of its pixels, as a fraction of the frame.
    pub area: f32,
    /// The mean probability of its pixels, 0.5..=1.
    pub confidence: f32,
}

/// What is summed up for a component, at the index of its root.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    pixels: u32,
    /// The sum of the probabilities.
    mass: f64,
    /// Holes: touches the frame's border. Faint parts: has a person's pixel.
    marked: bool,
}

/// Finds the people's regions in masks.
#[derive(Clone, Debug, Default)]
pub struct RegionFinder {
    size: Size,
    labels: Labels,
    totals: Vec<Total>,
    /// (pixels, root) of the components that are people.
    people: Vec<(u32, u32)>,
    columns: Vec<f32>,
    rows: Vec<f32>,
    regions: Vec<Region>,
}

impl RegionFinder {
    /// A finder without memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cleans the mask `values`, `[height, width]` row-major, in place, and returns the people's regions, the largest
    /// first.
    ///
    /// Cleaning: every value becomes one of 0..=1 (what is not a number becomes 0); pin-holes are filled from their
    /// sides; islands, and faint specks that no person is part of, become 0. Cleaning twice is cleaning once.
    ///
    /// Where `values` is not of `size`, or has no pixel, there is no mask: all becomes 0 and there are no regions.
    pub fn find(&mut self, values: &mut [f32], size: Size) -> &[Region] {
        self.regions.clear();
        if !super::fits(values.len(), size) {
            values.fill(0.0);
            return &self.regions;
        }
        if self.size != size {
            self.make_room(size);
        }
        values.iter_mut().for_each(|value| *value = super::clean(*value));
        self.fill_holes(values);
        self.find_people(values);
        self.drop_faint(values);
        &self.regions
    }

    fn make_room(&mut self, size: Size) {
        self.size = size;
        self.labels.reserve(size);
        let most = self.labels.capacity();
        self.totals.clear();
        self.totals.reserve(most);
        self.people.reserve(MOST_REGIONS);
        self.regions.reserve(MOST_REGIONS);
        self.columns.resize(size.width as usize, 0.0);
        self.rows.resize(size.height as usize, 0.0);
    }

    /// Fills the small holes with what lies to their left and right.
    fn fill_holes(&mut self, values: &mut [f32]) {
        let Size { width, height } = self.size;
        let frame = self.size.area();
        if PIN_HOLE_SHARE_OF_FRAME.compare(1, frame).is_gt() {
            return;
        }
        let runs = self.labels.find(values, self.size, Connectivity::Four, |value| value < THRESHOLD);
        sum(&mut self.totals, runs, |total, run| {
            total.pixels += run.length();
            total.marked |= run.start == 0 || run.end == width || run.row == 0 || run.row + 1 == height;
        });
        for run in runs {
            let total = self.totals[run.root as usize];
            if total.marked || PIN_HOLE_SHARE_OF_FRAME.compare(total.pixels, frame).is_gt() {
                continue;
            }
            // A hole does not touch the border, so both neighbours are there, and they are a person's.
            let range = run.range(width);
            let (left, right) = (values[range.start - 1], values[range.end]);
            let slope = (right - left) / (run.length() + 1) as f32;
            let mut between = left;
            for value in &mut values[range] {
                between += slope;
                *value = between.clamp(THRESHOLD, 1.0);
            }
        }
    }

    /// Takes the islands out of the mask, and measures what is left.
    fn find_people(&mut self, values: &mut [f32]) {
        let width = self.size.width;
        let frame = self.size.area();
        let runs = self.labels.find(values, self.size, Connectivity::Eight, |value| value >= THRESHOLD);
        sum(&mut self.totals, runs, |total, run| {
            total.pixels += run.length();
            total.mass += f64::from(values[run.range(width)].iter().sum::<f32>());
        });
        let largest = self.totals.iter().map(|total| total.pixels).max().unwrap_or(0).into();
        let is_island = |total: &Total| SMALLEST_SHARE_OF_FRAME.compare(total.pixels, frame).is_lt();
        self.people.clear();
        for (run, index) in runs.iter().zip(0u32..) {
            let total = &self.totals[run.root as usize];
            if is_island(total) {
                values[run.range(width)].fill(0.0);
            } else if run.root == index && SMALLEST_SHARE_OF_LARGEST.compare(total.pixels, largest).is_ge() {
                self.people.push((total.pixels, index));
            }
        }
        self.people.sort_unstable_by_key(|(pixels, root)| (std::cmp::Reverse(*pixels), *root));
        for (pixels, root) in &self.people {
            self.columns.fill(0.0);
            self.rows.fill(0.0);
            for run in runs.iter().filter(|run| run.root == *root) {
                let values = &values[run.range(width)];
                self.rows[run.row as usize] += values.iter().sum::<f32>();
                let columns = &mut self.columns[run.start as usize..run.end as usize];
                columns.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
            let (left, right) = between_quantiles(&self.columns);
            let (top, bottom) = between_quantiles(&self.rows);
            let mean = self.totals[*root as usize].mass / f64::from(*pixels);
            self.regions.push(Region {
                bounds: PixelRect::new(left, top, right - left, bottom - top).to_fractions(self.size),
                area: *pixels as f32 / frame as f32,
                confidence: to_f32(mean),
            });
        }
    }

    /// Takes out what is above background and has no person in it: the skirts of islands, ghosts of furniture.
    fn drop_faint(&mut self, values: &mut [f32]) {
        let width = self.size.width;
        let runs = self.labels.find(values, self.size, Connectivity::Eight, |value| value >= FAINT);
        sum(&mut self.totals, runs, |total, run| {
            // Once a part is known to have a person, its other runs need no look.
            total.marked = total.marked || values[run.range(width)].iter().any(|value| *value >= THRESHOLD);
        });
        for run in runs {
            if !self.totals[run.root as usize].marked {
                values[run.range(width)].fill(0.0);
            }
        }
    }
}

/// Sums up each component: `add` gets the total of the run's component.
fn sum(totals: &mut Vec<Total>, runs: &[Run], mut add: impl FnMut(&mut Total, &Run)) {
    totals.clear();
    totals.resize(runs.len(), Total::default());
    for run in runs {
        add(&mut totals[run.root as usize], run);
    }
}

/// The two positions between which all but [`BOX_QUANTILE`] of the sums on either side lies, in elements.
fn between_quantiles(sums: &[f32]) -> (f32, f32) {
    let total: f32 = sums.iter().sum();
    (quantile(sums, total * BOX_QUANTILE), quantile(sums, total * (1.0 - BOX_QUANTILE)))
}

/// The position up to which the sums add up to `target`, each spread evenly over its element.
fn quantile(sums: &[f32], target: f32) -> f32 {
    let mut before = 0.0;
    for (index, sum) in sums.iter().enumerate() {
        if *sum > 0.0 && before + sum >= target {
            return index as f32 + (target - before) / sum;
        }
        before += sum;
    }
    sums.len() as f32
}

/// A mean of probabilities: the precision lost is that of the mask.
#[expect(clippy::cast_possible_truncation, reason = "0..=1, only rounded")]
fn to_f32(mean: f64) -> f32 {
    mean as f32
}

#[cfg(test)]
mod tests;
