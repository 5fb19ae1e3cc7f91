//! Where the picture has changed since the net last looked: the still gate, and what draws attention.
//!
//! Pure; owned by the vision thread. It allocates when it is made and not afterwards.
//!
//! The frame's luma is compared on a coarse grid whose cells average fifty pixels of a 720p frame (ten columns of every
//! second row: [`rows_to_read`]), so that a sensor's noise nearly cancels out and an edge that moves does not. The comparison
//! is with the frame that the net saw last, not with the frame before: what changes slowly adds up until it counts.

use portraitd_media::{Size, UnitRect};

/// Cells of the grid that is compared.
pub const GRID: Size = Size::new(128, 72);

/// A cell needs no more rows of the frame than these: reading the frame is what the still gate costs.
const ROWS_A_CELL: usize = 5;

/// Of so many rows of a frame of `size` one is read for the grid.
pub const fn rows_to_read(size: Size) -> usize {
    let every = size.height as usize / (GRID.height as usize * ROWS_A_CELL);
    if every == 0 { 1 } else { every }
}

/// A cell has changed from this difference on, however little noise there is: levels of 255.
const LEAST_CHANGE: f32 = 3.0;

/// No noise makes a difference above this one count as none, levels.
const MOST_CHANGE: f32 = 12.0;

/// A cell has changed where it differs by this much more than cells do on average. Differences of Gaussian noise are above
/// six times their mean once in a million.
const TIMES_NOISE: f32 = 6.0;

/// How quickly the noise is learned: the weight of one frame.
const NOISE_GAIN: f32 = 0.1;

/// Compares frames with the one that the net saw last.
#[derive(Clone, Debug)]
pub struct MotionDetector {
    /// The luma that the net saw last; none before the first look.
    reference: Option<Vec<u8>>,
    /// The luma of the newest frame.
    newest: Vec<u8>,
    changed: Vec<bool>,
    any: bool,
    /// The mean difference of cells in which nothing moves, levels.
    noise: f32,
}

impl Default for MotionDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl MotionDetector {
    /// A detector that has seen nothing: everything has changed.
    pub fn new() -> Self {
        let cells = GRID.width as usize * GRID.height as usize;
        Self { reference: None, newest: vec![0; cells], changed: vec![true; cells], any: true, noise: 0.0 }
    }

    /// Forgets the last look: everything has changed.
    pub fn reset(&mut self) {
        self.reference = None;
        self.changed.fill(true);
        self.any = true;
    }

    /// Takes the luma of the newest frame, `[72, 128]` row-major as [`GRID`] says. Another number of cells changes nothing.
    pub fn compare(&mut self, luma: &[u8]) {
        if luma.len() != self.newest.len() {
            return;
        }
        self.newest.copy_from_slice(luma);
        let Some(reference) = &self.reference else { return };
        let limit = (LEAST_CHANGE + TIMES_NOISE * self.noise).min(MOST_CHANGE);
        let (mut calm_sum, mut calm_count) = (0u32, 0u32);
        self.any = false;
        for ((changed, new), old) in self.changed.iter_mut().zip(luma).zip(reference) {
            let difference = new.abs_diff(*old);
            *changed = f32::from(difference) >= limit;
            self.any |= *changed;
            if !*changed {
                calm_sum += u32::from(difference);
                calm_count += 1;
            }
        }
        if calm_count > 0 {
            self.noise += (calm_sum as f32 / calm_count as f32 - self.noise) * NOISE_GAIN;
        }
    }

    /// The net has looked at the newest frame: further ones are compared with it.
    pub fn looked(&mut self) {
        match &mut self.reference {
            Some(reference) => reference.copy_from_slice(&self.newest),
            None => self.reference = Some(self.newest.clone()),
        }
    }

    /// Whether nothing has changed since the last look.
    pub const fn is_still(&self) -> bool {
        !self.any
    }

    /// What has changed, all of it in one rectangle, in fractions of the frame; none where nothing has.
    pub fn bounds(&self) -> Option<UnitRect> {
        let cells = self.cells().filter(|(_, changed)| *changed).map(|(cell, _)| cell);
        cells.reduce(|all, cell| all.union(&cell))
    }

    /// Whether anything has changed outside of `window` (fractions of the frame).
    pub fn is_outside(&self, window: &UnitRect) -> bool {
        self.any && self.cells().any(|(cell, changed)| changed && cell.intersection(window).is_empty())
    }

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

    fn seen(picture: &[u8]) -> MotionDetector {
        let mut detector = MotionDetector::new();
        detector.compare(picture);
        assert!(!detector.is_still(), "before the first look everything is new");
        detector.looked();
        detector
    }

    #[test]
    fn a_cell_reads_five_rows_of_a_frame_or_all_it_has() {
        let heights = [120, 480, 719, 720, 1080, 2160];
        assert_eq!(heights.map(|height| rows_to_read(Size::new(16, height))), [1, 1, 1, 2, 3, 6]);
    }

    #[test]
    fn noise_is_still_and_an_edge_that_moves_is_not() {
        let room = luma(|x, _| if x < 60 { 40 } else { 180 });
        let mut detector = seen(&room);
        // Noise of a cell, at most two levels.
        for frame in 0..20usize {
            let noisy = luma(|x, y| room[y * WIDTH + x] + ((x * 7 + y * 13 + frame * 5) % 3) as u8 - 1);
            detector.compare(&noisy);
            assert!(detector.is_still(), "frame {frame}");
        }
        // The edge moves by a tenth of a cell at one height.
        let moved = luma(|x, y| if x == 60 && y == 30 { 166 } else { room[y * WIDTH + x] });
        detector.compare(&moved);
        assert!(!detector.is_still());
        let bounds = detector.bounds().expect("a change");
        assert_eq!((bounds.x, bounds.y), (60.0 / 128.0, 30.0 / 72.0));
        assert!(detector.is_outside(&UnitRect::new(0.0, 0.0, 0.4, 1.0)));
        assert!(!detector.is_outside(&UnitRect::new(0.4, 0.3, 0.2, 0.4)));
    }

    #[test]
    fn a_slow_change_adds_up_until_it_counts() {
        let mut detector = seen(&luma(|_, _| 100));
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
    fn a_noisy_camera_is_learned_and_real_motion_still_seen() {
        let hash = |x: usize, y: usize, frame: usize| (x * 31 + y * 17 + frame * 101 + x * y) % 9;
        let mut detector = seen(&luma(|_, _| 100));
        for frame in 0..60 {
            detector.compare(&luma(|x, y| 96 + hash(x, y, frame) as u8));
        }
        assert!(detector.is_still(), "{}", detector.noise);
        detector.compare(&luma(|x, y| if x > 100 && y > 50 { 140 } else { 96 + hash(x, y, 61) as u8 }));
        assert!(!detector.is_still());
    }

    #[test]
    fn another_grid_changes_nothing() {
        let mut detector = seen(&luma(|_, _| 9));
        detector.compare(&luma(|_, _| 9));
        detector.compare(&[1, 2, 3]);
        assert!(detector.is_still());
        detector.reset();
        assert!(!detector.is_still() && detector.is_outside(&UnitRect::new(0.0, 0.0, 0.5, 0.5)));
    }
}
