//! The motion gate: finds out whether and where the frame has changed since the last mask.
//!
//! It compares frames on a coarse grid. A cell averages about fifty pixels of a 720p frame (ten
//! columns of every second row, see [`row_step`]), in luma and in both chromas, so that somebody
//! whose clothes are as bright as the wall is seen too. The noise of the sensor nearly cancels out
//! in the average, but a moving edge does not. The comparison is with the frame that made the last
//! mask and not with the previous frame, so slow changes add up until they count.
//!
//! The module is pure. A [`MotionDetector`] belongs to the vision thread. Other threads compare
//! their own frames with the same [`GateReference`], which comes with each observation. Both
//! allocate only when they are created and when they get their first reference.

use portraitd_kernels::sample::{SampleError, SampleSpec, Sampler};
use portraitd_media::{Picture, PixelRect, Size, UnitRect};

/// Size of the grid, in cells.
pub const GRID: Size = Size::new(128, 72);

/// The number of cells.
const CELLS: usize = GRID.width as usize * GRID.height as usize;

/// The number of rows of the frame that a cell averages. More would cost more: nearly all time of
/// the motion gate is spent reading the frame.
const ROWS_PER_CELL: usize = 5;

/// The grid is made from every `row_step`th row of a frame of `size`.
pub(crate) const fn row_step(size: Size) -> usize {
    let step = size.height as usize / (GRID.height as usize * ROWS_PER_CELL);
    if step == 0 { 1 } else { step }
}

/// The smallest difference that counts as a change if there is no noise, in levels of 255.
const MIN_CHANGE: f32 = 3.0;

/// A difference of this many levels counts as a change, however strong the noise is.
const MAX_CHANGE: f32 = 12.0;

/// How many times the mean difference of unchanged cells is added to the limit. Of the differences
/// of Gaussian noise, one in a million exceeds six times their mean.
const NOISE_FACTOR: f32 = 6.0;

/// The weight of one frame in the estimate of the noise.
const NOISE_GAIN: f32 = 0.1;

/// The mean difference of luma, Cb and Cr that is assumed before it is measured, in levels. A cell
/// averages few samples of chroma, so its noise counts from the first frame on.
const FIRST_NOISE: [f32; 3] = [0.0, 0.7, 0.7];

/// Reduces frames to the cells that the gate compares.
#[derive(Clone, Debug)]
pub struct GateSampler {
    sampler: Sampler,
    cells: Vec<u8>,
}

impl GateSampler {
    /// A sampler that has seen no frame.
    ///
    /// # Errors
    /// [`SampleError`] if the grid cannot be sampled, which does not happen.
    pub fn new() -> Result<Self, SampleError> {
        Ok(Self { sampler: Sampler::new(SampleSpec::new(GRID))?, cells: vec![128; 3 * CELLS] })
    }

    /// The cells of a frame: luma, Cb and Cr, `[3, 72, 128]`.
    ///
    /// # Errors
    /// [`SampleError`] if the picture cannot be sampled.
    pub fn sample(&mut self, picture: &Picture<'_>) -> Result<&[u8], SampleError> {
        let step = row_step(picture.size());
        self.sampler.sample_cells(picture, PixelRect::of_size(picture.size()), [step, step], &mut self.cells)?;
        Ok(&self.cells)
    }
}

/// What the frame of a mask looked like, and by how much a cell must differ from it to count as
/// changed.
#[derive(Clone, Debug, Default)]
pub struct GateReference {
    /// The cells of the frame; empty if there is none.
    cells: Vec<u8>,
    /// The least difference that counts, of luma, Cb and Cr.
    limits: [u8; 3],
}

impl GateReference {
    /// Marks in `changed`, row-major, the cells of [`GRID`] in which `cells` differ from the
    /// reference. Returns whether there are any. Without a reference, or if the numbers of cells
    /// differ, everything has changed.
    pub fn compare(&self, cells: &[u8], changed: &mut Vec<bool>) -> bool {
        changed.clear();
        if self.cells.is_empty() || self.cells.len() != cells.len() {
            changed.resize(CELLS, true);
            return true;
        }
        changed.resize(CELLS, false);
        let mut any = false;
        let planes = cells.chunks_exact(CELLS).zip(self.cells.chunks_exact(CELLS));
        for ((new, old), limit) in planes.zip(self.limits) {
            for ((changed, new), old) in changed.iter_mut().zip(new).zip(old) {
                *changed |= new.abs_diff(*old) >= limit;
                any |= *changed;
            }
        }
        any
    }

    /// Copies `other` without an allocation, if the sizes are equal.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.cells.clear();
        self.cells.extend_from_slice(&other.cells);
        self.limits = other.limits;
    }
}

