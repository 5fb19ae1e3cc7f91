//! The row kernels of half precision without vectors, for tests: they give the results of a CPU with
//! half precision on any other. They are slow and small, with little register blocking.
#![allow(unsafe_code)]

use crate::nn::generic::dense::DenseProduct;
use crate::simd::F16;

impl DenseProduct for F16 {}

crate::nn::generic::instantiate_kernels! {
    features = [], vector = F16, isa = Scalar,
    blocks = [1 => 2], depthwise_tile = 2, group = 32
}
