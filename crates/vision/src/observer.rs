//! The observer: turns frames into masks and tracked people.
//!
//! For each frame it runs the motion gate, chooses the inference pass, samples the frame, runs the
//! net, smooths the mask, finds regions and tracks people. It runs at most one inference pass per
//! frame, or two in a frame after a time without passes; see [`Observer::observe`].
//!
//! It has no thread and no clock and does no I/O. The vision thread calls it live; the laboratory
//! calls it for files.

use portraitd_kernels::sample::{self, ChannelOrder, SampleError, SampleSpec, Sampler};
use portraitd_media::{Picture, PixelRect, Size, UnitRect};

use crate::attention::{Attention, MAX_WINDOWS, Pass};
use crate::heads::{HeadDetector, Heads};
use crate::ignored::IgnoredCells;
use crate::motion_gate::{GateSampler, MotionDetector};
use crate::net::{ColorOrder, Fit, Input, Manifest, Model, ModelError, TensorLayout};
use crate::observation::{Observation, PASSES};
use crate::parts::{self, Parts, Previous};
use crate::regions::{Region, RegionFinder, Seed};
use crate::smooth::Smoother;
use crate::tracker::{TrackedPerson, Tracker};

/// The result of one inference pass, apart from the probabilities ([`Observer::probabilities`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inference {
    /// The area that the probabilities cover, in pixels of the picture. It may extend beyond the
    /// picture if the model keeps the aspect ratio.
    pub covers: PixelRect,
    /// How long the net ran, without sampling, in nanoseconds.
    pub duration_ns: u64,
}

/// After a frame without a pass, one of this many frames may have a second pass. The passes that
/// refresh the mask of a still scene do not use it up.
const SECOND_PASS_FRAMES: u32 = 3;

/// The least mean probability of a candidate in a tile while others are known.
const MIN_CANDIDATE: f32 = 0.8;

/// The number of tiles of a single picture that are scanned: each tile once.
const MAX_TILES: usize = 6;

/// The newest mask and what was found in it.
#[derive(Debug, Default)]
struct CurrentMask {
    /// Sequence number of the frame that the mask was made from.
    sequence: u64,
    /// Capture time of that frame.
    capture_ns: u64,
    mask: Vec<f32>,
    covers: PixelRect,
    people: Vec<TrackedPerson>,
}

/// Observes the frames of one camera. It owns the model and the state of all stages.
#[derive(Debug)]
pub struct Observer {
    model: Model,
    sampler: Sampler,
    /// Samples the cells of the motion gate.
    gate_sampler: GateSampler,
    motion: MotionDetector,
    attention: Attention,
    /// The net's input.
    input: Vec<f32>,
    /// The probabilities of the last pass.
    probabilities: Vec<f32>,
    smoother: Smoother,
    regions: RegionFinder,
    tracker: Tracker,
    /// The mask of a pass that only looks for people.
    candidates: Vec<f32>,
    /// The regions of the last pass, in fractions of the frame.
    in_frame: Vec<Region>,
    current: CurrentMask,
    /// The mask, if several windows take turns.
    parts: Parts,
    ignored: IgnoredCells,
    pub(crate) heads: Option<Heads>,
    /// The heads that divide the mask of this frame.
    seeds: Vec<Seed>,
    /// Size of the observed frames.
    frame_size: Size,
    /// The number of next frames of which one may have a second pass.
    second_pass_frames: u32,
}

