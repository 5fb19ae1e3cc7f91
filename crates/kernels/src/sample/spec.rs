//! What a network wants of its input, and where a sampled grid lies.

use crate::picture::{PixelRect, Size};

/// How the tensor lies in memory. Batch size is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChannelLayout {
    /// A plane a channel: `[3, height, width]`.
    #[default]
    Planar,
    /// Channels of a pixel side by side: `[height, width, 3]`.
    Interleaved,
}

/// The order of channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChannelOrder {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
}

/// What to do where the rectangle's shape is not the grid's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fit {
    /// The rectangle fills the grid; its shape changes.
    #[default]
    Stretch,
    /// Shape is kept: the rectangle is widened about its centre to the grid's shape. What that takes in is the picture
    /// where there is some, and its replicated border where there is none.
    PadReplicate,
}

/// What a net wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleSpec {
    /// The grid.
    pub size: Size,
    /// Memory layout of the output.
    pub layout: ChannelLayout,
    /// Channel order of the output.
    pub order: ChannelOrder,
    /// Fit.
    pub fit: Fit,
    /// Subtracted after division by 255: a value a channel, in the output's order.
    pub mean: [f32; 3],
    /// Then divided by this; not 0.
    pub std: [f32; 3],
}

impl SampleSpec {
    /// R'G'B' in 0..=1, planar, stretched.
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

/// Where the grid lies over the source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sampled {
    /// The region of the source that the whole grid covers, in source pixels.
    pub covers: PixelRect,
    /// The region of the grid that holds the rectangle asked for, in grid pixels.
    pub content: PixelRect,
}

/// Why a picture cannot be sampled.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// The grid has no pixels.
    #[error("cannot sample to a grid of {0}")]
    Empty(Size),
    /// A standard deviation is 0, or mean or deviation are no numbers.
    #[error("cannot normalise with mean {mean:?} and standard deviation {std:?}")]
    Normalisation {
        /// The mean given.
        mean: [f32; 3],
        /// The deviation given.
        std: [f32; 3],
    },
    /// The rectangle is none, or a very distant one.
    #[error("cannot sample the region {0}: it is empty, not a number, or beyond 65536 pixels")]
    PixelRect(PixelRect),
    /// More than 16384 pixels would go into one of the grid.
    #[error("cannot sample {region} to {size}: more than 16384 pixels to one")]
    Ratio {
        /// The region, widened to the grid's shape.
        region: PixelRect,
        /// The grid.
        size: Size,
    },
    /// The output is not as long as the tensor.
    #[error("the output holds {found} values, and the tensor {expected}")]
    Output {
        /// Values of the tensor.
        expected: usize,
        /// Values that the output has room for.
        found: usize,
    },
}
