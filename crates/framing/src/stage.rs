//! The room a crop has: the frame, the aspect, the zoom range; where a crop would ideally be; and even pixels.

use super::SettingsError;
use super::tuning::{HEADROOM, SIDE_MARGIN, SMALLEST_SIDE, SMALLEST_ZOOM, UPSCALING};
use portraitd_media::{PixelRect, Size, UnitRect};

/// A rectangle in pixels of the frame. Like [`PixelRect`], in the precision the integration needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Area {
    pub fn center(&self) -> (f64, f64) {
        (self.x + self.width * 0.5, self.y + self.height * 0.5)
    }

    /// `fractions` of a frame of `width` by `height` pixels.
    pub fn from_fractions(fractions: &UnitRect, width: f64, height: f64) -> Self {
        let (x, y, w, h) = fractions.to_tuple();
        Self { x: x * width, y: y * height, width: w * width, height: h * height }
    }

    /// The same, as it is published.
    pub fn to_rectangle(self) -> PixelRect {
        PixelRect::new(narrow(self.x), narrow(self.y), narrow(self.width), narrow(self.height))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a pixel coordinate: rounding to f32 is what is wanted")]
const fn narrow(value: f64) -> f32 {
    value as f32
}

/// A crop as it is moved: its centre in pixels, and the logarithm of its zoom (0: as large as the frame allows).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    pub x: f64,
    pub y: f64,
    pub zoom: f64,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// The frame, pixels, rounded down to even.
    pub width: f64,
    pub height: f64,
    /// The largest crop of the output's aspect, before rounding to even pixels.
    full_width: f64,
    full_height: f64,
    /// The logarithm of the greatest zoom.
    pub deepest: f64,
    /// The same of the zoom that leaves [`SMALLEST_SIDE`] pixels: what other settings allowed may be above `deepest`, and
    /// eases back from there, but is never above this.
    utmost: f64,
    /// The zoom at which one source pixel makes one output pixel.
    pub without_upscaling: f64,
}

fn even(value: f64) -> f64 {
    (value * 0.5).round() * 2.0
}

fn even_below(value: f64) -> f64 {
    (value * 0.5 + 1e-9).floor() * 2.0
}

impl Stage {
    /// For sizes and a greatest zoom that have been checked one by one.
    ///
    /// # Errors
    /// Where no crop of the output's aspect, [`SMALLEST_SIDE`] each way or as much as the frame has, fits into the frame.
    pub fn new(frame: Size, output: Size, max_zoom: f32) -> Result<Self, SettingsError> {
        let (width, height) = (even_below(frame.width.into()), even_below(frame.height.into()));
        let (across, down) = (f64::from(output.width), f64::from(output.height));
        let (full_width, full_height) = if width * down > height * across {
            (height * across / down, height)
        } else {
            (width, width * down / across)
        };
        // In a strip of a few pixels even ones are larger than the dead bands, and the crop would never rest.
        if full_width < width.clamp(2.0, SMALLEST_SIDE) || full_height < height.clamp(2.0, SMALLEST_SIDE) {
            return Err(SettingsError::Aspect { frame, output });
        }
        let without_upscaling = full_width / across;
        let utmost = (full_width.min(full_height) / SMALLEST_SIDE).max(1.0).ln();
        let deepest = f64::from(max_zoom).min(without_upscaling * UPSCALING).max(1.0).ln().min(utmost);
        // The largest crop in even pixels can be a little smaller than the largest: that much must always be reached.
        let utmost = utmost.max((full_height / even_below(full_height)).ln());
        Ok(Self { width, height, full_width, full_height, deepest, utmost, without_upscaling })
    }

    /// The size of a crop at `zoom`, pixels, with the aspect exact.
    pub fn size(&self, zoom: f64) -> (f64, f64) {
        let share = (-zoom).exp();
        (self.full_width * share, self.full_height * share)
    }

    /// The crop at `pose`, with the aspect exact and the edges between pixels.
    pub fn area(&self, pose: &Pose) -> Area {
        let (width, height) = self.size(pose.zoom);
        Area { x: pose.x - width * 0.5, y: pose.y - height * 0.5, width, height }
    }

    /// The pose nearest to `pose` that lies inside the frame.
    pub fn inside(&self, pose: &Pose) -> Pose {
        let zoom = pose.zoom.clamp(0.0, self.utmost);
        let (width, height) = self.size(zoom);
        let (half_width, half_height) = (width * 0.5, height * 0.5);
        Pose {
            x: pose.x.min(self.width - half_width).max(half_width),
            y: pose.y.min(self.height - half_height).max(half_height),
            zoom,
        }
    }

    /// The crop of whole even pixels nearest to `pose` that lies inside the frame and within the zoom range.
    pub fn settle(&self, pose: &Pose) -> Area {
        let (full_width, full_height) = (even_below(self.full_width), even_below(self.full_height));
        let (least_width, least_height) = self.size(self.deepest);
        let (_, wanted) = self.size(pose.zoom.clamp(0.0, self.deepest));
        let aspect = self.full_width / self.full_height;
        let mut height = even(wanted).clamp(2.0, full_height);
        let mut width = even(height * aspect).clamp(2.0, full_width);
        while (width + 1e-6 < least_width || height + 1e-6 < least_height) && height < full_height {
            height += 2.0;
            width = even(height * aspect).clamp(2.0, full_width);
        }
        Area {
            x: even(pose.x - width * 0.5).clamp(0.0, self.width - width),
            y: even(pose.y - height * 0.5).clamp(0.0, self.height - height),
            width,
            height,
        }
    }

    /// The pose of a crop.
    pub fn pose(&self, area: &Area) -> Pose {
        let (x, y) = area.center();
        Pose { x, y, zoom: (self.full_height / area.height).ln().max(0.0) }
    }

    /// The whole frame, or what the output's aspect lets be shown of it: the middle of the width, and the top of the height.
    pub fn full(&self) -> Area {
        self.settle(&Pose { x: self.width * 0.5, y: self.full_height * 0.5, zoom: 0.0 })
    }

    /// The smallest crop.
    pub fn smallest(&self) -> Area {
        self.settle(&Pose { x: 0.0, y: 0.0, zoom: self.deepest })
    }

    /// The zoom that `people` (pixels) call for.
    pub fn wanted_zoom(&self, people: &Area) -> f64 {
        let share = (people.width / (1.0 - 2.0 * SIDE_MARGIN) / self.full_width)
            .max(people.height / (1.0 - HEADROOM) / self.full_height);
        let zoom = (1.0 / share.max(1e-6)).ln().clamp(0.0, self.deepest);
        if zoom < SMALLEST_ZOOM.ln() { 0.0 } else { zoom }
    }

    /// Where a crop of `zoom` shows `people` best: in the middle, with headroom. What does not fit is cut at the bottom.
    pub fn ideal(&self, people: &Area, zoom: f64) -> Pose {
        let (_, height) = self.size(zoom);
        let y = people.y + (0.5 - HEADROOM) * height;
        self.inside(&Pose { x: people.center().0, y, zoom })
    }

    /// The smallest crop that holds `wished` (pixels), within the zoom range. What does not fit is cut at the bottom.
    pub fn holding(&self, wished: &Area) -> Area {
        let share = (wished.width / self.full_width).max(wished.height / self.full_height);
        let zoom = (1.0 / share.max(1e-6)).ln().clamp(0.0, self.deepest);
        let (_, height) = self.size(zoom);
        let y = wished.y + wished.height.min(height) * 0.5;
        self.settle(&Pose { x: wished.center().0, y, zoom })
    }
}
