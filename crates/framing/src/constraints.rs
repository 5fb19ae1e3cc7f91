//! What limits a crop: the frame, the aspect, the zoom range and even pixels. Also computes the
//! crop that shows given people best.

use portraitd_media::{PixelRect, Size, UnitRect};

use crate::settings::SettingsError;
use crate::tuning::{HEADROOM, SIDE_MARGIN, SMALLEST_SIDE, SMALLEST_ZOOM, UPSCALING};

/// A rectangle in pixels of the frame: a [`PixelRect`] with the precision that integration needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FrameRect {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl FrameRect {
    pub(crate) fn center(&self) -> (f64, f64) {
        (self.x + self.width * 0.5, self.y + self.height * 0.5)
    }

    /// `rect` in a frame of this size.
    pub(crate) fn from_unit(rect: &UnitRect, frame: Size) -> Self {
        let (width, height) = (f64::from(frame.width), f64::from(frame.height));
        let (x, y, w, h) = rect.to_tuple();
        Self { x: x * width, y: y * height, width: w * width, height: h * height }
    }

    /// Rounds to the precision in which crops are published.
    pub(crate) fn to_pixels(self) -> PixelRect {
        PixelRect::new(narrow(self.x), narrow(self.y), narrow(self.width), narrow(self.height))
    }
}

/// Rounds to `f32`.
#[expect(clippy::cast_possible_truncation, reason = "rounding a pixel coordinate or a rate to f32 is intended")]
pub(crate) const fn narrow(value: f64) -> f32 {
    value as f32
}

/// A crop as pan, tilt and zoom: its centre in pixels, and the natural logarithm of its zoom (0: as
/// large as the frame and the least zoom allow).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pose {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) zoom: f64,
}

/// What limits a crop. The output's aspect is exact while the crop moves, and rounded to even
/// pixels at rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CropConstraints {
    /// Size of the frame in pixels, rounded down to even numbers.
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// Size of the largest crop of the output's aspect that the least zoom allows, before rounding
    /// to even pixels.
    full_width: f64,
    full_height: f64,
    /// Where the middle of the largest crop is, from the top of the frame.
    full_middle: f64,
    /// How many times smaller the largest crop is than the frame allows: the least zoom.
    pub(crate) least_zoom: f64,
    /// The logarithm of the greatest zoom, relative to the largest crop.
    pub(crate) max_zoom: f64,
    /// The logarithm of the zoom at which [`SMALLEST_SIDE`] pixels are left. If previous settings
    /// allowed more than `max_zoom`, the crop eases back from there, but it never exceeds this.
    hard_max_zoom: f64,
    /// The zoom at which one source pixel makes one output pixel.
    pub(crate) zoom_without_upscaling: f64,
}

fn even(value: f64) -> f64 {
    (value * 0.5).round() * 2.0
}

fn even_below(value: f64) -> f64 {
    (value * 0.5 + 1e-9).floor() * 2.0
}

impl CropConstraints {
    /// The sizes and the greatest zoom must have passed the checks of the settings.
    ///
    /// # Errors
    /// No crop of the output's aspect fits into the frame with at least [`SMALLEST_SIDE`] pixels
    /// (or as many as the frame has) each way.
    pub(crate) fn new(frame: Size, output: Size, (min_zoom, max_zoom): (f32, f32)) -> Result<Self, SettingsError> {
        let (width, height) = (even_below(frame.width.into()), even_below(frame.height.into()));
        let (across, down) = (f64::from(output.width), f64::from(output.height));
        let (full_width, full_height) = if width * down > height * across {
            (height * across / down, height)
        } else {
            (width, width * down / across)
        };
        // In a strip of a few pixels, even pixels are larger than the dead bands: the crop would
        // never rest.
        if full_width < width.clamp(2.0, SMALLEST_SIDE) || full_height < height.clamp(2.0, SMALLEST_SIDE) {
            return Err(SettingsError::Aspect { frame, output });
        }
        let zoom_without_upscaling = full_width / across;
        // The least zoom is for privacy, so it holds whatever else limits the zoom. Only a crop of
        // two pixels is not made smaller.
        let least_zoom = f64::from(min_zoom).min(full_width.min(full_height) * 0.5).max(1.0);
        let full_middle = full_height * 0.5;
        let (full_width, full_height) = (full_width / least_zoom, full_height / least_zoom);
        let hard_max_zoom = (full_width.min(full_height) / SMALLEST_SIDE).max(1.0).ln();
        let max_zoom = f64::from(max_zoom).min(zoom_without_upscaling * UPSCALING).max(least_zoom);
        let max_zoom = (max_zoom / least_zoom).ln().min(hard_max_zoom);
        // In even pixels the largest crop can be a little smaller than the exact one. It must be
        // within range.
        let hard_max_zoom = hard_max_zoom.max((full_height / even_below(full_height)).ln());
        Ok(Self {
            width,
            height,
            full_width,
            full_height,
            full_middle,
            least_zoom,
            max_zoom,
            hard_max_zoom,
            zoom_without_upscaling,
        })
    }

