//! The contract between portraitd and its clients, as types and numbers without any I/O.
//!
//! | module | contents |
//! |---|---|
//! | [`words`] | streams, modes and states, each with its spelling on D-Bus |
//! | [`geometry`] | rectangles in pixels and in fractions |
//! | [`pixel`] | sizes, pixel formats, colorimetry |
//! | [`layout`] | version 1 of the ring: offsets, and the check of a header that another process wrote |
//! | [`sequence_lock`] | the order of the ring's atomic accesses |
//! | [`settings`] | range, default and error text of each setting |
//! | [`names`] | the bus name, object paths and interfaces |
//! | `error` | the named D-Bus errors (feature `dbus`) |

#[cfg(feature = "dbus")]
pub mod error;
pub mod geometry;
pub mod layout;
pub mod names;
pub mod pixel;
pub mod sequence_lock;
pub mod settings;
pub mod words;

#[cfg(feature = "dbus")]
pub use error::ServiceError;
pub use geometry::{PixelRect, UnitRect, even_size};
pub use layout::{Person, RingLayout};
pub use pixel::{Colorimetry, Matrix, PixelFormat, Range, Size};
pub use words::{
    BackgroundMode, CameraState, CropMode, FramingMode, FramingSpeed, FramingState, Inset, MaskResolution, StreamKind,
    UnknownWord,
};
