//! A network as a list of fused steps over feature maps. It says what is computed, and leaves open
//! how.
//!
//! A program owns its weights in plain order. [`Program::check`] checks it once, and everything
//! that runs it relies on that check.

use super::rows::Activation;

/// The shape of a feature map: `[height, width, channels]` of `f32`, row-major, with the channels
/// innermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Number of rows.
    pub height: usize,
    /// Number of pixels per row.
    pub width: usize,
    /// Number of values per pixel.
    pub channels: usize,
}

impl Shape {
    /// The shape of a vector: a map of one pixel.
    #[must_use]
    pub const fn vector(channels: usize) -> Self {
        Self { height: 1, width: 1, channels }
    }

    /// Number of values in the map.
    #[must_use]
    pub const fn len(self) -> usize {
        self.height * self.width * self.channels
    }

    /// Whether the map has no values.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// The number of a feature map: an index into [`Program::maps`].
pub type MapId = usize;

/// A map that is added to the result of a convolution before the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residual {
    /// The map to add.
    pub map: MapId,
    /// Whether the map has half the height and width, and is upsampled bilinearly (half-pixel
    /// centres) before it is added.
    pub upsampled: bool,
}

/// A dense convolution: its weights and geometry.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Input pixels from one window to the next, in both directions.
    pub stride: usize,
    /// Rows of zeros above the input, and columns of zeros to the left of it. Below and to the
    /// right there are as many as the size of the output requires.
    pub padding: [usize; 2],
    /// `[output channel][kernel row][kernel column][input channel]`.
    pub weights: Vec<f32>,
    /// One bias per output channel.
    pub bias: Vec<f32>,
    /// The activation, which is applied last.
    pub activation: Activation,
    /// A vector by which the input's channels are multiplied first. Only 1x1 kernels may have one.
    pub gate: Option<MapId>,
    /// A map that is added before the activation.
    pub residual: Option<Residual>,
}

/// A depthwise convolution, in which each channel has its own square kernel: its weights and
/// geometry.
#[derive(Clone, Debug, PartialEq)]
pub struct Depthwise {
    /// Side of the kernel, in pixels.
    pub kernel: usize,
    /// Input pixels from one window to the next, in both directions.
    pub stride: usize,
    /// Rows and columns of zeros, as in [`Convolution::padding`].
    pub padding: [usize; 2],
    /// `[channel][kernel row][kernel column]`.
    pub weights: Vec<f32>,
    /// One bias per channel.
    pub bias: Vec<f32>,
    /// The activation, which is applied before the input is added.
    pub activation: Activation,
    /// Whether the input of the depthwise convolution is added to the result (stride 1 and equal
    /// sizes only).
    pub add_input: bool,
}

/// An operation on two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// The sum.
    Add,
    /// The product.
    Multiply,
}

/// The value that a pooling window yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The largest value. Pixels outside the map are ignored.
    Max,
    /// The mean of the pixels inside the map.
    Average,
}

/// The values around a map that a [`Step::Pad`] adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// Zeros.
    Zero,
    /// The nearest pixel of the map.
    Replicate,
}

/// The interpolation that enlarges a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// Each pixel is repeated.
    Nearest,
    /// Bilinear interpolation with half-pixel centres and replicated borders.
    Bilinear,
}

