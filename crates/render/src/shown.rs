//! What of a frame a composite may show. This is the only place that decides it.
//!
//! [`CompositeRenderer`](crate::CompositeRenderer) takes a [`ShownMatte`] and no other mask, and
//! only the two rules of [`MatteRules`] make one that shows anybody. So no other code can write
//! room pixels to a composite by mistake. `docs/design/fail-closed.md` gives the reasons.
//!
//! A cell of a mask counts for a frame if one of these holds. Every other cell is background.
//!
//! - It comes from the inference pass on this very frame.
//! - The motion gate found no change at the cell between the frame of its pass and this frame.
//!
//! Cells of people who are ignored never count.

use portraitd_kernels::blend::{MaskValues, MaskView};
use portraitd_media::{PixelRect, Size};
use portraitd_vision::{CellOrigin, GRID, Observation};

/// A mask whose pass is this much older than a newer frame does not count for it.
pub const MASK_TOO_OLD_NS: u64 = 400_000_000;

/// Cells below this probability are background in every composite.
const VISIBLE: f32 = 0.02;

/// The matte of one frame: which of its pixels a composite may show.
#[derive(Clone, Copy, Debug)]
pub struct ShownMatte<'a> {
    mask: Option<MaskView<'a>>,
    complete: bool,
    still: bool,
}

impl<'a> ShownMatte<'a> {
    /// Nothing of the frame is shown: the composite is the background.
    pub const fn nothing() -> Self {
        Self { mask: None, complete: false, still: false }
    }

    /// The mask of the pixels that may be shown; `None` if none may.
    pub(crate) const fn mask(&self) -> Option<&MaskView<'a>> {
        self.mask.as_ref()
    }

    /// Whether the matte shows a part of the frame, or would if somebody were in it.
    pub const fn has_mask(&self) -> bool {
        self.mask.is_some()
    }

    /// Whether nothing in the frame has changed since the mask was made.
    pub const fn is_still(&self) -> bool {
        self.still
    }

    /// Whether every cell of a person counts who is not ignored. If not, parts of people are
    /// missing.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }
}

/// The rules. Owns the memory of one matte; a render thread has its own.
#[derive(Clone, Debug, Default)]
pub struct MatteRules {
    values: Vec<f32>,
    changed: Vec<bool>,
    /// `changed`, with the neighbours of each changed cell.
    near: Vec<bool>,
    /// For each column and row of a mask the first and last cell of the gate that it touches.
    columns: Vec<(usize, usize)>,
    rows: Vec<(usize, usize)>,
}

impl MatteRules {
    /// Rules that allocate their memory at the first use.
    pub fn new() -> Self {
        Self::default()
    }

