//! What clients see: the view, the composite, and the mask as a picture.
//!
//! Each stream has one *render thread*, which owns its renderer and calls it once a frame: source frame in, memory of the
//! ring out. A renderer owns tables and a few rows, never a whole picture of the room, and does not allocate once sizes
//! stay the same. Colours and crops come as arguments, so everything here is a function of its input.
//!
//! | file | stream |
//! |---|---|
//! | `view` | a crop of the source, scaled; optionally the whole room small in a corner |
//! | `composite` | people on a background; **fails closed**: without a mask only the background is written |
//! | `mask` | the mask itself, as grey values |

pub mod composite;
pub mod mask;
pub mod view;

pub use composite::{Background, BackgroundImage, CompositeRenderer, Shown};
pub use mask::{MaskRenderer, MaskSize};
pub use portraitd_kernels::blend::{Edge, MaskError, MaskValues, MaskView};
pub use view::{Corner, Inset, ViewRenderer};

use portraitd_kernels::blend::BlendError;
use portraitd_kernels::scale::ScaleError;

use crate::pixel::{PictureError, PictureMut, PixelFormat, Size};

/// Why a frame cannot be rendered. What was written until then must not be published.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RenderError {
    /// The stream's format or size is none that is rendered.
    #[error("cannot render a stream of {format} {size}")]
    Stream {
        /// Format of the stream.
        format: PixelFormat,
        /// Size of the stream.
        size: Size,
    },
    /// The memory given is not a picture of the stream.
    #[error("the output is {found_format} {found}, and the stream {format} {size}")]
    Output {
        /// Format of the stream.
        format: PixelFormat,
        /// Size of the stream.
        size: Size,
        /// Format of the output.
        found_format: PixelFormat,
        /// Size of the output.
        found: Size,
    },
    /// The crop cannot be scaled.
    #[error(transparent)]
    Scale(#[from] ScaleError),
    /// The composite cannot be made.
    #[error(transparent)]
    Blend(#[from] BlendError),
    /// The background image is not what its size says.
    #[error("background image: {0}")]
    Image(#[from] PictureError),
}

/// Checks that `output` is a picture of the stream.
fn check_output(format: PixelFormat, size: Size, output: &PictureMut<'_>) -> Result<(), RenderError> {
    let (found_format, found) = (output.format(), output.size());
    if (found_format, found) == (format, size) {
        Ok(())
    } else {
        Err(RenderError::Output { format, size, found_format, found })
    }
}

/// Checks that a stream of pictures that show something is in a format that is written here.
fn check_stream(format: PixelFormat, size: Size, formats: &[PixelFormat]) -> Result<(), RenderError> {
    if size.is_empty() || !formats.contains(&format) {
        return Err(RenderError::Stream { format, size });
    }
    Ok(())
}
