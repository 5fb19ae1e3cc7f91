//! Replaces the background of people: brings a mask to the pixels of an output, and mixes a picture
//! with a background.
//!
//! - [`Matte`] computes the rows of a mask at the size of the output, with a shaped edge. A whole
//!   matte is never stored.
//! - [`Compositor`] scales a crop, mixes it with the background, and writes each finished row once.
//!   The room is never written to the output, not even temporarily, because clients may read the
//!   shared memory at any time.
//! - [`GuidedMatte`] refines a matte by the edges of the picture, and restores the colours of
//!   people where the background shines through.
//! - [`Blur`] computes a blurred background without the people, at a cost that does not depend on
//!   the radius.
//!
//! Each type is used by one thread at a time. It owns its rows, and allocates only when it meets a
//! larger picture than ever before.

mod blur;
mod composite;
mod error;
mod fit;
mod guided;
mod matte;
#[cfg(target_arch = "aarch64")]
mod neon;
pub mod oracle;
mod rows;
#[cfg(target_arch = "riscv64")]
mod rvv;

pub use blur::Blur;
pub use composite::{Backdrop, Compositor};
pub use error::BlendError;
pub use guided::GuidedMatte;
pub use matte::{Edge, MaskError, MaskValues, MaskView, Matte, MatteRows};

#[cfg(test)]
mod loops;
#[cfg(test)]
mod tests;
