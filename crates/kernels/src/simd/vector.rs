//! The operations that the generic kernels need from a vector of `f32`.
#![allow(unsafe_code)]

/// A vector of `LANES` single-precision numbers.
///
/// Implementations are zero-cost wrappers of a register type. Every method is `#[inline(always)]` and must be called only
/// where the target features of the instruction set are enabled: the kernels' entry points in the instruction set's own
/// file enable them, and everything between them and these methods is inlined into those.
///
/// # Safety
/// An implementation's `load`, `store` and their partial forms touch exactly the elements that their docs name, and no
/// method has a precondition beyond those listed.
pub unsafe trait Vector: Copy {
    /// Numbers in a vector.
    const LANES: usize;

    /// A vector of at least 1 and at most `LANES` numbers, for the rest of a row of channels: half as wide where the
    /// instruction set has both widths, else the vector itself.
    type Half: Vector;

    /// Up to four consecutive numbers to be multiplied, one at a time, with a whole vector: a register where the
    /// instruction set multiplies by a lane, an address where it broadcasts from memory.
    type Group: Copy;

    /// All lanes `value`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn splat(value: f32) -> Self;

    /// `LANES` numbers from `from`, unaligned.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` numbers; the target features are enabled.
    unsafe fn load(from: *const f32) -> Self;

    /// `LANES` numbers to `to`, unaligned.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` numbers; the target features are enabled.
    unsafe fn store(self, to: *mut f32);

    /// The first `count` lanes from `from`, the others zero. `count` is at most `LANES`.
    ///
    /// # Safety
    /// `from` is valid for reading `count` numbers; the target features are enabled.
    unsafe fn load_partial(from: *const f32, count: usize) -> Self;

    /// The first `count` lanes to `to`. `count` is at most `LANES`.
    ///
    /// # Safety
    /// `to` is valid for writing `count` numbers; the target features are enabled.
    unsafe fn store_partial(self, to: *mut f32, count: usize);

    /// `self + other`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn add(self, other: Self) -> Self;

    /// `self - other`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn sub(self, other: Self) -> Self;

    /// `self * other`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn mul(self, other: Self) -> Self;

    /// `self / other`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn div(self, other: Self) -> Self;

    /// `self + a * b`, with one rounding where the instruction set can.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn fma(self, a: Self, b: Self) -> Self;

    /// The larger of each pair; which one for a NaN is unspecified.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn max(self, other: Self) -> Self;

    /// The smaller of each pair; which one for a NaN is unspecified.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn min(self, other: Self) -> Self;

    /// Four numbers to multiply by.
    ///
    /// # Safety
    /// `from` is valid for reading 4 numbers for as long as the group is used; the target features are enabled.
    unsafe fn group(from: *const f32) -> Self::Group;

    /// `self + weights * group[LANE]`, `LANE` in `0..4`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled, and the group's memory has not changed.
    unsafe fn fma_lane<const LANE: i32>(self, weights: Self, group: Self::Group) -> Self;

    /// `groups` times four depths of a tile of a dense product, all accumulators at once:
    /// `acc[p][n] += weights[k][n] * pixels[p][k]` for each depth `k`. `weights` and the pixels' addresses move on.
    ///
    /// # Safety
    /// Each pixel is valid for reading `4 * groups` numbers and `weights` for `4 * groups * N` vectors; the target features are
    /// enabled.
    #[inline(always)]
    unsafe fn multiply_groups<const P: usize, const N: usize>(
        acc: &mut [[Self; N]; P],
        pixels: &mut [*const f32; P],
        weights: &mut *const f32,
        groups: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe { multiply_groups_plainly(acc, pixels, weights, groups) }
    }

    /// Rounded to the nearest integer `n`, as `(n, 2^n)`. Lanes are within -126..=126.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    unsafe fn round_and_power_of_two(self) -> (Self, Self);

    /// `1 / (1 + e^-x)`, within 3e-7 of the exact value everywhere.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    #[inline(always)]
    unsafe fn sigmoid(self) -> Self {
        // SAFETY: the caller's promise; no memory is touched.
        unsafe {
            // e^-x = 2^n * e^r with n = round(-x / ln 2) and |r| <= ln 2 / 2; beyond +-87 the answer is 0 or 1 to f32.
            let x = Self::splat(0.0).sub(self).max(Self::splat(-87.0)).min(Self::splat(87.0));
            let (n, power) = x.mul(Self::splat(std::f32::consts::LOG2_E)).round_and_power_of_two();
            // ln 2 in two parts, so that n * ln 2 is subtracted without losing r's low bits.
            let r = x.fma(n, Self::splat(-0.693_359_4)).fma(n, Self::splat(2.121_944_4e-4));
            // Degree 5 through the Chebyshev nodes of +-ln 2 / 2: relative error under 1.7e-7.
            let mut p = Self::splat(0.008_369_184);
            for coefficient in [0.041_917_76, 0.166_665_05, 0.499_988_68, 1.0, 1.000_000_1] {
                p = Self::splat(coefficient).fma(p, r);
            }
            let one = Self::splat(1.0);
            one.div(one.fma(p, power))
        }
    }

    /// `x * min(max(x / 6 + 1/2, 0), 1)`.
    ///
    /// # Safety
    /// The instruction set's target features are enabled.
    #[inline(always)]
    unsafe fn hard_swish(self) -> Self {
        // SAFETY: the caller's promise; no memory is touched.
        unsafe {
            let gate = Self::splat(0.5).fma(self, Self::splat(1.0 / 6.0));
            self.mul(gate.max(Self::splat(0.0)).min(Self::splat(1.0)))
        }
    }
}

/// [`Vector::multiply_groups`] by the other methods: a lane of the inputs at a time.
///
/// # Safety
/// As [`Vector::multiply_groups`].
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "indices that are constants once a loop is unrolled keep accumulators in registers"
)]
pub(super) unsafe fn multiply_groups_plainly<V: Vector, const P: usize, const N: usize>(
    acc: &mut [[V; N]; P],
    pixels: &mut [*const f32; P],
    weights: &mut *const f32,
    groups: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for _ in 0..groups {
            let mut inputs = [V::group(pixels[0]); P];
            for p in 1..P {
                inputs[p] = V::group(pixels[p]);
            }
            macro_rules! lane {
                ($lane:literal) => {
                    let mut w = [V::splat(0.0); N];
                    for n in 0..N {
                        w[n] = V::load(weights.add(($lane * N + n) * V::LANES));
                    }
                    for p in 0..P {
                        for n in 0..N {
                            acc[p][n] = acc[p][n].fma_lane::<$lane>(w[n], inputs[p]);
                        }
                    }
                };
            }
            lane!(0);
            lane!(1);
            lane!(2);
            lane!(3);
            *weights = weights.add(4 * N * V::LANES);
            for p in 0..P {
                pixels[p] = pixels[p].add(4);
            }
        }
    }
}
