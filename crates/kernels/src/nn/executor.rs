//! The steps of a program with packed weights and memory, in one precision.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::memory::{self, MemoryLayout};
use super::pack::Aligned;
use super::pool::ThreadPair;
use super::program::{Interpolation, MapId, Program, Shape, Step};
use super::rows::Kernels;
use super::simple;
use super::steps::dense::Dense;
use super::steps::parts::{Places, Resolve};
use super::steps::separable::Separable;
use super::steps::upsample::upsample_row;
use crate::simd::Element;

/// A step with its packed weights. A copy has the same weights in memory.
#[derive(Clone, Debug)]
enum PreparedStep<T> {
    Dense(Box<Dense<T>>),
    Separable(Box<Separable<T>>),
    Simple,
}

/// The steps of a program with packed weights, in the precision of `T`. Executors are made of it.
#[derive(Debug)]
pub(super) struct PackedSteps<T: Element> {
    kernels: &'static Kernels<T>,
    prepared: Vec<PreparedStep<T>>,
    layout: Arc<MemoryLayout>,
    /// Length of the scratch memory of a thread, in `f32`s.
    scratch: usize,
}

/// The steps of a program in the precision of `T`, and the memory that they need.
#[derive(Debug)]
pub(super) struct Executor<T: Element> {
    kernels: &'static Kernels<T>,
    prepared: Vec<PreparedStep<T>>,
    layout: Arc<MemoryLayout>,
    arena: Aligned<T>,
    /// The scratch memory of the caller's thread and of the second thread.
    scratch: [Aligned; 2],
}

/// The input of a run.
#[derive(Clone, Copy)]
pub(super) struct Picture<T> {
    /// The picture as `[height, width, channels]`, or `planes` if every step that reads it takes
    /// planes.
    pub(super) interleaved: *const T,
    /// The picture as `[channels, height, width]`, if the caller has it so.
    pub(super) planes: Option<*const T>,
}

/// Resolves maps to addresses during a run.
struct Addresses<'a, T> {
    layout: &'a MemoryLayout,
    arena: *mut T,
    program: &'a Program,
    input: *const T,
    output: *mut T,
}

// SAFETY: this type only computes addresses. The steps that use them keep their halves apart.
unsafe impl<T> Sync for Addresses<'_, T> {}

/// The addresses that both halves of a step receive.
struct Operands<T> {
    input: *const T,
    output: *mut T,
    scratch: [*mut f32; 2],
}

// SAFETY: the halves of a step write different pixels of the output, and each has its own scratch
// memory.
unsafe impl<T> Sync for Operands<T> {}

