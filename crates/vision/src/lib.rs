//! Models, inference, masks and people for [portraitd](https://github.com/portraitd/portraitd).
//!
//! An [`Observer`] turns camera frames into [`Observation`]s: a steady mask of the people in the
//! frame, and a list of tracked people with ids. It runs a segmentation net ([`net`]) and these
//! stages:
//!
//! | stage | type | purpose |
//! |---|---|---|
//! | motion gate | [`MotionDetector`] | finds out whether and where the frame has changed |
//! | attention | [`Attention`] | chooses the inference [`Pass`] for the frame, if any |
//! | inference | [`net::Model`] | gives the probability of a person for each cell of the mask |
//! | smoothing | [`Smoother`] | makes masks steady over time |
//! | regions | [`RegionFinder`] | cleans the mask and finds its connected components ([`Region`]) |
//! | heads | [`HeadDetector`] | finds faces, now and then, and so how many people a region is |
//! | tracking | [`Tracker`] | gives people ids that last ([`TrackedPerson`]) |
//!
//! # Conventions
//!
//! - Masks are `[height, width]` `f32`, row-major, from 0 (nobody) to 1 (a person). A pixel belongs
//!   to a person if its probability is at least [`THRESHOLD`].
//! - Time is the capture timestamp of a frame in nanoseconds of one monotonic clock.
//! - Nothing here does I/O, except that [`net::Library`] reads model files. No stage has a clock or
//!   starts threads, except for the second thread that a net may use.
//! - The stages belong to one thread, for one camera. They allocate when the size of the mask
//!   changes, and not otherwise.
//!
//! The documents `docs/design/attention.md`, `docs/design/heads.md`, `docs/design/mask.md` and
//! `docs/design/plan.md` of the project give the reasons for this design.
//!
//! # Example
//!
//! A black picture is observed with the built-in model, which finds nobody in it.
//!
//! ```
//! use portraitd_media::{Colorimetry, OwnedPicture, PixelFormat, Size};
//! use portraitd_vision::net::{DEFAULT_MODEL, EngineOptions, Library};
//! use portraitd_vision::{Observation, Observer};
//!
//! let model = Library::default().load(DEFAULT_MODEL, EngineOptions::default())?;
//! let mut observer = Observer::new(model)?;
//! let mut observation = Observation::default();
//!
//! let size = Size::new(640, 360);
//! let frame = OwnedPicture::zeroed(PixelFormat::Grey, size, Colorimetry::default())?;
//! let (sequence, capture_ns) = (0, 0);
//! observer.observe(&frame.as_picture(), sequence, capture_ns, |_| false, &mut observation)?;
//!
//! assert_eq!(observation.inferences, 1);
//! assert_eq!(observation.mask.len(), 256 * 144);
//! assert!(observation.people.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; the library is linted without `test`"
    )
)]

mod attention;
mod grid;
mod heads;
mod ignored;
mod label;
mod mask;
mod motion_gate;
pub mod net;
mod observation;
mod observer;
mod parts;
mod regions;
mod smooth;
mod still;
mod tracker;
mod window;

pub use attention::{Attention, Pass};
pub use heads::{Head, HeadDetector};
pub use mask::THRESHOLD;
pub use motion_gate::{GRID, GateReference, GateSampler, MotionDetector};
pub use observation::{CellOrigin, Observation};
pub use observer::{Inference, ObserveError, Observer, sample_input};
pub use regions::{Region, RegionFinder};
pub use smooth::Smoother;
pub use tracker::{TrackedPerson, Tracker};
