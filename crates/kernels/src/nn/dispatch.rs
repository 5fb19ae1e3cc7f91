//! The one place that chooses the row kernels of an instruction set.

use super::arch;
use super::rows::Kernels;
use crate::simd::{F16, Isa};

impl Kernels {
    /// The kernels for `isa`, or `None` if this build has none.
    #[must_use]
    pub fn of(isa: Isa) -> Option<&'static Self> {
        match isa {
            Isa::Scalar => Some(&arch::scalar::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Some(&arch::avx2::KERNELS),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Some(&arch::avx512::KERNELS),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Some(&arch::neon::KERNELS),
            #[cfg(target_arch = "arm")]
            Isa::Neon => Some(&arch::armv7::KERNELS),
            #[cfg(target_arch = "riscv64")]
            Isa::Rvv => Some(&arch::rvv::KERNELS),
            #[allow(unreachable_patterns, reason = "some architectures have every arm")]
            _ => None,
        }
    }
}

impl Kernels<F16> {
    /// The kernels of half precision for `isa`, or `None` if this build has none or the CPU has no
    /// half precision. Those for [`Isa::Scalar`] are slow, see [`Isa::has_half_precision`].
    #[must_use]
    pub fn half_of(isa: Isa) -> Option<&'static Self> {
        match isa {
            Isa::Scalar => Some(&arch::scalar_half::KERNELS),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon if isa.has_half_precision() => Some(&arch::neon_half::KERNELS),
            _ => None,
        }
    }
}
