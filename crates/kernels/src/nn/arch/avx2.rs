//! The row kernels for x86-64 with AVX2 and FMA.
#![allow(unsafe_code)]

use crate::nn::generic::dense::DenseProduct;
use crate::simd::avx2::F32x8;

impl DenseProduct for F32x8 {}

crate::nn::generic::instantiate_kernels! {
    features = ["avx2,fma"], vector = F32x8, isa = Avx2,
    blocks = [3 => 4, 2 => 6, 1 => 8], depthwise_tile = 8, group = 24
}
