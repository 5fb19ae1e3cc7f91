//! Compares every row kernel with plain loops, on every instruction set of this CPU, in single and in
//! half precision. The cases have
//! odd widths and channel counts, strides wider than rows, every activation, guard values around
//! the outputs, and inputs that end where the row ends.
#![allow(unsafe_code)]

use portraitd_kernels::nn::oracle::activate;
use portraitd_kernels::nn::rows::{ConvRow, DepthwiseRow, UpsampleRow};
use portraitd_kernels::nn::{Activation, Kernels, pack};
use portraitd_kernels::simd::{Element, F16, Isa};

const GUARD: f32 = -12_345.678;
const ACTIVATIONS: [Activation; 4] = [Activation::None, Activation::Relu, Activation::HardSwish, Activation::Sigmoid];

/// The instruction sets to test. `PORTRAITD_ISA` adds one that cannot be detected.
fn sets() -> Vec<Isa> {
    let mut sets = Isa::available();
    let forced = Isa::choose(None).expect("PORTRAITD_ISA names a usable instruction set");
    if !sets.contains(&forced) {
        sets.push(forced);
    }
    sets
}

fn kernels() -> Vec<&'static Kernels> {
    sets().into_iter().map(|isa| Kernels::of(isa).expect("a build has the kernels of what it detects")).collect()
}

fn half_kernels() -> Vec<&'static Kernels<F16>> {
    let kernels: Vec<_> = sets().into_iter().filter_map(Kernels::half_of).collect();
    let vectors = kernels.iter().any(|kernels| kernels.isa != Isa::Scalar);
    assert_eq!(vectors, Isa::detect().has_half_precision(), "the kernels of what the CPU has");
    kernels
}

/// A precision under test.
trait Number: Element {
    const NAME: &'static str;
    const LARGEST: f32;
    /// Extreme numbers. Sums of 72 products of two of them, and of eight such sums, are finite.
    const WORST: [f32; 8];

    /// The largest error of a result of `terms` terms whose absolute values add up to `magnitude`.
    fn tolerance(terms: usize, magnitude: f64) -> f64;
}

impl Number for f32 {
    const NAME: &'static str = "single";
    const LARGEST: f32 = f32::MAX;
    const WORST: [f32; 8] = [0.0, -0.0, 1e-38, -1e-38, 300.0, -300.0, 1.0, -3.0];

    fn tolerance(_: usize, magnitude: f64) -> f64 {
        2e-6 * (1.0 + magnitude)
    }
}

impl Number for F16 {
    const NAME: &'static str = "half";
    const LARGEST: f32 = 65504.0;
    const WORST: [f32; 8] = [0.0, -0.0, 6e-8, -6e-8, 10.0, -10.0, 1.0, -3.0];

    fn tolerance(terms: usize, magnitude: f64) -> f64 {
        // Each sum is rounded, by at most 2^-11 of itself, and the errors have random signs. Some
        // more roundings are those of the activation.
        (4.0 + 2.0 * (terms as f64).sqrt()) * (1.0 + magnitude) / 2048.0
    }
}

/// Numbers in -1..1, or extreme values if `extreme` is set.
struct Noise {
    state: u32,
    extreme: bool,
}

impl Noise {
    fn next<T: Number>(&mut self) -> f32 {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = (self.state >> 8) as f32 / (1 << 23) as f32 - 1.0;
        if self.extreme { T::WORST[(self.state >> 13) as usize % 8] } else { value }
    }
    /// Numbers of the precision, and the same in single precision.
    fn both<T: Number>(&mut self, count: usize) -> (Vec<T>, Vec<f32>) {
        let numbers: Vec<T> = (0..count).map(|_| T::from_f32(self.next::<T>())).collect();
        let singles = numbers.iter().map(|x| x.to_f32()).collect();
        (numbers, singles)
    }
    /// Numbers of the precision.
    fn take<T: Number>(&mut self, count: usize) -> Vec<T> {
        self.both(count).0
    }
    /// Numbers of the precision, in single precision.
    fn singles<T: Number>(&mut self, count: usize) -> Vec<f32> {
        self.both::<T>(count).1
    }
}

fn guard<T: Number>() -> T {
    T::from_f32(GUARD)
}

/// Checks a result of `terms` terms. `magnitude` is the sum of the absolute values of all terms,
/// which bounds the rounding.
#[track_caller]
fn close<T: Number>(actual: f32, expected: f64, terms: usize, magnitude: f64, what: &str) {
    let error = (f64::from(actual) - expected).abs();
    assert!(error <= T::tolerance(terms, magnitude), "{} {what}: {actual} instead of {expected}", T::NAME);
}

#[test]
fn conv() {
    conv_of(kernels());
    conv_of(half_kernels());
}

