//! The oracle of the transform: the definition, in `f64`.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use crate::cast;

/// `cos((2x + 1) u pi / 16)` times the factor of `u` (T.81, A.3.3).
fn basis(x: usize, u: usize) -> f64 {
    let scale = if u == 0 { FRAC_1_SQRT_2 } else { 1.0 };
    scale * ((2 * x + 1) as f64 * u as f64 * PI / 16.0).cos() / 2.0
}

/// Applies `kernel(out, in)` along the rows and the columns.
fn separable(block: &[f64; 64], kernel: impl Fn(usize, usize) -> f64) -> [f64; 64] {
    let along: [f64; 64] = std::array::from_fn(|at| (0..8).map(|u| block[at / 8 * 8 + u] * kernel(at % 8, u)).sum());
    std::array::from_fn(|at| (0..8).map(|v| along[v * 8 + at % 8] * kernel(at / 8, v)).sum())
}

/// The samples of a block of coefficients, around 0, not rounded.
pub(in super::super) fn inverse(coefficients: &[i16; 64]) -> [f64; 64] {
    separable(&coefficients.map(f64::from), basis)
}

/// The coefficients of a block of samples around 0, not rounded.
pub(super) fn forward(samples: &[f64; 64]) -> [f64; 64] {
    separable(samples, |u, x| basis(x, u))
}

/// A sample as a byte.
pub(in super::super) fn byte(sample: f64) -> u8 {
    cast::clamped(cast::round_i32(sample) + 128)
}
