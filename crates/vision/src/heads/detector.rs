//! The face detector: its net, and what its output means.
//!
//! The net sees a square of 192x192 pixels. For each of 48x48 cells, of four pixels each, it says how
//! likely the centre of a face is there, and where the box of that face is: the offset of its centre
//! from the cell's, its width and its height, in pixels of the input. Positions of eyes, ears, nose
//! and mouth follow, which are not used. This is MediaPipe's decoder (`TensorsToDetectionsCalculator`)
//! with the options of `face_detection_full_range`.

use portraitd_kernels::sample::Sampler;
use portraitd_media::{Picture, PixelRect, UnitRect};

use super::Head;
use crate::net::Model;
use crate::observer::{ObserveError, sample_spec};

/// The least score of a face.
const MIN_SCORE: f32 = 0.5;
/// Two boxes that overlap more than this (intersection over union) are one face.
const MAX_OVERLAP: f32 = 0.3;
/// The most cells of one pass that are considered: the first in reading order.
const MAX_CANDIDATES: usize = 256;
/// The most faces of one pass.
const MAX_FACES: usize = 16;

/// Finds faces in a part of a picture.
#[derive(Debug)]
pub struct HeadDetector {
    model: Model,
    sampler: Sampler,
    input: Vec<f32>,
    candidates: Vec<Head>,
    faces: Vec<Head>,
}

impl HeadDetector {
    /// A detector with this net: that of `models/heads` ([`Library::load_heads`]).
    ///
    /// # Errors
    /// [`ObserveError::Sample`] if its manifest describes an input that cannot be sampled.
    ///
    /// [`Library::load_heads`]: crate::net::Library::load_heads
    pub fn new(model: Model) -> Result<Self, ObserveError> {
        Ok(Self {
            sampler: Sampler::new(sample_spec(&model.manifest().input, model.input_layout()))?,
            input: vec![0.0; model.input_len()],
            candidates: Vec::with_capacity(MAX_CANDIDATES),
            faces: Vec::with_capacity(MAX_FACES),
            model,
        })
    }

    /// Finds the faces in `area` of the picture, in fractions of it. The area should be a square of
    /// pixels. The best ones come first.
    ///
    /// # Errors
    /// [`ObserveError`] if the picture cannot be sampled or the net fails.
    pub fn detect(&mut self, picture: &Picture<'_>, area: UnitRect) -> Result<&[Head], ObserveError> {
        let sampled = self.sampler.sample(picture, area.to_pixels(picture.size()), &mut self.input)?;
        let input = self.model.manifest().input.size();
        let cells = self.model.output_size();
        let output = self.model.run_channels(&self.input)?;
        let (wide, high) = (input.width as f32, input.height as f32);
        let (columns, rows) = (cells.width as usize, cells.height as usize);
        self.candidates.clear();
        for cell in 0..columns * rows {
            let score = 1.0 / (1.0 + (-output.value(cell, 0)).exp());
            // A NaN is no face.
            if score.is_nan() || score < MIN_SCORE || self.candidates.len() == MAX_CANDIDATES {
                continue;
            }
            let [x, y, width, height] = [1, 2, 3, 4].map(|channel| output.value(cell, channel));
            let (column, row) = ((cell % columns) as f32 + 0.5, (cell / columns) as f32 + 0.5);
            let center = (x / wide + column / columns as f32, y / high + row / rows as f32);
            let (width, height) = (width / wide, height / high);
            let face = UnitRect::new(center.0 - 0.5 * width, center.1 - 0.5 * height, width, height);
            let face = placed(&face, sampled.covers).to_fractions(picture.size());
            if face.width > 0.0
                && face.height > 0.0
                && [face.x, face.y, face.width, face.height].iter().all(|v| v.is_finite())
            {
                self.candidates.push(Head { face, score });
            }
        }
        self.candidates.sort_unstable_by(|a, b| b.score.total_cmp(&a.score));
        self.faces.clear();
        for candidate in &self.candidates {
            let is_new = self.faces.iter().all(|known| known.face.iou(&candidate.face) <= MAX_OVERLAP);
            if is_new && self.faces.len() < MAX_FACES {
                self.faces.push(*candidate);
            }
        }
        Ok(&self.faces)
    }

    /// The net.
    pub const fn model(&self) -> &Model {
        &self.model
    }
}

/// A box in fractions of `covers`, in the unit of `covers`.
fn placed(part: &UnitRect, covers: PixelRect) -> PixelRect {
    let part = part.scaled(covers.width, covers.height);
    PixelRect::new(part.x + covers.x, part.y + covers.y, part.width, part.height)
}
