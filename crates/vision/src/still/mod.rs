//! Single pictures: several inference passes, on the whole picture and on windows, for one mask.
//!
//! 1. A pass on the whole picture finds the people who are large enough.
//! 2. Passes on tiles find candidates: people who are too small, or too many, for the first pass.
//! 3. Passes on windows around the people, in two rounds, show each of them large. A wide group gets
//!    several overlapping windows.
//!
//! A window is ignored if the net is less certain in it than before, as happens in blurred
//! pictures. A candidate counts if its own window confirms it, and if it is not much smaller than
//! the people of the first pass. `docs/design/attention.md` has the measurements.
//!
//! If there is a detector of heads, it then looks at everybody who was found, and people who touch are
//! told apart.

mod canvas;

use canvas::{Canvas, Patch};
use portraitd_media::{Picture, PixelRect, Size, UnitRect};

use crate::attention::{FULL_FRAME_FROM, TILES};
use crate::grid::{Lattice, resample};
use crate::heads::seed;
use crate::mask::THRESHOLD;
use crate::observation::Observation;
use crate::observer::{ObserveError, Observer};
use crate::regions::{Region, RegionFinder, Seed};
use crate::tracker::Tracker;
use crate::window::{MARGIN_X, MARGIN_Y, cell_aspect, window_around};

/// The number of rounds of window passes. The second round has better boxes.
const ROUNDS: u32 = 2;
/// The weight of a window pass, in comparison with the round before.
const WEIGHT_STEP: f32 = 6.0;
/// The number of windows of one round, at most.
const MAX_WINDOWS: usize = 24;
/// People whose box is wider than this many heights (in pixels) are a group. Each window of a group
/// shows a part of the box of this width.
const GROUP_ASPECT: f32 = 1.2;
/// The distance from one part of a group to the next, as a share of the width of a part.
const GROUP_STEP: f32 = 0.5;
/// The least mean probability of a candidate in its tile.
const MIN_CANDIDATE: f32 = 0.8;
/// The least mean probability of a candidate in its window.
const MIN_CONFIRMED: f32 = 0.9;
/// The least overlap (intersection over union) of a candidate's boxes in its tile and its window.
const MIN_AGREEMENT: f32 = 0.5;
/// A candidate is a known person if more than this share of the candidate's box lies in the box of
/// that person.
const KNOWN: f32 = 0.7;
/// Candidates whose boxes overlap by more than this (intersection over union) are the same person.
const SAME: f32 = 0.6;
/// The least height of a candidate, as a share of the height of the tallest person of the first
/// pass. Smaller ones are passers-by in the background.
const MIN_HEIGHT: f32 = 0.5;
/// How far a confirmed candidate may extend beyond its box, as shares of its width and height.
const REACH: (f32, f32) = (0.1, 0.05);
/// Cells with at least this probability count when the certainty of two masks is compared.
const SOMEBODY: f32 = 0.1;

/// The state while one picture is segmented.
struct Still<'a> {
    observer: &'a mut Observer,
    picture: &'a Picture<'a>,
    canvas: Canvas,
    finder: RegionFinder,
    inferences: u32,
    inference_ns: u64,
}

impl Observer {
    /// Segments a single picture with as many inference passes as it needs, and fills
    /// `observation`. Its mask has a grid over the whole picture, of one cell for each pixel up to
    /// 1024 on the longer side. Everything that was observed before is forgotten.
    ///
    /// A picture takes between 7 and 55 passes.
    ///
    /// # Errors
    /// [`ObserveError`] if the picture cannot be sampled or the net fails. The observation is then
    /// unchanged.
    pub fn observe_closely(
        &mut self,
        picture: &Picture<'_>,
        observation: &mut Observation,
    ) -> Result<(), ObserveError> {
        self.reset();
        let canvas = Canvas::new(picture.size());
        let finder = RegionFinder::new();
        let mut still = Still { observer: self, picture, canvas, finder, inferences: 0, inference_ns: 0 };
        still.first_pass()?;
        let mut candidates = still.candidates()?;
        for round in 1..=ROUNDS {
            still.look_closer(&std::mem::take(&mut candidates), WEIGHT_STEP.powf(round as f32))?;
        }
        let (mut mask, mut regions) = still.found();
        let size = still.canvas.size();
        let seeds = still.heads(&regions)?;
        if !seeds.is_empty() {
            regions = still.finder.find_between(&mut mask, size, &seeds).to_vec();
        }
        let (inferences, inference_ns) = (still.inferences, still.inference_ns);
        let covers = PixelRect::of_size(picture.size());
        *observation = Observation::of_mask(0, 0, picture.size(), mask, size, covers);
        observation.people.extend_from_slice(Tracker::new().update(&regions, 0));
        (observation.inferences, observation.inference_ns) = (inferences, inference_ns);
        Ok(())
    }
}

