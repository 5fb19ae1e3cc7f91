//! What the director can be asked for, and the checks of it.

use portraitd_media::{Size, UnitRect};
use portraitd_protocol::settings::{FRAMING_MODE, FRAMING_SPEED, LEAD_ROOM, MAX_ZOOM, MIN_ZOOM};
use portraitd_protocol::{FramingMode, FramingSpeed};

/// The largest accepted width and height, pixels. Crops are published as `f32`, which is exact to a
/// fraction of a pixel up to this size.
pub const LARGEST_SIDE: u32 = 32_768;

/// The settings of a director, from the configuration or from D-Bus.
///
/// Start from [`Settings::new`] and change fields with struct update syntax.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Size of the camera's frames, pixels.
    pub frame: Size,
    /// Size of the view, pixels. It determines the aspect of the crop and limits the zoom.
    pub output: Size,
    /// How the crop is chosen.
    pub mode: FramingMode,
    /// The greatest zoom, 1.0 to 4.0.
    pub max_zoom: f32,
    /// The least zoom, 1.0 to `max_zoom`: no crop, in no mode, shows more than `1 / min_zoom` of the
    /// frame's width and height.
    pub min_zoom: f32,
    /// How fast the crop moves.
    pub speed: FramingSpeed,
    /// What [`FramingMode::Manual`] shows, in fractions of the frame. The crop is the smallest one
    /// of the output's aspect that contains it, within the zoom range.
    pub manual_crop: UnitRect,
    /// Extra room in the direction in which people walk, as a fraction of the crop: 0 (none) to
    /// 0.25.
    pub lead_room: f32,
}

impl Settings {
    /// The default behaviour for a frame and an output: that of a camera whose configuration sets
    /// nothing else.
    #[expect(clippy::cast_possible_truncation, reason = "the defaults are exact as f32")]
    pub const fn new(frame: Size, output: Size) -> Self {
        Self {
            frame,
            output,
            mode: FRAMING_MODE,
            max_zoom: MAX_ZOOM.default as f32,
            min_zoom: MIN_ZOOM.default as f32,
            speed: FRAMING_SPEED,
            manual_crop: UnitRect::WHOLE,
            lead_room: LEAD_ROOM.default as f32,
        }
    }

    /// Checks each value by itself. Whether a crop of the output's aspect fits into the frame is
    /// checked by the crop constraints.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        for (what, size) in [("frame", self.frame), ("output", self.output)] {
            let sides = 2..=LARGEST_SIDE;
            if !(sides.contains(&size.width) && sides.contains(&size.height)) {
                return Err(SettingsError::Size { what, size });
            }
        }
        if MAX_ZOOM.check(self.max_zoom.into()).is_err() {
            return Err(SettingsError::Zoom { max_zoom: self.max_zoom });
        }
        if MIN_ZOOM.check(self.min_zoom.into()).is_err() || self.min_zoom > self.max_zoom {
            return Err(SettingsError::LeastZoom { min_zoom: self.min_zoom, max_zoom: self.max_zoom });
        }
        if LEAD_ROOM.check(self.lead_room.into()).is_err() {
            return Err(SettingsError::LeadRoom { lead_room: self.lead_room });
        }
        let crop = self.manual_crop;
        let finite = [crop.x, crop.y, crop.width, crop.height].iter().all(|number| number.is_finite());
        if !finite || crop.is_empty() || !UnitRect::WHOLE.contains(&crop, 1e-5) {
            return Err(SettingsError::ManualCrop { crop });
        }
        Ok(())
    }
}

/// Why settings were refused. The previous settings stay in force.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A frame or output is too small or too large.
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
        /// The size of the frame.
        frame: Size,
        /// The size of the output.
        output: Size,
    },
    /// The greatest zoom is out of range, or not a number.
    #[error("max_zoom {max_zoom}: must be {} to {}", MAX_ZOOM.lowest, MAX_ZOOM.highest)]
    Zoom {
        /// The value given.
        max_zoom: f32,
    },
    /// The least zoom is out of range or above the greatest zoom, or not a number.
    #[error("max_zoom {max_zoom} and min_zoom {min_zoom}: min_zoom must be {} to max_zoom", MIN_ZOOM.lowest)]
    LeastZoom {
        /// The least zoom given.
        min_zoom: f32,
        /// The greatest zoom given.
        max_zoom: f32,
    },
    /// The lead room is out of range, or not a number.
    #[error("lead_room {lead_room}: must be {} to {}", LEAD_ROOM.lowest, LEAD_ROOM.highest)]
    LeadRoom {
        /// The value given.
        lead_room: f32,
    },
    /// The manual crop is empty, not finite, or not within the frame.
    #[error("manual crop {} {} {} {}: must be x, y, width and height within 0 to 1, and not empty",
        crop.x, crop.y, crop.width, crop.height)]
    ManualCrop {
        /// The value given.
        crop: UnitRect,
    },
}
