//! Instruction sets and vectors: which instruction sets there are, which of them this CPU has, and
//! a small vector trait with one implementation per instruction set.
//!
//! The vectors have numbers of single or of half precision.
//!
//! This module knows nothing of pictures or neural networks. The kernels of a network are written
//! once over [`Vector`] (`nn/generic`) and instantiated per instruction set (`nn/arch`). Plain
//! loops over integers go through the `versions` macro instead.
//!
//! The only state is the answer of [`Usable::chosen`], which is computed once.

pub mod element;
pub mod half_scalar;
pub mod scalar;
pub mod single;
pub mod vector;

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
#[cfg(target_arch = "aarch64")]
pub mod neon;
#[cfg(target_arch = "aarch64")]
pub mod neon_half;

mod detect;
mod isa;
pub(crate) mod versions;

pub use element::{Element, F16};
pub use isa::{ISA_VARIABLE, Isa, IsaError};
pub use vector::Vector;
pub use versions::Usable;
pub(crate) use versions::versions;
