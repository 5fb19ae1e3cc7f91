//! The input that a network requires, and the position of a sampled grid.

use crate::picture::{PixelRect, Size};

/// The memory layout of the tensor. The batch size is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChannelLayout {
    /// One plane per channel: `[3, height, width]`.
    #[default]
    Planar,
    /// The channels of a pixel side by side: `[height, width, 3]`.
    Interleaved,
}

/// The order of the colour channels in the tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChannelOrder {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
}

/// The treatment of a rectangle whose aspect ratio differs from that of the grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fit {
    /// The rectangle fills the grid, and its aspect ratio changes.
    #[default]
    Stretch,
    /// The aspect ratio is preserved: the rectangle is widened about its centre to the aspect ratio
    /// of the grid. The added area shows the picture where there is one, and its replicated border
    /// elsewhere.
    PadReplicate,
}

/// The input that a network requires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleSpec {
    /// Size of the grid: width and height of the tensor.
    pub size: Size,
    /// Memory layout of the tensor.
    pub layout: ChannelLayout,
    /// Order of the channels.
    pub order: ChannelOrder,
    /// Treatment of other aspect ratios.
    pub fit: Fit,
    /// Subtracted after the division by 255: one value per channel, in the order of the output.
    pub mean: [f32; 3],
    /// Divisor after the subtraction: one value per channel, not 0.
    pub std: [f32; 3],
}

impl SampleSpec {
    /// A tensor of R'G'B' values in 0..=1, planar, stretched.
    pub const fn new(size: Size) -> Self {
        Self {
            size,
            layout: ChannelLayout::Planar,
            order: ChannelOrder::Rgb,
            fit: Fit::Stretch,
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }
}

/// The position of the grid over the source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sampled {
    /// The region of the source that the whole grid covers, in source pixels.
    pub covers: PixelRect,
    /// The region of the grid that holds the requested rectangle, in grid pixels.
    pub content: PixelRect,
}

/// Why a picture cannot be sampled.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// The grid has no pixels.
    #[error("cannot sample to an empty grid of {0}")]
    Empty(Size),
    /// A standard deviation is 0, or a mean or a standard deviation is not a finite number.
    #[error("cannot normalise with mean {mean:?} and standard deviation {std:?}")]
    Normalisation {
        /// The given mean.
        mean: [f32; 3],
        /// The given standard deviation.
        std: [f32; 3],
    },
    /// The region is empty, not a number, or too far away.
    #[error("cannot sample the region {0}: it is empty, not a number, or beyond 65536 pixels")]
    PixelRect(PixelRect),
    /// More than 16384 pixels would contribute to one pixel of the grid.
    #[error("cannot sample {region} to {size}: more than 16384 source pixels per output pixel")]
    Ratio {
        /// The region, widened to the aspect ratio of the grid.
        region: PixelRect,
        /// Size of the grid.
        size: Size,
    },
    /// The output has the wrong length.
    #[error("the output holds {found} values, and the tensor {expected}")]
    Output {
        /// Number of values of the tensor.
        expected: usize,
        /// Number of values of the output.
        found: usize,
    },
}
