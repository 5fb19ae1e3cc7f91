//! The error of all renderers.

/// Why a picture could not be drawn. In this case nothing of the source has been written to the
/// output.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RenderError {
    /// The crop is empty or not finite, or a size cannot be scaled.
    #[error(transparent)]
    Scale(#[from] portraitd_kernels::scale::ScaleError),
    /// The format or size of a part of the composite does not fit the other parts.
    #[error(transparent)]
    Blend(#[from] portraitd_kernels::blend::BlendError),
}
