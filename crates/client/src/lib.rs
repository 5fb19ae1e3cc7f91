//! The client's side of portraitd: attach to a camera's stream over D-Bus, then read its frames from shared memory.
//!
//! | module | what |
//! |---|---|
//! | [`feed`] | attach, wait, read, attach again when the ring changes: what most programs want |
//! | [`ring`] | read one ring, given its two descriptors |
//! | [`layout`], [`protocol`] | version 1 of the ring: offsets, checks, and the order of its atomics |
//! | [`proxy`], [`connect`] | the D-Bus interfaces, and ways to reach them |
//! | [`picture`] | a frame as RGB, PNG, PPM or PGM |
//!
//! Nothing here starts a thread. D-Bus calls are asynchronous, on the tokio runtime of the caller; a ring is read by plain
//! blocking calls, or by polling its descriptor.

pub mod connect;
mod error;
pub mod feed;
pub mod format;
pub mod layout;
mod memory;
pub mod picture;
pub mod protocol;
pub mod proxy;
pub mod ring;
mod stream;

pub use error::ServiceError;
pub use feed::Feed;
pub use format::{FrameColor, FrameFormat, FrameMatrix};
pub use layout::Layout;
pub use ring::{FrameCopy, FrameInfo, Person, Ring, RingError, Wait};
pub use stream::{
    BackgroundMode, CameraState, CropMode, FramingMode, FramingSpeed, FramingState, Inset, MaskResolution, StreamKind,
    UnknownWord,
};
