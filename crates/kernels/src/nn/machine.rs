//! A program that is prepared for one instruction set: its weights are packed and its memory is
//! laid out.
#![allow(unsafe_code)]

use std::time::Instant;

use super::memory::{self, MemoryLayout};
use super::pack::Aligned;
use super::pool::{ThreadPair, ThreadTiming};
use super::program::{Interpolation, MapId, Program, ProgramError, Shape, Step};
use super::rows::Kernels;
use super::simple;
use super::steps::dense::Dense;
use super::steps::parts::{Places, Resolve};
use super::steps::separable::Separable;
use super::steps::upsample::upsample_row;
use crate::simd::Isa;

/// Why a program cannot be prepared or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    /// The program is inconsistent.
    #[error("the program is inconsistent: {0}")]
    Program(#[from] ProgramError),
    /// This build has no kernels for the instruction set, or the CPU cannot run them.
    #[error("this build or CPU cannot run kernels for {0}")]
    Isa(Isa),
    /// The second thread could not be started. The text is the error of the operating system.
    #[error("cannot start the second thread of the network: {0}")]
    Thread(String),
    /// A buffer of the caller has the wrong length.
    #[error("the {what} has {has} numbers, but the network requires {wanted}")]
    Length {
        /// Which buffer: `input` or `output`.
        what: &'static str,
        /// Length of the buffer, in numbers.
        has: usize,
        /// Length that the program requires.
        wanted: usize,
    },
}

/// The order of the input's dimensions, the innermost last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[height, width, channels]`.
    Interleaved,
    /// `[channels, height, width]`.
    Planar,
}

/// A step with its packed weights.
#[derive(Debug)]
enum PreparedStep {
    Dense(Box<Dense>),
    Separable(Box<Separable>),
    Simple,
}

/// A program that is ready to run on one instruction set.
///
/// A machine owns all memory that a run needs, so [`Machine::run`] allocates nothing. It runs on
/// the thread of the caller, or on that thread and a second one ([`Machine::use_two_threads`]).
#[derive(Debug)]
pub struct Machine {
    program: Program,
    kernels: &'static Kernels,
    prepared: Vec<PreparedStep>,
    layout: MemoryLayout,
    arena: Aligned,
    /// The scratch memory of the caller's thread and of the second thread.
    scratch: [Aligned; 2],
    pair: Option<ThreadPair>,
    timing: ThreadTiming,
    /// The interleaved input. It is used if the caller passes planes and some step cannot read
    /// planes.
    interleaved: Aligned,
    kept: bool,
}

/// Resolves maps to addresses during a run.
struct Addresses<'a> {
    layout: &'a MemoryLayout,
    arena: *mut f32,
    program: &'a Program,
    input: *const f32,
    output: *mut f32,
}

// SAFETY: this type only computes addresses. The steps that use them keep their halves apart.
unsafe impl Sync for Addresses<'_> {}

/// The addresses that both halves of a step receive.
struct Operands {
    input: *const f32,
    output: *mut f32,
    scratch: [*mut f32; 2],
}

// SAFETY: the halves of a step write different pixels of the output, and each has its own scratch
// memory.
unsafe impl Sync for Operands {}

impl Resolve for Addresses<'_> {
    fn at(&self, map: MapId) -> *mut f32 {
        if map == self.program.input {
            // The input is never written: the program's check guarantees that.
            self.input.cast_mut()
        } else if map == self.program.output {
            self.output
        } else {
            let offset = self.layout.offsets[map].expect("every written map has a place");
            // SAFETY: every offset of the layout lies inside the arena.
            unsafe { self.arena.add(offset) }
        }
    }
}

