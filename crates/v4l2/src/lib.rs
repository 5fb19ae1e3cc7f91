//! V4L2 capture and output in Rust, on `rustix` and `linux-raw-sys`: no libv4l, no bindgen, no C
//! compiler.
//!
//! It supports single-planar and multi-planar devices, negotiates a format and explains its choice,
//! lends captured buffers without copying them, decodes JPEG, and survives what cameras do: they
//! are unplugged, return under another number, stall, report wrong values, and are opened by other
//! programs.
//!
//! # Capture
//!
//! A [`DeviceSource`] names a device that need not exist yet. [`Source::open`](media::Source::open)
//! negotiates a format and starts the stream. A frame is lent: its buffer returns to the driver
//! when the last clone of the frame is dropped.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use portraitd_v4l2::DeviceSource;
//! use portraitd_v4l2::media::{FormatRequest, Size, Source, SourceError, Stream, StreamEvent};
//!
//! fn main() -> Result<(), SourceError> {
//!     let source = DeviceSource::new("/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920-video-index0");
//!     let request = FormatRequest { size: Some(Size::new(1280, 720)), frame_rate: Some(30.0) };
//!     let mut stream = source.open(&request)?;
//!     loop {
//!         match stream.next(Duration::from_secs(1))? {
//!             StreamEvent::Frame(frame) => {
//!                 let picture = frame.picture();
//!                 println!("frame {}: {} {}", frame.sequence, picture.format(), picture.size());
//!             }
//!             StreamEvent::FormatChanged(format) => println!("the format is now {format:?}"),
//!             StreamEvent::Nothing => println!("no frame within a second"),
//!             StreamEvent::End => return Ok(()),
//!         }
//!     }
//! }
//! ```
//!
//! # Formats without a device
//!
//! The modules [`formats`], [`mod@negotiate`] and [`clock`] do no I/O and can be used alone:
//!
//! ```
//! use portraitd_v4l2::formats::{BufferLayout, FormatError, FourCc};
//! use portraitd_v4l2::sys::DeviceFormat;
//!
//! let nv12 = FourCc::new(*b"NV12");
//! // What a driver might report for 640x480 with rows that are padded to 704 bytes.
//! let reported = DeviceFormat {
//!     width: 640,
//!     height: 480,
//!     pixel_format: nv12.0,
//!     field: 1,
//!     colorspace: 0,
//!     ycbcr_encoding: 0,
//!     quantization: 0,
//!     plane_count: 1,
//!     bytes_per_line: [704, 0, 0, 0, 0, 0, 0, 0],
//!     size_image: [704 * 480 * 3 / 2, 0, 0, 0, 0, 0, 0, 0],
//! };
//! let layout = BufferLayout::from_device(&reported)?;
//! assert_eq!((layout.planes[1].offset, layout.planes[1].stride_bytes), (704 * 480, 704));
//!
//! // A buffer that is too short is refused before anybody reads it.
//! let short = DeviceFormat { size_image: [1000, 0, 0, 0, 0, 0, 0, 0], ..reported };
//! assert!(matches!(BufferLayout::from_device(&short), Err(FormatError::ShortMemory { .. })));
//! # Ok::<(), FormatError>(())
//! ```
//!
//! # Modules
//!
//! | module | contents |
//! |---|---|
//! | [`source`], [`paths`] | devices as sources, and names that do not change |
//! | [`stream`] | an open capture device, its state machine and its counters |
//! | [`output`] | pictures written to a device, for example to v4l2loopback |
//! | [`devices`](mod@devices) | a description of every video device |
//! | [`formats`], [`mod@negotiate`], [`clock`] | without I/O: formats, their choice, timestamps |
//! | [`jpeg`] | the decoder for JPEG frames |
//! | [`device`] | an open node and its offers |
//! | `watch` | reports that devices were added or removed (feature `hotplug`) |
//! | [`sys`] | the kernel's structs, and one safe function for each ioctl |
//! | [`media`] | frames, pictures and the trait [`Source`](media::Source), re-exported |
//!
//! `unsafe` code is only in [`sys`] (system calls) and in the private module `mapping` (buffers in
//! our memory). `docs/design/v4l2.md` in the repository explains the design.
//!
//! # Features
//!
//! - `hotplug`: `DeviceWatch`, which reports that devices were added or removed. Needs tokio.
//! - `serde`: the descriptions in [`devices`](mod@devices) can be serialized.
//!
//! # Threads
//!
//! A [`CaptureStream`] belongs to one thread. Its frames may be sent to any thread: dropping the
//! last clone of a frame only sets a bit and never waits for the driver.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; the shipped code is linted without `test`"
    )
)]

pub mod clock;
mod controls;
pub mod device;
pub mod devices;
mod error;
mod flip;
pub mod formats;
pub mod jpeg;
mod mapping;
pub mod negotiate;
pub mod output;
pub mod paths;
mod queue;
mod setup;
pub mod source;
pub mod stream;
#[allow(missing_docs, dead_code, reason = "the kernel's names; its documentation is the V4L2 specification")]
pub mod sys;
#[cfg(feature = "hotplug")]
pub mod watch;

pub use devices::{DeviceInfo, devices};
pub use negotiate::{Candidate, Negotiation, negotiate};
pub use output::{Output, WriteOutcome};
pub use portraitd_media as media;
pub use setup::CaptureOptions;
pub use source::{AutoSource, DeviceSource};
pub use stream::CaptureStream;
#[cfg(feature = "hotplug")]
pub use watch::DeviceWatch;
