//! The mask of several windows: each inference pass makes a part of it.
//!
//! The parts are combined on one grid over the whole frame, of [`SCALE`] cells for each cell of the
//! motion gate in both directions. Each cell of the gate belongs to one window, or to none: to the
//! one whose edges are farthest. So every cell of the mask comes from one pass, and the gate's
//! reference at that place is the frame of the same pass. `docs/design/fail-closed.md` needs both.
//!
//! Each window has a smoother of its own, on the net's grid. Regions are found on the whole mask, so
//! that nobody is counted twice where windows overlap.

use portraitd_media::{Size, UnitRect};

use crate::attention::MAX_WINDOWS;
use crate::grid::{Lattice, resample};
use crate::motion_gate::GRID;
use crate::observation::PASSES;
use crate::regions::{Region, RegionFinder, Seed};
use crate::smooth::Smoother;

/// Cells of the mask for one cell of the motion gate, in each direction.
const SCALE: usize = 4;

/// The size of the mask, in cells.
pub(crate) const SIZE: Size = Size::new(512, 288);
const _: () = assert!(SIZE.width as usize == GRID.width as usize * SCALE);
const _: () = assert!(SIZE.height as usize == GRID.height as usize * SCALE);

/// The owner of a cell of the gate that is in no window.
const NOBODY: u8 = u8::MAX;

/// The origin of cells whose pass is not the last one of a window that exists.
const OLD: u8 = 8;
const _: () = assert!(OLD as usize == MAX_WINDOWS && MAX_WINDOWS < PASSES);

/// If a window and its predecessor overlap less (intersection over union), they have no common
/// history.
const SAME_WINDOW: f32 = 0.2;

/// What is known of one window.
#[derive(Debug, Default)]
struct Part {
    smoother: Smoother,
    area: UnitRect,
    /// The frame of the last pass: sequence number and capture time.
    sequence: u64,
    capture_ns: u64,
}

/// The mask that is made of several passes.
#[derive(Debug)]
pub(crate) struct Parts {
    is_active: bool,
    parts: [Part; MAX_WINDOWS],
    windows: [Option<UnitRect>; MAX_WINDOWS],
    /// For each cell of the gate the slot of its window, or [`NOBODY`].
    owners: Vec<u8>,
    /// For each cell of the gate the slot whose last pass its values come from, or [`OLD`].
    origins: Vec<u8>,
    /// The oldest frame that [`OLD`] cells come from: sequence number and capture time.
    old: (u64, u64),
    mask: Vec<f32>,
    /// The part of the mask that a pass covers.
    patch: Vec<f32>,
    finder: RegionFinder,
}

/// A mask on another grid, of the frame `sequence` that was captured at `capture_ns`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Previous<'a> {
    pub mask: &'a [f32],
    pub size: Size,
    pub covers: UnitRect,
    pub sequence: u64,
    pub capture_ns: u64,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            is_active: false,
            parts: Default::default(),
            windows: [None; MAX_WINDOWS],
            owners: Vec::new(),
            origins: Vec::new(),
            old: (0, 0),
            mask: Vec::new(),
            patch: Vec::new(),
            finder: RegionFinder::for_fine_masks(),
        }
    }
}

impl Parts {
    /// Whether the mask in use is this one.
    pub(crate) const fn is_active(&self) -> bool {
        self.is_active
    }

    /// The mask, row-major, of [`SIZE`]. It covers the frame.
    pub(crate) fn mask(&self) -> &[f32] {
        &self.mask
    }

    /// Another mask is used from now on.
    pub(crate) const fn stop(&mut self) {
        self.is_active = false;
    }

    /// Starts with the mask that was in use before.
    pub(crate) fn start(&mut self, previous: &Previous<'_>) {
        self.is_active = true;
        self.windows = [None; MAX_WINDOWS];
        let cells = GRID.width as usize * GRID.height as usize;
        self.origins.clear();
        self.origins.resize(cells, OLD);
        self.owners.clear();
        self.owners.resize(cells, NOBODY);
        self.old = (previous.sequence, previous.capture_ns);
        self.patch.reserve(cells * SCALE * SCALE);
        self.mask.clear();
        self.mask.resize(cells * SCALE * SCALE, 0.0);
        if previous.mask.len() == previous.size.width as usize * previous.size.height as usize {
            let from = Lattice { size: previous.size, covers: previous.covers };
            resample(previous.mask, from, &mut self.mask, Lattice { size: SIZE, covers: UnitRect::WHOLE }, 0.0);
        }
    }