fn conv_of<T: Number>(sets: Vec<&Kernels<T>>) {
    for kernels in sets {
        let mut noise = Noise { state: 1, extreme: false };
        for (case, channels) in [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 20, 24, 31, 32, 33, 40, 64, 65, 72, 88, 131]
            .into_iter()
            .enumerate()
        {
            for width in [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 25] {
                noise.extreme = (case + width) % 5 == 0;
                let segments = [1, 3, 2][(case + width) % 3];
                let depth = [16, 3, 9, 1, 24, 5][(case + width) % 6];
                let skip = if segments == 3 { depth } else { 0 };
                let block_depth = skip + segments * depth;
                let step = [depth, 1, depth + 3][case % 3];
                let (out_step, residual_step) = (channels + width % 3, channels + case % 2);
                let activation = ACTIVATIONS[(case + width) % 4];
                let with_residual = width % 2 == 0;
                let with_sums = case % 2 == 0;
                let gap = 7;
                let length = (width - 1) * step + (segments - 1) * (depth + gap) + depth;
                let input = noise.take::<T>(length);
                let weights = noise.singles::<T>(channels * block_depth);
                let bias = noise.singles::<T>(channels);
                let residual = noise.take::<T>((width - 1) * residual_step + channels);
                let packed = pack::dense(kernels, &weights, &bias, block_depth);
                let offsets: Vec<isize> =
                    (0..segments).map(|s| (s * (depth + gap)).try_into().expect("a short row")).collect();
                let mut output = vec![guard::<T>(); width * out_step + 32];
                let mut sums = vec![1.0; channels + 16];
                sums[channels..].fill(GUARD);
                let row = ConvRow {
                    input: input.as_ptr(),
                    input_step: step,
                    offsets: offsets.as_ptr(),
                    segments,
                    depth,
                    skip,
                    block_depth,
                    packed: packed.as_slice().as_ptr(),
                    output: output[16..].as_mut_ptr(),
                    output_step: out_step,
                    residual: if with_residual { residual.as_ptr() } else { std::ptr::null() },
                    residual_step,
                    sums: if with_sums { sums.as_mut_ptr() } else { std::ptr::null_mut() },
                    width,
                    channels,
                    activation,
                };
                // SAFETY: the buffers are as long as the row requires, and the CPU has the
                // instruction set.
                unsafe { (kernels.conv)(&row) };
                let place = format!("{} {channels} channels, {width} pixels, {segments} x {depth}", kernels.isa);
                let mut expected_sums = vec![(1.0, 1.0); channels];
                for (at, &value) in output.iter().enumerate() {
                    let inside = at.checked_sub(16).map(|at| (at / out_step, at % out_step));
                    let Some((x, n)) = inside.filter(|&(x, n)| x < width && n < channels) else {
                        assert_eq!(
                            value.to_f32().to_bits(),
                            guard::<T>().to_f32().to_bits(),
                            "{place}: wrote outside, at {at}"
                        );
                        continue;
                    };
                    let (mut sum, mut magnitude) = (f64::from(bias[n]), f64::from(bias[n]).abs());
                    if with_residual {
                        sum += f64::from(residual[x * residual_step + n].to_f32());
                        magnitude += f64::from(residual[x * residual_step + n].to_f32()).abs();
                    }
                    for s in 0..segments {
                        for k in 0..depth {
                            let a = f64::from(input[x * step + s * (depth + gap) + k].to_f32());
                            let product = a * f64::from(weights[n * block_depth + skip + s * depth + k]);
                            sum += product;
                            magnitude += product.abs();
                        }
                    }
                    let expected = activate(sum, activation);
                    close::<T>(
                        value.to_f32(),
                        expected,
                        segments * depth,
                        magnitude,
                        &format!("{place}, {activation:?}, ({x}, {n})"),
                    );
                    expected_sums[n].0 += expected;
                    expected_sums[n].1 += magnitude;
                }
                if with_sums {
                    for (n, &(expected, magnitude)) in expected_sums.iter().enumerate() {
                        close::<T>(sums[n], expected, segments * depth, magnitude, &format!("{place}, sum {n}"));
                    }
                }
                assert!(sums[channels..].iter().all(|x| x.to_bits() == GUARD.to_bits()), "{place}: sums");
            }
        }
    }
}

#[test]
fn depthwise() {
    depthwise_of(kernels());
    depthwise_of(half_kernels());
}

