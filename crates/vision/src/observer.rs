//! One frame to a mask and people: is anything new, where to look, sample, net, smooth, regions, tracks. No thread, no clock
//! and no I/O of its own: the vision thread drives it live, `segment` and `eval` drive it over files.
//!
//! At most one run of the net a frame ([`Attention`] says where); none for a frame in which nothing has moved.

use crate::net::{ColorOrder, Fit, Input, Manifest, Model, ModelError, TensorLayout};
use crate::{Attention, Look, MotionDetector, Person, Region, RegionFinder, Smoother, Tracker, motion_gate};
use portraitd_kernels::blend::{MaskValues, MaskView};
use portraitd_kernels::sample::{self, ChannelOrder, SampleError, SampleSpec, Sampler};
use portraitd_media::{Picture, PixelRect, Size, UnitRect};

/// What was seen in one frame.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The frame's number.
    pub sequence: u64,
    /// The frame's capture time, `CLOCK_MONOTONIC` nanoseconds.
    pub capture_ns: u64,
    /// The number of the frame that the mask was made from: an earlier one where the mask was kept.
    pub mask_sequence: u64,
    /// That frame's capture time.
    pub mask_capture_ns: u64,
    /// Whether nothing has moved since the mask was made, so that it was kept.
    pub still: bool,
    /// Size of the mask grid.
    pub size: Size,
    /// The probability of a person, 0..=1, row-major.
    pub mask: Vec<f32>,
    /// Size of the frame, in pixels.
    pub frame: Size,
    /// What the grid covers, in pixels of the frame: a window about the people, or all of it; may reach beyond it. Outside
    /// there is nobody.
    pub covers: PixelRect,
    /// The people, with boxes in fractions of the frame.
    pub people: Vec<Person>,
    /// How many looks the net had.
    pub looks: u32,
    /// How long the net ran; 0 where it did not.
    pub inference_ns: u64,
}

/// The look that a frame at rest has saved is kept for so many frames: the two that make sure of a still scene, one after the
/// other, do not use it up.
const SPARE_FRAMES: u32 = 3;

/// A picture by itself is searched in so many parts: each of them once.
const MOST_SEARCHES: usize = 6;

/// The mask in force, and where it is from.
#[derive(Debug, Default)]
struct Held {
    sequence: u64,
    capture_ns: u64,
    mask: Vec<f32>,
    covers: PixelRect,
    people: Vec<Person>,
}

/// Sees people. Keeps what it needs from frame to frame.
#[derive(Debug)]
pub struct Observer {
    model: Model,
    sampler: Sampler,
    /// For the coarse luma of the whole frame.
    gate: Sampler,
    motion: MotionDetector,
    attention: Attention,
    input: Vec<f32>,
    raw: Vec<f32>,
    smoother: Smoother,
    regions: RegionFinder,
    tracker: Tracker,
    /// A mask that only tells where to look next.
    candidates: Vec<f32>,
    /// Regions in fractions of the frame.
    in_frame: Vec<Region>,
    held: Held,
    /// Of the frames that were observed.
    frame_size: Size,
    /// In so many of the next frames there may be a second look, once.
    spare_frames: u32,
}

/// Why a picture was not seen.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The picture could not be brought to the net's input.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The net failed.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl Observation {
    /// The mask as renderers take it; `None` for one that was never filled.
    pub fn mask_view(&self) -> Option<MaskView<'_>> {
        MaskView::new(MaskValues::Float(&self.mask), self.size, self.covers).ok()
    }
}

impl Observer {
    /// An observer that has seen nothing yet.
    ///
    /// # Errors
    /// Where the manifest asks for a tensor that cannot be sampled; a checked manifest does not.
    pub fn new(model: Model) -> Result<Self, ObserveError> {
        let sampler = Sampler::new(sample_spec(&model.manifest().input, model.input_layout()))?;
        let pixels = usize::try_from(model.output_size().area()).unwrap_or_default();
        Ok(Self {
            input: vec![0.0; model.input_len()],
            raw: vec![0.0; pixels],
            sampler,
            gate: Sampler::new(SampleSpec::new(motion_gate::GRID))?,
            motion: MotionDetector::new(),
            attention: Attention::new(model.output_size()),
            model,
            smoother: Smoother::new(),
            regions: RegionFinder::new(),
            tracker: Tracker::new(),
            candidates: Vec::new(),
            in_frame: Vec::new(),
            held: Held::default(),
            frame_size: Size::new(0, 0),
            spare_frames: 0,
        })
    }

