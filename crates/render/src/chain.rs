//! Observe, direct and render, one after the other and without threads.
//!
//! The laboratory and the tests use [`Chain`]. The daemon observes and renders on different
//! threads; it uses the parts of a chain: [`subjects`], the observer, the director and the
//! renderers.

use portraitd_framing::{Director, MOST_PEOPLE, Settings, SettingsError, Shot, Subject};
use portraitd_kernels::blend::{MaskValues, MaskView, Matte};
use portraitd_media::{Picture, PictureMut, PixelRect, Size, UnitRect, even_size};
use portraitd_vision::net::Model;
use portraitd_vision::{Observation, ObserveError, Observer};

use crate::composite::{CompositeRenderer, PreparedBackground};
use crate::error::RenderError;
use crate::mask::{EdgeRenderer, draw_mask};
use crate::shown::MatteRules;
use crate::view::ViewRenderer;

/// The interval between two steps of the director that frames a still picture, nanoseconds.
const SETTLE_STEP_NS: u64 = 100_000_000;
/// The number of these steps: 30 s, longer than the director's slowest move.
const SETTLE_STEPS: u64 = 300;

/// The people that the crop may follow, as the director takes them: boxes in fractions of the
/// frame.
pub fn subjects(observation: &Observation) -> impl Iterator<Item = Subject> + '_ {
    let followed = observation.people.iter().filter(|person| person.is_reliable());
    followed.map(|person| Subject { id: person.id, bounds: person.bounds })
}

/// The [`subjects`] of an observation as a slice, without an allocation.
#[derive(Clone, Copy, Debug)]
pub struct SubjectList {
    subjects: [Subject; MOST_PEOPLE],
    count: usize,
}

impl SubjectList {
    /// The first [`MOST_PEOPLE`] subjects of `observation`.
    pub fn of(observation: &Observation) -> Self {
        let mut list = Self { subjects: [Subject { id: 0, bounds: UnitRect::WHOLE }; MOST_PEOPLE], count: 0 };
        for (to, subject) in list.subjects.iter_mut().zip(subjects(observation)) {
            *to = subject;
            list.count += 1;
        }
        list
    }

    /// The subjects, in the order of the observation.
    pub fn as_slice(&self) -> &[Subject] {
        &self.subjects[..self.count]
    }
}

/// Why a picture did not pass through a [`Chain`].
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The picture could not be sampled, or the net failed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// A mask, view or composite could not be drawn.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The director does not accept the size of the picture.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// There is no valid mask: no picture has been observed, or its values do not fit its grid.
    #[error("the mask of {size} cannot be drawn: {reason}")]
    Mask {
        /// Size of the mask's grid.
        size: Size,
        /// What is wrong with it.
        reason: String,
    },
}

/// The observer, director and renderers of one camera.
///
/// [`Self::step`] observes a frame and steps the director. The other methods then draw the mask, a
/// view or a composite of that frame; those that are not called cost nothing. Nothing is allocated
/// once the sizes of frames and outputs are known.
#[derive(Debug)]
pub struct Chain {
    observer: Observer,
    observation: Observation,
    director: Option<Director>,
    matte: Matte,
    edges: EdgeRenderer,
    view: ViewRenderer,
    composite: CompositeRenderer,
    rules: MatteRules,
}

impl Chain {
    /// A chain that has seen no picture.
    ///
    /// # Errors
    /// The manifest of the model asks for a tensor that cannot be sampled.
    pub fn new(model: Model) -> Result<Self, ObserveError> {
        Ok(Self {
            observer: Observer::new(model)?,
            observation: Observation::default(),
            director: None,
            matte: Matte::new(),
            edges: EdgeRenderer::new(),
            view: ViewRenderer::new(),
            composite: CompositeRenderer::new(),
            rules: MatteRules::new(),
        })
    }

    /// Forgets everything that was seen: the next picture belongs to another scene.
    pub fn reset(&mut self) {
        self.observer.reset();
        self.director = None;
    }

    /// Observes the frame `sequence`, captured at `capture_ns` (nanoseconds, increasing), passes
    /// its subjects to the director, and returns the shot of this frame.
    ///
    /// # Errors
    /// [`ChainError::Observe`], or [`ChainError::Settings`] if the director does not accept the
    /// size.
    pub fn step(&mut self, picture: &Picture<'_>, sequence: u64, capture_ns: u64) -> Result<Shot, ChainError> {
        self.observer.observe(picture, sequence, capture_ns, |_| false, &mut self.observation)?;
        let subjects = SubjectList::of(&self.observation);
        let director = self.director(picture.size())?;
        director.observe(capture_ns, subjects.as_slice());
        Ok(director.step(capture_ns))
    }

    /// Observes a single picture with one inference pass. Its mask is the net's output without
    /// smoothing; its people come from the cleaned mask. Forgets everything that was seen before.
    ///
    /// # Errors
    /// [`ChainError::Observe`].
    pub fn observe_still(&mut self, picture: &Picture<'_>) -> Result<(), ChainError> {
        self.reset();
        self.observer.observe(picture, 0, 0, |_| false, &mut self.observation)?;
        self.observation.mask.clear();
        self.observation.mask.extend_from_slice(self.observer.probabilities());
        Ok(())
    }

