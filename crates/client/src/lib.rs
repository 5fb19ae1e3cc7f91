//! The client's side of portraitd: attach to a camera's stream over D-Bus, then read its frames from shared memory.
//!
//! | module | contents |
//! |---|---|
//! | [`feed`] | attach, wait, read, and attach again when the ring changes: what most programs want |
//! | [`ring`] | reading one ring, given its two descriptors |
//! | [`proxy`], [`connect`] | the D-Bus interfaces, and ways to reach them |
//! | [`picture`] | a frame as RGB, PNG, PPM or PGM |
//!
//! The words, pixel formats and the ring's layout are those of [`portraitd_protocol`], re-exported here as [`protocol`].
//!
//! Nothing here starts a thread. D-Bus calls are asynchronous, on the tokio runtime of the caller; a ring is read by plain
//! blocking calls, or by polling its descriptor.

pub mod connect;
pub mod feed;
mod memory;
pub mod picture;
pub mod proxy;
pub mod ring;

pub use feed::Feed;
pub use portraitd_protocol as protocol;
pub use portraitd_protocol::{
    BackgroundMode, CameraState, Colorimetry, CropMode, FramingMode, FramingSpeed, FramingState, Inset, MaskResolution,
    Matrix, Person, PixelFormat, Range, RingLayout, ServiceError, Size, StreamKind, UnknownWord,
};
pub use ring::{FrameCopy, FrameInfo, Ring, RingError, Wait};
