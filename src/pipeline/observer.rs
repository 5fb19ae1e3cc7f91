//! One frame to a mask and people: sample, net, smooth, regions, tracks. No thread, no clock and no I/O of its own: the
//! vision thread drives it live, `segment` and `eval` drive it over files.

use crate::mask::{Person, RegionFinder, Smoother, Tracker};
use crate::net::manifest::{ColorOrder, Fit, Input, Layout, Manifest};
use crate::net::{Model, ModelError};
use crate::pixel::{Picture, Rectangle, Size};
use portraitd_kernels::Region;
use portraitd_kernels::blend::{MaskValues, MaskView};
use portraitd_kernels::sample::{self, ChannelOrder, SampleError, SampleSpec, Sampler};

/// What was seen in one frame.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The frame's number.
    pub sequence: u64,
    /// The frame's capture time, `CLOCK_MONOTONIC` nanoseconds.
    pub capture_ns: u64,
    /// Size of the mask grid.
    pub size: Size,
    /// The probability of a person, 0..=1, row-major.
    pub mask: Vec<f32>,
    /// What the grid covers, in pixels of the frame; may reach beyond it.
    pub covers: Rectangle,
    /// The people, with boxes in fractions of the frame.
    pub people: Vec<Person>,
    /// How long the net ran.
    pub inference_ns: u64,
}

/// Sees people. Keeps what it needs from frame to frame.
#[derive(Debug)]
pub struct Observer {
    model: Model,
    sampler: Sampler,
    input: Vec<f32>,
    raw: Vec<f32>,
    smoother: Smoother,
    regions: RegionFinder,
    tracker: Tracker,
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
        MaskView::new(MaskValues::Float(&self.mask), self.size, self.covers.into()).ok()
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
            model,
            smoother: Smoother::new(),
            regions: RegionFinder::new(),
            tracker: Tracker::new(),
        })
    }

    /// The model in use.
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// Forgets all that was seen: the next picture is another scene.
    pub fn reset(&mut self) {
        self.smoother.reset();
        self.tracker.reset();
    }

    /// What the net says of a picture, and no more: [`Observer::raw`] has it. Returns what of the picture it covers, in
    /// pixels (it may reach beyond the picture where the model keeps the aspect), and how long the net ran, nanoseconds.
    ///
    /// # Errors
    /// [`ObserveError`].
    pub fn infer(&mut self, picture: &Picture<'_>) -> Result<(Rectangle, u64), ObserveError> {
        let sampled = self.sampler.sample(picture, Region::of_size(picture.size()), &mut self.input)?;
        let started = std::time::Instant::now();
        self.model.run(&self.input, &mut self.raw)?;
        Ok((sampled.covers.into(), u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)))
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
        let (covers, inference_ns) = self.infer(picture)?;
        let size = self.model.output_size();
        observation.mask.clear();
        observation.mask.extend_from_slice(self.smoother.apply(&self.raw, size, capture_ns));
        let regions = self.regions.find(&mut observation.mask, size);
        let people = self.tracker.update(regions, capture_ns);
        let frame = picture.size();
        let in_frame = |person: &Person| {
            let bounds = person.bounds.scaled(covers.width, covers.height);
            let bounds = Rectangle::new(bounds.x + covers.x, bounds.y + covers.y, bounds.width, bounds.height);
            Person { bounds: bounds.to_fractions(frame).intersection(&Rectangle::UNIT), ..*person }
        };
        observation.people.clear();
        observation.people.extend(people.iter().map(in_frame).filter(|person| !ignored(person)));
        observation.sequence = sequence;
        observation.capture_ns = capture_ns;
        observation.size = size;
        observation.covers = covers;
        observation.inference_ns = inference_ns;
        Ok(())
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
    sampler.sample(picture, Region::of_size(picture.size()), &mut input)?;
    Ok(input)
}

/// The sampler's words for a manifest's input, in the order that the engine takes.
fn sample_spec(input: &Input, layout: Layout) -> SampleSpec {
    SampleSpec {
        size: input.size(),
        layout: match layout {
            Layout::Nchw => sample::Layout::Planar,
            Layout::Nhwc => sample::Layout::Interleaved,
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