fn depthwise_of<T: Number>(sets: Vec<&Kernels<T>>) {
    for kernels in sets {
        let mut noise = Noise { state: 2, extreme: false };
        for (case, channels) in [1, 3, 4, 5, 8, 11, 16, 20, 24, 33, 40, 64, 70].into_iter().enumerate() {
            for width in [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 18, 19] {
                let (kernel, stride) = [(3, 1), (3, 2), (5, 1), (5, 2), (1, 1), (7, 3), (2, 2)][(case + width) % 7];
                noise.extreme = (case + width) % 5 == 0;
                let activation = ACTIVATIONS[(case + 2 * width) % 4];
                let (pixel_step, out_step) = (channels + case % 2, channels + width % 3);
                let first_row = case % kernel;
                let row_count = kernel - first_row - usize::from(first_row + 1 < kernel && width % 2 == 0);
                let length = ((width - 1) * stride + kernel - 1) * pixel_step + channels;
                let inputs: Vec<Vec<T>> = (0..row_count).map(|_| noise.take::<T>(length)).collect();
                let rows: Vec<*const T> = inputs.iter().map(Vec::as_ptr).collect();
                let weights = noise.singles::<T>(channels * kernel * kernel);
                let bias = noise.singles::<T>(channels);
                let packed = pack::depthwise(kernels, &weights, &bias, kernel * kernel);
                let addend = noise.take::<T>((width - 1) * pixel_step + channels);
                let (with_addend, with_sums) = (width % 2 == 1, case % 2 == 0);
                let mut output = vec![guard::<T>(); width * out_step + 32];
                let mut sums = vec![0.5; channels + 16];
                sums[channels..].fill(GUARD);
                let row = DepthwiseRow {
                    rows: rows.as_ptr(),
                    row_count,
                    first_row,
                    kernel,
                    stride,
                    pixel_step,
                    packed: packed.as_slice().as_ptr(),
                    output: output[16..].as_mut_ptr(),
                    output_step: out_step,
                    addend: if with_addend { addend.as_ptr() } else { std::ptr::null() },
                    sums: if with_sums { sums.as_mut_ptr() } else { std::ptr::null_mut() },
                    width,
                    channels,
                    activation,
                };
                // SAFETY: the buffers are as long as the row requires, and the CPU has the
                // instruction set.
                unsafe { (kernels.depthwise)(&row) };
                let place = format!("{} {channels} channels, {width} pixels, {kernel}/{stride}", kernels.isa);
                let mut expected_sums = vec![(0.5, 0.5); channels];
                for (at, &value) in output.iter().enumerate() {
                    let inside = at.checked_sub(16).map(|at| (at / out_step, at % out_step));
                    let Some((x, c)) = inside.filter(|&(x, c)| x < width && c < channels) else {
                        assert_eq!(
                            value.to_f32().to_bits(),
                            guard::<T>().to_f32().to_bits(),
                            "{place}: wrote outside, at {at}"
                        );
                        continue;
                    };
                    let (mut sum, mut magnitude) = (f64::from(bias[c]), f64::from(bias[c]).abs());
                    for (y, input) in inputs.iter().enumerate() {
                        for i in 0..kernel {
                            let weight = weights[(c * kernel + first_row + y) * kernel + i];
                            let product =
                                f64::from(input[(x * stride + i) * pixel_step + c].to_f32()) * f64::from(weight);
                            sum += product;
                            magnitude += product.abs();
                        }
                    }
                    let mut expected = activate(sum, activation);
                    if with_addend {
                        expected += f64::from(addend[x * pixel_step + c].to_f32());
                        magnitude += f64::from(addend[x * pixel_step + c].to_f32()).abs();
                    }
                    close::<T>(
                        value.to_f32(),
                        expected,
                        kernel * kernel,
                        magnitude,
                        &format!("{place}, {activation:?}, ({x}, {c})"),
                    );
                    expected_sums[c].0 += expected;
                    expected_sums[c].1 += magnitude;
                }
                if with_sums {
                    for (c, &(expected, magnitude)) in expected_sums.iter().enumerate() {
                        close::<T>(sums[c], expected, kernel * kernel, magnitude, &format!("{place}, sum {c}"));
                    }
                }
                assert!(sums[channels..].iter().all(|x| x.to_bits() == GUARD.to_bits()), "{place}: sums");
            }
        }
    }
}

#[test]
fn upsample() {
    upsample_of(kernels());
    upsample_of(half_kernels());
}