/// Compares frames with the frame that made the last mask.
#[derive(Clone, Debug)]
pub struct MotionDetector {
    /// The frame that made the last mask.
    reference: GateReference,
    /// The cells of the newest frame.
    newest: Vec<u8>,
    /// Which cells have changed.
    changed: Vec<bool>,
    /// Whether any cell has changed.
    any: bool,
    /// The mean difference of unchanged cells, in levels, of luma, Cb and Cr.
    noise: [f32; 3],
}

impl Default for MotionDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl MotionDetector {
    /// A detector without a reference: every cell counts as changed.
    pub fn new() -> Self {
        Self {
            reference: GateReference::default(),
            newest: Vec::new(),
            changed: vec![true; CELLS],
            any: true,
            noise: FIRST_NOISE,
        }
    }

    /// Discards the reference: every cell counts as changed.
    pub fn reset(&mut self) {
        self.reference.cells.clear();
        self.changed.fill(true);
        self.any = true;
    }

    /// Compares the cells of the newest frame ([`GateSampler::sample`], or luma alone: `[72, 128]`)
    /// with the reference. If `cells` has another length, nothing changes.
    pub fn compare(&mut self, cells: &[u8]) {
        if cells.len() != CELLS && cells.len() != 3 * CELLS {
            return;
        }
        self.newest.clear();
        self.newest.extend_from_slice(cells);
        self.set_limits();
        self.any = self.reference.compare(cells, &mut self.changed);
        let planes = cells.chunks_exact(CELLS).zip(self.reference.cells.chunks_exact(CELLS));
        for ((new, old), noise) in planes.zip(&mut self.noise) {
            let (mut sum, mut count) = (0u32, 0u32);
            for ((changed, new), old) in self.changed.iter().zip(new).zip(old) {
                let unchanged = u32::from(!*changed);
                sum += unchanged * u32::from(new.abs_diff(*old));
                count += unchanged;
            }
            if count > 0 {
                *noise += (sum as f32 / count as f32 - *noise) * NOISE_GAIN;
            }
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "3 to 12")]
    fn set_limits(&mut self) {
        self.reference.limits =
            self.noise.map(|noise| (MIN_CHANGE + NOISE_FACTOR * noise).min(MAX_CHANGE).ceil() as u8);
    }

    /// Makes the newest frame the reference. To be called when the frame makes a mask.
    pub fn set_reference(&mut self) {
        self.reference.cells.clear();
        self.reference.cells.extend_from_slice(&self.newest);
    }

    /// Makes the newest frame the reference of the cells (row-major indices) that are `seen`. To be
    /// called when the frame makes that part of the mask; these cells then count as unchanged.
    pub(crate) fn set_reference_where(&mut self, seen: impl Fn(usize) -> bool) {
        if self.reference.cells.len() != self.newest.len() {
            self.set_reference();
        }
        let planes = self.reference.cells.chunks_exact_mut(CELLS).zip(self.newest.chunks_exact(CELLS));
        for (old, new) in planes {
            for (index, (old, new)) in old.iter_mut().zip(new).enumerate() {
                if seen(index) {
                    *old = *new;
                }
            }
        }
        for (_, changed) in self.changed.iter_mut().enumerate().filter(|(index, _)| seen(*index)) {
            *changed = false;
        }
        self.any = self.changed.contains(&true);
    }

    /// The frame that made the last mask, for threads that compare frames of their own with it.
    pub const fn reference(&self) -> &GateReference {
        &self.reference
    }

    /// Which cells of [`GRID`] have changed, row-major.
    pub fn changed(&self) -> &[bool] {
        &self.changed
    }

    /// Whether no cell has changed.
    pub const fn is_still(&self) -> bool {
        !self.any
    }

    /// The rectangle around all changed cells, in fractions of the frame; `None` if there are none.
    pub fn changed_bounds(&self) -> Option<UnitRect> {
        let cells = self.cells().filter(|(_, changed)| *changed).map(|(cell, _)| cell);
        cells.reduce(|all, cell| all.union(&cell))
    }

    /// Whether a cell outside `window` has changed (in fractions of the frame).
    pub fn has_changed_outside(&self, window: &UnitRect) -> bool {
        self.has_changed_where(|cell| cell.intersection(window).is_empty())
    }

    /// Whether a cell that touches `window` has changed (in fractions of the frame).
    pub(crate) fn has_changed_in(&self, window: &UnitRect) -> bool {
        self.has_changed_where(|cell| !cell.intersection(window).is_empty())
    }

    /// Whether a cell has changed whose rectangle, in fractions of the frame, is one of those that
    /// `counts`.
    pub(crate) fn has_changed_where(&self, counts: impl Fn(&UnitRect) -> bool) -> bool {
        self.any && self.cells().any(|(cell, changed)| changed && counts(&cell))
    }

