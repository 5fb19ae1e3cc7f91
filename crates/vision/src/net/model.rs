//! A loaded model: its manifest, and an engine that runs it.

use portraitd_kernels::nn::Program;
use portraitd_kernels::simd::Isa;

use super::library::Package;
use super::manifest::{Activation, Layout, Manifest};
use super::{ModelError, engine, tract};
use portraitd_media::Size;

/// Runs a net: one input tensor, one output tensor, both `f32`.
pub trait Engine: Send {
    /// `plan` or `tract`.
    fn name(&self) -> &'static str;

    /// The instruction set that its kernels were chosen for; `None` where the engine chooses for itself.
    fn isa(&self) -> Option<Isa> {
        None
    }

    /// How many threads a run uses.
    fn threads(&self) -> usize {
        1
    }

    /// The fused steps, where the engine is the plan.
    fn program(&self) -> Option<&Program> {
        None
    }

    /// The order in which [`Engine::run`] takes the input; not always the file's own.
    fn input_layout(&self) -> Layout;

    /// The order in which [`Engine::run`] gives the output; not always the file's own.
    fn output_layout(&self) -> Layout;

    /// The shape of the net's output as the file has it.
    fn output_shape(&self) -> [usize; 4];

    /// Runs the net on `input`, and writes the whole output tensor into `output`.
    ///
    /// # Errors
    /// What the engine says, in one line.
    fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), String>;
}

/// Which engine is to run a net.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// The fused plan; tract for a net with an operator that the plan lacks, which is then said in the log.
    #[default]
    Best,
    /// The fused plan, or an error.
    Plan,
    /// tract, whatever the net.
    Tract,
}

/// How a net is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// The engine.
    pub choice: EngineChoice,
    /// The plan's instruction set; `None`: that of `PORTRAITD_ISA`, else the CPU's best.
    pub isa: Option<Isa>,
    /// Threads of the plan, 1 or 2 (more count as 2); tract runs on one.
    pub threads: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { choice: EngineChoice::Best, isa: None, threads: 1 }
    }
}

/// A model that is ready to run.
pub struct Model {
    manifest: Manifest,
    engine: Box<dyn Engine>,
    output_size: Size,
    raw: Vec<f32>,
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
    /// Makes a model of its files.
    ///
    /// # Errors
    /// [`ModelError`]: not an ONNX file, an unknown operator, a shape other than the manifest's.
    pub fn new(package: Package, options: EngineOptions) -> Result<Self, ModelError> {
        let Package { manifest, path, onnx } = package;
        let typed = tract::import(&manifest, &path, &onnx)?;
        let engine: Box<dyn Engine> = match options.choice {
            EngineChoice::Tract => Box::new(tract::TractEngine::new(typed, &manifest, &path)?),
            choice => match engine::PlanEngine::new(&typed, &manifest, options)? {
                Ok(engine) => Box::new(engine),
                Err(unsupported) if choice == EngineChoice::Plan => {
                    return Err(ModelError::Net { path, reason: unsupported.to_string() });
                }
                Err(unsupported) => {
                    tracing::info!(model = %manifest.name, "runs on tract, which is slower: {unsupported}");
                    Box::new(tract::TractEngine::new(typed, &manifest, &path)?)
                }
            },
        };
        let [_, a, b, c] = engine.output_shape();
        let (channels, height, width) = match manifest.output.layout {
            Layout::Nchw => (a, b, c),
            Layout::Nhwc => (c, a, b),
        };
        let output_size = Size::new(u32::try_from(width).unwrap_or(0), u32::try_from(height).unwrap_or(0));
        if channels != manifest.output.channels || output_size.is_empty() || output_size.area() > 4 << 20 {
            return Err(ModelError::Shape {
                path,
                what: "the output",
                expected: format!("{} channels, {:?}", manifest.output.channels, manifest.output.layout),
                actual: super::shape_text(&engine.output_shape()),
            });
        }
        let raw = vec![0.0; channels * height * width];
        Ok(Self { manifest, engine, output_size, raw })
    }

    /// The manifest.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The engine's name.
    pub fn engine_name(&self) -> &'static str {
        self.engine.name()
    }

    /// The instruction set of the plan; `None` on tract.
    pub fn isa(&self) -> Option<Isa> {
        self.engine.isa()
    }

    /// How many threads a run uses, the caller's included.
    pub fn threads(&self) -> usize {
        self.engine.threads()
    }

    /// The fused steps of the plan; `None` on tract.
    pub fn program(&self) -> Option<&Program> {
        self.engine.program()
    }

    /// The order in which [`Model::run`] takes its input; what suits the engine best, whatever the file has.
    pub fn input_layout(&self) -> Layout {
        self.engine.input_layout()
    }

    /// The size of the mask that [`Model::run`] gives.
    pub const fn output_size(&self) -> Size {
        self.output_size
    }

    /// The number of values that [`Model::run`] takes.
    pub const fn input_len(&self) -> usize {
        3 * self.manifest.input.width as usize * self.manifest.input.height as usize
    }

    /// Runs the net. `input`: 3 x height x width values as the manifest's `[input]` says, but for their order, which is
    /// [`Model::input_layout`]; `mask`: as many values as
    /// [`Model::output_size`] has pixels, row-major, filled with the probability of a person, 0..=1.
    ///
    /// # Errors
    /// [`ModelError::Run`] where the engine fails.
    ///
    /// # Panics
    /// Where a slice has another length.
    pub fn run(&mut self, input: &[f32], mask: &mut [f32]) -> Result<(), ModelError> {
        let pixels = self.raw.len() / self.manifest.output.channels;
        assert_eq!(input.len(), self.input_len(), "input length");
        assert_eq!(mask.len(), pixels, "mask length");
        self.engine
            .run(input, &mut self.raw)
            .map_err(|reason| ModelError::Run { name: self.manifest.name.clone(), reason })?;
        let (output, layout) = (self.manifest.output, self.engine.output_layout());
        let (step, start) = match (output.channels, layout) {
            (1, _) => (1, 0),
            (channels, Layout::Nhwc) => (channels, output.person_channel),
            (_, Layout::Nchw) => (1, output.person_channel * pixels),
        };
        let person = self.raw[start..].iter().step_by(step);
        match output.activation {
            Activation::None => mask.iter_mut().zip(person).for_each(|(to, from)| *to = probability(*from)),
            Activation::Sigmoid => mask.iter_mut().zip(person).for_each(|(to, from)| *to = sigmoid(*from)),
            Activation::Softmax => {
                // Over two channels, softmax is the logistic function of their difference.
                let start = match layout {
                    Layout::Nhwc => 1 - output.person_channel,
                    Layout::Nchw => (1 - output.person_channel) * pixels,
                };
                let background = self.raw[start..].iter().step_by(step);
                for ((to, person), background) in mask.iter_mut().zip(person).zip(background) {
                    *to = sigmoid(person - background);
                }
            }
        }
        Ok(())
    }
}

/// A net may overshoot 0..=1 by a rounding error; what is not a number is no person.
fn probability(value: f32) -> f32 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
}

fn sigmoid(value: f32) -> f32 {
    probability(1.0 / (1.0 + (-value).exp()))
}