impl<T> Resolve<T> for Addresses<'_, T> {
    fn at(&self, map: MapId) -> *mut T {
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

/// Collects from all threads whether a number became too large for `T`.
#[derive(Default)]
struct Overflow(AtomicBool);

impl Overflow {
    /// Notes what this thread has seen.
    fn note<T: Element>(&self) {
        if T::has_overflowed() {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Runs a half of a step, perhaps on another thread.
    fn during<T: Element>(&self, half: Option<usize>, run: impl FnOnce()) {
        if half.is_some() {
            T::watch_overflow();
        }
        run();
        self.note::<T>();
    }
}

impl<T: Element> PackedSteps<T> {
    /// Packs the weights of a program that has been checked. If `keep` is set, no map shares memory.
    pub(super) fn new(program: &Program, kernels: &'static Kernels<T>, keep: bool) -> Self {
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
        let layout = Arc::new(memory::plan(program, keep));
        Self { kernels, prepared, layout, scratch: length }
    }

    /// An executor with memory of its own. The weights are shared.
    pub(super) fn executor(&self) -> Executor<T> {
        Executor {
            kernels: self.kernels,
            prepared: self.prepared.clone(),
            layout: Arc::clone(&self.layout),
            arena: Aligned::zeros(self.layout.length),
            scratch: [Aligned::zeros(self.scratch), Aligned::default()],
        }
    }
}

impl<T: Element> Executor<T> {
    /// Makes the scratch memory of a second thread.
    pub(super) fn serve_two_threads(&mut self) {
        self.scratch[1] = Aligned::zeros(self.scratch[0].as_slice().len());
    }

    /// Size of the feature maps and the scratch memory, in bytes.
    pub(super) fn working_bytes(&self) -> usize {
        let scratch = self.scratch.iter().map(|scratch| size_of_val(scratch.as_slice())).sum::<usize>();
        size_of_val(self.arena.as_slice()) + scratch
    }

    /// A map of a program that was prepared with `keep`; `None` for its input and output.
    pub(super) fn map(&self, map: MapId, shape: Shape) -> Option<&[T]> {
        let offset = (*self.layout.offsets.get(map)?)?;
        Some(&self.arena.as_slice()[offset..offset + shape.len()])
    }

    /// Runs `program`, on two threads if there is a `pair`. Returns whether a number became too
    /// large for `T`; the output is then of no use.
    ///
    /// # Safety
    /// `program` is the one of [`PackedSteps::new`]. The picture and the output are valid for the
    /// shapes of its input and output. With a `pair`, [`Executor::serve_two_threads`] was called.
    pub(super) unsafe fn run(
        &mut self,
        program: &Program,
        picture: Picture<T>,
        output: *mut T,
        mut pair: Option<&mut ThreadPair>,
    ) -> bool {
        T::watch_overflow();
        let overflow = Overflow::default();
        let [mine, other] = self.scratch.each_mut().map(|scratch| scratch.as_mut_slice().as_mut_ptr());
        let arena = self.arena.as_mut_slice().as_mut_ptr();
        let maps = Addresses { layout: &self.layout, arena, program, input: picture.interleaved, output };
        for (step, prepared) in program.steps.iter().zip(&mut self.prepared) {
            // SAFETY: every map of a step is valid for its shape; the layout keeps what a step
            // writes apart from what it reads; the scratch memory is as long as the largest step
            // needs.
            unsafe {
                match (step, prepared) {
                    (Step::Convolution { input: from, output, mean, .. }, PreparedStep::Dense(dense)) => {
                        let planes = picture.planes.filter(|_| *from == program.input && takes_planes(step));
                        let input = planes.unwrap_or_else(|| maps.at(*from));
                        let (planar, with_mean) = (planes.is_some(), mean.is_some());
                        dense.gate(self.kernels, &maps);
                        let pair = pair.as_deref_mut().filter(|_| dense.units().is_split());
                        let scratch = [mine, if pair.is_some() { other } else { mine }];
                        let operands = Operands { input, output: maps.at(*output), scratch };
                        let (dense, operands, maps, kernels) = (&*dense, &operands, &maps, self.kernels);
                        let run = |half: Option<usize>| {
                            let scratch = operands.scratch[half.unwrap_or(0)];
                            let (input, output) = (operands.input, operands.output);
                            overflow.during::<T>(half, || {
                                dense.run(kernels, half, input, planar, output, with_mean, scratch, maps);
                            });
                        };
                        match pair {
                            Some(pair) => {
                                overflow.note::<T>();
                                pair.both(&|half| run(Some(half)));
                            }
                            None => run(None),
                        }
                        if let Some(mean) = mean {
                            dense.finish(scratch, maps.at(*mean));
                        }
                    }
                    (Step::Depthwise { input: from, output, mean, .. }, PreparedStep::Separable(separable)) => {
                        separable.gate(self.kernels, &maps);
                        let pair = pair.as_deref_mut().filter(|_| separable.units().is_split());
                        let scratch = [mine, if pair.is_some() { other } else { mine }];
                        let operands =
                            Operands { input: maps.at(*from).cast_const(), output: maps.at(*output), scratch };
                        let (separable, operands, maps, kernels) = (&*separable, &operands, &maps, self.kernels);
                        let run = |half: Option<usize>| {
                            let scratch = operands.scratch[half.unwrap_or(0)];
                            let (input, output) = (operands.input, operands.output);
                            overflow.during::<T>(half, || {
                                separable.run(kernels, half, input, output, mean.is_some(), scratch, maps);
                            });
                        };
                        match pair {
                            Some(pair) => {
                                overflow.note::<T>();
                                pair.both(&|half| run(Some(half)));
                            }
                            None => run(None),
                        }
                        if let Some(mean) = mean {
                            separable.finish(scratch, maps.at(*mean));
                        }
                    }
                    (step, _) => simple_step(self.kernels, program, step, &maps),
                }
            }
        }
        overflow.note::<T>();
        overflow.0.into_inner()
    }
}

/// Whether a step copies the picture row by row into a ring buffer, and so can read planes.
pub(super) fn takes_planes(step: &Step) -> bool {
    matches!(step, Step::Convolution { convolution, .. } if convolution.kernel != [1, 1] || convolution.stride != 1)
}

/// Runs a step that has no row kernel of its own.
///
/// # Safety
/// Every map is valid for its shape, and the maps that are written do not overlap those that are
/// read.
unsafe fn simple_step<T: Element>(kernels: &Kernels<T>, program: &Program, step: &Step, maps: &Addresses<'_, T>) {
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
