//! The fused plan as an engine.
//!
//! Input and output are channels-last, whatever the layout in the file, because the plan computes
//! with channels last and then need not reorder them. An engine belongs to the thread that runs it
//! and owns the net's second thread, if there is one. A run allocates nothing.

use portraitd_kernels::nn::{PackedProgram, Program};
use portraitd_kernels::simd::Isa;
use portraitd_media::Size;
use tract_onnx::prelude::TypedModel;

use super::engine::{Engine, EngineOptions, Prepared};
use super::error::{EngineError, ModelError};
use super::manifest::{Manifest, TensorLayout, tensor_shape};
use super::plan::{Plan, PlanOptions, Unsupported};

/// The net with packed weights.
pub(super) struct PreparedPlan {
    packed: PackedProgram,
    threads: usize,
}

impl PreparedPlan {
    /// Returns `Ok(Err(_))` for a net that only tract can run.
    pub(super) fn new(
        typed: &TypedModel,
        manifest: &Manifest,
        options: EngineOptions,
    ) -> Result<Result<Self, Unsupported>, ModelError> {
        let isa = match options.isa {
            Some(isa) => isa,
            None => Isa::choose(None)?,
        };
        if manifest.input.layout == TensorLayout::Nhwc {
            return Ok(Err(Unsupported::ChannelsLast));
        }
        let threads = options.threads.clamp(1, 2);
        let options = PlanOptions { isa, threads, ..PlanOptions::default() };
        Ok(Plan::pack(typed, options).map(|packed| Self { packed, threads }))
    }
}

impl Prepared for PreparedPlan {
    fn name(&self) -> &'static str {
        "plan"
    }

    fn isa(&self) -> Option<Isa> {
        Some(self.packed.isa())
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn program(&self) -> Option<&Program> {
        Some(self.packed.program())
    }

    fn input_layout(&self) -> TensorLayout {
        TensorLayout::Nhwc
    }

    fn output_layout(&self) -> TensorLayout {
        TensorLayout::Nhwc
    }

    fn output_shape(&self) -> [usize; 4] {
        let program = self.packed.program();
        let shape = program.maps[program.output];
        let side = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        // A typed graph that the plan supports is channels-first.
        tensor_shape(TensorLayout::Nchw, shape.channels, Size::new(side(shape.width), side(shape.height)))
    }

    fn engine(&self) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(PlanEngine(Plan::of(&self.packed, self.threads)?)))
    }
}

/// A plan in its own memory.
struct PlanEngine(Plan);

impl Engine for PlanEngine {
    fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), EngineError> {
        Ok(self.0.run_interleaved(input, output)?)
    }
}
