//! The row kernels without vectors: an `f32` is a vector of one lane.
//!
//! On CPUs with many scalar registers and a fused multiply-add (RISC-V), the register blocking of
//! the generic kernels is what makes this fast.
#![allow(unsafe_code)]

use crate::nn::generic::dense::DenseProduct;

/// `f32` under a name that the macro below accepts.
type Scalar = f32;

impl DenseProduct for Scalar {}

crate::nn::generic::instantiate_kernels! {
    features = [], vector = Scalar, isa = Scalar,
    blocks = [4 => 4, 2 => 4, 1 => 4], depthwise_tile = 8, group = 16
}
