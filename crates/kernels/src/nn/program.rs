//! A net as a list of fused steps over feature maps: what is computed, not how.
//!
//! A program owns its weights in plain order. It is checked once ([`Program::check`]); everything that runs it relies on
//! that check.

use super::rows::Activation;

/// Height, width and channels of a feature map; `[height, width, channels]` `f32`, row-major, the channels innermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Pixels a row.
    pub width: usize,
    /// Numbers a pixel.
    pub channels: usize,
}

impl Shape {
    /// A vector: a map of one pixel.
    #[must_use]
    pub const fn vector(channels: usize) -> Self {
        Self { height: 1, width: 1, channels }
    }

    /// Numbers in the map.
    #[must_use]
    pub const fn len(self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether the map has no numbers.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// Which feature map: an index into [`Program::maps`].
pub type MapId = usize;

/// A map added to a convolution's result before the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residual {
    /// The map.
    pub map: MapId,
    /// It has half the height and width, and is upsampled bilinearly (half-pixel centres) on the way.
    pub upsampled: bool,
}

/// A dense convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Input pixels between windows, both ways.
    pub stride: usize,
    /// Rows and columns of zeros above and to the left of the input; below and to the right as many as the output's size asks
    /// for.
    pub padding: [usize; 2],
    /// `[output channel][kernel row][kernel column][input channel]`.
    pub weights: Vec<f32>,
    /// One an output channel.
    pub bias: Vec<f32>,
    /// Applied last.
    pub activation: Activation,
    /// A vector that the input's channels are multiplied by first (1x1 kernels only).
    pub gate: Option<MapId>,
    /// Added before the activation.
    pub residual: Option<Residual>,
}

/// A convolution of each channel with its own square kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Depthwise {
    /// Side of the kernel.
    pub kernel: usize,
    /// Input pixels between windows, both ways.
    pub stride: usize,
    /// As in [`Convolution`].
    pub padding: [usize; 2],
    /// `[channel][kernel row][kernel column]`.
    pub weights: Vec<f32>,
    /// One a channel.
    pub bias: Vec<f32>,
    /// Applied before the addition of the input.
    pub activation: Activation,
    /// Add the convolution's own input to the result (stride 1, same size).
    pub add_input: bool,
}

/// Arithmetic on two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// Sum.
    Add,
    /// Product.
    Multiply,
}

/// What a pooling window gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The largest number; pixels outside the map don't take part.
    Max,
    /// The mean of the pixels inside the map.
    Average,
}

/// How a map grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest pixel (each is repeated).
    Nearest,
    /// Bilinear, half-pixel centres, borders replicated.
    Bilinear,
}

/// One step of a program.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A dense convolution.
    Convolution {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// Weights and geometry.
        convolution: Convolution,
        /// Where the output's mean over all pixels goes, if anybody asks.
        mean: Option<MapId>,
    },
    /// A depthwise convolution, after a 1x1 convolution whose result is never stored if there is one.
    Depthwise {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// What makes the depthwise convolution's input from the input map, 1x1, stride 1.
        expand: Option<Convolution>,
        /// Weights and geometry.
        depthwise: Depthwise,
        /// Where the output's mean over all pixels goes, if anybody asks.
        mean: Option<MapId>,
    },
    /// Channels become pixels: `[h, w, (dy * factor + dx) * c + i]` goes to `[h * factor + dy, w * factor + dx, i]`; then the
    /// activation. With a 1x1 convolution before it, this is a transposed convolution whose stride is its kernel.
    PixelShuffle {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// Output pixels an input pixel, each way.
        factor: usize,
        /// Applied last.
        activation: Activation,
    },
    /// `activation(a op b)`; `b` may be a vector, which then applies to every pixel.
    Arithmetic {
        /// What is done.
        operation: Arithmetic,
        /// First operand, of the output's shape.
        a: MapId,
        /// Second operand.
        b: MapId,
        /// Output map.
        output: MapId,
        /// Applied last.
        activation: Activation,
    },
    /// An activation on its own.
    Activate {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// Applied to every number.
        activation: Activation,
    },
    /// `x < 0 ? slope[channel] * x : x`.
    LeakyRelu {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// One a channel.
        slopes: Vec<f32>,
    },
    /// `min(max(x, low), high)`.
    Clamp {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// The least number.
        low: f32,
        /// The largest number.
        high: f32,
    },
    /// Growth by a whole factor.
    Resize {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// How.
        interpolation: Interpolation,
        /// Output pixels an input pixel, each way; 2 where bilinear.
        factor: usize,
    },
    /// The mean over all pixels.
    Mean {
        /// Input map.
        input: MapId,
        /// A vector.
        output: MapId,
    },
    /// Pooling over square windows.
    Pool {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// What a window gives.
        pooling: Pooling,
        /// Side of the window.
        kernel: usize,
        /// Input pixels between windows.
        stride: usize,
        /// As in [`Convolution`].
        padding: [usize; 2],
    },
    /// Maps of one size next to each other, in the channels.
    Concatenate {
        /// Input maps, in order.
        inputs: Vec<MapId>,
        /// Output map.
        output: MapId,
    },
    /// `e^x / sum of e^x` over each pixel's channels.
    Softmax {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
    },
}

