//! Plain loops that are compiled once per register width. The compiler finds the vector
//! instructions, and the code here chooses between the compiled versions at run time.
//!
//! This suits integer loops, and float loops whose operations need not be reordered: Rust never
//! fuses or reorders float operations, so every version gives the same bits.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use super::isa::Isa;

/// An instruction set that this CPU is known to run. Values are only made after that check, so
/// functions that take a `Usable` may run its instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usable(Isa);

impl Usable {
    /// Checks `isa`. Returns `None` if this CPU or build does not have it.
    pub fn new(isa: Isa) -> Option<Self> {
        isa.is_usable().then_some(Self(isa))
    }

    /// The instruction set that `PORTRAITD_ISA` names, else the fastest one of this CPU. It is
    /// determined once. A name that cannot be used is ignored here; [`Isa::choose`] reports it as
    /// an error.
    pub fn chosen() -> Self {
        static CHOSEN: OnceLock<Usable> = OnceLock::new();
        *CHOSEN.get_or_init(|| Self(Isa::choose(None).unwrap_or_else(|_| Isa::detect())))
    }

    /// The instruction set that was checked.
    pub const fn isa(self) -> Isa {
        self.0
    }

    /// Whether AVX2 may be used.
    pub(crate) const fn has_avx2(self) -> bool {
        cfg!(target_arch = "x86_64") && matches!(self.0, Isa::Avx2 | Isa::Avx512)
    }

    /// Whether AVX-512 with VBMI and VNNI may be used, which can pick bytes from a whole register
    /// and sum products in one instruction. Not every CPU with [`Isa::Avx512`] has them (Skylake
    /// does not, Ice Lake and Zen 4 do).
    pub(crate) fn has_avx512_vbmi(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 == Isa::Avx512
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vnni");
        #[cfg(not(target_arch = "x86_64"))]
        false
    }
}

impl Default for Usable {
    fn default() -> Self {
        Self::chosen()
    }
}

/// Defines a function of plain loops that is compiled twice: for AVX2, and for the base of the
/// target (SSE2, NEON on 64-bit Arm, or no vectors). Its first argument is the [`Usable`]
/// instruction set. AVX-512 uses the version for AVX2, because wider registers were not faster.
///
/// A function for RISC-V vectors may follow the body, as `rvv => path::of::it`. It takes the same
/// arguments and gives the same results.
macro_rules! versions {
    // `isa` is passed on: an identifier of another expansion would be another variable.
    (@define $isa:ident [$($vector:tt)*]
        $(#[$meta:meta])* $visibility:vis fn $name:ident $(<const $parameter:ident: $kind:ty>)?
        ($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code, reason = "one call, after a check of its condition")]
        #[allow(clippy::too_many_arguments, reason = "the inputs of a loop")]
        $visibility fn $name $(<const $parameter: $kind>)? ($isa: $crate::simd::versions::Usable, $($argument: $type),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn body $(<const $parameter: $kind>)? ($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            if $isa.has_avx2() {
                #[target_feature(enable = "avx2")]
                #[allow(clippy::too_many_arguments, reason = "as above")]
                fn avx2 $(<const $parameter: $kind>)? ($($argument: $type),*) {
                    body $(::<$parameter>)? ($($argument),*);
                }
                // SAFETY: the CPU has AVX2: this was checked when the `Usable` was made.
                unsafe { avx2 $(::<$parameter>)? ($($argument),*) };
                return;
            }
            $($vector)*
            let _ = $isa;
            body $(::<$parameter>)? ($($argument),*);
        }
    };
    ($(#[$meta:meta])* $visibility:vis fn $name:ident $(<const $parameter:ident: $kind:ty>)?
        ($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $crate::simd::versions::versions! {
            @define isa []
            $(#[$meta])* $visibility fn $name $(<const $parameter: $kind>)? ($($argument: $type),*) $body
        }
    };
    ($(#[$meta:meta])* $visibility:vis fn $name:ident $(<const $parameter:ident: $kind:ty>)?
        ($($argument:ident: $type:ty),* $(,)?) $body:block rvv => $($rvv:ident)::+) => {
        $crate::simd::versions::versions! {
            @define isa [
                #[cfg(target_arch = "riscv64")]
                if isa.isa() == $crate::simd::Isa::Rvv {
                    return $($rvv)::+ $(::<$parameter>)? (isa, $($argument),*);
                }
            ]
            $(#[$meta])* $visibility fn $name $(<const $parameter: $kind>)? ($($argument: $type),*) $body
        }
    };
}

pub(crate) use versions;
