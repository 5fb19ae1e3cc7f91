//! The row kernels of each instruction set. These files use the generic kernels and the vector
//! types; only the dispatch uses these files.
//!
//! Where the compiler has a vector type, a file instantiates the generic kernels for it. The
//! vectors of RISC-V have no fixed size, and the NEON intrinsics of 32-bit Arm are not stable, so
//! the files of these two hold the same row kernels in assembly.

pub mod scalar;
pub mod scalar_half;

#[cfg(target_arch = "arm")]
pub mod armv7;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
#[cfg(target_arch = "aarch64")]
pub mod neon;
#[cfg(target_arch = "aarch64")]
pub mod neon_half;
#[cfg(target_arch = "riscv64")]
pub mod rvv;