impl Machine {
    /// Prepares `program` for `isa`. If `keep` is set, every map can be read after a run
    /// ([`Machine::map`]), which needs more memory.
    ///
    /// # Errors
    /// [`MachineError`] if the program is inconsistent, or if this build or CPU cannot run the
    /// instruction set.
    pub fn new(program: Program, isa: Isa, keep: bool) -> Result<Self, MachineError> {
        program.check()?;
        let kernels = Kernels::of(isa).filter(|_| isa.is_usable()).ok_or(MachineError::Isa(isa))?;
        let mut length = 0;
        let prepared = program
            .steps
            .iter()
            .map(|step| {
                let mut places = Places::default();
                let shape = |map: MapId| program.maps[map];
                let prepared = match step {
                    Step::Convolution { input, output, convolution, .. } => {
                        let (input, output) = (shape(*input), shape(*output));
                        let all = output.channels;
                        PreparedStep::Dense(Box::new(Dense::new(kernels, convolution, input, output, all, &mut places)))
                    }
                    Step::Depthwise { input, output, expand, depthwise, .. } => {
                        let (input, output) = (shape(*input), shape(*output));
                        let expand = expand.as_ref();
                        PreparedStep::Separable(Box::new(Separable::new(
                            kernels,
                            expand,
                            depthwise,
                            input,
                            output,
                            &mut places,
                        )))
                    }
                    _ => PreparedStep::Simple,
                };
                length = length.max(places.length());
                prepared
            })
            .collect();
        let layout = memory::plan(&program, keep);
        let interleaved =
            if program.steps.iter().any(|step| step.reads().contains(&program.input) && !takes_planes(step)) {
                program.maps[program.input].len()
            } else {
                0
            };
        let (arena, scratch) = (Aligned::zeros(layout.length), [Aligned::zeros(length), Aligned::default()]);
        let interleaved = Aligned::zeros(interleaved);
        Ok(Self {
            program,
            kernels,
            prepared,
            layout,
            arena,
            scratch,
            pair: None,
            timing: ThreadTiming::default(),
            interleaved,
            kept: keep,
        })
    }

    /// Starts a second thread, which lives as long as the machine and sleeps between runs. Does
    /// nothing if it exists already.
    ///
    /// The results stay the same to the bit. Steps that are too small to share stay on the caller's
    /// thread, and so do whole runs if one thread was faster recently.
    ///
    /// # Errors
    /// [`MachineError::Thread`] if the thread cannot be started.
    pub fn use_two_threads(&mut self) -> Result<(), MachineError> {
        if self.pair.is_none() {
            self.scratch[1] = Aligned::zeros(self.scratch[0].as_slice().len());
            self.pair = Some(ThreadPair::new().map_err(|error| MachineError::Thread(error.to_string()))?);
        }
        Ok(())
    }

    /// The number of threads that a run may use: 1 or 2.
    #[must_use]
    pub fn threads(&self) -> usize {
        1 + usize::from(self.pair.is_some())
    }

