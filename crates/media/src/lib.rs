//! Frames, pictures and their geometry; the trait that every source of frames implements; file sources.
//!
//! | module | contents |
//! |---|---|
//! | [`owned`] | pictures that own their memory |
//! | [`image`] | PNG and JPEG in, PNG out; reads and writes files |
//! | [`frame`] | a captured picture, lent by its source and reference-counted |
//! | [`source`] | the traits of sources and their open streams, and their errors |
//! | [`latest`] | the slot that hands the newest value from one thread to others |
//! | [`playback`] | frame rates, and the timing of sources that have no clock of their own |
//! | [`blank`] | black frames in place of ones that must not be shown |
//! | [`file`] | pictures, directories of pictures, y4m videos |
//! | [`options`] | the `?key=value` options of a source's name |
//! | [`clock`] | the monotonic clock |

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; what ships is linted without `test`"
    )
)]

pub mod blank;
pub mod clock;
pub mod file;
pub mod frame;
pub mod image;
pub mod latest;
pub mod options;
pub mod owned;
pub mod playback;
pub mod source;
pub mod text;

pub use blank::BlankFrames;
pub use frame::{Buffer, Frame, FrameFormat, Lease};
pub use latest::Latest;
pub use options::SpecError;
pub use owned::OwnedPicture;
pub use portraitd_kernels::picture::{
    Colorimetry, Matrix, Picture, PictureError, PictureMut, PixelFormat, Plane, PlaneMut, Range, Size, packed_bytes,
};
pub use portraitd_protocol::geometry::{PixelRect, UnitRect, even_size};
pub use source::{FormatRequest, Source, SourceError, Stream, StreamCounters, StreamEvent};
