//! Asking the CPU, or the kernel on its behalf.
#![allow(unsafe_code)]

use super::Isa;

/// Whether the build has `isa` and the CPU says that it runs it.
pub(super) fn available(isa: Isa) -> bool {
    match isa {
        Isa::Scalar => true,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            available(Isa::Avx2)
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
        }
        // Part of the architecture's base.
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => true,
        #[cfg(target_arch = "arm")]
        Isa::Neon => super::armv7::has_neon(),
        #[cfg(target_arch = "riscv64")]
        Isa::Rvv => super::rvv::probe() == super::rvv::Probe::Version1,
        _ => false,
    }
}

/// Whether `isa` may be used on the user's word although [`available`] did not say so.
pub(super) fn forceable(isa: Isa) -> bool {
    match isa {
        #[cfg(target_arch = "riscv64")]
        Isa::Rvv => super::rvv::probe() == super::rvv::Probe::Unknown,
        _ => false,
    }
}
