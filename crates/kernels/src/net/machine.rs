//! A program made ready for one instruction set: weights packed, memory laid out.
#![allow(unsafe_code)]

use super::layout::{self, Layout};
use super::pack::Aligned;
use super::program::{Interpolation, MapId, Program, ProgramError, Shape, Step};
use super::rows::Kernels;
use super::simple;
use super::steps::{self, Dense, Places, Resolve, Separable};
use crate::simd::Isa;

/// Why a program cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    /// The program makes no sense.
    #[error("bad program: {0}")]
    Program(#[from] ProgramError),
    /// No kernels for this instruction set in this build.
    #[error("this build has no kernels for {0}")]
    Isa(Isa),
    /// The caller's buffer has the wrong length.
    #[error("the {what} has {has} numbers, but the net's has {wanted}")]
    Length {
        /// `input` or `output`.
        what: &'static str,
        /// What was given.
        has: usize,
        /// What the program asks for.
        wanted: usize,
    },
}

/// How a picture's numbers are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[height, width, channels]`.
    Interleaved,
    /// `[channels, height, width]`.
    Planar,
}

/// A step, packed.
#[derive(Clone, Debug)]
enum Ready {
    Dense(Box<Dense>),
    Separable(Box<Separable>),
    Simple,
}

/// A program that is ready to run on one instruction set.
///
/// Owns all memory that a run needs: [`Machine::run`] allocates nothing.
#[derive(Clone, Debug)]
pub struct Machine {
    program: Program,
    kernels: &'static Kernels,
    ready: Vec<Ready>,
    layout: Layout,
    arena: Aligned,
    scratch: Aligned,
    /// The input, interleaved, if the caller gives planes and a step can't read those.
    interleaved: Aligned,
    kept: bool,
}

/// Resolves maps to addresses during a run.
struct Addresses<'a> {
    layout: &'a Layout,
    arena: *mut f32,
    program: &'a Program,
    input: *const f32,
    output: *mut f32,
}

impl Resolve for Addresses<'_> {
    fn at(&self, map: MapId) -> *mut f32 {
        if map == self.program.input {
            // Never written: the program's check says so.
            self.input.cast_mut()
        } else if map == self.program.output {
            self.output
        } else {
            let offset = self.layout.offsets[map].expect("every written map has a place");
            // SAFETY: the layout lies inside the arena.
            unsafe { self.arena.add(offset) }
        }
    }
}

impl Machine {
    /// Packs `program` for `isa`. With `keep`, every map can be read after a run ([`Machine::map`]).
    ///
    /// The caller answers for the CPU having `isa` ([`Isa::choose`] does).
    ///
    /// # Errors
    /// The program is inconsistent, or this build or CPU lacks the instruction set.
    pub fn new(program: Program, isa: Isa, keep: bool) -> Result<Self, MachineError> {
        program.check()?;
        let kernels = Kernels::of(isa).filter(|_| isa.is_usable()).ok_or(MachineError::Isa(isa))?;
        let mut length = 0;
        let ready = program
            .steps
            .iter()
            .map(|step| {
                let mut places = Places::default();
                let shape = |map: MapId| program.maps[map];
                let ready = match step {
                    Step::Convolution { input, output, convolution, .. } => {
                        let (input, output) = (shape(*input), shape(*output));
                        let all = output.channels;
                        Ready::Dense(Box::new(Dense::new(kernels, convolution, input, output, all, &mut places)))
                    }
                    Step::Depthwise { input, output, expand, depthwise, .. } => {
                        let (input, output) = (shape(*input), shape(*output));
                        let expand = expand.as_ref();
                        Ready::Separable(Box::new(Separable::new(
                            kernels,
                            expand,
                            depthwise,
                            input,
                            output,
                            &mut places,
                        )))
                    }
                    _ => Ready::Simple,
                };
                length = length.max(places.length());
                ready
            })
            .collect();
        let layout = layout::plan(&program, keep);
        let interleaved =
            if program.steps.iter().any(|step| step.reads().contains(&program.input) && !takes_planes(step)) {
                program.maps[program.input].len()
            } else {
                0
            };
        let (arena, scratch) = (Aligned::zeros(layout.length), Aligned::zeros(length));
        let interleaved = Aligned::zeros(interleaved);
        Ok(Self { program, kernels, ready, layout, arena, scratch, interleaved, kept: keep })
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The instruction set.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.kernels.isa
    }

    /// Bytes of feature maps and scratch memory.
    #[must_use]
    pub fn working_bytes(&self) -> usize {
        4 * (self.arena.as_slice().len() + self.scratch.as_slice().len() + self.interleaved.as_slice().len())
    }

