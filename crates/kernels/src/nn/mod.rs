//! The layers of a segmentation network, and the program that runs them.
//!
//! Feature maps are channels-last, in one arena, and of single or half precision ([`Precision`]). A
//! [`Program`] is a list of fused steps; it depends neither on the instruction set nor on the origin
//! of the network. A [`PackedProgram`] is a program whose weights are packed for one instruction set.
//! A [`Machine`] runs it in memory that is laid out before, so that a run allocates nothing.
//!
//! A machine belongs to the thread that runs it, and it may own a second thread
//! ([`Machine::use_two_threads`]).
//!
//! | layer, from the top | files | uses |
//! |---|---|---|
//! | machine | `machine`, `executor`, `steps`, `simple`, `memory`, `pool` | dispatch, the data structures |
//! | tools | `check`, `dump`, `oracle` | the data structures |
//! | dispatch | `dispatch` | arch |
//! | kernels per instruction set | `arch` | generic, simd |
//! | generic kernels | `generic` | rows, simd |
//! | data structures | `program`, `rows`, `pack` | nothing else here |
//!
//! Every kernel is tested against [`oracle`], which computes the same by plain loops in double
//! precision.

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
mod executor;
mod memory;
mod pool;
mod simple;
mod steps;

pub use machine::{Machine, MachineError, Order, PackedProgram, Precision};
pub use program::{
    Arithmetic, Border, Convolution, Depthwise, Interpolation, MapId, Pooling, Program, ProgramError, Residual, Shape,
    Step,
};
pub use rows::{Activation, Kernels};
