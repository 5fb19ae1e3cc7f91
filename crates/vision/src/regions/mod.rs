//! Regions: the connected components of a mask that are large enough for a person.
//!
//! The search also cleans the mask: it fills small holes and removes specks. A finder belongs to
//! the vision thread. It allocates only when the size of the mask changes.

use portraitd_media::{PixelRect, Size, UnitRect};

use crate::label::{Connectivity, Labels, Run};
use crate::mask::{THRESHOLD, is_mask, to_probability};

/// A share of pixels, in parts of 10,000. It is compared in integers, so that a component with
/// exactly this share gives the same result on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share(u64);

/// The shares of a mask below which a component is not a person and is removed, and up to which a
/// hole is filled.
#[derive(Clone, Copy, Debug)]
struct Shares {
    least_person: Share,
    largest_hole: Share,
}

impl Shares {
    /// For a mask that covers a window around the people: 0.5 % and 0.05 %, which is 18 pixels of
    /// 256x144.
    const OF_WINDOW: Self = Self { least_person: Share(50), largest_hole: Share(5) };
    /// For a mask that covers the frame although people are small in it: 0.1 % and 0.01 %.
    const OF_FRAME: Self = Self { least_person: Share(10), largest_hole: Share(1) };
}

impl Default for Shares {
    fn default() -> Self {
        Self::OF_WINDOW
    }
}

/// A component smaller than this share of the largest one (15 %) is not reported as a person. It
/// may be a hand, so it stays in the mask.
const MIN_SHARE_OF_LARGEST: Share = Share(1500);

impl Share {
    /// Compares `part` with this share of `whole`, both in pixels.
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

/// Pixels from this probability that are not connected to a person are faint specks, which are
/// removed. Pixels below it are background.
const FAINT: f32 = 0.1;

/// The share of a component's probability that lies outside its box on each of the four sides. With
/// it, a strand of hair or a noisy pixel does not move the box.
const BOX_QUANTILE: f32 = 0.02;

/// The number of regions for which memory is reserved. Each has at least 0.5 % of the mask, or 0.1 %
/// of the frame, where so many are rare.
const MAX_REGIONS: usize = 201;

/// A connected part of the mask that is large enough for a person.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// The box, in fractions of what the mask covers.
    pub bounds: UnitRect,
    /// The number of pixels, as a fraction of the mask.
    pub area: f32,
    /// The mean probability of the pixels, 0.5..=1.
    pub confidence: f32,
    /// The box around every pixel, in the unit of `bounds`.
    pub reach: UnitRect,
}

impl Region {
    /// The region of a mask that covers `covers` (in pixels of the frame), with box and area in
    /// fractions of the frame. The box is cut at the edge of the frame.
    pub(crate) fn in_frame(&self, covers: PixelRect, frame: Size) -> Self {
        let share = covers.area() / PixelRect::of_size(frame).area();
        let placed = |bounds: &UnitRect| {
            let part = bounds.scaled(covers.width, covers.height);
            let bounds = PixelRect::new(part.x + covers.x, part.y + covers.y, part.width, part.height);
            bounds.to_fractions(frame).intersection(&UnitRect::WHOLE)
        };
        Self { bounds: placed(&self.bounds), area: self.area * share, reach: placed(&self.reach), ..*self }
    }
}

/// A head in a mask: where a component is divided into people. Units are cells of the mask.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Seed {
    /// The centre of the face.
    pub x: f32,
    pub y: f32,
    /// The upper edge of the hair.
    pub top: f32,
    /// The size of the face.
    pub width: f32,
    pub height: f32,
}

