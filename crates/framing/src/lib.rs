//! The director: which part of the picture is shown. It is electronic pan, tilt and zoom (EPTZ), done as a calm camera
//! operator would: still while people talk and nod, one smooth move on a real change, never out of the frame.
//!
//! Pure: no I/O, no clock, no thread. Time is the capture timestamp of the driver (nanoseconds, monotonic), handed in.
//! [`Director::observe`] takes what a mask shows, at the rate of the net; [`Director::step`] is called once a frame, on
//! the frame path, and allocates nothing. One owner calls both; the director owns all its state.
//!
//! - `tuning`: every number;
//! - `stage`: the frame, the aspect, the zoom range, even pixels;
//! - `group`: who belongs to the picture;
//! - `lead`: which way they walk;
//! - `motion`: how a crop moves;
//! - `director`: when it moves;

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; what ships is linted without `test`"
    )
)]

mod director;
mod group;
mod lead;
mod motion;
mod stage;
mod tuning;

#[cfg(test)]
mod tests;

pub use director::Director;

use portraitd_protocol::{FramingMode, FramingSpeed, FramingState};

use portraitd_media::{PixelRect, Size, UnitRect};

/// The largest width and height taken, pixels. Crops are published as `f32`, exact to a fraction of a pixel up to here.
pub const LARGEST_SIDE: u32 = 32_768;

/// The most people told apart; further ones are left out.
pub const MOST_PEOPLE: usize = 16;

/// What the director is told by the configuration and over D-Bus.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The camera's picture, pixels.
    pub frame: Size,
    /// The stream's picture, pixels: gives the crop its aspect, and bounds the zoom.
    pub output: Size,
    /// How the crop is chosen.
    pub mode: FramingMode,
    /// The greatest zoom, 1.0 to 4.0.
    pub max_zoom: f32,
    /// How fast the crop moves.
    pub speed: FramingSpeed,
    /// What [`FramingMode::Manual`] shows, in fractions of the frame. The crop is the smallest of the output's aspect
    /// that holds it, within the zoom range.
    pub manual_crop: UnitRect,
    /// Room given to people who walk in the direction they walk in, as a fraction of the crop: 0 (none) to 0.25.
    pub lead_room: f32,
}

impl Settings {
    /// The default behaviour (follow, zoom to 2.0, normal speed) for a frame and an output.
    pub const fn new(frame: Size, output: Size) -> Self {
        Self {
            frame,
            output,
            mode: FramingMode::Follow,
            max_zoom: 2.0,
            speed: FramingSpeed::Normal,
            manual_crop: UnitRect::WHOLE,
            lead_room: 0.0,
        }
    }
}

/// Why settings were refused. The old ones stay.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// A frame or output of no use.
    #[error("{what} of {size}: each side must have 2 to {LARGEST_SIDE} pixels")]
    Size {
        /// `frame` or `output`.
        what: &'static str,
        /// The size given.
        size: Size,
    },
    /// The output is so narrow or flat that no crop of its aspect is 16 pixels wide and high.
    #[error("no crop of an output of {output} fits into a frame of {frame}")]
    Aspect {
        /// The frame.
        frame: Size,
        /// The output.
        output: Size,
    },
    /// A zoom out of range, or not a number.
    #[error("max_zoom {max_zoom}: must be 1 to 4")]
    Zoom {
        /// The value given.
        max_zoom: f32,
    },
    /// A lead room out of range, or not a number.
    #[error("lead_room {lead_room}: must be 0 to 0.25")]
    LeadRoom {
        /// The value given.
        lead_room: f32,
    },
    /// A manual crop that is empty, not numbers, or not within the frame.
    #[error("manual crop {} {} {} {}: must be x, y, width and height within 0 to 1, and not empty",
        crop.x, crop.y, crop.width, crop.height)]
    ManualCrop {
        /// The value given.
        crop: UnitRect,
    },
}

/// One person, as the mask shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Subject {
    /// The same from mask to mask for the same person.
    pub id: u32,
    /// Bounding box, in fractions of the frame. Clipped to the frame; one that is empty or not numbers is left out.
    pub bounds: UnitRect,
}

/// What a frame shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shot {
    /// Pixels of the frame. Whole and even once converged; between pixels, with the aspect exact, while moving.
    pub crop: PixelRect,
    /// What the director does.
    pub state: FramingState,
    /// Whether the crop rests.
    pub still: bool,
}

/// What the settings allow, for clients to read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The greatest zoom that will be used: the setting, or less if that would enlarge pixels more than 1.5 times.
    pub max_zoom: f32,
    /// The zoom at which a source pixel is an output pixel. Below 1 the output is larger than any crop.
    pub zoom_without_upscaling: f32,
    /// The whole frame, or as much as the output's aspect lets be shown, pixels of the frame.
    pub largest_crop: PixelRect,
    /// Width and height of the smallest crop, pixels of the frame.
    pub smallest_crop: (f32, f32),
    /// Top speed of pan and tilt in a (moderate, drastic) move, crops a second.
    pub speed: (f32, f32),
    /// Top acceleration of the same, crops a second squared.
    pub acceleration: (f32, f32),
    /// Top rate of the logarithm of the zoom (in, out), per second.
    pub zoom_rate: (f32, f32),
}
