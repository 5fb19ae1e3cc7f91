//! People on another background: a mask brought to the output's pixels, and a picture mixed with a background by it.
//!
//! - [`Matte`]: the rows of a mask at the output's size, with its edge shaped; a row at a time, never a whole matte.
//! - [`Compositor`]: scales a crop, mixes it with the background, and writes each finished row once. The room itself is
//!   never written to the output, not even for an instant: readers of shared memory may look at any time.
//! - [`GuidedMatte`]: the same from the picture's own edges, and the colours of people where the room shines through them.
//! - [`Blur`]: a blurred room without its people, at a cost that does not grow with the blur.
//!
//! One thread at a time; each owns its rows, and allocates only when it meets a larger picture than ever before.

mod blur;
mod composite;
mod fit;
mod guided;
mod matte;
pub mod naive;
mod rows;

pub use blur::Blur;
pub use composite::{Backdrop, Compositor};
pub use guided::GuidedMatte;
pub use matte::{Edge, MaskError, MaskValues, MaskView, Matte, MatteRows};

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

#[cfg(test)]
mod tests;
