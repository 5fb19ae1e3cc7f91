//! The hot loops of portraitd.
//!
//! Everything here is a pure function over borrowed memory: no I/O, no threads (but the one that a net may be given), no
//! allocation once a workspace has been made. The crate does not depend on the ONNX importer, so that its tests cross-build for ARM and RISC-V in about a
//! minute.
//!
//! Every fast kernel has an obviously right, slow twin (its *oracle*), and every kernel is tested against its oracle.

pub mod blend;
mod cast;
mod component;
pub mod convert;
pub mod nn;
pub mod picture;
pub mod sample;
pub mod scale;
pub mod simd;
#[cfg(test)]
mod testing;

pub use picture::{
    Colorimetry, Matrix, Picture, PictureError, PictureMut, PixelFormat, PixelRect, Plane, PlaneMut, Range, Size,
};
