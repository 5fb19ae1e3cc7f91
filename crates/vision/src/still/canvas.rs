//! The grid over a whole picture in which the results of several inference passes are combined.

use portraitd_media::{Size, UnitRect};

use crate::grid::{Lattice, resample};

/// A canvas has at most this many cells on its longer side.
const MAX_SIDE: f32 = 1024.0;

/// Within this share of a pass's width or height from the edge of its area, the weight of its cells
/// falls to [`MIN_WEIGHT`]: there the net does not see what surrounds a pixel. Edges of the picture
/// do not count.
const FADE: f32 = 0.15;

/// The weight of a cell at the edge of the area, as a share of a cell in the middle.
const MIN_WEIGHT: f32 = 4e-4;

/// The result of one pass: probabilities of a person, row-major, on a grid over a part of the
/// picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch<'a> {
    pub(super) values: &'a [f32],
    pub(super) grid: Size,
    /// The area that the grid covers, in fractions of the picture.
    pub(super) area: UnitRect,
}

impl Patch<'_> {
    /// The weight, 0..=1, of the cell at this point of the picture.
    fn weight(&self, x: f32, y: f32) -> f32 {
        let axis = |at: f32, start: f32, extent: f32| {
            let before = if start > 1e-3 { (at - start) / (extent * FADE) } else { 1.0 };
            let after = if start + extent < 1.0 - 1e-3 { (start + extent - at) / (extent * FADE) } else { 1.0 };
            before.min(after).clamp(0.0, 1.0)
        };
        let least = axis(x, self.area.x, self.area.width).min(axis(y, self.area.y, self.area.height));
        (least * least).max(MIN_WEIGHT)
    }
}

/// Weighted means of probabilities, on a grid over the whole picture.
#[derive(Clone, Debug)]
pub(super) struct Canvas {
    size: Size,
    /// For each cell the weighted sum of the probabilities.
    sums: Vec<f32>,
    /// For each cell the sum of the weights.
    weights: Vec<f32>,
}

