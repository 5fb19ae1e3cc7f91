//! The instruction sets that the kernels are built for, and the choice among them.

use std::fmt;
use std::str::FromStr;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm", target_arch = "riscv64"))]
use super::detect;

/// An instruction set that the kernels are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// No vectors: plain `f32` arithmetic, on every CPU.
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

/// A name that is no instruction set, or one that this CPU or build lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// Not a name we know.
    #[error("unknown instruction set {name:?}: expected scalar, avx2, avx512, neon or rvv")]
    Unknown {
        /// What was given.
        name: String,
    },
    /// Known, but not to be had here.
    #[error("instruction set {isa} is not available on this CPU (available: {available})")]
    Unavailable {
        /// What was asked for.
        isa: Isa,
        /// What there is, best last.
        available: String,
    },
}

/// The environment variable that forces an instruction set.
pub const ISA_VARIABLE: &str = "PORTRAITD_ISA";

impl Isa {
    /// Every instruction set, also those of other architectures.
    pub const ALL: [Self; 5] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Neon, Self::Rvv];

    /// The name that [`FromStr`] and `--isa` take.
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

    /// Whether this build has kernels for it and this CPU runs them.
    ///
    /// RISC-V's vectors are taken only when the kernel's `riscv_hwprobe` reports version 1.0: parts with the draft 0.7.1
    /// set the same bit of the auxiliary vector and would decode other instructions. Where that call is missing (Linux
    /// before 6.4, QEMU before 8.2), name `rvv` explicitly.
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

    /// Whether kernels for it may be run here: it [is available](Self::is_available), or nobody can say that it is not.
    #[must_use]
    pub fn is_usable(self) -> bool {
        #[cfg(target_arch = "riscv64")]
        if self == Self::Rvv && detect::probe_rvv() == detect::Probe::Unknown {
            return true;
        }
        self.is_available()
    }

    /// What this CPU has, slowest first. Never empty: [`Isa::Scalar`] is always there.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The fastest instruction set of this CPU.
    #[must_use]
    pub fn detect() -> Self {
        Self::available().into_iter().next_back().unwrap_or(Self::Scalar)
    }

    /// The instruction set to use: the one named, else the one in `PORTRAITD_ISA`, else [`Isa::detect`].
    ///
    /// A set that is named is trusted where the build has it and the CPU cannot be asked (RISC-V without
    /// `riscv_hwprobe`).
    ///
    /// # Errors
    /// The name is unknown, or this CPU or build cannot run it.
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
