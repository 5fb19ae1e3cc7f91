//! The row kernels for x86-64 with AVX-512 F, VL, DQ and BW.
#![allow(unsafe_code)]

use crate::nn::generic::dense::DenseProduct;
use crate::simd::avx512::F32x16;

impl DenseProduct for F32x16 {}

crate::nn::generic::instantiate_kernels! {
    features = ["avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"], vector = F32x16, isa = Avx512,
    blocks = [1 => 8], depthwise_tile = 8, group = 64
}
