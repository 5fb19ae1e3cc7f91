//! The motion gate: finds out whether and where the frame has changed since the last mask.
//!
//! It compares the luma of frames on a coarse grid. A cell averages about fifty pixels of a 720p
//! frame (ten columns of every second row, see [`row_step`]). The noise of the sensor nearly
//! cancels out in the average, but a moving edge does not. The comparison is with the frame that
//! made the last mask and not with the previous frame, so slow changes add up until they count.
//!
//! The module is pure. A detector belongs to the vision thread and allocates only when it is
//! created and when it gets its first reference.

use portraitd_media::{Size, UnitRect};

/// Size of the grid, in cells.
pub(crate) const GRID: Size = Size::new(128, 72);

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

/// Compares frames with the frame that made the last mask.
#[derive(Clone, Debug)]
pub struct MotionDetector {
    /// Luma of the frame that made the last mask; `None` before the first mask.
    reference: Option<Vec<u8>>,
    /// Luma of the newest frame.
    newest: Vec<u8>,
    /// Which cells have changed.
    changed: Vec<bool>,
    /// Whether any cell has changed.
    any: bool,
    /// The mean difference of unchanged cells, in levels.
    noise: f32,
}

impl Default for MotionDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl MotionDetector {
    /// A detector without a reference: every cell counts as changed.
    pub fn new() -> Self {
        let cells = GRID.width as usize * GRID.height as usize;
        Self { reference: None, newest: vec![0; cells], changed: vec![true; cells], any: true, noise: 0.0 }
    }

    /// Discards the reference: every cell counts as changed.
    pub fn reset(&mut self) {
        self.reference = None;
        self.changed.fill(true);
        self.any = true;
    }

    /// Compares the luma of the newest frame, `[72, 128]` row-major, with the reference. If `luma`
    /// has another length, nothing changes.
    pub fn compare(&mut self, luma: &[u8]) {
        if luma.len() != self.newest.len() {
            return;
        }
        self.newest.copy_from_slice(luma);
        let Some(reference) = &self.reference else { return };
        let limit = (MIN_CHANGE + NOISE_FACTOR * self.noise).min(MAX_CHANGE);
        let (mut unchanged_sum, mut unchanged_count) = (0u32, 0u32);
        self.any = false;
        for ((changed, new), old) in self.changed.iter_mut().zip(luma).zip(reference) {
            let difference = new.abs_diff(*old);
            *changed = f32::from(difference) >= limit;
            self.any |= *changed;
            if !*changed {
                unchanged_sum += u32::from(difference);
                unchanged_count += 1;
            }
        }
        if unchanged_count > 0 {
            self.noise += (unchanged_sum as f32 / unchanged_count as f32 - self.noise) * NOISE_GAIN;
        }
    }

    /// Makes the newest frame the reference. To be called when the frame makes a mask.
    pub fn set_reference(&mut self) {
        match &mut self.reference {
            Some(reference) => reference.copy_from_slice(&self.newest),
            None => self.reference = Some(self.newest.clone()),
        }
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
        self.any && self.cells().any(|(cell, changed)| changed && cell.intersection(window).is_empty())
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
        assert!(detector.is_still(), "{}", detector.noise);
        detector.compare(&luma(|x, y| if x > 100 && y > 50 { 140 } else { 96 + hash(x, y, 61) as u8 }));
        assert!(!detector.is_still());
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
