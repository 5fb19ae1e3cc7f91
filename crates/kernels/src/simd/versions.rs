//! Plain loops, compiled once for each width of register: the compiler finds the vector instructions, this file chooses
//! between its results at run time. For integer loops, and float loops that are not reassociated: Rust contracts nothing,
//! so the bits are the same whichever version runs.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use super::isa::Isa;

/// An instruction set that this CPU is known to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usable(Isa);

impl Usable {
    /// `isa`, where this CPU and build have it.
    pub fn new(isa: Isa) -> Option<Self> {
        isa.is_usable().then_some(Self(isa))
    }

    /// What `PORTRAITD_ISA` names, else the best that there is; asked once. A name that cannot be had counts as none:
    /// whoever takes it from the user says so (see [`Isa::choose`]).
    pub fn chosen() -> Self {
        static CHOSEN: OnceLock<Usable> = OnceLock::new();
        *CHOSEN.get_or_init(|| Self(Isa::choose(None).unwrap_or_else(|_| Isa::detect())))
    }

    /// Which it is.
    pub const fn isa(self) -> Isa {
        self.0
    }

    /// Whether AVX2 may be used.
    pub(crate) const fn has_avx2(self) -> bool {
        cfg!(target_arch = "x86_64") && matches!(self.0, Isa::Avx2 | Isa::Avx512)
    }

    /// Whether AVX-512 with VBMI and VNNI may be used: bytes picked from a whole register at once, products summed where
    /// they are made. Not every CPU with [`Isa::Avx512`] has them (Skylake does not, Ice Lake and Zen 4 do).
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

/// A function of plain loops, in a version for AVX2 and one for the target's base (SSE2, NEON on 64-bit Arm, none). Its
/// first argument is the [`Usable`] instruction set. AVX-512 takes the version for AVX2: twice as wide was not faster.
macro_rules! versions {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident $(<const $parameter:ident: $kind:ty>)?
        ($($argument:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code, reason = "one call, whose condition is checked here")]
        #[allow(clippy::too_many_arguments, reason = "a loop's inputs")]
        $visibility fn $name $(<const $parameter: $kind>)? (isa: $crate::simd::Usable, $($argument: $type),*) {
            #[inline(always)]
            #[allow(clippy::too_many_arguments, reason = "as above")]
            fn body $(<const $parameter: $kind>)? ($($argument: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            if isa.has_avx2() {
                #[target_feature(enable = "avx2")]
                #[allow(clippy::too_many_arguments, reason = "as above")]
                fn avx2 $(<const $parameter: $kind>)? ($($argument: $type),*) {
                    body $(::<$parameter>)? ($($argument),*);
                }
                // SAFETY: the CPU has AVX2; whoever made the `Usable` has asked it.
                unsafe { avx2 $(::<$parameter>)? ($($argument),*) };
                return;
            }
            let _ = isa;
            body $(::<$parameter>)? ($($argument),*);
        }
    };
}

pub(crate) use versions;
