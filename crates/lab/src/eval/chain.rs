//! A chain whose parts can be compared: the mask as clients get it, the same mask before smoothing,
//! and the mask of the net alone.

use portraitd_framing::{Director, SettingsError, Shot};
use portraitd_kernels::blend::{MaskValues, MaskView, Matte};
use portraitd_media::{Colorimetry, OwnedPicture, Picture, PictureError, PixelFormat, PixelRect, Size};
use portraitd_render::{Chain, ChainError, RenderError, draw_mask};
use portraitd_vision::net::{EngineOptions, Library, ModelError};
use portraitd_vision::{Observation, ObserveError, Observer};

/// Why a picture could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The model is missing or invalid.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The chain failed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The size has no pixels.
    #[error(transparent)]
    Picture(#[from] PictureError),
}

impl From<ObserveError> for EvalError {
    fn from(error: ObserveError) -> Self {
        Self::Chain(error.into())
    }
}

impl From<RenderError> for EvalError {
    fn from(error: RenderError) -> Self {
        Self::Chain(error.into())
    }
}

/// A [`Chain`], and next to it the net without smoothing, attention and motion gate.
#[derive(Debug)]
pub struct EvalChain {
    chain: Chain,
    net: Observer,
    /// The output of the inference pass that made the last mask, and the part of the frame that it
    /// covers, in pixels. If several windows took turns, the mask itself.
    unsmoothed: Vec<f32>,
    unsmoothed_size: Size,
    covers: PixelRect,
    matte: Matte,
    mask: OwnedPicture,
}

impl EvalChain {
    /// A chain for pictures of `size`, whose director follows people, with a view of the same size.
    ///
    /// # Errors
    /// The model cannot be loaded, or the size is not accepted.
    pub fn new(library: &Library, model: &str, size: Size) -> Result<Self, EvalError> {
        let load = || library.load(model, EngineOptions::default());
        let mut chain = Chain::new(load()?)?;
        // Nothing here draws composites.
        chain.observer_mut().set_most_windows(Observer::MAX_WINDOWS);
        chain.observer_mut().set_heads(Some(crate::head_detector()?));
        chain.director(size).map_err(ChainError::from)?;
        Ok(Self {
            chain,
            net: Observer::new(load()?)?,
            unsmoothed: Vec::new(),
            unsmoothed_size: Size::new(0, 0),
            covers: PixelRect::default(),
            matte: Matte::new(),
            mask: OwnedPicture::zeroed(PixelFormat::Grey, size, Colorimetry::default())?,
        })
    }

    /// As [`Chain::step`].
    ///
    /// # Errors
    /// As [`Chain::step`].
    pub fn step(&mut self, picture: &Picture<'_>, sequence: u64, capture_ns: u64) -> Result<Shot, EvalError> {
        let shot = self.chain.step(picture, sequence, capture_ns)?;
        let observation = self.chain.observation();
        let observer = self.chain.observer();
        let is_one_pass = observation.size == observer.model().output_size();
        if observation.mask_sequence == sequence || !is_one_pass {
            let values = if is_one_pass { observer.probabilities() } else { &observation.mask };
            self.unsmoothed.clear();
            self.unsmoothed.extend_from_slice(values);
            (self.unsmoothed_size, self.covers) = (observation.size, observation.covers);
        }
        Ok(shot)
    }

    /// The result for the last frame.
    pub const fn observation(&self) -> &Observation {
        self.chain.observation()
    }

    /// As [`Chain::director`].
    ///
    /// # Errors
    /// The director does not accept the size.
    pub fn director(&mut self, frame: Size) -> Result<&mut Director, SettingsError> {
        self.chain.director(frame)
    }

    /// The mask of the last frame at the frame's size: GREY, 0 is background, 255 is a person.
    ///
    /// # Errors
    /// No frame has been observed.
    pub fn mask(&mut self) -> Result<&OwnedPicture, EvalError> {
        self.chain.draw_mask(&mut self.mask.as_picture_mut())?;
        Ok(&self.mask)
    }

    /// The output of the inference pass that made the last mask, before it was smoothed and
    /// cleaned.
    ///
    /// # Errors
    /// No frame has been observed.
    pub fn unsmoothed(&mut self) -> Result<&OwnedPicture, EvalError> {
        draw(&mut self.matte, &mut self.mask, &self.unsmoothed, self.unsmoothed_size, self.covers)?;
        Ok(&self.mask)
    }

    /// The mask of the net alone: the whole of `picture`, without any earlier frame.
    ///
    /// # Errors
    /// The net failed.
    pub fn net_alone(&mut self, picture: &Picture<'_>) -> Result<&OwnedPicture, EvalError> {
        let covers = self.net.infer(picture)?.covers;
        draw(&mut self.matte, &mut self.mask, self.net.probabilities(), self.net.model().output_size(), covers)?;
        Ok(&self.mask)
    }
}

fn draw(
    matte: &mut Matte,
    out: &mut OwnedPicture,
    values: &[f32],
    size: Size,
    covers: PixelRect,
) -> Result<(), EvalError> {
    let view = MaskView::new(MaskValues::Float(values), size, covers)
        .map_err(|error| ChainError::Mask { size, reason: error.to_string() })?;
    draw_mask(matte, &view, PixelRect::of_size(out.size()), &mut out.as_picture_mut())?;
    Ok(())
}
