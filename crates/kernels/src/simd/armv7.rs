//! 32-bit Arm. NEON's intrinsics are not stable here, so its kernels are the generic ones on scalars.
#![allow(unsafe_code)]

/// Whether the CPU has NEON and this build has kernels for it: not yet.
pub(super) const fn has_neon() -> bool {
    false
}

/// The row kernels: those of no vectors.
pub use super::scalar::KERNELS;