fn upsample_of<T: Number>(sets: Vec<&Kernels<T>>) {
    for kernels in sets {
        let mut noise = Noise { state: 3, extreme: false };
        for channels in [1, 3, 4, 7, 8, 9, 16, 17, 24, 33, 65] {
            for width in [1, 2, 3, 8, 13] {
                noise.extreme = width == 3;
                let (in_step, out_step) = (channels + width % 2, channels + width % 3);
                let near = noise.take::<T>((width - 1) * in_step + channels);
                let far = noise.take::<T>((width - 1) * in_step + channels);
                let mut output = vec![guard::<T>(); 2 * width * out_step + 32];
                let row = UpsampleRow {
                    near: near.as_ptr(),
                    far: far.as_ptr(),
                    input_step: in_step,
                    output: output[16..].as_mut_ptr(),
                    output_step: out_step,
                    width,
                    channels,
                };
                // SAFETY: the buffers are as long as the row requires, and the CPU has the
                // instruction set.
                unsafe { (kernels.upsample)(&row) };
                let place = format!("{} {channels} channels, {width} pixels", kernels.isa);
                for (at, &value) in output.iter().enumerate() {
                    let inside = at.checked_sub(16).map(|at| (at / out_step, at % out_step));
                    let Some((x, c)) = inside.filter(|&(x, c)| x < 2 * width && c < channels) else {
                        assert_eq!(
                            value.to_f32().to_bits(),
                            guard::<T>().to_f32().to_bits(),
                            "{place}: wrote outside, at {at}"
                        );
                        continue;
                    };
                    let blend = |x: usize| {
                        0.75 * f64::from(near[x * in_step + c].to_f32())
                            + 0.25 * f64::from(far[x * in_step + c].to_f32())
                    };
                    let other = if x % 2 == 0 { (x / 2).saturating_sub(1) } else { (x / 2 + 1).min(width - 1) };
                    let expected = 0.75 * blend(x / 2) + 0.25 * blend(other);
                    let magnitude = f64::from(u8::from(noise.extreme)) * f64::from(T::WORST[4]);
                    close::<T>(value.to_f32(), expected, 4, magnitude, &format!("{place} ({x}, {c})"));
                }
            }
        }
    }
}

#[test]
fn activations() {
    activations_of(kernels());
    activations_of(half_kernels());
}

fn activations_of<T: Number>(sets: Vec<&Kernels<T>>) {
    for kernels in sets {
        for activation in ACTIVATIONS {
            let special = [0.0, -0.0, 1e-30, -1e-30, 3.0, -3.0, 88.0, -88.0, 1e30, -1e30, f32::MAX, f32::MIN];
            let mut input: Vec<T> = (-2000..2000).map(|i| T::from_f32(i as f32 * 0.01)).collect();
            input.extend(special.map(T::from_f32).into_iter().filter(|x| x.to_f32().is_finite()));
            for length in [1, 2, 3, 7, 8, 15, 16, 17, 100, input.len()] {
                let first = input.len() - length;
                let mut data = input[first..].to_vec();
                data.push(guard());
                // SAFETY: there are `length` numbers, and the CPU has the instruction set.
                unsafe { (kernels.activate)(data.as_mut_ptr(), length, activation) };
                for (x, value) in input[first..].iter().zip(&data) {
                    let (x, value) = (x.to_f32(), value.to_f32());
                    let expected = activate(f64::from(x), activation);
                    let what = format!("{} {activation:?} of {x}", kernels.isa);
                    if expected.abs() > f64::from(T::LARGEST) {
                        continue;
                    }
                    if activation == Activation::Sigmoid {
                        let tolerance = if size_of::<T>() == 4 { 3e-7 } else { 1.0 / 4096.0 };
                        assert!(
                            (f64::from(value) - expected).abs() <= tolerance,
                            "{what}: {value} instead of {expected}"
                        );
                    } else {
                        close::<T>(value, expected, 1, expected.abs(), &what);
                    }
                }
                assert_eq!(
                    data[length].to_f32().to_bits(),
                    guard::<T>().to_f32().to_bits(),
                    "{}: wrote outside",
                    kernels.isa
                );
            }
        }
    }
}

#[test]
fn gate() {
    gate_of(kernels());
    gate_of(half_kernels());
}

fn gate_of<T: Number>(sets: Vec<&Kernels<T>>) {
    for kernels in sets {
        let mut noise = Noise { state: 4, extreme: false };
        for channels in [1, 3, 8, 9, 16, 24, 31, 40, 65] {
            for depth in [1, 2, 7, 24] {
                let (weights, bias) = (noise.singles::<T>(channels * depth), noise.singles::<T>(channels));
                let (factors, singles) = noise.both::<T>(depth);
                let packed = pack::dense(kernels, &weights, &bias, depth);
                let widths: Vec<usize> = Kernels::<T>::blocks(kernels.block_width, channels).collect();
                let mut gated = packed.clone();
                gated.as_mut_slice().fill(guard());
                pack::gate(kernels, packed.as_slice(), gated.as_mut_slice(), &widths, &factors);
                // The same as packing weights that were multiplied before.
                let products: Vec<f32> =
                    weights.iter().enumerate().map(|(at, weight)| weight * singles[at % depth]).collect();
                let expected = pack::dense(kernels, &products, &bias, depth);
                for (actual, expected) in gated.as_slice().iter().zip(expected.as_slice()) {
                    let place = format!("{} {} {channels} x {depth}", T::NAME, kernels.isa);
                    assert_eq!(actual.to_f32(), expected.to_f32(), "{place}");
                }
            }
        }
    }
}
