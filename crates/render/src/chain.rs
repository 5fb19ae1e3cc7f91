//! The whole way of a picture without threads: what the vision thread and a render thread do to a frame, one after the
//! other. For `eval` and for tests; the caller gives pictures and their capture times.

use portraitd_kernels::PictureError;
use portraitd_kernels::blend::{MaskValues, MaskView, Matte};

use crate::{RenderError, draw_mask};
use portraitd_framing::{Director, Settings, SettingsError, Shot, Subject};
use portraitd_media::{Colorimetry, OwnedPicture, Picture, PixelFormat, PixelRect, Size, even_size};
use portraitd_vision::net::{EngineOptions, Library, ModelError};
use portraitd_vision::observer::ObserveError;
use portraitd_vision::observer::{Observation, Observer};

/// The people whom the crop may follow, as the director takes them: boxes in fractions of the frame.
pub fn subjects(observation: &Observation) -> impl Iterator<Item = Subject> + '_ {
    let driving = observation.people.iter().filter(|person| person.drives_crop());
    driving.map(|person| Subject { id: person.id, bounds: person.bounds })
}

/// Why a frame did not go the whole way.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// No such model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The net, or the way to it.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// A mask that cannot be drawn.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A size that the director does not take.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A size without pixels.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A mask that is none.
    #[error("the mask of {size} cannot be drawn: {reason}")]
    Mask {
        /// Size of its grid.
        size: Size,
        /// What is wrong.
        reason: String,
    },
}

/// One camera's net, smoothing, tracks and director.
#[derive(Debug)]
pub struct Chain {
    observer: Observer,
    director: Director,
    observation: Observation,
    /// The net without all the rest.
    net: Observer,
    /// What the net said at the look that made the last mask, and what that covers, pixels.
    unsmoothed: Vec<f32>,
    covers: PixelRect,
    matte: Matte,
    mask: OwnedPicture,
}

impl Chain {
    /// A chain for pictures of `size`, whose director follows, with a view of the same size.
    ///
    /// # Errors
    /// A model that is not there or cannot be fed, or a size of no use.
    pub fn new(library: &Library, model: &str, size: Size) -> Result<Self, ChainError> {
        let load = || Ok::<_, ChainError>(Observer::new(library.load(model, EngineOptions::default())?)?);
        Ok(Self {
            observer: load()?,
            net: load()?,
            unsmoothed: Vec::new(),
            covers: PixelRect::default(),
            director: Director::new(Settings::new(size, even_size(size)))?,
            observation: Observation::default(),
            matte: Matte::new(),
            mask: OwnedPicture::zeroed(PixelFormat::Grey, size, Colorimetry::default())?,
        })
    }

    /// Looks at a frame, tells the director who is there, and returns what the frame shows.
    ///
    /// # Errors
    /// [`ChainError::Observe`].
    pub fn step(&mut self, picture: &Picture<'_>, sequence: u64, capture_ns: u64) -> Result<Shot, ChainError> {
        self.observer.observe(picture, sequence, capture_ns, |_| false, &mut self.observation)?;
        if self.observation.mask_sequence == sequence {
            self.unsmoothed.clear();
            self.unsmoothed.extend_from_slice(self.observer.raw());
            self.covers = self.observation.covers;
        }
        let subjects: Vec<_> = subjects(&self.observation).collect();
        self.director.observe(capture_ns, &subjects);
        Ok(self.director.step(capture_ns))
    }

    /// What was seen in the last frame.
    pub const fn observation(&self) -> &Observation {
        &self.observation
    }

    /// The director, to change its settings.
    pub const fn director_mut(&mut self) -> &mut Director {
        &mut self.director
    }

    /// The last frame's mask at the frame's size: `Grey`, 0 = nobody to 255 = person.
    ///
    /// # Errors
    /// Where there was no frame yet.
    pub fn mask(&mut self) -> Result<&OwnedPicture, ChainError> {
        let Observation { mask, size, covers, .. } = &self.observation;
        draw(&mut self.matte, &mut self.mask, mask, *size, *covers)?;
        Ok(&self.mask)
    }

    /// The same as the net gave it at the same look, before it was smoothed and cleaned.
    ///
    /// # Errors
    /// As [`Self::mask`].
    pub fn unsmoothed(&mut self) -> Result<&OwnedPicture, ChainError> {
        let size = self.observer.model().output_size();
        draw(&mut self.matte, &mut self.mask, &self.unsmoothed, size, self.covers)?;
        Ok(&self.mask)
    }

    /// The mask of the net alone: the whole of `picture`, without any past.
    ///
    /// # Errors
    /// [`ChainError::Observe`].
    pub fn net_alone(&mut self, picture: &Picture<'_>) -> Result<&OwnedPicture, ChainError> {
        let (covers, _) = self.net.infer(picture)?;
        draw(&mut self.matte, &mut self.mask, self.net.raw(), self.net.model().output_size(), covers)?;
        Ok(&self.mask)
    }
}

fn draw(
    matte: &mut Matte,
    out: &mut OwnedPicture,
    values: &[f32],
    size: Size,
    covers: PixelRect,
) -> Result<(), ChainError> {
    let view = MaskView::new(MaskValues::Float(values), size, covers.into())
        .map_err(|error| ChainError::Mask { size, reason: error.to_string() })?;
    draw_mask(matte, &view, PixelRect::of_size(out.size()), &mut out.as_picture_mut())?;
    Ok(())
}
