//! A program that is prepared for one instruction set and one precision: its weights are packed and
//! its memory is laid out. Any number of machines run it, each on a thread of its own, with the same
//! weights.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::executor::{Executor, PackedSteps, Picture, takes_planes};
use super::pack::Aligned;
use super::pool::{ThreadPair, ThreadTiming};
use super::program::{MapId, Program, ProgramError, Shape};
use super::rows::Kernels;
use crate::simd::{Element, F16, Isa};

/// Why a program cannot be prepared or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MachineError {
    /// The program is inconsistent.
    #[error("the program is inconsistent: {0}")]
    Program(#[from] ProgramError),
    /// This build has no kernels for the instruction set, or the CPU cannot run them.
    #[error("this build or CPU cannot run kernels for {0}")]
    Isa(Isa),
    /// This build has no kernels of half precision for the instruction set, or the CPU has none.
    #[error("this build or CPU cannot compute in half precision with {0}")]
    Half(Isa),
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

/// The numbers in which a machine computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Single precision: `f32`.
    #[default]
    Single,
    /// Half precision: weights, maps and the sums of products are [`F16`]. Sums over pixels, and the
    /// sigmoid, are computed in `f32`.
    Half,
}

/// A program with packed weights, of which machines are made. It has no memory for maps. Copies are
/// the same program in memory.
#[derive(Clone, Debug)]
pub struct PackedProgram(Arc<Packed>);

#[derive(Debug)]
struct Packed {
    program: Program,
    kernels: &'static Kernels,
    half: Option<PackedSteps<F16>>,
    /// In half precision it is empty until a machine needs single precision.
    single: OnceLock<PackedSteps<f32>>,
    /// Length of [`Machine::interleaved`].
    interleaved: usize,
    kept: bool,
}

impl Packed {
    fn single(&self) -> &PackedSteps<f32> {
        self.single.get_or_init(|| PackedSteps::new(&self.program, self.kernels, self.kept))
    }
}

/// The steps in one precision.
#[derive(Debug)]
enum Steps {
    Single(Executor<f32>),
    Half(Executor<F16>, HalfEnds),
}

/// The input and the output in half precision.
#[derive(Debug)]
struct HalfEnds {
    input: Aligned<F16>,
    output: Aligned<F16>,
}

/// A program that is ready to run on one instruction set.
///
/// A machine owns all memory that a run needs, so [`Machine::run`] allocates nothing. It runs on
/// the thread of the caller, or on that thread and a second one ([`Machine::use_two_threads`]).
///
/// A machine of half precision whose numbers become too large for it repeats that run in single
/// precision and stays with it.
#[derive(Debug)]
pub struct Machine {
    packed: Arc<Packed>,
    steps: Steps,
    pair: Option<ThreadPair>,
    timing: ThreadTiming,
    /// The interleaved input. It is used if the caller passes planes and some step cannot read
    /// planes.
    interleaved: Aligned,
}

impl PackedProgram {
    /// Prepares `program` for `isa` in `precision`. If `keep` is set, every map can be read after a
    /// run ([`Machine::map`]), which needs more memory.
    ///
    /// # Errors
    /// [`MachineError`] if the program is inconsistent, or if this build or CPU cannot run the
    /// instruction set; [`MachineError::Half`] if there are no kernels of half precision.
    pub fn new(program: Program, isa: Isa, keep: bool, precision: Precision) -> Result<Self, MachineError> {
        program.check()?;
        let kernels = Kernels::of(isa).filter(|_| isa.is_usable()).ok_or(MachineError::Isa(isa))?;
        let half = match precision {
            Precision::Single => None,
            Precision::Half => {
                let kernels = Kernels::half_of(isa).ok_or(MachineError::Half(isa))?;
                Some(PackedSteps::new(&program, kernels, keep))
            }
        };
        let interleaved =
            if program.steps.iter().any(|step| step.reads().contains(&program.input) && !takes_planes(step)) {
                program.maps[program.input].len()
            } else {
                0
            };
        let packed = Packed { program, kernels, half, single: OnceLock::new(), interleaved, kept: keep };
        if precision == Precision::Single {
            packed.single();
        }
        Ok(Self(Arc::new(packed)))
    }

    /// A machine with memory of its own for maps. The weights are shared. It computes in single
    /// precision if another machine of this program had to go over to it.
    #[must_use]
    pub fn machine(&self) -> Machine {
        let packed = &*self.0;
        let steps = match (&packed.half, packed.single.get()) {
            (Some(half), None) => {
                let program = &packed.program;
                let ends = [program.input, program.output].map(|map| Aligned::zeros(program.maps[map].len()));
                let [input, output] = ends;
                Steps::Half(half.executor(), HalfEnds { input, output })
            }
            _ => Steps::Single(packed.single().executor()),
        };
        let interleaved = Aligned::zeros(packed.interleaved);
        Machine { packed: Arc::clone(&self.0), steps, pair: None, timing: ThreadTiming::default(), interleaved }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.0.program
    }

    /// The instruction set that the weights are packed for.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.0.kernels.isa
    }
}

impl Machine {
    /// A machine for a program of its own in single precision, see [`PackedProgram::new`].
    ///
    /// # Errors
    /// As there.
    pub fn new(program: Program, isa: Isa, keep: bool) -> Result<Self, MachineError> {
        Self::with_precision(program, isa, keep, Precision::Single)
    }