    /// Takes the windows that exist now. Nobody is outside them.
    pub(crate) fn set_windows(&mut self, windows: [Option<UnitRect>; MAX_WINDOWS]) {
        if !self.is_active || windows == self.windows {
            return;
        }
        self.windows = windows;
        for index in 0..self.owners.len() {
            let (x, y) = (index % GRID.width as usize, index / GRID.width as usize);
            let at = ((x as f32 + 0.5) / GRID.width as f32, (y as f32 + 0.5) / GRID.height as f32);
            let depths =
                windows.iter().zip(0u8..).filter_map(|(window, slot)| Some((depth(window.as_ref()?, at)?, slot)));
            let owner = depths.reduce(|best, next| if next.0 > best.0 { next } else { best });
            self.owners[index] = owner.map_or(NOBODY, |(_, slot)| slot);
            if owner.is_none() {
                self.fill(index, 0.0);
            }
        }
    }

    /// Which cells of the gate (row-major) a pass on the window `slot` makes. A cell in no window
    /// belongs to every pass.
    pub(crate) fn is_made_by(&self, slot: usize) -> impl Fn(usize) -> bool {
        move |index| self.owners.get(index).is_none_or(|owner| *owner == NOBODY || usize::from(*owner) == slot)
    }

    /// Records that nothing has moved in the windows that are `still`, up to this frame.
    pub(crate) fn skip_still_time(&mut self, capture_ns: u64, still: impl Fn(&UnitRect) -> bool) {
        for (part, window) in self.parts.iter_mut().zip(&self.windows) {
            if window.as_ref().is_some_and(&still) {
                part.smoother.skip_still_time(capture_ns);
            }
        }
    }

    /// Takes the result of a pass on the window `slot`: probabilities on a grid of `size` that covers
    /// `covers`, from the frame `sequence`, captured at `capture_ns`. Returns the regions of the
    /// whole mask, which `seeds` divide.
    pub(crate) fn apply(
        &mut self,
        slot: usize,
        (probabilities, size, covers): (&[f32], Size, UnitRect),
        (sequence, capture_ns): (u64, u64),
        seeds: &[Seed],
    ) -> &[Region] {
        self.release(slot);
        let part = &mut self.parts[slot];
        if part.area.iou(&covers) < SAME_WINDOW {
            part.smoother.reset();
        }
        part.smoother.set_covered(covers);
        (part.area, part.sequence, part.capture_ns) = (covers, sequence, capture_ns);
        let values = part.smoother.apply(probabilities, size, capture_ns);
        let (left, top, right, bottom) = extent(&self.owners, slot);
        if left < right && !values.is_empty() {
            let cells = |gate: usize| u32::try_from(gate * SCALE).unwrap_or(0);
            let part = Size::new(cells(right - left), cells(bottom - top));
            let (wide, high) = (GRID.width as f32, GRID.height as f32);
            let area = UnitRect::new(
                left as f32 / wide,
                top as f32 / high,
                (right - left) as f32 / wide,
                (bottom - top) as f32 / high,
            );
            self.patch.resize(part.width as usize * part.height as usize, 0.0);
            resample(values, Lattice { size, covers }, &mut self.patch, Lattice { size: part, covers: area }, 0.0);
            for y in top..bottom {
                for x in left..right {
                    let index = y * GRID.width as usize + x;
                    if usize::from(self.owners[index]) != slot {
                        continue;
                    }
                    self.origins[index] = self.owners[index];
                    for row in 0..SCALE {
                        let from = ((y - top) * SCALE + row) * part.width as usize + (x - left) * SCALE;
                        let to = (y * SCALE + row) * SIZE.width as usize + x * SCALE;
                        self.mask[to..to + SCALE].copy_from_slice(&self.patch[from..from + SCALE]);
                    }
                }
            }
        }
        self.finder.find_between(&mut self.mask, SIZE, seeds)
    }

