//! The layers of a segmentation net, and the program that runs them.
//!
//! Feature maps are channels-last `f32` in one arena. A [`Program`] is a list of fused steps, independent of the instruction
//! set and of where the net came from; a [`Machine`] is a program whose weights are packed for one instruction set and whose
//! memory is laid out, so that running it allocates nothing. Both belong to the thread that runs the net; a machine may have a second
//! thread of its own ([`Machine::use_two_threads`]).
//!
//! Fast kernels work on rows ([`rows`]), are written once ([`generic`]) and are tested against [`oracle`].

pub mod arch;
pub mod dump;
pub mod generic;
pub mod machine;
pub mod oracle;
pub mod pack;
pub mod program;
pub mod rows;

mod check;
mod dispatch;
mod memory;
mod pool;
mod simple;
mod steps;

pub use machine::{Machine, MachineError, Order};
pub use program::{
    Arithmetic, Convolution, Depthwise, Interpolation, MapId, Pooling, Program, ProgramError, Residual, Shape, Step,
};
pub use rows::{Activation, Kernels};