impl Seed {
    /// How much of the face and of the breast below it is in the component of these runs: 0 for nothing,
    /// 2 for all of the face, 3 for all of both. Masks may have holes in faces, and the breast may be
    /// hidden or somebody else's.
    fn share_in<'a>(&self, runs: impl Iterator<Item = &'a Run>) -> f32 {
        let Self { x, y, width, height, .. } = *self;
        let face = PixelRect::new(x - 0.5 * width, y - 0.5 * height, width, height);
        let breast = PixelRect::new(face.x, face.bottom(), width, 1.5 * height);
        runs.fold(0.0, |sum, run| {
            let run = PixelRect::new(run.start as f32, run.row as f32, run.length() as f32, 1.0);
            let share = |part: &PixelRect| run.intersection(part).area() / part.area();
            sum + 2.0 * share(&face) + share(&breast)
        })
    }

    /// How far a pixel is from this person's body, which is below the head and wider than it. Negative
    /// within the width of two faces.
    fn distance(&self, x: f32, y: f32) -> f32 {
        (x - self.x).abs() + 2.0 * (self.top - y).max(0.0) - self.width
    }
}

/// A head is in the component that has the most of its body, and at least this much
/// ([`Seed::share_in`]).
const MIN_SHARE_OF_BODY: f32 = 0.6;

/// The most people into whom a component is divided.
const MAX_PARTS: usize = 16;

/// A part of a component with less than this share of it (4 %) is no person of its own.
const MIN_SHARE_OF_COMPONENT: Share = Share(400);

/// The sums over a component. They are stored at the index of its root.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    pixels: u32,
    /// The sum of the probabilities.
    mass: f64,
    /// For holes: the component touches the border of the mask. For faint parts: it contains a
    /// pixel of a person.
    marked: bool,
}

/// Finds the regions of people in masks, and cleans the masks.
#[derive(Clone, Debug, Default)]
pub struct RegionFinder {
    shares: Shares,
    size: Size,
    labels: Labels,
    totals: Vec<Total>,
    /// `(pixels, root)` of the components that are people.
    people: Vec<(u32, u32)>,
    /// The sum of each column of a component.
    columns: Vec<f32>,
    /// The sum of each row of a component.
    rows: Vec<f32>,
    regions: Vec<Region>,
    /// Heads, each with the root of its component.
    seeds: Vec<(Seed, u32)>,
}

impl RegionFinder {
    /// A finder that has not allocated memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A finder for masks that cover the frame and in which small people are as fine as in a window.
    pub(crate) fn for_fine_masks() -> Self {
        Self { shares: Shares::OF_FRAME, ..Self::default() }
    }

    /// Cleans the mask `values`, `[height, width]` row-major, in place. Returns the regions of
    /// people, the largest first.
    ///
    /// Cleaning limits all values to 0..=1 (NaN becomes 0), fills small holes from their left and
    /// right, and sets small components and faint specks to 0. Cleaning a clean mask does not
    /// change it.
    ///
    /// If `values` does not have `size`, or has no pixels, all values become 0 and there are no
    /// regions.
    pub fn find(&mut self, values: &mut [f32], size: Size) -> &[Region] {
        self.find_between(values, size, &[])
    }

    /// As [`Self::find`]. A component with two or more of the heads `seeds` is divided between them:
    /// each pixel belongs to the nearest person, and each of them is a region.
    pub(crate) fn find_between(&mut self, values: &mut [f32], size: Size, seeds: &[Seed]) -> &[Region] {
        self.regions.clear();
        if !is_mask(values.len(), size) {
            values.fill(0.0);
            return &self.regions;
        }
        if self.size != size {
            self.reserve(size);
        }
        values.iter_mut().for_each(|value| *value = to_probability(*value));
        self.fill_holes(values);
        self.find_people(values, seeds);
        self.drop_faint(values);
        &self.regions
    }

    fn reserve(&mut self, size: Size) {
        self.size = size;
        self.labels.reserve(size);
        let most = self.labels.capacity();
        self.totals.clear();
        self.totals.reserve(most);
        self.people.reserve(MAX_REGIONS);
        self.regions.reserve(MAX_REGIONS);
        self.seeds.reserve(crate::heads::MAX_HEADS);
        self.columns.resize(size.width as usize, 0.0);
        self.rows.resize(size.height as usize, 0.0);
    }