/// Why a picture could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The picture could not be sampled to the net's input.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The net failed.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl Observer {
    /// An observer that has seen no frame.
    ///
    /// # Errors
    /// [`ObserveError::Sample`] if the manifest describes an input that cannot be sampled. The
    /// checks of [`Manifest::parse`] rule this out.
    pub fn new(model: Model) -> Result<Self, ObserveError> {
        let sampler = Sampler::new(sample_spec(&model.manifest().input, model.input_layout()))?;
        let pixels = usize::try_from(model.output_size().area()).unwrap_or_default();
        Ok(Self {
            input: vec![0.0; model.input_len()],
            probabilities: vec![0.0; pixels],
            sampler,
            gate_sampler: GateSampler::new()?,
            motion: MotionDetector::new(),
            attention: Attention::new(model.output_size()),
            model,
            smoother: Smoother::new(),
            regions: RegionFinder::new(),
            tracker: Tracker::new(),
            candidates: Vec::new(),
            in_frame: Vec::new(),
            current: CurrentMask::default(),
            parts: Parts::default(),
            ignored: IgnoredCells::default(),
            heads: None,
            seeds: Vec::new(),
            frame_size: Size::new(0, 0),
            second_pass_frames: 0,
        })
    }

    /// The model in use.
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// The model, for another observer.
    pub fn into_model(self) -> Model {
        self.model
    }

    /// Forgets everything that was observed. To be called before a picture of another scene.
    pub fn reset(&mut self) {
        self.motion.reset();
        self.attention.reset();
        self.smoother.reset();
        self.tracker.reset();
        self.parts.stop();
        if let Some(heads) = &mut self.heads {
            heads.reset();
        }
        self.current.mask.clear();
        self.current.people.clear();
    }

    /// The largest number of windows that can take turns.
    pub const MAX_WINDOWS: usize = MAX_WINDOWS;

    /// Sets how many windows may take turns, 1 (the default) to
    /// [`Self::MAX_WINDOWS`]. With more than one, small people
    /// who are far apart are each seen as well as one, but the parts of a mask come from different
    /// frames: what moves is not complete in a composite.
    pub fn set_most_windows(&mut self, most: usize) {
        self.attention.set_most_windows(most);
    }

    /// Sets the detector of heads, or none (the default). With one, people who touch in the mask are
    /// told apart while their faces are seen.
    pub fn set_heads(&mut self, detector: Option<HeadDetector>) {
        self.heads = detector.map(Heads::new);
    }

    /// The detector of heads, for another observer.
    pub fn take_heads(&mut self) -> Option<HeadDetector> {
        self.heads.take().map(Heads::into_detector)
    }

    /// Sets the least time from one look for heads to the next, in nanoseconds: 0.4 s by default, and
    /// five times as long while everybody is apart. Somebody new is looked at sooner.
    pub const fn set_look_interval(&mut self, interval_ns: u64) {
        if let Some(heads) = &mut self.heads {
            heads.set_interval(interval_ns);
        }
    }

    /// Runs one inference pass on a whole picture, without any other stage.
    /// [`Observer::probabilities`] has the result.
    ///
    /// # Errors
    /// [`ObserveError`] if the picture cannot be sampled or the net fails.
    pub fn infer(&mut self, picture: &Picture<'_>) -> Result<Inference, ObserveError> {
        self.infer_area(picture, UnitRect::WHOLE)
    }

    /// Runs one inference pass on an area of the picture, in fractions of it.
    pub(crate) fn infer_area(&mut self, picture: &Picture<'_>, area: UnitRect) -> Result<Inference, ObserveError> {
        let region = area.to_pixels(picture.size());
        let sampled = self.sampler.sample(picture, region, &mut self.input)?;
        let started = std::time::Instant::now();
        self.model.run(&self.input, &mut self.probabilities)?;
        let duration_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Ok(Inference { covers: sampled.covers, duration_ns })
    }

    /// Segments a single picture with several inference passes: a full-frame pass, then up to
    /// `window_passes` window passes. If the full-frame pass finds nobody, the tiles are scanned
    /// before the window passes. Everything that was observed before is forgotten.
    ///
    /// [`Observer::probabilities`] has the result of the last pass. Returns the area that it
    /// covers, in pixels of the picture; outside it there is nobody.
    ///
    /// # Errors
    /// [`ObserveError`] if the picture cannot be sampled or the net fails.
    pub fn segment_picture(&mut self, picture: &Picture<'_>, window_passes: usize) -> Result<PixelRect, ObserveError> {
        self.reset();
        let mut tiles = if window_passes > 0 { MAX_TILES } else { 0 };
        let (mut window_passes, mut covers, mut full_frame_done) = (window_passes, PixelRect::default(), false);
        for time_ns in 0.. {
            let pass = self.attention.next_pass(picture.size(), time_ns, &self.motion);
            match pass {
                Pass::FullFrame if !full_frame_done => full_frame_done = true,
                // Another full-frame pass would find nobody again.
                Pass::FullFrame if self.in_frame.is_empty() && tiles > 0 => {
                    self.attention.report(pass, std::iter::empty());
                    continue;
                }
                Pass::Window(_) if window_passes > 0 => window_passes -= 1,
                Pass::Tile(_) if tiles > 0 => tiles -= 1,
                _ => break,
            }
            covers = self.infer_area(picture, pass.area())?.covers;
            self.find_regions(picture.size(), covers, MaskSource::Net);
            self.attention.report(pass, self.in_frame.iter().map(|region| region.bounds));
        }
        if self.in_frame.is_empty() && covers != PixelRect::of_size(picture.size()) {
            covers = self.infer(picture)?.covers;
        }
        Ok(covers)
    }

    /// Runs the net again on the input of the last pass. For measurements.
    ///
    /// # Errors
    /// [`ObserveError::Model`] if the engine fails.
    pub fn repeat_inference(&mut self) -> Result<(), ObserveError> {
        Ok(self.model.run(&self.input, &mut self.probabilities)?)
    }

    /// The result of the last pass before smoothing: the probability, 0..=1, that each cell of
    /// [`Model::output_size`] belongs to a person; row-major.
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// Observes the frame `sequence`, which was captured at `capture_ns`, and fills `observation`.
    /// People for whom `ignored` is true are left out of the list. Their pixels stay in the mask
    /// and are marked as theirs ([`CellOrigin::Ignored`](crate::CellOrigin)).
    ///
    /// One inference pass runs, or none if nothing has moved. In the first frames after such a
    /// frame, a second pass runs if the first one made no mask or found nobody.
    ///
    /// # Errors
    /// [`ObserveError`] if the picture cannot be sampled or the net fails. The observation is then
    /// unchanged.
    pub fn observe(
        &mut self,
        picture: &Picture<'_>,
        sequence: u64,
        capture_ns: u64,
        ignored: impl Fn(&TrackedPerson) -> bool,
        observation: &mut Observation,
    ) -> Result<(), ObserveError> {
        if self.frame_size != picture.size() {
            // The mask of a frame with another size must not be retained, even if the scene is
            // similar.
            self.reset();
            self.frame_size = picture.size();
        }
        self.motion.compare(self.gate_sampler.sample(picture)?);
        let look_ns = self.look_for_heads(picture, capture_ns);
        // After a frame without a pass there is time for a second one, so that somebody who moves
        // suddenly is found in the same frame.
        let max_inferences = if self.second_pass_frames > 0 { 2 } else { 1 };
        let mut inferences = 0;
        let mut inference_ns = 0;
        while inferences < max_inferences {
            let pass = self.attention.next_pass(picture.size(), capture_ns, &self.motion);
            if pass == Pass::Keep {
                break;
            }
            let Inference { covers, duration_ns } = self.infer_area(picture, pass.area())?;
            inference_ns += duration_ns;
            inferences += 1;
            if let Pass::Part { slot, .. } = pass {
                self.apply_part(slot, picture.size(), covers, (sequence, capture_ns));
                break;
            }
            if self.apply_pass(pass, picture.size(), covers, sequence, capture_ns) {
                break;
            }
        }
        // Without a pass, something may still have moved outside all of several windows.
        let still = inferences == 0 && self.motion.is_still();
        self.second_pass_frames = match inferences {
            0 => SECOND_PASS_FRAMES,
            1 => self.second_pass_frames.saturating_sub(1),
            _ => 0,
        };
        if still {
            self.smoother.skip_still_time(capture_ns);
        }
        if self.parts.is_active() {
            self.parts.skip_still_time(capture_ns, |window| !self.motion.has_changed_in(window));
        }
        let current = &self.current;
        let (mask, size, covers) = if self.parts.is_active() {
            (self.parts.mask(), parts::SIZE, PixelRect::of_size(picture.size()))
        } else {
            (&current.mask[..], self.model.output_size(), current.covers)
        };
        observation.sequence = sequence;
        observation.capture_ns = capture_ns;
        observation.mask_sequence = current.sequence;
        observation.mask_capture_ns = current.capture_ns;
        observation.still = still;
        observation.size = size;
        observation.frame = picture.size();
        observation.mask.clear();
        observation.mask.extend_from_slice(mask);
        observation.covers = covers;
        observation.origins.clear();
        if self.parts.is_active() {
            self.parts.fill_origins(&mut observation.passes, &mut observation.origins);
        } else {
            // Every cell comes from the same pass.
            observation.passes = [current.capture_ns; PASSES];
        }
        observation.reference.copy_from(self.motion.reference());
        observation.changed.clear();
        if current.capture_ns != capture_ns && !self.motion.is_still() {
            observation.changed.extend_from_slice(self.motion.changed());
        }
        observation.people.clear();
        observation.people.extend(current.people.iter().filter(|person| !ignored(person)));
        if observation.people.len() < current.people.len() {
            let origins = &mut observation.origins;
            if origins.is_empty() {
                origins.resize(mask.len(), 0);
            }
            self.ignored.mark((mask, size), (covers, picture.size()), &current.people, &ignored, origins);
        }
        observation.look_ns = look_ns;
        observation.inferences = inferences;
        observation.inference_ns = inference_ns;
        Ok(())
    }

    /// Looks for heads, if it is time. Returns how long it took, in nanoseconds; 0 if it was not time.
    /// A detector that fails is not used any more: masks do not depend on it.
    fn look_for_heads(&mut self, picture: &Picture<'_>, capture_ns: u64) -> u64 {
        let Some(heads) = &mut self.heads else { return 0 };
        let people = self.current.people.iter().map(|person| (person.id, person.bounds));
        let Some(square) = heads.next_square(people, picture.size(), capture_ns) else { return 0 };
        let started = std::time::Instant::now();
        if let Err(error) = heads.look(picture, square, capture_ns) {
            tracing::error!("heads are not looked for any more: {error}");
            self.heads = None;
        }
        u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// The heads that divide a mask on a grid of `size` that covers `covers`, in pixels of the frame.
    fn take_seeds(&mut self, frame: Size, covers: PixelRect, size: Size, capture_ns: u64) {
        self.seeds.clear();
        if let Some(heads) = &mut self.heads {
            heads.seeds(covers, size, frame, capture_ns, &mut self.seeds);
        }
    }

    /// Applies the result of a pass: it becomes the current mask, or it only informs the attention.
    /// Returns whether it became a mask with somebody in it.
    fn apply_pass(&mut self, pass: Pass, frame: Size, covers: PixelRect, sequence: u64, capture_ns: u64) -> bool {
        // The result of the first pass becomes the mask, since there is none to retain.
        let makes_mask = pass.makes_mask() || (self.current.mask.is_empty() && !self.parts.is_active());
        if !makes_mask {
            self.find_regions(frame, covers, MaskSource::Net);
            // A tile shows furniture as large as people.
            let least = if matches!(pass, Pass::TileCheck(_)) { MIN_CANDIDATE } else { 0.0 };
            let candidates = self.in_frame.iter().filter(|region| region.confidence >= least);
            self.attention.report(pass, candidates.map(|region| region.bounds));
            return false;
        }
        // Only a mask sets the reference, so what a check shows still counts as changed.
        self.motion.set_reference();
        self.parts.stop();
        let size = self.model.output_size();
        self.smoother.set_covered(covers.to_fractions(frame));
        self.current.mask.clear();
        self.current.mask.extend_from_slice(self.smoother.apply(&self.probabilities, size, capture_ns));
        self.take_seeds(frame, covers, size, capture_ns);
        self.find_regions(frame, covers, MaskSource::Smoothed);
        let window = pass.area();
        self.attention.report(pass, self.in_frame.iter().map(|region| whole_box(region, &window, size)));
        let people = self.tracker.update(&self.in_frame, capture_ns);
        self.current.people.clear();
        self.current.people.extend(people);
        self.current.sequence = sequence;
        self.current.capture_ns = capture_ns;
        self.current.covers = covers;
        !self.in_frame.is_empty()
    }

    /// Applies the result of a pass on one of several windows: it becomes a part of the mask.
    fn apply_part(&mut self, slot: usize, frame: Size, covers: PixelRect, (sequence, capture_ns): (u64, u64)) {
        if !self.parts.is_active() {
            let current = &self.current;
            self.parts.start(&Previous {
                mask: &current.mask,
                size: self.model.output_size(),
                covers: current.covers.to_fractions(frame),
                sequence: current.sequence,
                capture_ns: current.capture_ns,
            });
        }
        let windows = self.attention.windows();
        self.parts.set_windows(windows);
        self.motion.set_reference_where(self.parts.is_made_by(slot));
        let size = self.model.output_size();
        let whole = PixelRect::of_size(frame);
        self.take_seeds(frame, whole, parts::SIZE, capture_ns);
        let values = (&self.probabilities[..], size, covers.to_fractions(frame));
        let regions = self.parts.apply(slot, values, (sequence, capture_ns), &self.seeds);
        self.in_frame.clear();
        self.in_frame.extend(regions.iter().map(|region| region.in_frame(whole, frame)));
        let boxes = self.in_frame.iter().map(|region| {
            let (x, y) = region.bounds.center();
            let center = UnitRect::new(x, y, 0.0, 0.0);
            let window = windows.iter().flatten().find(|window| window.contains(&center, 0.0));
            window.map_or(region.bounds, |window| whole_box(region, window, size))
        });
        self.attention.report(Pass::Part { slot, area: UnitRect::WHOLE }, boxes);
        self.parts.set_windows(self.attention.windows());
        let people = self.tracker.update(&self.in_frame, capture_ns);
        self.current.people.clear();
        self.current.people.extend(people);
        (self.current.sequence, self.current.capture_ns) = self.parts.oldest();
    }

    /// Cleans a mask that covers `covers` (pixels of the frame) and stores its regions in fractions
    /// of the frame.
    fn find_regions(&mut self, frame: Size, covers: PixelRect, source: MaskSource) {
        let size = self.model.output_size();
        let (mask, seeds) = match source {
            MaskSource::Smoothed => (&mut self.current.mask, &self.seeds[..]),
            MaskSource::Net => {
                self.candidates.clear();
                self.candidates.extend_from_slice(&self.probabilities);
                (&mut self.candidates, &[][..])
            }
        };
        self.in_frame.clear();
        let regions = self.regions.find_between(mask, size, seeds);
        self.in_frame.extend(regions.iter().map(|region| region.in_frame(covers, frame)));
    }
}

