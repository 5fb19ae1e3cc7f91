//! The daemon's own files, without the daemon round them: the inference engine would take ten minutes to build with a
//! sanitizer, and no target here needs it.

pub mod camera;
pub mod targets;

/// As in the daemon.
pub mod pixel {
    pub use portraitd_kernels::picture::{Colorimetry, Matrix, Picture, PictureError, PixelFormat, Plane, Range, Size};
}
