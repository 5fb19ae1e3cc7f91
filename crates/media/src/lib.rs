//! Frames and pictures, the traits of all sources of frames, and file sources.
//!
//! | module | contents |
//! |---|---|
//! | [`source`] | the traits of sources and their open streams, and their errors |
//! | [`frame`] | captured pictures, lent by their source with reference counts |
//! | [`owned`] | pictures that own their memory |
//! | [`image`] | decodes PNG and JPEG, encodes PNG |
//! | [`file`](mod@file) | pictures, directories of pictures and y4m videos as sources |
//! | [`playback`] | frame rates, and the timing of sources that have no clock |
//! | [`latest`] | a slot that passes the newest value between threads |
//! | [`mod@upright`] | turns the frames of a stream upright |
//! | [`controls`] | exposure, white balance and other controls of a source |
//! | [`blank`] | black frames, for a closed shutter |
//! | [`bounded`] | reads files whose names come from outside, within limits |
//! | [`options`] | the options in the name of a source |
//! | [`clock`] | the monotonic clock |
//! | [`text`] | line and column of an error in a text |
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use portraitd_media::file::{FileOptions, FileSource};
//! use portraitd_media::{FormatRequest, Source, Stream, StreamEvent};
//! use portraitd_media::{OwnedPicture, PixelFormat, Size, image};
//!
//! let folder = std::env::temp_dir().join(format!("portraitd-media-{}", std::process::id()));
//! std::fs::create_dir_all(&folder)?;
//! let path = folder.join("grey.png");
//! let picture = OwnedPicture::zeroed(PixelFormat::Grey, Size::new(4, 3), Default::default())?;
//! image::write_png(&path, &picture.as_picture())?;
//!
//! let source = FileSource::new(FileOptions::parse(&format!("{}?pace=fast", path.display()))?);
//! let mut stream = source.open(&FormatRequest::default())?;
//! let event = stream.next(Duration::from_secs(1))?;
//! let StreamEvent::Frame(frame) = event else { panic!("no frame") };
//! assert_eq!((frame.sequence, frame.format.size), (0, Size::new(4, 3)));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; the shipped code is linted without `test`"
    )
)]

pub mod blank;
pub mod bounded;
pub mod clock;
pub mod controls;
pub mod file;
pub mod frame;
pub mod image;
pub mod latest;
pub mod options;
pub mod owned;
pub mod playback;
pub mod source;
pub mod text;
pub mod upright;

pub use blank::BlankFrames;
pub use frame::{Buffer, Frame, FrameFormat, Lease};
pub use latest::Latest;
pub use options::SpecError;
pub use owned::OwnedPicture;
pub use portraitd_kernels::picture::{
    Colorimetry, Matrix, Picture, PictureError, PictureMut, PixelFormat, Plane, PlaneMut, Range, Size, packed_bytes,
};
pub use portraitd_protocol::control::{Control, ControlError, ControlValue, ControlValues};
pub use portraitd_protocol::geometry::{PixelRect, UnitRect, even_size};
pub use portraitd_protocol::orientation::{Orientation, Rotation};
pub use source::{FormatRequest, Opening, Producer, Source, SourceError, Stream, StreamCounters, StreamEvent};
pub use upright::upright;
