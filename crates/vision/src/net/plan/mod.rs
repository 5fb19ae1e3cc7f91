//! The fused plan: the net's fast path.
//!
//! [`Plan::from_typed`] reads a typed graph ([`import`]), moves work to where it is cheaper ([`rewrite`]), fuses what belongs
//! together ([`fuse`]) and packs the result for one instruction set. A net with an operator that the plan lacks is refused
//! as [`Unsupported`], and its owner runs it on tract instead. Design and alternatives: `docs/design/plan.md`.
//!
//! A plan belongs to the thread that runs it, owns all its memory, and allocates nothing in [`Plan::run`].

mod fuse;
mod import;
mod rewrite;

use portraitd_kernels::nn::machine::Order;
use portraitd_kernels::nn::{Machine, MachineError, Program, Shape};
use portraitd_kernels::simd::Isa;
use tract_onnx::prelude::TypedModel;

/// Why the plan does not take a net.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the plan has no {op} as in node `{node}`: {reason}")]
pub struct Unsupported {
    /// tract's name of the operator.
    pub op: String,
    /// The node's name.
    pub node: String,
    /// What about it is not supported.
    pub reason: String,
}

/// How a plan is made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The instruction set.
    pub isa: Isa,
    /// Keep every intermediate map, so that [`Plan::layers`] can show their values. Costs memory and a little time.
    pub keep: bool,
    /// Leave out the algebra that moves work ([`rewrite`]): more of the net's own maps exist then.
    pub literal: bool,
    /// Threads that a run uses, 1 or 2 (more count as 2), the caller's included.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { isa: Isa::detect(), keep: false, literal: false, threads: 1 }
    }
}

/// A layer of the plan.
#[derive(Clone, Debug)]
pub struct Layer<'a> {
    /// The node of the typed graph whose output this is; empty if no node has it.
    pub name: &'a str,
    /// What kind of step made it.
    pub kind: &'static str,
    /// Its shape.
    pub shape: Shape,
    /// Its numbers after the last run, `[height, width, channels]`; `None` unless kept, and for the net's output.
    pub data: Option<&'a [f32]>,
}

/// A net, ready to run.
#[derive(Debug)]
pub struct Plan {
    machine: Machine,
}

impl Plan {
    /// Makes a plan of a typed graph, as `into_typed` gives it (before tract's own rewriting, which hides convolutions in
    /// Einstein sums).
    ///
    /// # Errors
    /// The graph has an operator that the plan lacks.
    pub fn from_typed(model: &TypedModel, options: Options) -> Result<Self, Unsupported> {
        let whole = |reason: String| Unsupported { op: "net".into(), node: String::new(), reason };
        let mut program = import::import(model)?;
        program.check().map_err(|error| whole(error.to_string()))?;
        if !options.literal {
            rewrite::rewrite(&mut program);
        }
        fuse::fuse(&mut program);
        let mut machine = Machine::new(program, options.isa, options.keep).map_err(|error| whole(error.to_string()))?;
        if options.threads > 1 {
            machine.use_two_threads().map_err(|error| whole(error.to_string()))?;
        }
        Ok(Self { machine })
    }

    /// The instruction set that it was made for.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.machine.isa()
    }

    /// How many threads a run uses.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.machine.threads()
    }

    /// The picture's shape.
    #[must_use]
    pub fn input(&self) -> Shape {
        self.program().maps[self.program().input]
    }

    /// The output's shape.
    #[must_use]
    pub fn output(&self) -> Shape {
        self.program().maps[self.program().output]
    }

    /// The fused steps.
    #[must_use]
    pub fn program(&self) -> &Program {
        self.machine.program()
    }

    /// Bytes of feature maps and scratch memory.
    #[must_use]
    pub fn working_bytes(&self) -> usize {
        self.machine.working_bytes()
    }

    /// Runs the net on a channels-first picture `[channels, height, width]`; the output is `[height, width, channels]`.
    ///
    /// # Errors
    /// A buffer has the wrong length.
    pub fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), MachineError> {
        self.machine.run(input, Order::Planar, output)
    }

    /// Runs the net on a channels-last picture `[height, width, channels]`, which saves turning it round.
    ///
    /// # Errors
    /// A buffer has the wrong length.
    pub fn run_interleaved(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), MachineError> {
        self.machine.run(input, Order::Interleaved, output)
    }

    /// Every map of the plan, in the order in which they are made.
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