impl Still<'_> {
    /// Runs a pass on an area (fractions of the picture). Returns its result and the area that this
    /// covers.
    fn pass(&mut self, area: UnitRect) -> Result<(Vec<f32>, UnitRect), ObserveError> {
        let inference = self.observer.infer_area(self.picture, area)?;
        self.inferences += 1;
        self.inference_ns += inference.duration_ns;
        Ok((self.observer.probabilities().to_vec(), inference.covers.to_fractions(self.picture.size())))
    }

    fn grid(&self) -> Size {
        self.observer.model().output_size()
    }

    /// The cleaned mask so far, and the people in it.
    fn found(&mut self) -> (Vec<f32>, Vec<Region>) {
        let mut mask = self.canvas.values();
        let regions = self.finder.find(&mut mask, self.canvas.size()).to_vec();
        (mask, regions)
    }

    /// The heads of the people in these regions; none without a detector.
    ///
    /// # Errors
    /// [`ObserveError`] if the picture cannot be sampled or the net fails.
    fn heads(&mut self, regions: &[Region]) -> Result<Vec<Seed>, ObserveError> {
        let Some(heads) = &mut self.observer.heads else { return Ok(Vec::new()) };
        let boxes: Vec<UnitRect> = regions.iter().map(|region| region.bounds).collect();
        let found = heads.look_at_all(self.picture, &boxes)?;
        let frame = self.picture.size();
        Ok(found.iter().map(|head| seed(head, PixelRect::of_size(frame), self.canvas.size(), frame)).collect())
    }

    /// The people in the result of one pass, with boxes in fractions of the picture.
    fn people_in(&self, patch: &Patch<'_>) -> Vec<Region> {
        let mut mask = patch.values.to_vec();
        let covers = patch.area.to_pixels(self.picture.size());
        let mut finder = RegionFinder::new();
        let regions = finder.find(&mut mask, patch.grid).iter();
        regions.map(|region| region.in_frame(covers, self.picture.size())).collect()
    }

    fn first_pass(&mut self) -> Result<(), ObserveError> {
        let (values, area) = self.pass(UnitRect::WHOLE)?;
        self.canvas.add(&Patch { values: &values, grid: self.grid(), area }, 1.0);
        Ok(())
    }

    /// The boxes of people whom the first pass may have missed, in fractions of the picture.
    ///
    /// # Errors
    /// [`ObserveError`] if the picture cannot be sampled or the net fails.
    fn candidates(&mut self) -> Result<Vec<UnitRect>, ObserveError> {
        let mut candidates: Vec<UnitRect> = Vec::new();
        for tile in TILES {
            let (values, area) = self.pass(tile)?;
            for region in self.people_in(&Patch { values: &values, grid: self.grid(), area }) {
                let is_new = candidates.iter().all(|other| other.iou(&region.bounds) <= SAME);
                if is_new && region.confidence >= MIN_CANDIDATE {
                    candidates.push(region.bounds);
                }
            }
        }
        Ok(candidates)
    }

    /// One round of window passes: around the people who are known, then around `candidates`.
    fn look_closer(&mut self, candidates: &[UnitRect], weight: f32) -> Result<(), ObserveError> {
        let (_, regions) = self.found();
        let boxes: Vec<UnitRect> = regions.iter().map(|region| region.bounds).collect();
        let windows = self.windows(&boxes);
        let before = self.canvas.values();
        for window in windows.into_iter().take(MAX_WINDOWS) {
            let (values, area) = self.pass(window)?;
            let patch = Patch { values: &values, grid: self.grid(), area };
            if certainty(&values) >= certainty(&self.resampled(&before, &patch)) {
                self.canvas.add(&patch, weight);
            }
        }
        let tallest = boxes.iter().map(|bounds| bounds.height).fold(0.0, f32::max);
        let is_known = |candidate: &UnitRect| {
            boxes.iter().any(|known| known.intersection(candidate).area() > KNOWN * candidate.area())
        };
        for candidate in candidates.iter().filter(|candidate| !is_known(candidate)).take(MAX_WINDOWS) {
            let window = self.window(candidate, (MARGIN_X, MARGIN_Y));
            let (values, area) = self.pass(window)?;
            let patch = Patch { values: &values, grid: self.grid(), area };
            let confirmed = self
                .people_in(&patch)
                .into_iter()
                .find(|person| person.confidence >= MIN_CONFIRMED && person.bounds.iou(candidate) >= MIN_AGREEMENT);
            if let Some(Region { bounds, .. }) = confirmed.filter(|person| person.bounds.height >= MIN_HEIGHT * tallest)
            {
                let reach = bounds.expanded(bounds.width * REACH.0, bounds.height * REACH.1);
                self.canvas.add_person(&patch, reach, weight);
            }
        }
        Ok(())
    }

    fn window(&self, people: &UnitRect, margins: (f32, f32)) -> UnitRect {
        window_around(people, margins, cell_aspect(self.picture.size(), self.grid()))
    }

    /// The windows for people in these boxes. There are none for people who fill the picture.
    fn windows(&self, boxes: &[UnitRect]) -> Vec<UnitRect> {
        let frame = self.picture.size();
        let frame_aspect = frame.width as f32 / frame.height as f32;
        let mut windows = Vec::new();
        for bounds in boxes {
            // The width of a part of a group, in fractions of the picture.
            let part = GROUP_ASPECT * bounds.height / frame_aspect;
            if bounds.width <= part {
                windows.push(self.window(bounds, (MARGIN_X, MARGIN_Y)));
                continue;
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to MAX_WINDOWS")]
            let steps = (bounds.width / (part * GROUP_STEP)).ceil().clamp(2.0, MAX_WINDOWS as f32) as usize - 1;
            for step in 0..=steps {
                let x = bounds.x + (bounds.width - part) * step as f32 / steps as f32;
                let part = UnitRect { x, width: part, ..*bounds };
                windows.push(self.window(&part, (MARGIN_X * 0.5, MARGIN_Y)));
            }
        }
        windows.retain(|window| window.area() < FULL_FRAME_FROM);
        windows
    }

    /// A mask on the canvas at the centres of the cells of `patch`.
    fn resampled(&self, mask: &[f32], patch: &Patch<'_>) -> Vec<f32> {
        let mut values = vec![0.0; patch.values.len()];
        let canvas = Lattice { size: self.canvas.size(), covers: UnitRect::WHOLE };
        resample(mask, canvas, &mut values, Lattice { size: patch.grid, covers: patch.area }, 0.0);
        values
    }
}

/// How certain a mask is about the cells that may belong to a person: 0 if all are at the
/// threshold, 1 if all are 0 or 1; 0 for an empty mask.
fn certainty(values: &[f32]) -> f32 {
    let (mut sum, mut count) = (0.0, 0.0f32);
    for value in values.iter().filter(|value| **value > SOMEBODY) {
        sum += (value - THRESHOLD).abs() / THRESHOLD;
        count += 1.0;
    }
    sum / count.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certainty_is_that_of_cells_with_somebody() {
        assert_eq!(certainty(&[0.0, 0.05]), 0.0);
        assert_eq!(certainty(&[1.0, 0.5, 0.0]), 0.5);
    }
}