    /// The matte of the frame that `observation` was made from, and of no other: `sequence` and
    /// `capture_ns` are those of the frame, and `size` is its size in pixels. A cell that comes
    /// from an earlier pass counts if nothing has changed there since.
    pub fn own<'a>(
        &'a mut self,
        observation: &'a Observation,
        (sequence, capture_ns): (u64, u64),
        size: Size,
    ) -> ShownMatte<'a> {
        if (observation.sequence, observation.capture_ns, observation.frame) != (sequence, capture_ns, size) {
            return ShownMatte::nothing();
        }
        if observation.is_own() {
            return ShownMatte { mask: observation.mask_view(), complete: true, still: true };
        }
        self.changed.clear();
        self.changed.extend_from_slice(observation.changed());
        self.counting(observation, capture_ns, u64::MAX)
    }

    /// The matte of a frame that may be newer than the observation, such as the newest frame.
    /// `gate` are the cells of the frame ([`GateSampler::sample`](portraitd_vision::GateSampler)).
    /// A cell counts if nothing has changed there since the frame of its pass, and if that frame
    /// (or, if nothing at all has changed since, the frame of the observation) is at most
    /// [`MASK_TOO_OLD_NS`] older.
    pub fn newer<'a>(
        &'a mut self,
        observation: &'a Observation,
        capture_ns: u64,
        size: Size,
        gate: &[u8],
    ) -> ShownMatte<'a> {
        if observation.frame != size {
            return ShownMatte::nothing();
        }
        if !observation.reference().compare(gate, &mut self.changed) {
            self.changed.clear();
        }
        let confirmed_ns = observation.confirmed_ns();
        let oldest_ns = if confirmed_ns.abs_diff(capture_ns) <= MASK_TOO_OLD_NS { u64::MAX } else { MASK_TOO_OLD_NS };
        self.counting(observation, capture_ns, oldest_ns)
    }

    /// The cells that come from the frame captured at `capture_ns`, and those that are unchanged by
    /// `self.changed` and at most `oldest_ns` older.
    fn counting<'a>(&'a mut self, observation: &'a Observation, capture_ns: u64, oldest_ns: u64) -> ShownMatte<'a> {
        let (size, covers) = (observation.size, observation.covers);
        if observation.mask_view().is_none() {
            return ShownMatte::nothing();
        }
        self.spread();
        self.align(size, covers, observation.frame);
        let Self { values, near, columns, rows, .. } = self;
        values.clear();
        values.extend_from_slice(&observation.mask);
        let mut complete = true;
        let width = size.width as usize;
        for (y, (row, gate_rows)) in values.chunks_exact_mut(width).zip(&*rows).enumerate() {
            for (x, (value, gate_columns)) in row.iter_mut().zip(&*columns).enumerate() {
                if *value < VISIBLE {
                    continue;
                }
                let counts = match observation.origin(y * width + x) {
                    CellOrigin::Ignored => {
                        *value = 0.0;
                        continue;
                    }
                    CellOrigin::Pass(pass_ns) if pass_ns == capture_ns => true,
                    CellOrigin::Pass(pass_ns) => {
                        pass_ns.abs_diff(capture_ns) <= oldest_ns
                            && (near.is_empty() || !touches(near, *gate_columns, *gate_rows))
                    }
                };
                if !counts {
                    *value = 0.0;
                    complete = false;
                }
            }
        }
        let still = self.near.is_empty();
        ShownMatte { mask: MaskView::new(MaskValues::Float(&self.values), size, covers).ok(), complete, still }
    }

    /// Fills `near` from `changed`. The neighbours of a changed cell count as changed too, because
    /// edges of mattes are drawn between cells, and an edge that has moved by less than a cell may
    /// lie in the next one.
    fn spread(&mut self) {
        self.near.clear();
        if self.changed.iter().all(|changed| !changed) {
            return;
        }
        let (width, height) = (GRID.width as usize, GRID.height as usize);
        self.near.resize(self.changed.len(), false);
        for (index, _) in self.changed.iter().enumerate().filter(|(_, changed)| **changed) {
            let (x, y) = (index % width, index / width);
            for row in y.saturating_sub(1)..(y + 2).min(height) {
                self.near[row * width + x.saturating_sub(1)..row * width + (x + 2).min(width)].fill(true);
            }
        }
    }

    /// Computes which cells of the gate the columns and rows of a mask touch.
    fn align(&mut self, mask: Size, covers: PixelRect, frame: Size) {
        let axis = |out: &mut Vec<(usize, usize)>, origin: f32, extent: f32, count: u32, pixels: u32, cells: u32| {
            let to_cell = cells as f32 / pixels.max(1) as f32;
            let step = extent / count.max(1) as f32;
            let last = cells as usize - 1;
            out.clear();
            out.extend((0..count).map(|index| {
                let start = origin + index as f32 * step;
                (cell_at(start * to_cell, last), cell_at((start + step) * to_cell, last))
            }));
        };
        axis(&mut self.columns, covers.x, covers.width, mask.width, frame.width, GRID.width);
        axis(&mut self.rows, covers.y, covers.height, mask.height, frame.height, GRID.height);
    }
}

/// The cell at a position in cells, within the grid.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's `as` saturates")]
fn cell_at(position: f32, last: usize) -> usize {
    (position as usize).min(last)
}

/// Whether one of the cells in these columns and rows is marked.
fn touches(near: &[bool], (left, right): (usize, usize), (top, bottom): (usize, usize)) -> bool {
    let width = GRID.width as usize;
    (top..=bottom).any(|y| near[y * width + left..=y * width + right].contains(&true))
}

#[cfg(test)]
#[path = "shown_tests.rs"]
mod tests;
