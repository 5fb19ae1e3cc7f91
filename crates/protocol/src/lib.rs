//! The contract between portraitd and its clients, as types and constants without any I/O.
//!
//! | module | contents |
//! |---|---|
//! | [`words`] | streams, modes and states, each with its spelling on D-Bus |
//! | [`geometry`] | rectangles in pixels and in fractions |
//! | [`pixel`] | sizes, pixel formats, colorimetry |
//! | [`orientation`] | how pictures are turned upright |
//! | [`layout`] | version 1 of the ring: offsets, and the validation of foreign headers |
//! | [`sequence_lock`] | the order of the ring's atomic accesses |
//! | [`settings`] | range, default and error text of each setting |
//! | [`control`] | controls of a camera: names, values and errors |
//! | [`spelling`] | one spelling of names, and what an unknown name resembles |
//! | [`names`] | the bus name, object paths and interfaces |
//! | `error` | the errors of the D-Bus interfaces (feature `dbus`) |
//!
//! A client needs this crate only through `portraitd-client`, which re-exports it. A program that
//! brings its own D-Bus library and its own mapping can read a ring with [`RingLayout`] and
//! [`sequence_lock`] alone:
//!
//! ```
//! use portraitd_protocol::layout::{HEADER_BYTES, LayoutError, RingLayout};
//!
//! /// The first bytes of the memory that `Attach` returned, and the size of that memory.
//! fn describe(header: &[u8; HEADER_BYTES], memory_bytes: u64) -> Result<String, LayoutError> {
//!     let layout = RingLayout::parse(header, memory_bytes)?;
//!     Ok(format!("{} {} {}", layout.stream, layout.size, layout.format))
//! }
//!
//! # use portraitd_protocol::{Colorimetry, PixelFormat, Size, StreamKind};
//! # let size = Size::new(256, 144);
//! # let color = Colorimetry::default();
//! # let ring = RingLayout::new(StreamKind::Mask, 1, PixelFormat::Grey, color, size, 4)?;
//! # let (header, memory_bytes) = (ring.encode(), ring.total_bytes() as u64);
//! assert_eq!(describe(&header, memory_bytes)?, "mask 256x144 GREY");
//! let mut damaged = header.clone();
//! damaged[0] = 0;
//! assert_eq!(describe(&damaged, memory_bytes), Err(LayoutError::Magic));
//! # Ok::<(), LayoutError>(())
//! ```

pub mod control;
#[cfg(feature = "dbus")]
pub mod error;
pub mod geometry;
pub mod layout;
pub mod names;
pub mod orientation;
pub mod pixel;
pub mod sequence_lock;
pub mod settings;
pub mod spelling;
pub mod words;

#[cfg(feature = "dbus")]
pub use error::ServiceError;
pub use geometry::{PixelRect, UnitRect, even_size};
pub use layout::{Person, RingLayout, SlotFlags};
pub use pixel::{Colorimetry, Matrix, PixelFormat, Range, Size};
pub use words::{
    BackgroundMode, CameraState, CropMode, FramingMode, FramingSpeed, FramingState, Inset, MaskResolution, StreamKind,
    UnknownWord, Word,
};
