//! Activations, written once over [`Vector`].
#![allow(unsafe_code)]

use crate::nn::rows::Activation;
use crate::simd::Vector;

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
            Activation::Sigmoid => x.sigmoid(),
        }
    }
}

/// `data[i] = activation(data[i])` for `length` numbers.
///
/// # Safety
/// `data` is valid for `length` numbers; the target features are enabled.
#[inline(always)]
pub unsafe fn activate_all<V: Vector>(data: *mut V::Element, length: usize, activation: Activation) {
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
