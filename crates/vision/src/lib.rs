//! From what the net says to who is there: a calm mask, and people with ids.
//!
//! Everything here is pure: no I/O, no clock, no threads of its own. The vision thread owns one of each for each camera;
//! [`observer`] calls them in this order, once for each frame:
//!
//! ```text
//! frame --> MotionDetector --> Attention --> net --> Smoother --> RegionFinder --> Tracker --> director
//!           (what moves)       (where to look)       (time)       (clean, boxes)   (ids)
//! ```
//!
//! Each owns its buffers, sizes them on the first call for a size, and allocates nothing afterwards. Masks are
//! `[height, width]` f32, row-major, 0 (room) to 1 (person); a pixel is a person's from [`THRESHOLD`] upwards.
//! Time is the frame's capture stamp in nanoseconds of one monotonic clock.
//!
//! Why it is done this way, and what else was considered: `docs/design/mask.md`.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; what ships is linted without `test`"
    )
)]

pub mod attention;
mod grid;
mod label;
pub mod motion_gate;
pub mod net;
pub mod observer;
pub mod people;
pub mod regions;
pub mod smooth;

pub use attention::{Attention, Look};
pub use motion_gate::MotionDetector;
pub use observer::{Observation, Observer, sample_input};
pub use people::{Person, Tracker};
pub use regions::{Region, RegionFinder};
pub use smooth::Smoother;

/// The probability from which on a pixel belongs to a person.
pub const THRESHOLD: f32 = 0.5;

/// Whether `length` values make a mask of `size`, with at least one pixel and not more than can be counted.
fn fits(length: usize, size: portraitd_media::Size) -> bool {
    !size.is_empty() && u64::try_from(length) == Ok(size.area()) && u32::try_from(length).is_ok()
}

/// 0..=1; what is not a number becomes 0, so that a broken net shows nobody and not the room.
#[inline]
fn clean(value: f32) -> f32 {
    // Selections and not `clamp`, which would keep what is not a number.
    let value = if value > 0.0 { value } else { 0.0 };
    if value < 1.0 { value } else { 1.0 }
}
