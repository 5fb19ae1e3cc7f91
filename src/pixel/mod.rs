//! Formats, frames and geometry. Pure: no I/O, no threads. The one exception is [`image`], which reads and writes files.

pub mod geometry;
pub mod image;
pub mod owned;

pub use geometry::{Rectangle, even_size};
pub use owned::OwnedPicture;
pub use portraitd_kernels::picture::{
    Colorimetry, Matrix, Picture, PictureError, PictureMut, PixelFormat, Plane, PlaneMut, Range, Region, Size,
    packed_bytes,
};
