//! The row kernels, written once over [`Vector`](crate::simd::Vector).
//!
//! Each function is `#[inline(always)]` and is instantiated inside a function that enables the
//! target features of an instruction set (see `instantiate_kernels`).

pub mod activation;
pub mod dense;
pub mod depthwise;
pub mod gate;
pub mod lanes;
pub mod upsample;

/// Defines the `KERNELS` table of a vector type. Each entry enables the target features and inlines
/// the generic kernel.
///
/// `blocks` lists the possible numbers of vectors of output channels in a tile of the dense
/// product, the largest first, each with the number of pixels of the tile. Their product is the
/// number of accumulators.
macro_rules! instantiate_kernels {
    (features = [$($feature:literal)?], vector = $vector:ty, isa = $isa:ident,
     blocks = [$most:literal => $most_pixels:literal $(, $vectors:literal => $pixels:literal)*], depthwise_tile = $tile:literal,
     group = $group:literal) => {
        mod entry {
            use super::*;
            use crate::nn::generic::activation::activate_all;
            use crate::nn::generic::dense::{self, conv_block};
            use crate::nn::generic::depthwise::depthwise_row;
            use crate::nn::generic::gate::gate_block;
            use crate::nn::generic::lanes;
            use crate::nn::generic::upsample::upsample_row;
            use crate::nn::rows::{Activation, ConvRow, DepthwiseRow, Kernels, UpsampleRow};
            use crate::simd::{Isa, Vector};

            type Element = <$vector as Vector>::Element;

            type Half = <$vector as Vector>::Half;
            const LANES: usize = <$vector as Vector>::LANES;
            const HALF: usize = <Half as Vector>::LANES;

            pub(super) fn block_width(rest: usize) -> usize {
                dense::block_width(rest, LANES, HALF, $most)
            }

            pub(super) fn lanes_width(rest: usize) -> usize {
                lanes::lanes_width(rest, LANES, HALF)
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn conv(row: &ConvRow<Element>) {
                // SAFETY: the caller guarantees valid pointers; the features are enabled here.
                unsafe {
                    let mut packed = row.packed;
                    let mut n = 0;
                    while n < row.channels {
                        let width = block_width(row.channels - n);
                        if width == $most * LANES {
                            conv_block::<$vector, $most_pixels, $most>(row, packed, n);
                        }
                        $(else if width == $vectors * LANES {
                            conv_block::<$vector, $pixels, $vectors>(row, packed, n);
                        })*
                        else {
                            conv_block::<Half, 8, 1>(row, packed, n);
                        }
                        packed = packed.add((1 + row.block_depth) * width);
                        n += width;
                    }
                }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn depthwise(row: &DepthwiseRow<Element>) {
                // SAFETY: as above.
                unsafe { depthwise_row::<$vector, $tile>(row) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn upsample(row: &UpsampleRow<Element>) {
                // SAFETY: as above.
                unsafe { upsample_row::<$vector>(row) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn gate(from: *const Element, to: *mut Element, width: usize, factors: *const Element, depth: usize) {
                // SAFETY: as above.
                unsafe { gate_block::<$vector>(from, to, width, factors, depth) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn activate(data: *mut Element, length: usize, activation: Activation) {
                // SAFETY: as above.
                unsafe { activate_all::<$vector>(data, length, activation) }
            }

            pub(crate) const TABLE: Kernels<Element> = Kernels {
                isa: Isa::$isa,
                block_width,
                lanes_width,
                group: $group,
                conv,
                depthwise,
                upsample,
                gate,
                activate,
            };
        }

        /// The row kernels of this instruction set.
        pub static KERNELS: crate::nn::rows::Kernels<<$vector as crate::simd::Vector>::Element> = entry::TABLE;
    };
}

pub(crate) use instantiate_kernels;
