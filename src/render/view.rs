//! The view: a crop of the source at the stream's size.

use portraitd_kernels::scale::{Filter, Scaler};

use super::RenderError;
use crate::pixel::{Picture, PictureMut, Rectangle};

/// Draws views. Owns the scaler's tables and rows.
#[derive(Clone, Debug)]
pub struct ViewRenderer {
    scaler: Scaler,
}

impl Default for ViewRenderer {
    fn default() -> Self {
        Self::new()
    }
}

impl ViewRenderer {
    /// One without memory yet.
    pub fn new() -> Self {
        Self { scaler: Scaler::new(Filter::Cubic) }
    }

    /// Fills `output` (NV12, RGB24 or GREY) with `crop` (source pixels, sub-pixel) of `source`. The numbers of an NV12
    /// output mean what the source's do.
    ///
    /// # Errors
    /// [`RenderError::Scale`].
    pub fn render(
        &mut self,
        source: &Picture<'_>,
        crop: Rectangle,
        output: &mut PictureMut<'_>,
    ) -> Result<(), RenderError> {
        self.scaler.scale(source, crop.into(), output)?;
        Ok(())
    }
}