impl Canvas {
    /// An empty canvas for a picture. It has a cell for each pixel, up to [`MAX_SIDE`].
    pub(super) fn new(picture: Size) -> Self {
        let scale = (MAX_SIDE / picture.width.max(picture.height).max(1) as f32).min(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to MAX_SIDE")]
        let side = |pixels: u32| ((pixels as f32 * scale).round() as u32).max(1);
        let size = Size::new(side(picture.width), side(picture.height));
        let cells = size.width as usize * size.height as usize;
        Self { size, sums: vec![0.0; cells], weights: vec![0.0; cells] }
    }

    /// The number of cells in each direction.
    pub(super) const fn size(&self) -> Size {
        self.size
    }

    /// Adds a pass with `weight`.
    pub(super) fn add(&mut self, patch: &Patch<'_>, weight: f32) {
        self.visit(patch, patch.area, |sum, total, value, [x, y]| {
            let weight = weight * patch.weight(x, y);
            *sum += weight * value;
            *total += weight;
        });
    }

    /// Adds the part `within` of a pass, where it shows more of a person than is known. It never
    /// removes anything: the pass may have cut off another person at its edge.
    pub(super) fn add_person(&mut self, patch: &Patch<'_>, within: UnitRect, weight: f32) {
        self.visit(patch, within.intersection(&patch.area), |sum, total, value, _| {
            if value * *total >= *sum {
                (*sum, *total) = (value * weight, weight);
            }
        });
    }

    /// The mean probabilities, row-major; 0 where nothing was added.
    pub(super) fn values(&self) -> Vec<f32> {
        let mean = |(sum, weight): (&f32, &f32)| if *weight > 0.0 { sum / weight } else { 0.0 };
        self.sums.iter().zip(&self.weights).map(mean).collect()
    }

    /// Calls `change` with the sum, the weight, the value of `patch` and the centre (fractions of the
    /// picture) of every cell whose centre is in `area`, a part of the patch.
    fn visit(&mut self, patch: &Patch<'_>, area: UnitRect, mut change: impl FnMut(&mut f32, &mut f32, f32, [f32; 2])) {
        let Size { width, height } = self.size;
        let centers = |from: f32, extent: f32, cells: u32| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the number of cells")]
            let cell = |at: f32| (at * cells as f32 - 0.5).ceil().clamp(0.0, cells as f32) as u32;
            cell(from)..cell(from + extent)
        };
        let (columns, rows) = (centers(area.x, area.width, width), centers(area.y, area.height, height));
        let part = Size::new(columns.end.saturating_sub(columns.start), rows.end.saturating_sub(rows.start));
        let fraction = |cells: u32, side: u32| cells as f32 / side as f32;
        let covers = UnitRect {
            x: fraction(columns.start, width),
            y: fraction(rows.start, height),
            width: fraction(part.width, width),
            height: fraction(part.height, height),
        };
        let mut values = vec![0.0; part.width as usize * part.height as usize];
        let from = Lattice { size: patch.grid, covers: patch.area };
        resample(patch.values, from, &mut values, Lattice { size: part, covers }, 0.0);
        let mut values = values.into_iter();
        for row in rows {
            let y = (row as f32 + 0.5) / height as f32;
            for (column, value) in columns.clone().zip(&mut values) {
                let x = (column as f32 + 0.5) / width as f32;
                let cell = row as usize * width as usize + column as usize;
                change(&mut self.sums[cell], &mut self.weights[cell], value, [x, y]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canvas_has_the_picture_s_aspect() {
        assert_eq!(Canvas::new(Size::new(640, 360)).size(), Size::new(640, 360));
        assert_eq!(Canvas::new(Size::new(4096, 2304)).size(), Size::new(1024, 576));
        assert_eq!(Canvas::new(Size::new(65535, 1)).size(), Size::new(1024, 1));
    }

    #[test]
    fn passes_of_one_value_give_that_value_wherever_they_overlap() {
        let mut canvas = Canvas::new(Size::new(64, 36));
        let (grid, values) = (Size::new(16, 9), vec![0.75; 16 * 9]);
        for (area, weight) in [(UnitRect::WHOLE, 1.0), (UnitRect::new(0.3, 0.2, 0.4, 0.7), 6.0)] {
            canvas.add(&Patch { values: &values, grid, area }, weight);
        }
        assert!(canvas.values().iter().all(|value| (value - 0.75).abs() < 1e-6));
    }

    #[test]
    fn a_pass_counts_little_at_its_edges_and_not_beyond() {
        let mut canvas = Canvas::new(Size::new(100, 100));
        let grid = Size::new(10, 10);
        canvas.add(&Patch { values: &[1.0; 100], grid, area: UnitRect::WHOLE }, 1.0);
        canvas.add(&Patch { values: &[0.0; 100], grid, area: UnitRect::new(0.2, 0.0, 0.6, 1.0) }, 100.0);
        let values = canvas.values();
        let at = |x: usize| values[50 * 100 + x];
        assert!(at(50) < 0.01, "{}", at(50));
        assert!(at(20) > 0.7, "at the edge: {}", at(20));
        assert!((at(19) - 1.0).abs() < 1e-6 && (at(80) - 1.0).abs() < 1e-6);
        // The edge of the picture is not an edge of what the net sees.
        assert!(values[50] < 0.01 && values[99 * 100 + 50] < 0.01);
    }

    #[test]
    fn a_person_is_added_and_nobody_is_removed() {
        let mut canvas = Canvas::new(Size::new(40, 20));
        let grid = Size::new(4, 2);
        let left: Vec<f32> = (0..8).map(|cell| if cell % 4 < 2 { 1.0 } else { 0.0 }).collect();
        canvas.add(&Patch { values: &left, grid, area: UnitRect::WHOLE }, 1.0);
        let right: Vec<f32> = left.iter().map(|value| 1.0 - value).collect();
        canvas.add_person(&Patch { values: &right, grid, area: UnitRect::WHOLE }, UnitRect::WHOLE, 6.0);
        let values = canvas.values();
        assert!(values[10 * 40 + 4] > 0.99 && values[10 * 40 + 36] > 0.99);
    }
}
