//! The errors of mattes and composites.

use crate::picture::{PixelFormat, Size};
use crate::scale::ScaleError;

/// Why a picture cannot be composed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum BlendError {
    /// The crop of the source or of the mask cannot be scaled to the output.
    #[error(transparent)]
    Scale(#[from] ScaleError),
    /// The background is a picture of a size or format that does not fit the output.
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
    /// The compositor does not write the format of the output.
    #[error("cannot compose a picture of format {0}: the compositor writes NV12 and RGB3")]
    Format(PixelFormat),
}