    /// Observes a single picture with as many inference passes as it needs
    /// ([`Observer::observe_closely`]). Forgets everything that was seen before.
    ///
    /// # Errors
    /// [`ChainError::Observe`].
    pub fn observe_closely(&mut self, picture: &Picture<'_>) -> Result<(), ChainError> {
        self.reset();
        Ok(self.observer.observe_closely(picture, &mut self.observation)?)
    }

    /// The shot with which the director frames the people of the last observation, if they stay
    /// where they are: the end of its move. For still pictures; leaves [`Self::director`] as it is.
    ///
    /// # Errors
    /// [`ChainError::Settings`] if the director does not accept the size of the picture.
    pub fn settled_shot(&self) -> Result<Shot, ChainError> {
        let mut director = Director::new(default_settings(self.observation.frame))?;
        let subjects = SubjectList::of(&self.observation);
        let mut settle_at = |capture_ns| {
            director.observe(capture_ns, subjects.as_slice());
            director.step(capture_ns)
        };
        let mut shot = settle_at(0);
        for step in 1..SETTLE_STEPS {
            shot = settle_at(step * SETTLE_STEP_NS);
        }
        Ok(shot)
    }

    /// The result for the last picture.
    pub const fn observation(&self) -> &Observation {
        &self.observation
    }

    /// The observer, for inference without the rest of the chain.
    pub const fn observer(&self) -> &Observer {
        &self.observer
    }

    /// The observer, for inference without the rest of the chain.
    pub const fn observer_mut(&mut self) -> &mut Observer {
        &mut self.observer
    }

    /// The director for frames of this size. If there is none, or if it has settings for another
    /// size, a new one with the default settings and an output of the frame's size is made.
    ///
    /// # Errors
    /// The director does not accept the size.
    pub fn director(&mut self, frame: Size) -> Result<&mut Director, SettingsError> {
        let director = match self.director.take_if(|director| director.settings().frame == frame) {
            Some(director) => director,
            None => Director::new(default_settings(frame))?,
        };
        Ok(self.director.insert(director))
    }

    /// Draws the mask of the last picture at the size of `output` (GREY): 0 is background, 255 is a
    /// person.
    ///
    /// # Errors
    /// [`ChainError::Mask`] if no picture has been observed, or [`ChainError::Render`].
    pub fn draw_mask(&mut self, output: &mut PictureMut<'_>) -> Result<(), ChainError> {
        let whole = PixelRect::of_size(self.observation.frame);
        let mask = mask_of(&self.observation)?;
        Ok(draw_mask(&mut self.matte, &mask, whole, output)?)
    }

    /// Draws the mask of `picture`, which was observed last, at the size of `output` (GREY), with
    /// edges that follow those in the picture: 0 is background, 255 is a person.
    ///
    /// # Errors
    /// [`ChainError::Mask`] if no picture has been observed, or [`ChainError::Render`].
    pub fn draw_edges(&mut self, picture: &Picture<'_>, output: &mut PictureMut<'_>) -> Result<(), ChainError> {
        let mask = mask_of(&self.observation)?;
        Ok(self.edges.render(picture, PixelRect::of_size(picture.size()), &mask, output)?)
    }

    /// Draws `crop` (pixels of `picture`) at the size of `output`.
    ///
    /// # Errors
    /// [`ChainError::Render`].
    pub fn draw_view(
        &mut self,
        picture: &Picture<'_>,
        crop: PixelRect,
        output: &mut PictureMut<'_>,
    ) -> Result<(), ChainError> {
        Ok(self.view.render(picture, crop, output)?)
    }

    /// Draws the people in `crop` (pixels of `picture`, which was observed last) in front of
    /// `background`.
    ///
    /// # Errors
    /// [`ChainError::Mask`] if no picture has been observed, or [`ChainError::Render`].
    pub fn draw_composite(
        &mut self,
        picture: &Picture<'_>,
        crop: PixelRect,
        background: &PreparedBackground<'_>,
        output: &mut PictureMut<'_>,
    ) -> Result<(), ChainError> {
        mask_of(&self.observation)?;
        let frame = (self.observation.sequence, self.observation.capture_ns);
        let matte = self.rules.own(&self.observation, frame, picture.size());
        Ok(self.composite.render(picture, crop, matte, background, output)?)
    }
}

/// The default settings of the director, with an output of the frame's size.
fn default_settings(frame: Size) -> Settings {
    Settings::new(frame, even_size(frame))
}

fn mask_of(observation: &Observation) -> Result<MaskView<'_>, ChainError> {
    let Observation { mask, size, covers, .. } = observation;
    MaskView::new(MaskValues::Float(mask), *size, *covers)
        .map_err(|error| ChainError::Mask { size: *size, reason: error.to_string() })
}