/// A net.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Every feature map.
    pub maps: Vec<Shape>,
    /// What each map is in the net that the program was made from: the node whose output it equals. Empty for a map that no node
    /// of that net has.
    pub names: Vec<String>,
    /// In the order in which they run. Each map but the input is written by exactly one step, before any reads it.
    pub steps: Vec<Step>,
    /// The picture.
    pub input: MapId,
    /// The mask.
    pub output: MapId,
}

/// A program that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step} ({name}): {problem}")]
pub struct ProgramError {
    /// Index of the step; the number of steps where the program as a whole is wrong.
    pub step: usize,
    /// Name of the step's output map.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

impl Step {
    /// The maps that the step reads.
    #[must_use]
    pub fn reads(&self) -> Vec<MapId> {
        let mut reads = Vec::new();
        self.visit_reads(|map| reads.push(map));
        reads
    }

    /// How often the step reads `map`.
    #[must_use]
    pub fn count_reads(&self, map: MapId) -> usize {
        let mut count = 0;
        self.visit_reads(|read| count += usize::from(read == map));
        count
    }

    fn visit_reads(&self, mut visit: impl FnMut(MapId)) {
        let of = |convolution: &Convolution, visit: &mut dyn FnMut(MapId)| {
            let residual = convolution.residual.map(|residual| residual.map);
            convolution.gate.into_iter().chain(residual).for_each(visit);
        };
        match self {
            Self::Convolution { input, convolution, .. } => {
                of(convolution, &mut visit);
                visit(*input);
            }
            Self::Depthwise { input, expand, .. } => {
                if let Some(expand) = expand {
                    of(expand, &mut visit);
                }
                visit(*input);
            }
            Self::Arithmetic { a, b, .. } => {
                visit(*a);
                visit(*b);
            }
            Self::Concatenate { inputs, .. } => inputs.iter().copied().for_each(visit),
            Self::PixelShuffle { input, .. }
            | Self::Activate { input, .. }
            | Self::LeakyRelu { input, .. }
            | Self::Clamp { input, .. }
            | Self::Resize { input, .. }
            | Self::Mean { input, .. }
            | Self::Pool { input, .. }
            | Self::Softmax { input, .. } => visit(*input),
        }
    }

    /// Whether the step writes `map`.
    #[must_use]
    pub fn is_writer_of(&self, map: MapId) -> bool {
        match self {
            Self::Convolution { output, mean, .. } | Self::Depthwise { output, mean, .. } => {
                *output == map || *mean == Some(map)
            }
            Self::PixelShuffle { output, .. }
            | Self::Arithmetic { output, .. }
            | Self::Activate { output, .. }
            | Self::LeakyRelu { output, .. }
            | Self::Clamp { output, .. }
            | Self::Resize { output, .. }
            | Self::Mean { output, .. }
            | Self::Pool { output, .. }
            | Self::Concatenate { output, .. }
            | Self::Softmax { output, .. } => *output == map,
        }
    }

    /// The maps that the step writes, the output first.
    #[must_use]
    pub fn writes(&self) -> Vec<MapId> {
        match self {
            Self::Convolution { output, mean, .. } | Self::Depthwise { output, mean, .. } => {
                std::iter::once(*output).chain(*mean).collect()
            }
            Self::PixelShuffle { output, .. }
            | Self::Arithmetic { output, .. }
            | Self::Activate { output, .. }
            | Self::LeakyRelu { output, .. }
            | Self::Clamp { output, .. }
            | Self::Resize { output, .. }
            | Self::Mean { output, .. }
            | Self::Pool { output, .. }
            | Self::Concatenate { output, .. }
            | Self::Softmax { output, .. } => vec![*output],
        }
    }

