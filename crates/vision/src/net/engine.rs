//! What every engine offers, and the options with which an engine is chosen.

use portraitd_kernels::nn::Program;
use portraitd_kernels::simd::Isa;

use super::error::EngineError;
use super::manifest::TensorLayout;

/// A net that is ready for an engine. Engines of one net share its weights.
pub(super) trait Prepared: Send + Sync {
    /// `plan` or `tract`.
    fn name(&self) -> &'static str;

    /// The instruction set of the kernels; `None` if the engine chooses its own.
    fn isa(&self) -> Option<Isa> {
        None
    }

    /// The number of threads that a run uses.
    fn threads(&self) -> usize {
        1
    }

    /// The fused steps; `None` if the engine is not the plan.
    fn program(&self) -> Option<&Program> {
        None
    }

    /// The layout of the input of [`Engine::run`]. It may differ from the layout in the file.
    fn input_layout(&self) -> TensorLayout;

    /// The layout of the output of [`Engine::run`]. It may differ from the layout in the file.
    fn output_layout(&self) -> TensorLayout;

    /// The shape of the net's output in the layout of the file.
    fn output_shape(&self) -> [usize; 4];

    /// An engine, with memory of its own for what a run computes.
    fn engine(&self) -> Result<Box<dyn Engine>, EngineError>;
}

/// Runs a net with one input tensor and one output tensor, both `f32`.
pub(super) trait Engine: Send {
    /// Runs the net on `input` and writes the whole output tensor to `output`.
    fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), EngineError>;
}

/// Which engine runs a net.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// The fused plan. tract runs a net that the plan does not support, and the log says why.
    #[default]
    Best,
    /// The fused plan. Loading fails if the plan does not support the net.
    Plan,
    /// tract, also for a net that the plan supports.
    Tract,
}

/// How a net is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// The engine.
    pub choice: EngineChoice,
    /// The plan's instruction set. `None` means the one in `PORTRAITD_ISA`, or else the fastest
    /// one of the CPU.
    pub isa: Option<Isa>,
    /// Threads of the plan: 1 or 2; larger numbers count as 2. tract uses one thread.
    pub threads: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { choice: EngineChoice::Best, isa: None, threads: 1 }
    }
}