    /// The program that the machine runs.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The instruction set that the machine was prepared for.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.kernels.isa
    }

    /// Size of the feature maps and the scratch memory, in bytes.
    #[must_use]
    pub fn working_bytes(&self) -> usize {
        let scratch = self.scratch.iter().map(|scratch| scratch.as_slice().len()).sum::<usize>();
        4 * (self.arena.as_slice().len() + scratch + self.interleaved.as_slice().len())
    }

    /// Runs the network on `input`, whose dimensions are in `order`. `output` is `[height, width,
    /// channels]`.
    ///
    /// # Errors
    /// [`MachineError::Length`] if a buffer has the wrong length.
    pub fn run(&mut self, input: &[f32], order: Order, output: &mut [f32]) -> Result<(), MachineError> {
        let wanted = self.program.maps[self.program.input].len();
        if input.len() != wanted {
            return Err(MachineError::Length { what: "input", has: input.len(), wanted });
        }
        let wanted = self.program.maps[self.program.output].len();
        if output.len() != wanted {
            return Err(MachineError::Length { what: "output", has: output.len(), wanted });
        }
        let started = self.pair.as_ref().map(|_| Instant::now());
        let both = self.timing.both();
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
        let [mine, other] = self.scratch.each_mut().map(|scratch| scratch.as_mut_slice().as_mut_ptr());
        let maps = Addresses {
            layout: &self.layout,
            arena: self.arena.as_mut_slice().as_mut_ptr(),
            program: &self.program,
            input: interleaved,
            output: output.as_mut_ptr(),
        };
        for (step, prepared) in self.program.steps.iter().zip(&mut self.prepared) {
            // SAFETY: every map of a step is valid for its shape; the layout keeps what a step
            // writes apart from what it reads; the scratch memory is as long as the largest step
            // needs.
            unsafe {
                match (step, prepared) {
                    (Step::Convolution { input: from, output, mean, .. }, PreparedStep::Dense(dense)) => {
                        let planar = planar && *from == self.program.input && takes_planes(step);
                        let input = if planar { input.as_ptr() } else { maps.at(*from) };
                        dense.gate(&maps);
                        let pair = self.pair.as_mut().filter(|_| both && dense.units().is_split());
                        let scratch = [mine, if pair.is_some() { other } else { mine }];
                        let operands = Operands { input, output: maps.at(*output), scratch };
                        let (dense, operands, maps, kernels) = (&*dense, &operands, &maps, self.kernels);
                        let run = |half: Option<usize>| {
                            let scratch = operands.scratch[half.unwrap_or(0)];
                            let (input, output) = (operands.input, operands.output);
                            dense.run(kernels, half, input, planar, output, mean.is_some(), scratch, maps);
                        };
                        match pair {
                            Some(pair) => pair.both(&|half| run(Some(half))),
                            None => run(None),
                        }
                        if let Some(mean) = mean {
                            dense.finish(scratch, maps.at(*mean));
                        }
                    }
                    (Step::Depthwise { input: from, output, mean, .. }, PreparedStep::Separable(separable)) => {
                        separable.gate(&maps);
                        let pair = self.pair.as_mut().filter(|_| both && separable.units().is_split());
                        let scratch = [mine, if pair.is_some() { other } else { mine }];
                        let operands = Operands { input: maps.at(*from), output: maps.at(*output), scratch };
                        let (separable, operands, maps, kernels) = (&*separable, &operands, &maps, self.kernels);
                        let run = |half: Option<usize>| {
                            let scratch = operands.scratch[half.unwrap_or(0)];
                            let (input, output) = (operands.input, operands.output);
                            separable.run(kernels, half, input, output, mean.is_some(), scratch, maps);
                        };
                        match pair {
                            Some(pair) => pair.both(&|half| run(Some(half))),
                            None => run(None),
                        }
                        if let Some(mean) = mean {
                            separable.finish(scratch, maps.at(*mean));
                        }
                    }
                    (step, _) => simple_step(self.kernels, &self.program, step, &maps),
                }
            }
        }
        if let Some(started) = started {
            self.timing.record(started.elapsed().as_secs_f32(), both);
        }
        Ok(())
    }

    /// A map after the last run, as `[height, width, channels]`. `None` for the input and the
    /// output (the caller has those), and for every map if the machine was not made with `keep`.
    #[must_use]
    pub fn map(&self, map: MapId) -> Option<(Shape, &[f32])> {
        let shape = *self.program.maps.get(map)?;
        let offset = (*self.layout.offsets.get(map)?).filter(|_| self.kept)?;
        Some((shape, &self.arena.as_slice()[offset..offset + shape.len()]))
    }
}

/// Whether a step copies the picture row by row into a ring buffer, and so can read planes.
fn takes_planes(step: &Step) -> bool {
    matches!(step, Step::Convolution { convolution, .. } if convolution.kernel != [1, 1] || convolution.stride != 1)
}

/// Runs a step that has no row kernel of its own.
///
/// # Safety
/// Every map is valid for its shape, and the maps that are written do not overlap those that are
/// read.
unsafe fn simple_step(kernels: &Kernels, program: &Program, step: &Step, maps: &Addresses<'_>) {
    let shape = |map: MapId| program.maps[map];
    // SAFETY: the caller upholds this function's contract.
    let read = |map: MapId| unsafe { std::slice::from_raw_parts(maps.at(map).cast_const(), shape(map).len()) };
    // SAFETY: as above.
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
        Step::Clamp { input, output, low, high } => simple::clamp(read(*input), *low, *high, write(*output)),
        Step::LeakyRelu { input, output, slopes } => simple::leaky_relu(read(*input), slopes, write(*output)),
        Step::Resize { input, output, interpolation: Interpolation::Nearest, factor } => {
            simple::nearest(read(*input), shape(*input), *factor, write(*output));
        }
        Step::Resize { input, output, interpolation: Interpolation::Bilinear, .. } => {
            let (from, to) = (shape(*input), shape(*output));
            for y in 0..to.height {
                // SAFETY: as above; the output has twice the height and width of the input.
                unsafe {
                    let row = maps.at(*output).add(y * to.width * to.channels);
                    upsample_row(kernels, maps.at(*input), from, y, to.channels, row);
                }
            }
        }
        Step::Mean { input, output } => simple::mean(read(*input), write(*output)),
        Step::Pool { input, output, pooling, kernel, stride, padding } => {
            let from = (read(*input), shape(*input));
            simple::pool(*pooling, (*kernel, *stride, *padding), from, (write(*output), shape(*output)));
        }
        Step::Pad { input, output, border, padding } => {
            simple::pad(*border, *padding, (read(*input), shape(*input)), (write(*output), shape(*output)));
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
