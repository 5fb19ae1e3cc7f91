//! A loaded model: its manifest and the engine that runs it.

use portraitd_kernels::nn::Program;
use portraitd_kernels::simd::Isa;
use portraitd_media::Size;

use super::engine::{Engine, EngineChoice, EngineOptions};
use super::error::{EngineError, ModelError, shape_text};
use super::manifest::{Activation, Manifest, Output, TensorLayout, tensor_shape};
use super::package::Package;
use super::plan_engine::PlanEngine;
use super::tract::{TractEngine, import_onnx};
use super::trial::guarded;

/// The most values of an output tensor: 64 MiB. DeepLab's 513x513 pixels of 21 classes are 5.5 million.
const MAX_OUTPUT: u64 = 16 << 20;

/// A model that is ready to run. It belongs to one thread; a run allocates nothing on the plan.
pub struct Model {
    manifest: Manifest,
    engine: Box<dyn Engine>,
    output_size: Size,
    /// The output tensor of the last run, before activation.
    output: Vec<f32>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("name", &self.manifest.name)
            .field("engine", &self.engine.name())
            .field("output_size", &self.output_size)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Imports the net and prepares the engine.
    ///
    /// # Errors
    /// [`ModelError`]: the file is not an ONNX file, an operator is not known, or a shape is not
    /// the manifest's.
    pub fn new(package: Package, options: EngineOptions) -> Result<Self, ModelError> {
        let path = package.path.clone();
        guarded(&path, || Self::prepare(package, options))
    }

    fn prepare(package: Package, options: EngineOptions) -> Result<Self, ModelError> {
        let Package { manifest, path, onnx, .. } = package;
        let typed = import_onnx(&manifest, &path, &onnx)?;
        let engine: Box<dyn Engine> = match options.choice {
            EngineChoice::Tract => Box::new(TractEngine::new(typed, &manifest, &path)?),
            choice => match PlanEngine::new(&typed, &manifest, options)? {
                Ok(engine) => Box::new(engine),
                Err(error) if choice == EngineChoice::Plan => {
                    return Err(ModelError::Unsupported { path, error });
                }
                Err(error) => {
                    tracing::info!(model = %manifest.name, "the model runs on tract, which is slower: {error}");
                    Box::new(TractEngine::new(typed, &manifest, &path)?)
                }
            },
        };
        let [_, a, b, c] = engine.output_shape();
        let (channels, height, width) = match manifest.output.layout {
            TensorLayout::Nchw => (a, b, c),
            TensorLayout::Nhwc => (c, a, b),
        };
        let output_size = Size::new(u32::try_from(width).unwrap_or(0), u32::try_from(height).unwrap_or(0));
        let values = output_size.area().saturating_mul(channels as u64);
        if channels != manifest.output.channels || output_size.is_empty() || values > MAX_OUTPUT {
            return Err(ModelError::Shape {
                path,
                what: "the output",
                expected: format!("{} channels, {:?}", manifest.output.channels, manifest.output.layout),
                actual: shape_text(&engine.output_shape()),
            });
        }
        let output = vec![0.0; channels * height * width];
        Ok(Self { manifest, engine, output_size, output })
    }

    /// A model that calls `segment` for each pass. For nets that run elsewhere, and for tests that
    /// need a net of known behaviour: one that is slow, fails, or knows the truth.
    ///
    /// `segment` gets the input tensor of `manifest` (in its own layout) and fills the mask of
    /// `mask_size`, row-major, with the probability 0..=1 that each cell belongs to a person. The
    /// `[output]` of the manifest is replaced accordingly.
    pub fn from_fn(
        mut manifest: Manifest,
        mask_size: Size,
        segment: impl FnMut(&[f32], &mut [f32]) -> Result<(), EngineError> + Send + 'static,
    ) -> Self {
        manifest.output =
            Output { layout: TensorLayout::Nchw, channels: 1, activation: Activation::None, person_channel: 0 };
        let engine = FunctionEngine { layout: manifest.input.layout, mask_size, segment };
        let output = vec![0.0; mask_size.width as usize * mask_size.height as usize];
        Self { manifest, engine: Box::new(engine), output_size: mask_size, output }
    }