    /// Makes the step write its result to another map (its mean, if any, stays where it is).
    pub fn set_output(&mut self, to: MapId) {
        match self {
            Self::Convolution { output, .. }
            | Self::Depthwise { output, .. }
            | Self::PixelShuffle { output, .. }
            | Self::Arithmetic { output, .. }
            | Self::Activate { output, .. }
            | Self::LeakyRelu { output, .. }
            | Self::Clamp { output, .. }
            | Self::Resize { output, .. }
            | Self::Mean { output, .. }
            | Self::Pool { output, .. }
            | Self::Concatenate { output, .. }
            | Self::Softmax { output, .. } => *output = to,
        }
    }

    /// Replaces every map that the step reads or writes by `number` of it.
    pub fn renumber(&mut self, number: impl Fn(MapId) -> MapId) {
        if let Some(&output) = self.writes().first() {
            self.set_output(number(output));
        }
        if let Self::Convolution { mean: Some(mean), .. } | Self::Depthwise { mean: Some(mean), .. } = self {
            *mean = number(*mean);
        }
        self.renumber_reads(number);
    }

    /// Makes the step read `to` wherever it reads `from`.
    pub fn replace_read(&mut self, from: MapId, to: MapId) {
        self.renumber_reads(|map| if map == from { to } else { map });
    }

    fn renumber_reads(&mut self, number: impl Fn(MapId) -> MapId) {
        let operands = |convolution: &mut Convolution| {
            convolution.gate = convolution.gate.map(&number);
            if let Some(residual) = &mut convolution.residual {
                residual.map = number(residual.map);
            }
        };
        match self {
            Self::Convolution { input, convolution, .. } => {
                *input = number(*input);
                operands(convolution);
            }
            Self::Depthwise { input, expand, .. } => {
                *input = number(*input);
                if let Some(expand) = expand {
                    operands(expand);
                }
            }
            Self::Arithmetic { a, b, .. } => (*a, *b) = (number(*a), number(*b)),
            Self::Concatenate { inputs, .. } => {
                for input in inputs {
                    *input = number(*input);
                }
            }
            Self::PixelShuffle { input, .. }
            | Self::Activate { input, .. }
            | Self::LeakyRelu { input, .. }
            | Self::Clamp { input, .. }
            | Self::Resize { input, .. }
            | Self::Mean { input, .. }
            | Self::Pool { input, .. }
            | Self::Softmax { input, .. } => *input = number(*input),
        }
    }

    /// What kind of step it is, in a word.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Convolution { .. } => "convolution",
            Self::Depthwise { expand: Some(_), .. } => "expand-depthwise",
            Self::Depthwise { .. } => "depthwise",
            Self::PixelShuffle { .. } => "pixel-shuffle",
            Self::Arithmetic { .. } => "arithmetic",
            Self::Activate { .. } => "activation",
            Self::LeakyRelu { .. } => "leaky-relu",
            Self::Clamp { .. } => "clamp",
            Self::Resize { .. } => "resize",
            Self::Mean { .. } => "mean",
            Self::Pool { .. } => "pool",
            Self::Concatenate { .. } => "concatenate",
            Self::Softmax { .. } => "softmax",
        }
    }
}

impl Program {
    /// Multiply-adds of one run, in convolutions.
    #[must_use]
    pub fn multiply_adds(&self) -> usize {
        let dense = |c: &Convolution, pixels: usize| c.weights.len() * pixels;
        let pixels = |map: MapId| self.maps.get(map).map_or(0, |shape| shape.height * shape.width);
        self.steps
            .iter()
            .map(|step| match step {
                Step::Convolution { output, convolution, .. } => dense(convolution, pixels(*output)),
                Step::Depthwise { input, output, expand, depthwise, .. } => {
                    expand.as_ref().map_or(0, |expand| dense(expand, pixels(*input)))
                        + depthwise.weights.len() * pixels(*output)
                }
                _ => 0,
            })
            .sum()
    }
}
