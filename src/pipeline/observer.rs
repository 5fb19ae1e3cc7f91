//! One frame to a mask and people: sample, net, smooth, regions, tracks. No thread, no clock and no I/O of its own: the
//! vision thread drives it live, `segment` and `eval` drive it over files.

use crate::mask::{Person, RegionFinder, Smoother, Tracker};
use crate::net::manifest::{ColorOrder, Fit, Input, Layout};
use crate::net::{Manifest, Model, ModelError};
use crate::pixel::{Picture, Rectangle, Size};
use portraitd_kernels::sample;

/// What was seen in one frame.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The frame's number.
    pub sequence: u64,
    /// The frame's capture time, `CLOCK_MONOTONIC` nanoseconds.
    pub capture_ns: u64,
    /// Size of the mask grid.
    pub size: Size,
    /// The probability of a person, 0..=1, row-major.
    pub mask: Vec<f32>,
    /// What the grid covers, in pixels of the frame; may reach beyond it.
    pub covers: Rectangle,
    /// The people, with boxes in fractions of the frame.
    pub people: Vec<Person>,
    /// How long the net ran.
    pub inference_ns: u64,
}

/// Sees people. Keeps what it needs from frame to frame.
#[derive(Debug)]
pub struct Observer {
    model: Model,
    sampler: sample::Sampler,
    input: Vec<f32>,
    raw: Vec<f32>,
    smoother: Smoother,
    regions: RegionFinder,
    tracker: Tracker,
}

/// The sampler's words for a manifest's input.
fn sampler_spec(input: &Input) -> sample::Spec {
    sample::Spec {
        size: input.size(),
        layout: match input.layout {
            Layout::Nchw => sample::Layout::Planar,
            Layout::Nhwc => sample::Layout::Interleaved,
        },
        order: match input.color_order {
            ColorOrder::Rgb => sample::Order::Rgb,
            ColorOrder::Bgr => sample::Order::Bgr,
        },
        mean: input.mean,
        std: input.std,
        fit: match input.fit {
            Fit::Stretch => sample::Fit::Stretch,
            Fit::PadReplicate => sample::Fit::PadReplicate,
        },
    }
}