/// The box of a person for whom a window is chosen. It contains every pixel of them if they reach an
/// edge of `window` that is not the frame's, by less than a cell of a grid of `size`: a window must
/// not end on somebody.
fn whole_box(region: &Region, window: &UnitRect, size: Size) -> UnitRect {
    let (wide, high) = (window.width / size.width.max(1) as f32, window.height / size.height.max(1) as f32);
    let Region { bounds, reach, .. } = region;
    let is_cut = (window.x > 1e-3 && reach.x < window.x + wide)
        || (window.y > 1e-3 && reach.y < window.y + high)
        || (window.right() < 1.0 - 1e-3 && reach.right() > window.right() - wide)
        || (window.bottom() < 1.0 - 1e-3 && reach.bottom() > window.bottom() - high);
    if is_cut { bounds.union(reach) } else { *bounds }
}

/// The mask in which regions are searched.
#[derive(Clone, Copy)]
enum MaskSource {
    /// A copy of the net's probabilities.
    Net,
    /// The smoothed mask.
    Smoothed,
}

/// Samples a whole picture to the input tensor that `manifest` describes, in the manifest's layout.
///
/// # Errors
/// [`SampleError`] if the picture cannot be sampled.
pub fn sample_input(manifest: &Manifest, picture: &Picture<'_>) -> Result<Vec<f32>, SampleError> {
    let size = manifest.input.size();
    let mut input = vec![0.0; 3 * size.width as usize * size.height as usize];
    let mut sampler = Sampler::new(sample_spec(&manifest.input, manifest.input.layout))?;
    sampler.sample(picture, PixelRect::of_size(picture.size()), &mut input)?;
    Ok(input)
}

/// The sampler's specification for the input of a manifest, in the layout of the engine.
pub(crate) fn sample_spec(input: &Input, layout: TensorLayout) -> SampleSpec {
    SampleSpec {
        size: input.size(),
        layout: match layout {
            TensorLayout::Nchw => sample::ChannelLayout::Planar,
            TensorLayout::Nhwc => sample::ChannelLayout::Interleaved,
        },
        order: match input.color_order {
            ColorOrder::Rgb => ChannelOrder::Rgb,
            ColorOrder::Bgr => ChannelOrder::Bgr,
        },
        fit: match input.fit {
            Fit::Stretch => sample::Fit::Stretch,
            Fit::PadReplicate => sample::Fit::PadReplicate,
        },
        mean: input.mean,
        std: input.std,
    }
}
