//! Activations, written once over [`Vector`].
#![allow(unsafe_code)]

use crate::nn::rows::Activation;
use crate::simd::Vector;

/// `1 / (1 + e^-x)`, within 3e-7 of the exact value everywhere.
///
/// # Safety
/// The instruction set's target features are enabled.
#[inline(always)]
pub unsafe fn sigmoid<V: Vector>(x: V) -> V {
    // SAFETY: the caller upholds this function's contract; no memory is touched.
    unsafe {
        // e^-x = 2^n * e^r with n = round(-x / ln 2) and |r| <= ln 2 / 2. Beyond +-87 the result is
        // 0 or 1 in `f32`.
        let x = V::splat(0.0).sub(x).max(V::splat(-87.0)).min(V::splat(87.0));
        let (n, power) = x.mul(V::splat(std::f32::consts::LOG2_E)).round_and_power_of_two();
        // ln 2 is split into two parts, so that n * ln 2 is subtracted without losing the low bits
        // of r.
        let r = x.fma(n, V::splat(-0.693_359_4)).fma(n, V::splat(2.121_944_4e-4));
        // A polynomial of degree 5 through the Chebyshev nodes of +-ln 2 / 2; its relative error is
        // under 1.7e-7.
        let mut p = V::splat(0.008_369_184);
        for coefficient in [0.041_917_76, 0.166_665_05, 0.499_988_68, 1.0, 1.000_000_1] {
            p = V::splat(coefficient).fma(p, r);
        }
        let one = V::splat(1.0);
        one.div(one.fma(p, power))
    }
}

/// `x * min(max(x / 6 + 1/2, 0), 1)`.
///
/// # Safety
/// The instruction set's target features are enabled.
#[inline(always)]
pub unsafe fn hard_swish<V: Vector>(x: V) -> V {
    // SAFETY: the caller upholds this function's contract; no memory is touched.
    unsafe {
        let gate = V::splat(0.5).fma(x, V::splat(1.0 / 6.0));
        x.mul(gate.max(V::splat(0.0)).min(V::splat(1.0)))
    }
}

/// Applies an activation to a vector.
///
/// # Safety
/// The instruction set's target features are enabled.
#[inline(always)]
unsafe fn activate<V: Vector>(x: V, activation: Activation) -> V {
    // SAFETY: the caller upholds this function's contract.
    unsafe {
        match activation {
            Activation::None => x,
            Activation::Relu => x.max(V::splat(0.0)),
            Activation::HardSwish => hard_swish(x),
            Activation::Sigmoid => sigmoid(x),
        }
    }
}

/// `data[i] = activation(data[i])` for `length` numbers.
///
/// # Safety
/// `data` is valid for `length` numbers; the target features are enabled.
#[inline(always)]
pub unsafe fn activate_all<V: Vector>(data: *mut f32, length: usize, activation: Activation) {
    // SAFETY: the caller upholds this function's contract.
    unsafe {
        let mut i = 0;
        while i + V::LANES <= length {
            activate(V::load(data.add(i)), activation).store(data.add(i));
            i += V::LANES;
        }
        if i < length {
            activate(V::load_partial(data.add(i), length - i), activation).store_partial(data.add(i), length - i);
        }
    }
}
