//! The instruction sets that the kernels are built for, and the choice among them.

use std::fmt;
use std::str::FromStr;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm", target_arch = "riscv64"))]
use super::detect;

/// An instruction set that the kernels are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// No vectors: plain `f32` arithmetic, available on every CPU.
    Scalar,
    /// x86-64 with AVX2 and FMA: 8 lanes.
    Avx2,
    /// x86-64 with AVX-512 F, VL, DQ and BW: 16 lanes.
    Avx512,
    /// Arm Advanced SIMD, 32 and 64 bit: 4 lanes.
    Neon,
    /// RISC-V vectors 1.0, any VLEN of 128 or more.
    Rvv,
}

/// Why an instruction set cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// The name is not one of the known instruction sets.
    #[error("unknown instruction set {name:?}: expected scalar, avx2, avx512, neon or rvv")]
    Unknown {
        /// The name that was given.
        name: String,
    },
    /// The instruction set is known, but this CPU or build does not have it.
    #[error("instruction set {isa} is not available on this CPU; available are: {available}")]
    Unavailable {
        /// The instruction set that was asked for.
        isa: Isa,
        /// The instruction sets that are available, comma separated, the fastest last.
        available: String,
    },
}

/// The environment variable that forces an instruction set.
pub const ISA_VARIABLE: &str = "PORTRAITD_ISA";

impl Isa {
    /// Every instruction set, including those of other architectures.
    pub const ALL: [Self; 5] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Neon, Self::Rvv];

    /// The name that [`FromStr`] and the option `--isa` accept.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
            Self::Rvv => "rvv",
        }
    }

    /// Whether this build has kernels for the instruction set and this CPU can run them.
    ///
    /// RISC-V vectors are used only if the kernel's `riscv_hwprobe` reports version 1.0: CPUs with
    /// the draft 0.7.1 set the same bit of the auxiliary vector but decode the instructions
    /// differently. Where the call is missing (Linux before 6.4, QEMU before 8.2), name `rvv`
    /// explicitly.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => detect::has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => detect::has_avx512(),
            #[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
            Self::Neon => detect::has_neon(),
            #[cfg(target_arch = "riscv64")]
            Self::Rvv => detect::probe_rvv() == detect::Probe::Version1,
            _ => false,
        }
    }

    /// Whether the kernels may run here: the instruction set [is available](Self::is_available), or
    /// it cannot be detected (RISC-V without `riscv_hwprobe`).
    #[must_use]
    pub fn is_usable(self) -> bool {
        #[cfg(target_arch = "riscv64")]
        if self == Self::Rvv && detect::probe_rvv() == detect::Probe::Unknown {
            return true;
        }
        self.is_available()
    }

    /// Whether the instruction set multiplies vectors of half precision on this CPU: [`Isa::Neon`] on
    /// 64-bit Arm with FEAT_FP16, which came with ARMv8.2.
    #[must_use]
    pub fn has_half_precision(self) -> bool {
        match self {
            #[cfg(target_arch = "aarch64")]
            Self::Neon => detect::has_fp16(),
            _ => false,
        }
    }

    /// The instruction sets of this CPU, slowest first. The list is never empty, because
    /// [`Isa::Scalar`] is always available.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The fastest instruction set of this CPU.
    #[must_use]
    pub fn detect() -> Self {
        Self::available().into_iter().next_back().unwrap_or(Self::Scalar)
    }

    /// The instruction set to use: `name` if it is given, else the value of `PORTRAITD_ISA`, else
    /// the result of [`Isa::detect`]. The name `auto` also selects [`Isa::detect`].
    ///
    /// An instruction set that is named explicitly is also accepted if the build has kernels for it
    /// and the CPU cannot be asked (RISC-V without `riscv_hwprobe`).
    ///
    /// # Errors
    /// [`IsaError`] if the name is unknown, or if this CPU or build cannot run the instruction set.
    pub fn choose(name: Option<&str>) -> Result<Self, IsaError> {
        let from_environment = std::env::var(ISA_VARIABLE).ok().filter(|name| !name.is_empty());
        match name.or(from_environment.as_deref()) {
            None | Some("auto") => Ok(Self::detect()),
            Some(name) => {
                let isa = Self::from_str(name)?;
                if isa.is_usable() {
                    Ok(isa)
                } else {
                    let available: Vec<_> = Self::available().into_iter().map(Self::name).collect();
                    Err(IsaError::Unavailable { isa, available: available.join(", ") })
                }
            }
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Self, IsaError> {
        Self::ALL
            .into_iter()
            .find(|isa| isa.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| IsaError::Unknown { name: name.to_owned() })
    }
}
