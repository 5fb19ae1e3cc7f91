//! The fused plan: the fast engine for nets.
//!
//! [`Plan::from_typed`] works in four steps:
//!
//! 1. It converts a typed graph to a program (`import`).
//! 2. It moves work to places where less of it is needed (`rewrite`).
//! 3. It fuses steps (`fuse`).
//! 4. It packs the weights for one instruction set ([`Machine`]).
//!
//! A net that the plan does not support gives [`Unsupported`]; tract runs such nets. The document
//! `docs/design/plan.md` describes the design and its alternatives.
//!
//! A plan belongs to the thread that runs it. [`Plan::run`] allocates nothing. Plans of one net share
//! its weights ([`Plan::pack`]), and own the rest of their memory.

mod error;
mod fuse;
mod graph;
mod import;
mod rewrite;
mod weights;

pub use error::{OperatorError, Unsupported};

use std::borrow::Cow;

use portraitd_kernels::nn::machine::Order;
use portraitd_kernels::nn::{Machine, MachineError, PackedProgram, Precision, Program, Shape};
use portraitd_kernels::simd::Isa;
use tract_onnx::prelude::TypedModel;

/// How a plan is built.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions {
    /// The instruction set.
    pub isa: Isa,
    /// Keep every intermediate map, so that [`Plan::layers`] has their values. This costs memory
    /// and some time.
    pub keep: bool,
    /// Do not rewrite the program, so that more of the net's own maps exist.
    pub literal: bool,
    /// Threads that a run uses, with the calling thread: 1 or 2; larger numbers count as 2.
    pub threads: usize,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { isa: Isa::detect(), keep: false, literal: false, threads: 1 }
    }
}

/// A map of the plan, with the step that computes it.
#[derive(Clone, Debug)]
pub struct Layer<'a> {
    /// The node of the typed graph with this output; empty if there is none.
    pub name: &'a str,
    /// The kind of the step.
    pub kind: &'static str,
    /// The shape of the map.
    pub shape: Shape,
    /// The values of the last run, `[height, width, channels]`. `None` for the net's output, and if
    /// [`PlanOptions::keep`] was not set.
    pub data: Option<Cow<'a, [f32]>>,
}

/// A net that is ready to run.
#[derive(Debug)]
pub struct Plan {
    machine: Machine,
}

impl Plan {
    /// Builds a plan from a typed graph as `into_typed` returns it. tract must not have optimized
    /// the graph, because its optimizer replaces convolutions by Einstein sums.
    ///
    /// # Errors
    /// [`Unsupported`] if the plan does not support the net.
    pub fn from_typed(model: &TypedModel, options: PlanOptions) -> Result<Self, Unsupported> {
        Ok(Self::of(&Self::pack(model, options)?, options.threads)?)
    }

    /// The program of a typed graph with packed weights, of which plans are made.
    ///
    /// # Errors
    /// The same as for [`Plan::from_typed`].
    pub fn pack(model: &TypedModel, options: PlanOptions) -> Result<PackedProgram, Unsupported> {
        let mut program = import::import(model)?;
        program.check().map_err(MachineError::from)?;
        if !options.literal {
            rewrite::rewrite(&mut program);
        }
        fuse::fuse(&mut program);
        Ok(PackedProgram::new(program, options.isa, options.keep, Precision::Single)?)
    }

    /// A plan with the weights of `packed`. `threads` is as in [`PlanOptions`].
    ///
    /// # Errors
    /// [`MachineError::Thread`] if the second thread cannot be started.
    pub fn of(packed: &PackedProgram, threads: usize) -> Result<Self, MachineError> {
        let mut machine = packed.machine();
        if threads > 1 {
            machine.use_two_threads()?;
        }
        Ok(Self { machine })
    }

    /// The instruction set that the plan was built for.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.machine.isa()
    }

    /// The number of threads that a run uses.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.machine.threads()
    }

    /// The shape of the input.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.program().maps[self.program().input]
    }

    /// The shape of the output.
    #[must_use]
    pub fn output(&self) -> Shape {
        self.program().maps[self.program().output]
    }

    /// The fused steps of the net.
    #[must_use]
    pub fn program(&self) -> &Program {
        self.machine.program()
    }

    /// Size of the feature maps and the scratch memory, in bytes.
    #[must_use]
    pub fn working_bytes(&self) -> usize {
        self.machine.working_bytes()
    }

    /// Runs the net on a channels-first picture, `[channels, height, width]`. The output is
    /// `[height, width, channels]`.
    ///
    /// # Errors
    /// [`MachineError::Length`] if a buffer has the wrong length.
    pub fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), MachineError> {
        self.machine.run(input, Order::Planar, output)
    }

    /// Runs the net on a channels-last picture, `[height, width, channels]`, which need not be
    /// reordered. The output is `[height, width, channels]`.
    ///
    /// # Errors
    /// [`MachineError::Length`] if a buffer has the wrong length.
    pub fn run_interleaved(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), MachineError> {
        self.machine.run(input, Order::Interleaved, output)
    }

    /// All maps of the plan, in the order in which they are computed.
    pub fn layers(&self) -> impl Iterator<Item = Layer<'_>> {
        let program = self.program();
        program.steps.iter().flat_map(move |step| {
            step.writes().into_iter().map(move |map| Layer {
                name: &program.names[map],
                kind: step.kind(),
                shape: program.maps[map],
                data: self.machine.map(map).map(|(_, data)| data),
            })
        })
    }
}
