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
mod error;
mod fit;
mod guided;
mod matte;
pub mod oracle;
mod rows;

pub use blur::Blur;
pub use composite::{Backdrop, Compositor};
pub use error::BlendError;
pub use guided::GuidedMatte;
pub use matte::{Edge, MaskError, MaskValues, MaskView, Matte, MatteRows};

#[cfg(test)]
mod tests;