    /// Gives up the cells of the window `slot` that its next pass does not make.
    fn release(&mut self, slot: usize) {
        let (mut kept_old, mut released) = (false, false);
        for (origin, owner) in self.origins.iter_mut().zip(&self.owners) {
            if usize::from(*origin) == slot && usize::from(*owner) != slot {
                *origin = OLD;
                released |= *owner != NOBODY;
            } else {
                kept_old |= *origin == OLD && *owner != NOBODY && usize::from(*owner) != slot;
            }
        }
        let part = (self.parts[slot].sequence, self.parts[slot].capture_ns);
        self.old = match (kept_old, released) {
            (true, true) if part.1 < self.old.1 => part,
            (false, true) => part,
            _ => self.old,
        };
    }

    /// Fills the times of the passes that the cells come from, and for each cell of the mask the
    /// index of its pass.
    pub(crate) fn fill_origins(&self, passes: &mut [u64; PASSES], origins: &mut Vec<u8>) {
        *passes = [self.old.1; PASSES];
        for (time_ns, part) in passes.iter_mut().zip(&self.parts) {
            *time_ns = part.capture_ns;
        }
        origins.clear();
        for row in self.origins.chunks_exact(GRID.width as usize) {
            let first = origins.len();
            origins.extend(row.iter().flat_map(|origin| [*origin; SCALE]));
            for _ in 1..SCALE {
                origins.extend_from_within(first..first + SIZE.width as usize);
            }
        }
    }

    /// The oldest frame that a part of the mask comes from: sequence number and capture time.
    pub(crate) fn oldest(&self) -> (u64, u64) {
        let mut oldest = (0, u64::MAX);
        let mut used = [false; MAX_WINDOWS + 1];
        for (origin, owner) in self.origins.iter().zip(&self.owners) {
            used[usize::from(*origin)] |= *owner != NOBODY;
        }
        let frames = self.parts.iter().map(|part| (part.sequence, part.capture_ns)).chain([self.old]);
        for (frame, _) in frames.zip(used).filter(|(_, used)| *used) {
            if frame.1 < oldest.1 {
                oldest = frame;
            }
        }
        if oldest.1 == u64::MAX { self.old } else { oldest }
    }

    fn fill(&mut self, index: usize, value: f32) {
        let (x, y) = (index % GRID.width as usize, index / GRID.width as usize);
        for row in 0..SCALE {
            let start = (y * SCALE + row) * SIZE.width as usize + x * SCALE;
            self.mask[start..start + SCALE].fill(value);
        }
    }
}

/// How far a point is inside a window: the distance to the nearest edge that is not the frame's, as a
/// share of the window. `None` outside it.
fn depth(window: &UnitRect, (x, y): (f32, f32)) -> Option<f32> {
    let axis = |at: f32, start: f32, extent: f32| {
        let (before, after) = ((at - start) / extent, (start + extent - at) / extent);
        if before < 0.0 || after < 0.0 {
            return None;
        }
        let before = if start > 1e-3 { before } else { 1.0 };
        Some(if start + extent < 1.0 - 1e-3 { before.min(after) } else { before })
    };
    Some(axis(x, window.x, window.width)?.min(axis(y, window.y, window.height)?))
}

/// The columns and rows of the gate's cells that belong to `slot`: left, top, right, bottom.
fn extent(owners: &[u8], slot: usize) -> (usize, usize, usize, usize) {
    let (mut left, mut top, mut right, mut bottom) = (usize::MAX, usize::MAX, 0, 0);
    for (y, row) in owners.chunks_exact(GRID.width as usize).enumerate() {
        for (x, _) in row.iter().enumerate().filter(|(_, owner)| usize::from(**owner) == slot) {
            (left, right) = (left.min(x), right.max(x + 1));
            (top, bottom) = (top.min(y), y + 1);
        }
    }
    (left, top, right, bottom)
}

#[cfg(test)]
mod tests;