    /// Fills small holes by interpolation between the pixels on their left and right.
    fn fill_holes(&mut self, values: &mut [f32]) {
        let Size { width, height } = self.size;
        let area = self.size.area();
        if self.shares.largest_hole.compare(1, area).is_gt() {
            return;
        }
        let runs = self.labels.find(values, self.size, Connectivity::Four, |value| value < THRESHOLD);
        sum(&mut self.totals, runs, |total, run| {
            total.pixels += run.length();
            total.marked |= run.start == 0 || run.end == width || run.row == 0 || run.row + 1 == height;
        });
        for run in runs {
            let total = self.totals[run.root as usize];
            if total.marked || self.shares.largest_hole.compare(total.pixels, area).is_gt() {
                continue;
            }
            // A hole does not touch the border, so both neighbours exist. They belong to a person.
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

    /// Removes small components from the mask and measures the others.
    fn find_people(&mut self, values: &mut [f32], seeds: &[Seed]) {
        let width = self.size.width;
        let area = self.size.area();
        let runs = self.labels.find(values, self.size, Connectivity::Eight, |value| value >= THRESHOLD);
        sum(&mut self.totals, runs, |total, run| {
            total.pixels += run.length();
            total.mass += f64::from(values[run.range(width)].iter().sum::<f32>());
        });
        let largest = self.totals.iter().map(|total| total.pixels).max().unwrap_or(0).into();
        let least = self.shares.least_person;
        let is_too_small = |total: &Total| least.compare(total.pixels, area).is_lt();
        self.people.clear();
        for (run, index) in runs.iter().zip(0u32..) {
            let total = &self.totals[run.root as usize];
            if is_too_small(total) {
                values[run.range(width)].fill(0.0);
            } else if run.root == index && MIN_SHARE_OF_LARGEST.compare(total.pixels, largest).is_ge() {
                self.people.push((total.pixels, index));
            }
        }
        self.people.sort_unstable_by_key(|(pixels, root)| (std::cmp::Reverse(*pixels), *root));
        self.seeds.clear();
        for seed in seeds {
            let share = |root: u32| seed.share_in(runs.iter().filter(|run| run.root == root));
            let shares = self.people.iter().map(|(_, root)| (share(*root), *root));
            let best = shares.reduce(|best, next| if next.0 > best.0 { next } else { best });
            self.seeds.extend(best.filter(|(share, _)| *share >= MIN_SHARE_OF_BODY).map(|(_, root)| (*seed, root)));
        }
        for (pixels, root) in &self.people {
            let seeds = self.seeds.iter().filter(|(_, of)| of == root).map(|(seed, _)| *seed);
            let heads = Heads::of((runs, *root), *pixels, seeds);
            for part in 0..heads.count.max(1) {
                self.columns.fill(0.0);
                self.rows.fill(0.0);
                let (mut count, mut mass) = (0_u32, 0.0);
                for run in runs.iter().filter(|run| run.root == *root) {
                    for (x, value) in (run.start..run.end).zip(&values[run.range(width)]) {
                        if heads.count == 0 || heads.nearest(x, run.row) == part {
                            self.rows[run.row as usize] += value;
                            self.columns[x as usize] += value;
                            mass += f64::from(*value);
                            count += 1;
                        }
                    }
                }
                let (left, right) = between_quantiles(&self.columns);
                let (top, bottom) = between_quantiles(&self.rows);
                let ((first, end), (upper, lower)) = (extent(&self.columns), extent(&self.rows));
                let reach = PixelRect::new(first, upper, end - first, lower - upper);
                self.regions.push(Region {
                    bounds: PixelRect::new(left, top, right - left, bottom - top).to_fractions(self.size),
                    area: count as f32 / area as f32,
                    confidence: to_f32(mass / f64::from(count.max(1))),
                    reach: reach.to_fractions(self.size),
                });
            }
        }
        if !seeds.is_empty() {
            self.regions.sort_by(|a, b| b.area.total_cmp(&a.area));
        }
    }

    /// Removes faint parts that contain no pixel of a person, such as the surroundings of removed
    /// components.
    fn drop_faint(&mut self, values: &mut [f32]) {
        let width = self.size.width;
        let runs = self.labels.find(values, self.size, Connectivity::Eight, |value| value >= FAINT);
        sum(&mut self.totals, runs, |total, run| {
            // Once a pixel of a person is found, the other runs of the part need not be tested.
            total.marked = total.marked || values[run.range(width)].iter().any(|value| *value >= THRESHOLD);
        });
        for run in runs {
            if !self.totals[run.root as usize].marked {
                values[run.range(width)].fill(0.0);
            }
        }
    }
}

/// The heads in one component, if there are at least two.
#[derive(Clone, Copy, Debug, Default)]
struct Heads {
    all: [Seed; MAX_PARTS],
    count: usize,
}

impl Heads {
    /// The heads `seeds` in the component with the root `root`, which has `pixels` pixels. None if there
    /// are fewer than two of them with a share of the component.
    fn of((runs, root): (&[Run], u32), pixels: u32, seeds: impl Iterator<Item = Seed>) -> Self {
        let mut heads = Self::default();
        for (place, seed) in heads.all.iter_mut().zip(seeds) {
            *place = seed;
            heads.count += 1;
        }
        while heads.count >= 2 {
            let mut shares = [0_u32; MAX_PARTS];
            for run in runs.iter().filter(|run| run.root == root) {
                (run.start..run.end).for_each(|x| shares[heads.nearest(x, run.row)] += 1);
            }
            let least = (0..heads.count).min_by_key(|part| shares[*part]).unwrap_or(0);
            if MIN_SHARE_OF_COMPONENT.compare(shares[least], pixels.into()).is_ge() {
                return heads;
            }
            heads.count -= 1;
            heads.all[least] = heads.all[heads.count];
        }
        Self::default()
    }

    /// The index of the head to which the pixel in column `x` and row `y` belongs.
    fn nearest(&self, x: u32, y: u32) -> usize {
        let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
        let mut best = (f32::INFINITY, 0);
        for (index, head) in self.all[..self.count].iter().enumerate() {
            let distance = head.distance(x, y);
            if distance < best.0 {
                best = (distance, index);
            }
        }
        best.1
    }
}

/// Sums up the runs of each component. `add` adds a run to the total of its component.
fn sum(totals: &mut Vec<Total>, runs: &[Run], mut add: impl FnMut(&mut Total, &Run)) {
    totals.clear();
    totals.resize(runs.len(), Total::default());
    for run in runs {
        add(&mut totals[run.root as usize], run);
    }
}

/// The two positions outside which [`BOX_QUANTILE`] of the sums lies on each side, in elements.
fn between_quantiles(sums: &[f32]) -> (f32, f32) {
    let total: f32 = sums.iter().sum();
    (quantile(sums, total * BOX_QUANTILE), quantile(sums, total * (1.0 - BOX_QUANTILE)))
}

/// The first element that is not 0, and the one after the last.
fn extent(sums: &[f32]) -> (f32, f32) {
    let first = sums.iter().position(|sum| *sum > 0.0).unwrap_or(0);
    let last = sums.iter().rposition(|sum| *sum > 0.0).map_or(first, |last| last + 1);
    (first as f32, last as f32)
}

/// The position up to which the sums add up to `target`. Each sum is spread evenly over its
/// element.
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

/// Converts a mean of probabilities. The mask itself has no higher precision.
#[expect(clippy::cast_possible_truncation, reason = "values in 0..=1 are only rounded")]
fn to_f32(mean: f64) -> f32 {
    mean as f32
}

#[cfg(test)]
mod tests;
