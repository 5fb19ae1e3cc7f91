//! Formats, frames and geometry. Pure: no I/O, no threads.

pub mod geometry;

pub use geometry::Rectangle;
pub use portraitd_kernels::picture::{
    Colorimetry, Matrix, Picture, PictureError, PixelFormat, Plane, Range, Size, packed_bytes,
};