    /// The size of a crop at `zoom`, pixels, with the exact aspect.
    pub(crate) fn size(&self, zoom: f64) -> (f64, f64) {
        let fraction = (-zoom).exp();
        (self.full_width * fraction, self.full_height * fraction)
    }

    /// The crop at `pose`, with the exact aspect and edges between pixels.
    pub(crate) fn rect(&self, pose: &Pose) -> FrameRect {
        let (width, height) = self.size(pose.zoom);
        FrameRect { x: pose.x - width * 0.5, y: pose.y - height * 0.5, width, height }
    }

    /// The nearest pose whose crop is inside the frame.
    pub(crate) fn clamp(&self, pose: &Pose) -> Pose {
        let zoom = pose.zoom.clamp(0.0, self.hard_max_zoom);
        let (width, height) = self.size(zoom);
        let (half_width, half_height) = (width * 0.5, height * 0.5);
        Pose {
            x: pose.x.min(self.width - half_width).max(half_width),
            y: pose.y.min(self.height - half_height).max(half_height),
            zoom,
        }
    }

    /// The crop of whole even pixels nearest to `pose`, inside the frame and within the zoom range.
    pub(crate) fn snap(&self, pose: &Pose) -> FrameRect {
        let (full_width, full_height) = (even_below(self.full_width), even_below(self.full_height));
        let (least_width, least_height) = self.size(self.max_zoom);
        let (_, wanted) = self.size(pose.zoom.clamp(0.0, self.max_zoom));
        let aspect = self.full_width / self.full_height;
        let mut height = even(wanted).clamp(2.0, full_height);
        let mut width = even(height * aspect).clamp(2.0, full_width);
        while (width + 1e-6 < least_width || height + 1e-6 < least_height) && height < full_height {
            height += 2.0;
            width = even(height * aspect).clamp(2.0, full_width);
        }
        FrameRect {
            x: even(pose.x - width * 0.5).clamp(0.0, self.width - width),
            y: even(pose.y - height * 0.5).clamp(0.0, self.height - height),
            width,
            height,
        }
    }

    /// The pose of a crop.
    pub(crate) fn pose(&self, rect: &FrameRect) -> Pose {
        let (x, y) = rect.center();
        Pose { x, y, zoom: (self.full_height / rect.height).ln().max(0.0) }
    }

    /// The largest crop: the whole frame, or the part that the output's aspect allows (the middle of
    /// the width and the top of the height), or the middle of that if the least zoom forbids more.
    pub(crate) fn full(&self) -> FrameRect {
        self.snap(&Pose { x: self.width * 0.5, y: self.full_middle, zoom: 0.0 })
    }

    /// The smallest crop.
    pub(crate) fn smallest(&self) -> FrameRect {
        self.snap(&Pose { x: 0.0, y: 0.0, zoom: self.max_zoom })
    }

    /// The zoom at which `people` fill the crop up to its margins.
    pub(crate) fn wanted_zoom(&self, people: &FrameRect) -> f64 {
        let fraction = (people.width / (1.0 - 2.0 * SIDE_MARGIN) / self.full_width)
            .max(people.height / (1.0 - HEADROOM) / self.full_height);
        let zoom = (1.0 / fraction.max(1e-6)).ln().clamp(0.0, self.max_zoom);
        if zoom < SMALLEST_ZOOM.ln() { 0.0 } else { zoom }
    }

    /// The pose at which a crop of `zoom` shows `people` best: in the middle, with headroom. If
    /// they do not fit, they are cut at the bottom.
    pub(crate) fn ideal(&self, people: &FrameRect, zoom: f64) -> Pose {
        let (_, height) = self.size(zoom);
        let y = people.y + (0.5 - HEADROOM) * height;
        self.clamp(&Pose { x: people.center().0, y, zoom })
    }

    /// The smallest crop that contains `wanted`, within the zoom range. If it does not fit, it is
    /// cut at the bottom.
    pub(crate) fn enclosing(&self, wanted: &FrameRect) -> FrameRect {
        let fraction = (wanted.width / self.full_width).max(wanted.height / self.full_height);
        let zoom = (1.0 / fraction.max(1e-6)).ln().clamp(0.0, self.max_zoom);
        let (_, height) = self.size(zoom);
        let y = wanted.y + wanted.height.min(height) * 0.5;
        self.snap(&Pose { x: wanted.center().0, y, zoom })
    }

    /// Converts a pose under the constraints `old` to the pose under these constraints that has the
    /// same place and the same height in the picture.
    pub(crate) fn transfer(&self, pose: &Pose, old: &Self) -> Pose {
        let (across, down) = (self.width / old.width, self.height / old.height);
        let mut rect = old.rect(pose);
        rect.height *= down;
        let zoom = self.pose(&rect).zoom;
        self.clamp(&Pose { x: pose.x * across, y: pose.y * down, zoom })
    }
}
