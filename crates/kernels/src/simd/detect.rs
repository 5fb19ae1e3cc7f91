//! Feature detection: asks the CPU, or the kernel where a program cannot ask the CPU.
#![allow(unsafe_code)]

/// Whether the CPU has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Whether the CPU has AVX2, FMA, and AVX-512 F, VL, DQ and BW.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_avx512() -> bool {
    has_avx2()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
}

/// Always true: NEON belongs to the base of AArch64.
#[cfg(target_arch = "aarch64")]
pub(super) const fn has_neon() -> bool {
    true
}

/// Whether the CPU has half precision, vectors of it included (FEAT_FP16).
#[cfg(target_arch = "aarch64")]
pub(super) fn has_fp16() -> bool {
    std::arch::is_aarch64_feature_detected!("fp16")
}

/// Whether the CPU has NEON, according to the kernel (`AT_HWCAP`; bit 12 is `HWCAP_NEON`).
#[cfg(target_arch = "arm")]
pub(super) fn has_neon() -> bool {
    unsafe extern "C" {
        fn getauxval(kind: std::ffi::c_ulong) -> std::ffi::c_ulong;
    }
    const AT_HWCAP: std::ffi::c_ulong = 16;
    const HWCAP_NEON: std::ffi::c_ulong = 1 << 12;
    // SAFETY: the call reads the auxiliary vector of the process and accepts any argument.
    unsafe { getauxval(AT_HWCAP) & HWCAP_NEON != 0 }
}

/// What the kernel reports about the vector extension.
#[cfg(target_arch = "riscv64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// Version 1.0 is present.
    Version1,
    /// There is no vector extension, or only the draft 0.7.1, which cannot run this code.
    Without,
    /// The kernel does not have the system call.
    Unknown,
}

/// Asks the kernel for the base extensions with `riscv_hwprobe` (Linux 6.4; system call 258, key
/// 4). Bit 2 of the value is version 1.0 of `V`.
#[cfg(target_arch = "riscv64")]
pub(super) fn probe_rvv() -> Probe {
    #[repr(C)]
    struct Pair {
        key: i64,
        value: u64,
    }
    let mut pair = Pair { key: 4, value: 0 };
    let result: isize;
    // SAFETY: the call reads and writes one pair and takes no CPU set.
    unsafe {
        std::arch::asm!(
            "ecall",
            in("a7") 258,
            inlateout("a0") &raw mut pair => result,
            in("a1") 1,
            in("a2") 0,
            in("a3") 0,
            in("a4") 0,
            options(nostack)
        );
    }
    match result {
        0 if pair.key == 4 && pair.value & 4 != 0 => Probe::Version1,
        0 => Probe::Without,
        _ => Probe::Unknown,
    }
}
