//! Formats, frames and geometry. Pure: no I/O, no threads.

pub mod geometry;

pub use geometry::Rectangle;
pub use portraitd_kernels::picture::{
    Colorimetry, Matrix, Picture, PictureError, PictureMut, PixelFormat, Plane, PlaneMut, Range, Region, Size,
    packed_bytes,
};
