//! What goes into the director and what comes out: subjects, shots and limits.

use portraitd_media::{PixelRect, UnitRect};
use portraitd_protocol::FramingState;

/// A tracked person as the director sees them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Subject {
    /// The tracker's id: the same from mask to mask for the same person.
    pub id: u32,
    /// Bounding box, in fractions of the frame. The director clips it to the frame and ignores
    /// boxes that are empty or not finite.
    pub bounds: UnitRect,
}

/// The director's answer for one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shot {
    /// The part of the frame to show, in pixels. At rest its edges are whole even numbers. While it
    /// moves they lie between pixels and the aspect is exact.
    pub crop: PixelRect,
    /// What the director is doing.
    pub state: FramingState,
    /// Whether the crop is at rest.
    pub still: bool,
    /// The id of the one person whom the crop follows; 0 if it follows everybody.
    pub subject: u32,
}

/// The limits that follow from the settings, for clients to read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The greatest zoom in use: the setting, or less if the setting would enlarge pixels more than
    /// 1.5 times.
    pub max_zoom: f32,
    /// The least zoom in use. Above 1, no crop shows the whole frame.
    pub min_zoom: f32,
    /// The zoom at which one source pixel makes one output pixel. Below 1 the output is larger than
    /// any crop.
    pub zoom_without_upscaling: f32,
    /// The whole frame, or the part of it that the output's aspect and the least zoom allow, in
    /// pixels of the frame.
    pub largest_crop: PixelRect,
    /// Width and height of the smallest crop, in pixels of the frame.
    pub smallest_crop: (f32, f32),
    /// Top speed of pan and tilt in a (moderate, drastic) move, crops per second.
    pub speed: (f32, f32),
    /// Top acceleration of pan and tilt in a (moderate, drastic) move, crops per second squared.
    pub acceleration: (f32, f32),
    /// Top rate of the natural logarithm of the zoom (in, out), per second.
    pub zoom_rate: (f32, f32),
}