/// A step of a program.
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
        /// The map for the mean of the output over all pixels, if a later step needs it.
        mean: Option<MapId>,
    },
    /// A depthwise convolution. A 1x1 convolution may come before it, whose result is never stored.
    Depthwise {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// The 1x1 convolution (stride 1) that makes the input of the depthwise convolution from
        /// the input map.
        expand: Option<Convolution>,
        /// Weights and geometry.
        depthwise: Depthwise,
        /// The map for the mean of the output over all pixels, if a later step needs it.
        mean: Option<MapId>,
    },
    /// Channels become pixels: `[h, w, (dy * factor + dx) * c + i]` goes to `[h * factor + dy, w *
    /// factor + dx, i]`. The activation follows. After a 1x1 convolution, this makes a transposed
    /// convolution whose stride equals its kernel.
    PixelShuffle {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// Output pixels per input pixel, in each direction.
        factor: usize,
        /// The activation, which is applied last.
        activation: Activation,
    },
    /// `activation(a op b)`. If `b` is a vector, it is applied to every pixel.
    Arithmetic {
        /// The operation.
        operation: Arithmetic,
        /// First operand, which has the shape of the output.
        a: MapId,
        /// Second operand: the shape of the output, or a vector.
        b: MapId,
        /// Output map.
        output: MapId,
        /// The activation, which is applied last.
        activation: Activation,
    },
    /// An activation as a step of its own.
    Activate {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// The activation that is applied to every value.
        activation: Activation,
    },
    /// Leaky rectifier: `x < 0 ? slope[channel] * x : x`.
    LeakyRelu {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// One slope per channel.
        slopes: Vec<f32>,
    },
    /// Limits every value: `min(max(x, low), high)`.
    Clamp {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// The lower limit.
        low: f32,
        /// The upper limit.
        high: f32,
    },
    /// Enlarges a map by a whole factor.
    Resize {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// The interpolation.
        interpolation: Interpolation,
        /// Output pixels per input pixel, in each direction. Bilinear interpolation supports 2
        /// only.
        factor: usize,
    },
    /// The mean of each channel over all pixels.
    Mean {
        /// Input map.
        input: MapId,
        /// Output map, a vector.
        output: MapId,
    },
    /// Pooling over square windows.
    Pool {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
        /// The value that a window yields.
        pooling: Pooling,
        /// Side of the window, in pixels.
        kernel: usize,
        /// Input pixels from one window to the next.
        stride: usize,
        /// Rows and columns outside the input, as in [`Convolution::padding`].
        padding: [usize; 2],
    },
    /// Adds pixels around a map. Convolutions pad with zeros by themselves; this step is for nets
    /// that replicate the border, and for padding that several steps share.
    Pad {
        /// Input map.
        input: MapId,
        /// Output map. Below and to the right there are as many pixels as its size requires.
        output: MapId,
        /// The values of the added pixels.
        border: Border,
        /// Rows above the input, and columns to the left of it.
        padding: [usize; 2],
    },
    /// Joins maps of equal height and width along their channels.
    Concatenate {
        /// Input maps, in the order of their channels.
        inputs: Vec<MapId>,
        /// Output map.
        output: MapId,
    },
    /// Softmax over the channels of each pixel: `e^x / sum of e^x`.
    Softmax {
        /// Input map.
        input: MapId,
        /// Output map.
        output: MapId,
    },
}

/// A network: its feature maps and its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The shape of every feature map.
    pub maps: Vec<Shape>,
    /// For each map, the name of the node of the original network whose output the map holds. Empty
    /// if no node of that network has this output.
    pub names: Vec<String>,
    /// The steps in the order in which they run. Exactly one step writes each map other than the
    /// input, and it comes before every step that reads the map.
    pub steps: Vec<Step>,
    /// The map that holds the picture.
    pub input: MapId,
    /// The map that holds the mask.
    pub output: MapId,
}

/// The reason why a program is inconsistent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step} ({name}): {problem}")]
pub struct ProgramError {
    /// Index of the step. The number of steps if the problem concerns the whole program.
    pub step: usize,
    /// Name of the step's output map.
    pub name: String,
    /// A description of the problem.
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
            | Self::Pad { input, .. }
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
            | Self::Pad { output, .. }
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
            | Self::Pad { output, .. }
            | Self::Concatenate { output, .. }
            | Self::Softmax { output, .. } => vec![*output],
        }
    }

    /// Makes the step write its result to another map. Its mean, if there is one, stays where it
    /// is.
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
            | Self::Pad { output, .. }
            | Self::Concatenate { output, .. }
            | Self::Softmax { output, .. } => *output = to,
        }
    }

    /// Replaces the number of every map that the step reads or writes by `number` of it.
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
            | Self::Pad { input, .. }
            | Self::Softmax { input, .. } => *input = number(*input),
        }
    }

    /// The kind of the step, as a short name for listings.
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
            Self::Pad { .. } => "pad",
            Self::Concatenate { .. } => "concatenate",
            Self::Softmax { .. } => "softmax",
        }
    }
}

impl Program {
    /// Multiply-adds of one run, counting convolutions only.
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
