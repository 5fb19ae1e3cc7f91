//! Why a picture cannot be composed.

use crate::picture::{PixelFormat, Size};
use crate::scale::ScaleError;

/// Why a picture cannot be composed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum BlendError {
    /// The crop of the source or of the mask cannot be scaled to the output.
    #[error(transparent)]
    Scale(#[from] ScaleError),
    /// The background is a picture of another size or format than the output.
    #[error("a background of {found_format} {found} does not fit an output of {format} {size}")]
    Backdrop {
        /// Format of the output.
        format: PixelFormat,
        /// Size of the output.
        size: Size,
        /// Format of the background.
        found_format: PixelFormat,
        /// Size of the background.
        found: Size,
    },
    /// The output has a format that is not written.
    #[error("cannot compose a picture of format {0}: only NV12 and RGB3")]
    Format(PixelFormat),
}
