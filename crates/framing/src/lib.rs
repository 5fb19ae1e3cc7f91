//! The director of [portraitd](https://github.com/portraitd/portraitd): decides which part of a
//! camera's picture is shown.
//!
//! It is electronic pan, tilt and zoom (EPTZ) as a calm camera operator would do it. The crop rests
//! while people talk and nod, makes one smooth move on a real change, and never leaves the frame.
//!
//! The director is pure: it has no I/O, no clock and no thread. Time is the capture timestamp of a
//! frame, in nanoseconds, which the caller passes in. One owner calls both methods:
//!
//! - [`Director::observe`] takes the people in a mask, at the rate of inference;
//! - [`Director::step`] returns the crop of a frame, once a frame, and allocates nothing.
//!
//! # Modules
//!
//! Each module uses only those above it.
//!
//! | module | contents |
//! |---|---|
//! | `tuning` | every number |
//! | `settings`, `shot` | what goes in and what comes out |
//! | `clock` | capture timestamps to integration steps |
//! | `constraints` | frame, aspect, zoom range, even pixels |
//! | `trajectory` | how a crop moves: chase and timed move |
//! | `moving_crop` | the crop, its goal and its motion |
//! | `deviation` | the error of a crop, and for how long it has lasted |
//! | `group` | which people the crop must contain |
//! | `followed` | the one person whom the crop follows, if one is chosen |
//! | `lead` | the direction in which people walk |
//! | `director` | when the crop moves |
//!
//! # Example
//!
//! A person sits left of the middle. The director frames them in one move and then rests.
//!
//! ```
//! use portraitd_framing::{Director, Settings, Subject};
//! use portraitd_media::{PixelRect, Size, UnitRect};
//!
//! let frame = Size::new(1920, 1080);
//! let mut director = Director::new(Settings::new(frame, Size::new(1280, 720)))?;
//!
//! let person = Subject { id: 1, bounds: UnitRect::new(0.25, 0.4, 0.2, 0.6) };
//! let mut shot = director.step(0);
//! assert_eq!(shot.crop, PixelRect::of_size(frame));
//! for number in 1..=300 {
//!     let capture_ns = number * 33_333_333;
//!     director.observe(capture_ns, &[person]);
//!     shot = director.step(capture_ns);
//! }
//! assert!(shot.still);
//! assert!(shot.crop.contains(&person.bounds.to_pixels(frame), 0.0));
//! assert!(shot.crop.width < 1400.0, "the crop is closer: {:?}", shot.crop);
//! assert_eq!(director.moves(), 1);
//! # Ok::<(), portraitd_framing::SettingsError>(())
//! ```

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; what ships is linted without `test`"
    )
)]

mod clock;
mod constraints;
mod deviation;
mod director;
mod followed;
mod group;
mod lead;
mod moving_crop;
mod settings;
mod shot;
mod trajectory;
mod tuning;

#[cfg(test)]
mod tests;

pub use director::Director;
pub use group::MOST_PEOPLE;
pub use settings::{LARGEST_SIDE, Settings, SettingsError};
pub use shot::{Limits, Shot, Subject};