    /// [`Machine::new`] with a choice of the precision.
    ///
    /// # Errors
    /// As for [`PackedProgram::new`].
    pub fn with_precision(program: Program, isa: Isa, keep: bool, precision: Precision) -> Result<Self, MachineError> {
        Ok(PackedProgram::new(program, isa, keep, precision)?.machine())
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
            match &mut self.steps {
                Steps::Single(executor) => executor.serve_two_threads(),
                Steps::Half(executor, _) => executor.serve_two_threads(),
            }
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
        &self.packed.program
    }

    /// The instruction set that the machine was prepared for.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.packed.kernels.isa
    }

    /// The precision in which the machine computes. It changes from half to single precision if a
    /// run needed larger numbers.
    #[must_use]
    pub const fn precision(&self) -> Precision {
        match self.steps {
            Steps::Single(_) => Precision::Single,
            Steps::Half(..) => Precision::Half,
        }
    }

    /// Size of the feature maps and the scratch memory, in bytes.
    #[must_use]
    pub fn working_bytes(&self) -> usize {
        let steps = match &self.steps {
            Steps::Single(executor) => executor.working_bytes(),
            Steps::Half(executor, HalfEnds { input, output }) => {
                executor.working_bytes() + size_of_val(input.as_slice()) + size_of_val(output.as_slice())
            }
        };
        steps + size_of_val(self.interleaved.as_slice())
    }

    /// Runs the network on `input`, whose dimensions are in `order`. `output` is `[height, width,
    /// channels]`.
    ///
    /// # Errors
    /// [`MachineError::Length`] if a buffer has the wrong length.
    pub fn run(&mut self, input: &[f32], order: Order, output: &mut [f32]) -> Result<(), MachineError> {
        let program = &self.packed.program;
        let wanted = program.maps[program.input].len();
        if input.len() != wanted {
            return Err(MachineError::Length { what: "input", has: input.len(), wanted });
        }
        let wanted = program.maps[program.output].len();
        if output.len() != wanted {
            return Err(MachineError::Length { what: "output", has: output.len(), wanted });
        }
        let started = self.pair.as_ref().map(|_| Instant::now());
        let both = self.timing.both();
        let planar = order == Order::Planar;
        let mut interleaved = input;
        let reorder = planar && !self.interleaved.as_slice().is_empty();
        if reorder {
            let shape = program.maps[program.input];
            let to = self.interleaved.as_mut_slice();
            for c in 0..shape.channels {
                let plane = &input[c * shape.height * shape.width..][..shape.height * shape.width];
                for (pixel, &value) in to.chunks_exact_mut(shape.channels).zip(plane) {
                    pixel[c] = value;
                }
            }
            interleaved = to;
        }
        let pair = self.pair.as_mut().filter(|_| both);
        match &mut self.steps {
            Steps::Single(executor) => {
                let planes = planar.then_some(input.as_ptr());
                let picture = Picture { interleaved: interleaved.as_ptr(), planes };
                // SAFETY: the lengths have been compared with the shapes; the executor was made of
                // this program, and the second thread's memory with the pair.
                unsafe { executor.run(program, picture, output.as_mut_ptr(), pair) };
            }
            Steps::Half(executor, ends) => {
                // Every step can read interleaved pixels, and planes only if none was interleaved.
                F16::watch_overflow();
                F16::narrow(interleaved, ends.input.as_mut_slice());
                let mut overflow = F16::has_overflowed();
                let at = ends.input.as_slice().as_ptr();
                let picture = Picture { interleaved: at, planes: (planar && !reorder).then_some(at) };
                // SAFETY: as above; the ends are as long as the input and the output.
                overflow |= unsafe { executor.run(program, picture, ends.output.as_mut_slice().as_mut_ptr(), pair) };
                if overflow {
                    return self.repeat_in_single(input, order, output);
                }
                F16::widen(ends.output.as_slice(), output);
            }
        }
        if let Some(started) = started {
            self.timing.record(started.elapsed().as_secs_f32(), both);
        }
        Ok(())
    }

    /// Goes over to single precision, for good, and runs the program.
    fn repeat_in_single(&mut self, input: &[f32], order: Order, output: &mut [f32]) -> Result<(), MachineError> {
        let mut executor = self.packed.single().executor();
        if self.pair.is_some() {
            executor.serve_two_threads();
        }
        self.steps = Steps::Single(executor);
        self.timing = ThreadTiming::default();
        self.run(input, order, output)
    }

    /// A map after the last run, as `[height, width, channels]`. `None` for the input and the
    /// output (the caller has those), and for every map if the machine was not made with `keep`.
    #[must_use]
    pub fn map(&self, map: MapId) -> Option<(Shape, Cow<'_, [f32]>)> {
        let shape = *self.packed.program.maps.get(map).filter(|_| self.packed.kept)?;
        let numbers = match &self.steps {
            Steps::Single(executor) => Cow::Borrowed(executor.map(map, shape)?),
            Steps::Half(executor, _) => {
                let mut numbers = vec![0.0; shape.len()];
                F16::widen(executor.map(map, shape)?, &mut numbers);
                Cow::Owned(numbers)
            }
        };
        Some((shape, numbers))
    }
}
