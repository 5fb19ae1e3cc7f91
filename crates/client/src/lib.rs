//! The client side of portraitd: attach to a stream of a camera over D-Bus, then read its frames
//! from shared memory.
//!
//! portraitd is a daemon that owns a camera, finds the people in its pictures, and publishes masks,
//! person-centred views and composites. Any number of programs can read them, at full rate and
//! without a copy in the daemon.
//!
//! | module | contents |
//! |---|---|
//! | [`feed`] | [`Feed`]: attach, wait, copy, and attach again when the ring changes |
//! | [`ring`] | [`Ring`]: reading one ring, given its two descriptors |
//! | [`provide`] | the other direction: frames of a camera for the service |
//! | [`proxy`], [`connect`] | the D-Bus interfaces, and the ways to reach them |
//! | [`picture`] | a frame as RGB, PNG, PPM or PGM, and frames as y4m and JPEG |
//!
//! [`protocol`] is the crate `portraitd-protocol` with the words, pixel formats and the layout of
//! rings.
//!
//! # Reading frames
//!
//! This program saves the tenth view of the only camera as PNG. It keeps working when the camera
//! changes its size or the daemon restarts:
//!
//! ```no_run
//! use portraitd_client::connect::Bus;
//! use portraitd_client::feed::{AttachOptions, find_camera};
//! use portraitd_client::{Feed, FrameCopy, Size, StreamKind, picture};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let connection = Bus::System.connect().await?;
//!     let camera = find_camera(&connection, None).await?;
//!     println!("{} is {}", camera.name().await?, camera.state().await?);
//!
//!     let options = AttachOptions::default().with_size(Size::new(640, 360));
//!     let mut feed = Feed::attach(camera, StreamKind::View, options).await?;
//!     let mut frame = FrameCopy::default();
//!     for _ in 0..10 {
//!         feed.next(&mut frame).await?;
//!         let info = frame.info();
//!         println!("frame {} shows {} people", info.sequence, info.people().len());
//!     }
//!     let picture = picture::to_packed(&frame).expect("ten frames were read");
//!     picture::write_png(&picture, std::fs::File::create("view.png")?)?;
//!     Ok(())
//! }
//! ```
//!
//! # Changing settings
//!
//! ```no_run
//! # async fn example(connection: zbus::Connection) -> Result<(), Box<dyn std::error::Error>> {
//! use portraitd_client::connect::camera_path;
//! use portraitd_client::proxy::FramingProxy;
//! use portraitd_client::{FramingMode, FramingState};
//!
//! let framing = FramingProxy::builder(&connection).path(camera_path("front")).build().await?;
//! framing.set_mode(FramingMode::Follow.into()).await?;
//! if framing.state().await? == FramingState::Lost {
//!     println!("there is nobody in the frame");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Rings without D-Bus
//!
//! The header of a ring comes from another process. [`RingLayout::parse`] validates it, and the
//! fields of the result can be used without further checks:
//!
//! ```
//! use portraitd_client::{Colorimetry, PixelFormat, RingLayout, Size, StreamKind};
//!
//! let size = Size::new(256, 144);
//! let color = Colorimetry::default();
//! let written = RingLayout::new(StreamKind::Mask, 1, PixelFormat::Grey, color, size, 4)?;
//! let (header, memory_bytes) = (written.encode(), written.total_bytes() as u64);
//!
//! let layout = RingLayout::parse(&header, memory_bytes)?;
//! assert_eq!((layout.size, layout.planes().len()), (size, 1));
//! assert!(RingLayout::parse(&header, memory_bytes - 1).is_err(), "the memory is too small");
//! # Ok::<(), portraitd_client::protocol::layout::LayoutError>(())
//! ```
//!
//! # Threads
//!
//! The crate starts no threads. D-Bus calls are asynchronous and run on the tokio runtime of the
//! caller. A [`Ring`] is read by blocking calls, or by polling its descriptor.

mod backoff;
mod clock;
pub mod connect;
pub mod feed;
mod memory;
pub mod picture;
pub mod provide;
pub mod proxy;
pub mod ring;

pub use backoff::{Backoff, RECOVERED_AFTER};
pub use clock::monotonic_ns;
pub use feed::Feed;
pub use portraitd_protocol as protocol;
pub use portraitd_protocol::{
    BackgroundMode, CameraState, Colorimetry, CropMode, FramingMode, FramingSpeed, FramingState, Inset, MaskResolution,
    Matrix, Person, PixelFormat, Range, RingLayout, ServiceError, Size, SlotFlags, StreamKind, UnknownWord, Word,
};
pub use ring::{FrameCopy, FrameInfo, Ring, RingError, Wait};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
