//! The part of `camera` that looks at what a device says.

pub mod v4l2;

/// As in the daemon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Picture size.
    pub size: Option<crate::pixel::Size>,
    /// Frames a second.
    pub frame_rate: Option<f32>,
}
