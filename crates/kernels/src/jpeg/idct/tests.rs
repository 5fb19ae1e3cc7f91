//! Accuracy of the transform, and that every instruction set gives the same samples.
#![allow(unsafe_code)]

use proptest::prelude::*;

use super::super::headers::ZIGZAG;
use super::*;
use crate::cast;
use crate::simd::Isa;
use crate::simd::versions::Usable;

/// The transform of an instruction set that this CPU has.
fn transform_on(isa: Isa, blocks: &[Block; 2], last: [usize; 2], out: &mut [u8], stride: usize) {
    #[cfg(target_arch = "x86_64")]
    if Usable::new(isa).is_some_and(Usable::has_avx2) {
        #[target_feature(enable = "avx2")]
        fn on_avx2(blocks: &[Block; 2], last: [usize; 2], out: &mut [u8], stride: usize) {
            // SAFETY: AVX2 is enabled here.
            unsafe { transform::<avx2::Avx2>(blocks, last, out, stride) };
        }
        // SAFETY: the CPU has AVX2.
        return unsafe { on_avx2(blocks, last, out, stride) };
    }
    #[cfg(target_arch = "aarch64")]
    if isa == Isa::Neon {
        // SAFETY: NEON is part of the base of AArch64.
        return unsafe { transform::<neon::Neon>(blocks, last, out, stride) };
    }
    let _ = (isa, Usable::chosen());
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of the base of x86-64.
    return unsafe { transform::<sse2::Sse2>(blocks, last, out, stride) };
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: single numbers need no target feature.
    unsafe {
        transform::<portable::Portable>(blocks, last, out, stride);
    }
}

fn block(coefficients: [i16; 64]) -> Block {
    let mut block = Block::ZERO;
    block.0 = coefficients;
    block
}

/// A pseudo-random number from `-low` to `high`, by the generator that IEEE 1180 prints.
struct Random(i64);

impl Random {
    fn between(&mut self, low: i64, high: i64) -> f64 {
        self.0 = (self.0.wrapping_mul(1_103_515_245).wrapping_add(12345)) & 0xffff_ffff;
        let unit = (self.0 & 0x7fff_fffe) as f64 / 2_147_483_647.0;
        (unit * (low + high + 1) as f64).floor() - low as f64
    }
}

/// The limits of IEEE 1180-1990 for 8-bit samples: 1 for each, and the errors of their means.
#[test]
fn the_error_is_within_the_limits_of_ieee_1180() {
    const BLOCKS: u32 = 10_000;
    let blocks = std::env::var("PROPTEST_CASES").map_or(BLOCKS, |_| 1000);
    for isa in Isa::available() {
        for (low, high, sign) in [(256, 255, 1.0), (5, 5, 1.0), (300, 300, 1.0), (256, 255, -1.0), (5, 5, -1.0)] {
            let mut random = Random(1);
            let (mut squares, mut sums) = ([0.0; 64], [0.0; 64]);
            for _ in 0..blocks {
                let samples: [f64; 64] = std::array::from_fn(|_| random.between(low, high) * sign);
                let coefficients = oracle::forward(&samples).map(|value| cast::round_i16(value).clamp(-2048, 2047));
                let expected = oracle::inverse(&coefficients).map(oracle::byte);
                let mut out = [0; 128];
                let pair = [block(coefficients); 2];
                transform_on(isa, &pair, [63; 2], &mut out, 16);
                for (at, expected) in expected.into_iter().enumerate() {
                    let found = out[at / 8 * 16 + at % 8];
                    assert_eq!(found, out[at / 8 * 16 + at % 8 + 8], "{isa}: the blocks are the same");
                    let error = f64::from(found) - f64::from(expected);
                    assert!(error.abs() <= 1.0, "{isa}: {found} instead of {expected}");
                    squares[at] += error * error;
                    sums[at] += error;
                }
            }
            let count = f64::from(blocks);
            // A tenth of the blocks is for slow CPUs, and has chance in it.
            let chance = if blocks == BLOCKS { 1.0 } else { 3.0 };
            let most = |values: &[f64; 64]| values.iter().fold(0.0_f64, |most, value| most.max(value.abs())) / count;
            let mean = |values: &[f64; 64]| values.iter().sum::<f64>().abs() / 64.0 / count;
            assert!(most(&squares) <= 0.06 * chance, "{isa}: {}", most(&squares));
            assert!(mean(&squares) <= 0.02 * chance, "{isa}: {}", mean(&squares));
            assert!(most(&sums) <= 0.015 * chance, "{isa}: {}", most(&sums));
            assert!(mean(&sums) <= 0.0015 * chance, "{isa}: {}", mean(&sums));
        }
    }
}

proptest! {
    #![proptest_config(crate::testing::config(2000))]

    /// With the shortcuts for few coefficients and without them, for any coefficients, and nothing
    /// is written beside the output.
    #[test]
    fn every_instruction_set_gives_the_same_samples(
        values in prop::collection::vec(any::<i16>(), 128),
        shift in 0_u32..14,
        last in (0_usize..64, 0_usize..64),
        stride in 16_usize..40,
    ) {
        let last = [last.0, last.1];
        let blocks: [Block; 2] = std::array::from_fn(|which| {
            let mut coefficients = [0; 64];
            for (k, place) in ZIGZAG.iter().enumerate().take(last[which] + 1) {
                coefficients[usize::from(*place)] = values[which * 64 + k] >> shift;
            }
            block(coefficients)
        });
        let mut expected = vec![0xa5; output_bytes(stride) + 7];
        // SAFETY: single numbers need no target feature.
        unsafe { transform::<portable::Portable>(&blocks, [63; 2], &mut expected, stride) };
        let beside = |at: usize| at % stride >= 16 || at / stride >= 8;
        let untouched = expected.iter().enumerate().all(|(at, value)| !beside(at) || *value == 0xa5);
        prop_assert!(untouched);
        let mut out = vec![0xa5; expected.len()];
        // SAFETY: as above.
        unsafe { transform::<portable::Portable>(&blocks, last, &mut out, stride) };
        prop_assert_eq!(&out, &expected, "with shortcuts");
        for isa in Isa::available() {
            let mut out = vec![0xa5; expected.len()];
            transform_on(isa, &blocks, last, &mut out, stride);
            prop_assert_eq!(&out, &expected, "{}", isa);
        }
        // Only a damaged picture has larger coefficients than those of samples that are a quarter out of range.
        // Their sums can wrap around.
        let energy: i64 = blocks[1].0.iter().map(|value| i64::from(*value).pow(2)).sum();
        if energy <= 64 * 160 * 160 {
            for (at, value) in oracle::inverse(&blocks[1].0).into_iter().enumerate() {
                let found = expected[at / 8 * stride + at % 8 + 8];
                prop_assert!(found.abs_diff(oracle::byte(value)) <= 1, "{found} instead of {value}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "an output of 127 bytes")]
fn a_short_output_is_refused() {
    let mut blocks = [Block::ZERO; 2];
    blocks[0].0[63] = 1;
    transform_on(Isa::detect(), &blocks, [63, 0], &mut [0; 127], 16);
}