    /// The model in use.
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// Forgets all that was seen: the next picture is another scene.
    pub fn reset(&mut self) {
        self.motion.reset();
        self.attention.reset();
        self.smoother.reset();
        self.tracker.reset();
        self.held.mask.clear();
        self.held.people.clear();
    }

    /// What the net says of a picture, and no more: [`Observer::raw`] has it. Returns what of the picture it covers, in
    /// pixels (it may reach beyond the picture where the model keeps the aspect), and how long the net ran, nanoseconds.
    ///
    /// # Errors
    /// [`ObserveError`].
    pub fn infer(&mut self, picture: &Picture<'_>) -> Result<(PixelRect, u64), ObserveError> {
        self.infer_part(picture, UnitRect::WHOLE)
    }

    /// The same of a part of the picture (fractions of it).
    fn infer_part(&mut self, picture: &Picture<'_>, part: UnitRect) -> Result<(PixelRect, u64), ObserveError> {
        let region = part.to_pixels(picture.size());
        let sampled = self.sampler.sample(picture, region, &mut self.input)?;
        let started = std::time::Instant::now();
        self.model.run(&self.input, &mut self.raw)?;
        Ok((sampled.covers, u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)))
    }

    /// A picture by itself, looked at more than once: the whole, and then up to `closer` times the people's own rectangle;
    /// where the whole shows nobody, its parts are searched first. [`Observer::raw`] has what the net said at last; returns
    /// what of the picture that covers, in pixels. Outside of it there is nobody. Forgets all that was seen before.
    ///
    /// # Errors
    /// [`ObserveError`].
    pub fn study(&mut self, picture: &Picture<'_>, closer: usize) -> Result<PixelRect, ObserveError> {
        self.reset();
        let mut searches = if closer > 0 { MOST_SEARCHES } else { 0 };
        let (mut closer, mut covers, mut seen_whole) = (closer, PixelRect::default(), false);
        for time_ns in 0.. {
            let look = self.attention.next(picture.size(), time_ns, &self.motion);
            match look {
                Look::Frame if !seen_whole => seen_whole = true,
                // Nobody yet, and the whole is known already.
                Look::Frame if self.in_frame.is_empty() && searches > 0 => {
                    self.attention.found(look, std::iter::empty());
                    continue;
                }
                Look::Window(_) if closer > 0 => closer -= 1,
                Look::Search(_) if searches > 0 => searches -= 1,
                _ => break,
            }
            (covers, _) = self.infer_part(picture, part_of(look))?;
            self.find_regions(picture.size(), covers, Source::Raw);
            self.attention.found(look, self.in_frame.iter().map(|region| region.bounds));
        }
        if self.in_frame.is_empty() && covers != PixelRect::of_size(picture.size()) {
            (covers, _) = self.infer(picture)?;
        }
        Ok(covers)
    }

    /// Runs the net once more on the input that it had last. For measurements.
    ///
    /// # Errors
    /// [`ObserveError::Model`] where the engine fails.
    pub fn infer_again(&mut self) -> Result<(), ObserveError> {
        Ok(self.model.run(&self.input, &mut self.raw)?)
    }

    /// The net's last answer: probabilities of a person, row-major, of [`Model::output_size`].
    pub fn raw(&self) -> &[f32] {
        &self.raw
    }

    /// Looks at the frame `sequence`, captured at `capture_ns`, and fills `observation`. People for whom `ignored` holds
    /// are left out of the list (their pixels stay in the mask).
    ///
    /// # Errors
    /// [`ObserveError`]; the observation is then of no use.
    pub fn observe(
        &mut self,
        picture: &Picture<'_>,
        sequence: u64,
        capture_ns: u64,
        ignored: impl Fn(&Person) -> bool,
        observation: &mut Observation,
    ) -> Result<(), ObserveError> {
        if self.frame_size != picture.size() {
            // A mask of another size's frames is not to be kept, however alike the scene is.
            self.reset();
            self.frame_size = picture.size();
        }
        let every = motion_gate::rows_to_read(picture.size());
        self.gate.sample_luma(picture, PixelRect::of_size(picture.size()), every)?;
        self.motion.compare(self.gate.luma());
        // After rest there is time for a second look in one frame: whoever has moved at once is found at once.
        let most_looks = if self.spare_frames > 0 { 2 } else { 1 };
        let mut looks = 0;
        let mut inference_ns = 0;
        while looks < most_looks {
            let look = self.attention.next(picture.size(), capture_ns, &self.motion);
            if look == Look::Keep {
                break;
            }
            let (covers, ran_ns) = self.infer_part(picture, part_of(look))?;
            inference_ns += ran_ns;
            looks += 1;
            if self.take_in(look, picture.size(), covers, sequence, capture_ns) {
                break;
            }
        }
        let still = looks == 0;
        self.spare_frames = match looks {
            0 => SPARE_FRAMES,
            1 => self.spare_frames.saturating_sub(1),
            _ => 0,
        };
        if still {
            self.smoother.rest(capture_ns);
        }
        let held = &self.held;
        observation.sequence = sequence;
        observation.capture_ns = capture_ns;
        observation.mask_sequence = held.sequence;
        observation.mask_capture_ns = held.capture_ns;
        observation.still = still;
        observation.size = self.model.output_size();
        observation.frame = picture.size();
        observation.mask.clear();
        observation.mask.extend_from_slice(&held.mask);
        observation.covers = held.covers;
        observation.people.clear();
        observation.people.extend(held.people.iter().filter(|person| !ignored(person)));
        observation.looks = looks;
        observation.inference_ns = inference_ns;
        Ok(())
    }

    /// What the net has said at this look becomes the mask, or only tells where to look next. Returns whether it is a mask
    /// with somebody in it.
    fn take_in(&mut self, look: Look, frame: Size, covers: PixelRect, sequence: u64, capture_ns: u64) -> bool {
        // Before the first mask there is none to keep.
        let is_mask = matches!(look, Look::Frame | Look::Window(_)) || self.held.mask.is_empty();
        if !is_mask {
            self.find_regions(frame, covers, Source::Raw);
            self.attention.found(look, self.in_frame.iter().map(|region| region.bounds));
            return false;
        }
        // Only now: what moved is news until a mask shows it.
        self.motion.looked();
        let size = self.model.output_size();
        self.smoother.look_at(covers.to_fractions(frame));
        self.held.mask.clear();
        self.held.mask.extend_from_slice(self.smoother.apply(&self.raw, size, capture_ns));
        self.find_regions(frame, covers, Source::Held);
        self.attention.found(look, self.in_frame.iter().map(|region| region.bounds));
        let people = self.tracker.update(&self.in_frame, capture_ns);
        self.held.people.clear();
        self.held.people.extend(people);
        self.held.sequence = sequence;
        self.held.capture_ns = capture_ns;
        self.held.covers = covers;
        !self.in_frame.is_empty()
    }

    /// Cleans a mask that covers `covers` (pixels of the frame), and lists its regions in fractions of the frame.
    fn find_regions(&mut self, frame: Size, covers: PixelRect, source: Source) {
        let size = self.model.output_size();
        let share = covers.area() / PixelRect::of_size(frame).area();
        let mask = match source {
            Source::Held => &mut self.held.mask,
            Source::Raw => {
                self.candidates.clear();
                self.candidates.extend_from_slice(&self.raw);
                &mut self.candidates
            }
        };
        let in_frame = |region: &Region| {
            let part = region.bounds.scaled(covers.width, covers.height);
            let bounds = PixelRect::new(part.x + covers.x, part.y + covers.y, part.width, part.height);
            let bounds = bounds.to_fractions(frame).intersection(&UnitRect::WHOLE);
            Region { bounds, area: region.area * share, ..*region }
        };
        self.in_frame.clear();
        self.in_frame.extend(self.regions.find(mask, size).iter().map(in_frame));
    }
}

/// Which values are a mask.
#[derive(Clone, Copy)]
enum Source {
    /// The net's own.
    Raw,
    /// The smoothed ones.
    Held,
}

/// The part of the frame that a look is at, in fractions.
const fn part_of(look: Look) -> UnitRect {
    match look {
        Look::Window(part) | Look::Search(part) => part,
        Look::Keep | Look::Frame | Look::Glance => UnitRect::WHOLE,
    }
}

/// A whole picture as the net's input, in the manifest's own layout.
///
/// # Errors
/// [`SampleError`]: a picture that cannot be sampled.
pub fn sample_input(manifest: &Manifest, picture: &Picture<'_>) -> Result<Vec<f32>, SampleError> {
    let size = manifest.input.size();
    let mut input = vec![0.0; 3 * size.width as usize * size.height as usize];
    let mut sampler = Sampler::new(sample_spec(&manifest.input, manifest.input.layout))?;
    sampler.sample(picture, PixelRect::of_size(picture.size()), &mut input)?;
    Ok(input)
}

/// The sampler's words for a manifest's input, in the order that the engine takes.
fn sample_spec(input: &Input, layout: TensorLayout) -> SampleSpec {
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