    /// The rectangle of each cell, in fractions of the frame, and whether the cell has changed.
    fn cells(&self) -> impl Iterator<Item = (UnitRect, bool)> + '_ {
        let (width, height) = (1.0 / GRID.width as f32, 1.0 / GRID.height as f32);
        let rows = self.changed.chunks_exact(GRID.width as usize).enumerate();
        rows.flat_map(move |(y, row)| {
            row.iter()
                .enumerate()
                .map(move |(x, changed)| (UnitRect::new(x as f32 * width, y as f32 * height, width, height), *changed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 128;

    fn luma(at: impl Fn(usize, usize) -> u8) -> Vec<u8> {
        (0..WIDTH * 72).map(|index| at(index % WIDTH, index / WIDTH)).collect()
    }

    fn with_reference(picture: &[u8]) -> MotionDetector {
        let mut detector = MotionDetector::new();
        detector.compare(picture);
        assert!(!detector.is_still(), "without a reference everything has changed");
        detector.set_reference();
        detector
    }

    #[test]
    fn a_cell_reads_five_rows_of_a_frame_or_all_it_has() {
        let heights = [120, 480, 719, 720, 1080, 2160];
        assert_eq!(heights.map(|height| row_step(Size::new(16, height))), [1, 1, 1, 2, 3, 6]);
    }

    #[test]
    fn noise_is_still_and_an_edge_that_moves_is_not() {
        let room = luma(|x, _| if x < 60 { 40 } else { 180 });
        let mut detector = with_reference(&room);
        // The noise of a cell is at most two levels.
        for frame in 0..20usize {
            let noisy = luma(|x, y| room[y * WIDTH + x] + ((x * 7 + y * 13 + frame * 5) % 3) as u8 - 1);
            detector.compare(&noisy);
            assert!(detector.is_still(), "frame {frame}");
        }
        // The edge moves by a tenth of a cell in one row.
        let moved = luma(|x, y| if x == 60 && y == 30 { 166 } else { room[y * WIDTH + x] });
        detector.compare(&moved);
        assert!(!detector.is_still());
        let bounds = detector.changed_bounds().expect("a change");
        assert_eq!((bounds.x, bounds.y), (60.0 / 128.0, 30.0 / 72.0));
        assert!(detector.has_changed_outside(&UnitRect::new(0.0, 0.0, 0.4, 1.0)));
        assert!(!detector.has_changed_outside(&UnitRect::new(0.4, 0.3, 0.2, 0.4)));
    }

    #[test]
    fn a_slow_change_adds_up_until_it_counts() {
        let mut detector = with_reference(&luma(|_, _| 100));
        let changes: Vec<bool> = (0u8..4)
            .map(|level| {
                detector.compare(&luma(|x, _| if x < 20 { 100 + level * 3 } else { 100 }));
                !detector.is_still()
            })
            .collect();
        assert_eq!(changes.last(), Some(&true), "{changes:?}");
        assert!(!changes[0]);
    }

    #[test]
    fn noise_is_learned_and_motion_is_still_detected() {
        let hash = |x: usize, y: usize, frame: usize| (x * 31 + y * 17 + frame * 101 + x * y) % 9;
        let mut detector = with_reference(&luma(|_, _| 100));
        for frame in 0..60 {
            detector.compare(&luma(|x, y| 96 + hash(x, y, frame) as u8));
        }
        assert!(detector.is_still(), "{:?}", detector.noise);
        detector.compare(&luma(|x, y| if x > 100 && y > 50 { 140 } else { 96 + hash(x, y, 61) as u8 }));
        assert!(!detector.is_still());
    }

    #[test]
    fn a_change_of_colour_alone_counts() {
        // As bright as the wall, of another colour.
        let cells = |cb: u8| [vec![100; CELLS], vec![128; CELLS / 2], vec![cb; CELLS / 2], vec![128; CELLS]].concat();
        let mut detector = MotionDetector::new();
        detector.compare(&cells(128));
        detector.set_reference();
        detector.compare(&cells(130));
        assert!(detector.is_still(), "noise");
        detector.compare(&cells(150));
        assert!(!detector.is_still());
        assert_eq!(detector.changed().iter().filter(|changed| **changed).count(), CELLS / 2);
        let mut changed = Vec::new();
        assert!(detector.reference().compare(&cells(150), &mut changed), "another thread finds the same");
        assert_eq!(changed, detector.changed());
        assert!(!detector.reference().compare(&cells(128), &mut changed));
        assert!(GateReference::default().compare(&cells(128), &mut changed), "without a reference");
    }

    #[test]
    fn luma_of_another_length_changes_nothing() {
        let mut detector = with_reference(&luma(|_, _| 9));
        detector.compare(&luma(|_, _| 9));
        detector.compare(&[1, 2, 3]);
        assert!(detector.is_still());
        detector.reset();
        assert!(!detector.is_still() && detector.has_changed_outside(&UnitRect::new(0.0, 0.0, 0.5, 0.5)));
    }
}