    /// The manifest with which the model was loaded.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// `plan` or `tract`.
    pub fn engine_name(&self) -> &'static str {
        self.engine.name()
    }

    /// The instruction set of the plan; `None` if the model runs on tract.
    pub fn isa(&self) -> Option<Isa> {
        self.engine.isa()
    }

    /// The number of threads that a run uses, including the calling thread.
    pub fn threads(&self) -> usize {
        self.engine.threads()
    }

    /// The fused steps of the plan; `None` if the model runs on tract.
    pub fn program(&self) -> Option<&Program> {
        self.engine.program()
    }

    /// The layout of the input of [`Model::run`]. The engine chooses it; the file may have another.
    pub fn input_layout(&self) -> TensorLayout {
        self.engine.input_layout()
    }

    /// The size of the mask that [`Model::run`] writes.
    pub const fn output_size(&self) -> Size {
        self.output_size
    }

    /// The length of the input of [`Model::run`]: 3 x height x width.
    pub const fn input_len(&self) -> usize {
        3 * self.manifest.input.width as usize * self.manifest.input.height as usize
    }

    /// Runs the net.
    ///
    /// - `input`: [`Model::input_len`] values with the colour order and range of the manifest's
    ///   `[input]`, in the layout of [`Model::input_layout`].
    /// - `mask`: one value for each pixel of [`Model::output_size`], row-major. It receives the
    ///   probability, 0..=1, that the pixel belongs to a person.
    ///
    /// # Errors
    /// [`ModelError::Run`] if the engine fails.
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn run(&mut self, input: &[f32], mask: &mut [f32]) -> Result<(), ModelError> {
        let spec = self.manifest.output;
        assert_eq!(mask.len(), self.output.len() / spec.channels, "mask length");
        let Channels { values: output, pixel, channel } = self.run_channels(input)?;
        let plane = |index: usize| output[index * channel..].iter().step_by(pixel);
        match spec.activation {
            Activation::None => {
                mask.iter_mut().zip(plane(spec.person_channel)).for_each(|(to, x)| *to = probability(*x));
            }
            Activation::Sigmoid => {
                mask.iter_mut().zip(plane(spec.person_channel)).for_each(|(to, x)| *to = sigmoid(*x));
            }
            Activation::ClassIndex => {
                for (to, class) in mask.iter_mut().zip(plane(0)) {
                    *to = f32::from((class - spec.person_channel as f32).abs() < 0.5);
                }
            }
            Activation::Softmax | Activation::Argmax => {
                let person = spec.person_channel;
                for (at, to) in mask.iter_mut().enumerate() {
                    let value = |index: usize| output[at * pixel + index * channel];
                    let x = value(person);
                    let mut others = (0..spec.channels).filter(|index| *index != person);
                    *to = if spec.activation == Activation::Argmax {
                        // Of equal values, the first one is the largest.
                        let least = |index: usize| if index < person { value(index) < x } else { value(index) <= x };
                        f32::from(others.all(least))
                    } else {
                        probability(1.0 / (1.0 + others.map(|index| (value(index) - x).exp()).sum::<f32>()))
                    };
                }
            }
        }
        Ok(())
    }

    /// Runs the net on `input`, as [`Model::run`] does, and returns its output as it is.
    ///
    /// # Errors
    /// [`ModelError::Run`] if the engine fails.
    ///
    /// # Panics
    /// If the input has another length.
    pub(crate) fn run_channels(&mut self, input: &[f32]) -> Result<Channels<'_>, ModelError> {
        assert_eq!(input.len(), self.input_len(), "input length");
        self.engine
            .run(input, &mut self.output)
            .map_err(|error| ModelError::Run { name: self.manifest.name.clone(), error })?;
        let channels = self.manifest.output.channels;
        let (pixel, channel) = match self.engine.output_layout() {
            TensorLayout::Nhwc => (channels, 1),
            TensorLayout::Nchw => (1, self.output.len() / channels),
        };
        Ok(Channels { values: &self.output, pixel, channel })
    }
}

/// The output tensor of a run, before activation, whatever its layout.
#[derive(Clone, Copy)]
pub(crate) struct Channels<'a> {
    values: &'a [f32],
    /// Values from one pixel to the next, and from one channel to the next.
    pixel: usize,
    channel: usize,
}

impl Channels<'_> {
    /// The value of a channel at a pixel (row-major).
    pub(crate) fn value(&self, pixel: usize, channel: usize) -> f32 {
        self.values[pixel * self.pixel + channel * self.channel]
    }
}

/// The engine of [`Model::from_fn`].
struct FunctionEngine<F> {
    layout: TensorLayout,
    mask_size: Size,
    segment: F,
}

impl<F: FnMut(&[f32], &mut [f32]) -> Result<(), EngineError> + Send> Engine for FunctionEngine<F> {
    fn name(&self) -> &'static str {
        "function"
    }

    fn input_layout(&self) -> TensorLayout {
        self.layout
    }

    fn output_layout(&self) -> TensorLayout {
        TensorLayout::Nchw
    }

    fn output_shape(&self) -> [usize; 4] {
        tensor_shape(TensorLayout::Nchw, 1, self.mask_size)
    }

    fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), EngineError> {
        (self.segment)(input, output)
    }
}

/// Limits a value to 0..=1, since rounding errors can exceed it. NaN becomes 0 (not a person).
fn probability(value: f32) -> f32 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}

fn sigmoid(value: f32) -> f32 {
    probability(1.0 / (1.0 + (-value).exp()))
}
