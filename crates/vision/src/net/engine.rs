//! The fused plan as an engine. It takes and gives channels-last, whatever the file has: that saves turning the picture
//! round. Belongs to the thread that runs it, and owns the net's second thread
//! if there is one; a run allocates nothing.

use portraitd_kernels::nn::Program;
use portraitd_kernels::simd::Isa;
use tract_onnx::prelude::TypedModel;

use super::manifest::{Layout, Manifest};
use super::model::{Engine, EngineOptions};
use super::plan::{Options, Plan, Unsupported};
use super::{ModelError, tensor_shape};
use portraitd_media::Size;

pub(super) struct PlanEngine {
    plan: Plan,
}

impl PlanEngine {
    /// `Ok(Err(_))` for a net that only tract can run.
    pub(super) fn new(
        typed: &TypedModel,
        manifest: &Manifest,
        options: EngineOptions,
    ) -> Result<Result<Self, Unsupported>, ModelError> {
        let isa = match options.isa {
            Some(isa) => isa,
            None => Isa::choose(None)?,
        };
        if manifest.input.layout == Layout::Nhwc {
            let reason = "the plan's nets take their channels first".to_owned();
            return Ok(Err(Unsupported { op: "channels-last input".into(), node: "input".into(), reason }));
        }
        let options = Options { isa, threads: options.threads, ..Options::default() };
        Ok(Plan::from_typed(typed, options).map(|plan| Self { plan }))
    }
}

impl Engine for PlanEngine {
    fn name(&self) -> &'static str {
        "plan"
    }

    fn isa(&self) -> Option<Isa> {
        Some(self.plan.isa())
    }

    fn threads(&self) -> usize {
        self.plan.threads()
    }

    fn program(&self) -> Option<&Program> {
        Some(self.plan.program())
    }

    fn input_layout(&self) -> Layout {
        Layout::Nhwc
    }

    fn output_layout(&self) -> Layout {
        Layout::Nhwc
    }

    fn output_shape(&self) -> [usize; 4] {
        let shape = self.plan.output();
        let side = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        // A typed graph that the plan takes has its channels first.
        tensor_shape(Layout::Nchw, shape.channels, Size::new(side(shape.width), side(shape.height)))
    }

    fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), String> {
        self.plan.run_interleaved(input, output).map_err(|error| error.to_string())
    }
}