    /// Runs the net on `input`, whose numbers are in `order`; `output` is `[height, width, channels]`.
    ///
    /// # Errors
    /// A buffer has the wrong length.
    pub fn run(&mut self, input: &[f32], order: Order, output: &mut [f32]) -> Result<(), MachineError> {
        let wanted = self.program.maps[self.program.input].len();
        if input.len() != wanted {
            return Err(MachineError::Length { what: "input", has: input.len(), wanted });
        }
        let wanted = self.program.maps[self.program.output].len();
        if output.len() != wanted {
            return Err(MachineError::Length { what: "output", has: output.len(), wanted });
        }
        let planar = order == Order::Planar;
        let mut interleaved = input.as_ptr();
        if planar && !self.interleaved.as_slice().is_empty() {
            let shape = self.program.maps[self.program.input];
            let to = self.interleaved.as_mut_slice();
            for c in 0..shape.channels {
                let plane = &input[c * shape.height * shape.width..][..shape.height * shape.width];
                for (pixel, &value) in to.chunks_exact_mut(shape.channels).zip(plane) {
                    pixel[c] = value;
                }
            }
            interleaved = to.as_ptr();
        }
        let scratch = self.scratch.as_mut_slice().as_mut_ptr();
        let maps = Addresses {
            layout: &self.layout,
            arena: self.arena.as_mut_slice().as_mut_ptr(),
            program: &self.program,
            input: interleaved,
            output: output.as_mut_ptr(),
        };
        for (step, ready) in self.program.steps.iter().zip(&mut self.ready) {
            // SAFETY: every map of a step is valid for its shape; the layout keeps what a step writes apart from what it
            // reads; the scratch memory is as long as the longest step asked for.
            unsafe {
                match (step, ready) {
                    (Step::Convolution { input: from, output, mean, .. }, Ready::Dense(dense)) => {
                        let planar = planar && *from == self.program.input && takes_planes(step);
                        let from = if planar { input.as_ptr() } else { maps.at(*from) };
                        let mean = mean.map(|mean| maps.at(mean));
                        dense.run(self.kernels, from, planar, maps.at(*output), mean, scratch, &maps);
                    }
                    (Step::Depthwise { input: from, output, mean, .. }, Ready::Separable(separable)) => {
                        let mean = mean.map(|mean| maps.at(mean));
                        separable.run(self.kernels, maps.at(*from), maps.at(*output), mean, scratch, &maps);
                    }
                    (step, _) => simple_step(self.kernels, &self.program, step, &maps),
                }
            }
        }
        Ok(())
    }

    /// A map as the last run left it, `[height, width, channels]`; `None` for the input, the output (the caller has those), and
    /// for every map if the machine was not made to keep them.
    #[must_use]
    pub fn map(&self, map: MapId) -> Option<(Shape, &[f32])> {
        let shape = *self.program.maps.get(map)?;
        let offset = (*self.layout.offsets.get(map)?).filter(|_| self.kept)?;
        Some((shape, &self.arena.as_slice()[offset..offset + shape.len()]))
    }
}

/// Whether a step reads the picture row by row into a ring of its own, and so can take planes.
fn takes_planes(step: &Step) -> bool {
    matches!(step, Step::Convolution { convolution, .. } if convolution.kernel != [1, 1] || convolution.stride != 1)
}

/// Runs a step that has no row kernel of its own.
///
/// # Safety
/// Every map is valid for its shape, and what is written does not overlap what is read.
unsafe fn simple_step(kernels: &Kernels, program: &Program, step: &Step, maps: &Addresses<'_>) {
    let shape = |map: MapId| program.maps[map];
    // SAFETY: the caller's promise, here and wherever these two are used.
    let read = |map: MapId| unsafe { std::slice::from_raw_parts(maps.at(map).cast_const(), shape(map).len()) };
    let write = |map: MapId| unsafe { std::slice::from_raw_parts_mut(maps.at(map), shape(map).len()) };
    let activate = |map: MapId, activation| {
        // SAFETY: as above.
        unsafe { (kernels.activate)(maps.at(map), shape(map).len(), activation) }
    };
    match step {
        Step::Convolution { .. } | Step::Depthwise { .. } => {}
        Step::PixelShuffle { input, output, factor, activation } => {
            simple::pixel_shuffle(read(*input), shape(*input), *factor, write(*output));
            activate(*output, *activation);
        }
        Step::Arithmetic { operation, a, b, output, activation } => {
            simple::arithmetic(*operation, read(*a), read(*b), write(*output));
            activate(*output, *activation);
        }
        Step::Activate { input, output, activation } => {
            write(*output).copy_from_slice(read(*input));
            activate(*output, *activation);
        }
        Step::LeakyRelu { input, output, slopes } => simple::leaky_relu(read(*input), slopes, write(*output)),
        Step::Resize { input, output, interpolation: Interpolation::Nearest, factor } => {
            simple::nearest(read(*input), shape(*input), *factor, write(*output));
        }
        Step::Resize { input, output, interpolation: Interpolation::Bilinear, .. } => {
            let (from, to) = (shape(*input), shape(*output));
            for y in 0..to.height {
                // SAFETY: as above; the output has twice the input's height and width.
                unsafe {
                    let row = maps.at(*output).add(y * to.width * to.channels);
                    steps::upsample_row(kernels, maps.at(*input), from, y, to.channels, row);
                }
            }
        }
        Step::Mean { input, output } => simple::mean(read(*input), write(*output)),
        Step::Pool { input, output, pooling, kernel, stride, padding } => {
            let from = (read(*input), shape(*input));
            simple::pool(*pooling, (*kernel, *stride, *padding), from, (write(*output), shape(*output)));
        }
        Step::Concatenate { inputs, output } => {
            let mut offset = 0;
            for &input in inputs {
                let channels = shape(input).channels;
                simple::concatenate(read(input), channels, write(*output), shape(*output).channels, offset);
                offset += channels;
            }
        }
        Step::Softmax { input, output } => simple::softmax(read(*input), shape(*input).channels, write(*output)),
    }
}
