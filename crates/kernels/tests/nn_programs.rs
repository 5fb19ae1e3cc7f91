//! Compares single steps and programs of several steps with the oracle, on every instruction set of
//! this CPU, in single and in half precision.

use portraitd_kernels::nn::{
    Activation, Arithmetic, Border, Convolution, Depthwise, Interpolation, Kernels, Machine, Order, Pooling, Precision,
    Program, Residual, Shape, Step, dump, oracle,
};
use portraitd_kernels::simd::Isa;

fn sets() -> Vec<Isa> {
    let mut sets = Isa::available();
    let forced = Isa::choose(None).expect("PORTRAITD_ISA names a usable instruction set");
    if !sets.contains(&forced) {
        sets.push(forced);
    }
    sets
}

/// Those of [`sets`] with kernels of half precision. Without vectors they compute one number at a time, so
/// only native runs on x86-64 try them: under emulation that takes minutes.
fn half_sets() -> Vec<Isa> {
    let tried = |isa: &Isa| isa.has_half_precision() || cfg!(target_arch = "x86_64");
    sets().into_iter().filter(|&isa| Kernels::half_of(isa).is_some()).filter(tried).collect()
}

/// Builds programs with random weights.
struct Build {
    program: Program,
    state: u32,
}

impl Build {
    fn new(height: usize, width: usize, channels: usize) -> Self {
        let program = Program {
            maps: vec![Shape { height, width, channels }],
            names: vec![String::new()],
            steps: Vec::new(),
            input: 0,
            output: 0,
        };
        Self { program, state: 7 }
    }
    fn noise(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count)
            .map(|_| {
                self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((self.state >> 8) as f32 / (1 << 23) as f32 - 1.0) * scale
            })
            .collect()
    }
    fn map(&mut self, shape: Shape) -> usize {
        self.program.maps.push(shape);
        self.program.names.push(format!("map{}", self.program.maps.len() - 1));
        self.program.maps.len() - 1
    }
    fn shape(&self, map: usize) -> Shape {
        self.program.maps[map]
    }
    /// The output shape of windows with the same padding on both sides of each axis.
    fn windows(&self, input: usize, kernel: [usize; 2], stride: usize, padding: [usize; 2], channels: usize) -> Shape {
        let from = self.shape(input);
        let side = |side: usize, kernel: usize, padding: usize| (side + 2 * padding - kernel) / stride + 1;
        Shape {
            height: side(from.height, kernel[0], padding[0]),
            width: side(from.width, kernel[1], padding[1]),
            channels,
        }
    }
    fn dense(
        &mut self,
        input: usize,
        kernel: [usize; 2],
        (stride, padding): (usize, [usize; 2]),
        channels: usize,
        activation: Activation,
    ) -> (Convolution, Shape) {
        let ins = self.shape(input).channels;
        let depth = kernel[0] * kernel[1] * ins;
        let weights = self.noise(depth * channels, 1.0 / (depth as f32).sqrt());
        let bias = self.noise(channels, 0.5);
        let shape = self.windows(input, kernel, stride, padding, channels);
        let c = Convolution { kernel, stride, padding, weights, bias, activation, gate: None, residual: None };
        (c, shape)
    }
    fn conv(&mut self, input: usize, convolution: Convolution, shape: Shape, with_mean: bool) -> usize {
        let output = self.map(shape);
        let mean = with_mean.then(|| self.map(Shape::vector(shape.channels)));
        self.program.steps.push(Step::Convolution { input, output, convolution, mean });
        output
    }
    fn vector(&mut self, of: usize, channels: usize) -> usize {
        let mean = self.map(Shape::vector(self.shape(of).channels));
        self.program.steps.push(Step::Mean { input: of, output: mean });
        let (c, shape) = self.dense(mean, [1, 1], (1, [0, 0]), channels, Activation::Sigmoid);
        self.conv(mean, c, shape, false)
    }
    fn depthwise(&mut self, channels: usize, kernel: usize, stride: usize, activation: Activation) -> Depthwise {
        let weights = self.noise(channels * kernel * kernel, 1.0 / kernel as f32);
        let bias = self.noise(channels, 0.5);
        Depthwise { kernel, stride, padding: [kernel / 2; 2], weights, bias, activation, add_input: false }
    }
    /// Runs the program on every instruction set and compares every map.
    fn check(mut self) {
        self.program.output = self.program.steps.last().expect("a step").writes()[0];
        let read = dump::read(&dump::write(&self.program)).expect("its own dump");
        assert_eq!(read, self.program, "a dump is the program");
        let shape = self.shape(0);
        let input = self.noise(shape.len(), 2.0);
        let mut planar = vec![0.0; input.len()];
        for (at, &value) in input.iter().enumerate() {
            planar[at % shape.channels * shape.height * shape.width + at / shape.channels] = value;
        }
        let expected = oracle::run(&self.program, &input);
        for isa in sets() {
            assert!(Kernels::of(isa).is_some());
            self.compare(isa, Precision::Single, &input, &planar, &expected, |expected| 2e-5 * (1.0 + expected.abs()));
            if half_sets().contains(&isa) {
                // The programs have up to six steps, and each has sums of up to a hundred products
                // that add up to about 1. A mean of zero may come out as the rounding of its terms.
                let tolerance = |expected: f32| 2e-2 * (1.0 + expected.abs());
                self.compare(isa, Precision::Half, &input, &planar, &expected, tolerance);
            }
        }
    }
    /// Runs the program on one instruction set and compares every map.
    fn compare(
        &self,
        isa: Isa,
        precision: Precision,
        input: &[f32],
        planar: &[f32],
        expected: &[oracle::Map],
        tolerance: impl Fn(f32) -> f32,
    ) {
        let machine =
            |keep: bool| Machine::with_precision(self.program.clone(), isa, keep, precision).expect("a sound program");
        for (keep, order) in [(true, Order::Interleaved), (false, Order::Planar), (false, Order::Interleaved)] {
            let place = format!("{isa}, {precision:?}, {order:?}");
            let input = if order == Order::Planar { planar } else { input };
            let mut one = machine(keep);
            let mut output = vec![f32::NAN; self.shape(self.program.output).len()];
            // Two runs, because the second must not depend on the first.
            for _ in 0..2 {
                one.run(input, order, &mut output).expect("fitting buffers");
            }
            assert_eq!(one.precision(), precision, "{place}");
            let mut two = machine(keep);
            two.use_two_threads().expect("a thread");
            let mut same = vec![f32::NAN; output.len()];
            // The first run uses one thread, the second uses both.
            for _ in 0..2 {
                two.run(input, order, &mut same).expect("fitting buffers");
            }
            let bits = |data: &[f32]| data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&same), bits(&output), "{place}: two threads compute something else than one");
            for map in 0..self.program.maps.len() {
                let data = |machine: &Machine| machine.map(map).map(|(_, data)| bits(&data));
                assert_eq!(data(&two), data(&one), "{place}, map {map}, with two threads");
            }
            for (map, expected) in expected.iter().enumerate() {
                let data = if map == self.program.output {
                    Some(output.clone())
                } else {
                    one.map(map).map(|m| m.1.into_owned())
                };
                for (at, (&actual, &expected)) in data.iter().flatten().zip(&expected.data).enumerate() {
                    let error = (actual - expected).abs();
                    assert!(
                        error <= tolerance(expected),
                        "{place}, map {map}, number {at}: {actual} instead of {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn dense_convolutions() {
    for (height, width, ins, outs, kernel, stride, padding) in [
        (5, 7, 3, 16, [3, 3], 2, [1, 1]),
        (8, 10, 3, 5, [3, 3], 2, [0, 0]),
        (1, 1, 3, 8, [3, 3], 1, [1, 1]),
        (6, 9, 17, 24, [3, 3], 1, [1, 1]),
        (7, 5, 4, 33, [5, 1], 1, [2, 0]),
        (7, 6, 8, 7, [1, 4], 1, [0, 1]),
        (9, 9, 5, 6, [1, 1], 2, [0, 0]),
        (9, 8, 5, 6, [2, 2], 3, [0, 0]),
        (13, 31, 40, 72, [1, 1], 1, [0, 0]),
        (3, 200, 96, 20, [1, 1], 1, [0, 0]),
    ] {
        for activation in [Activation::None, Activation::Relu, Activation::HardSwish, Activation::Sigmoid] {
            let mut b = Build::new(height, width, ins);
            let (c, shape) = b.dense(0, kernel, (stride, padding), outs, activation);
            let map = b.conv(0, c, shape, true);
            // A second convolution, with the first as residual and a gate on its input.
            let gate = b.vector(map, outs);
            let (mut c, shape) = b.dense(map, [1, 1], (1, [0, 0]), outs, Activation::Relu);
            c.gate = Some(gate);
            c.residual = Some(Residual { map, upsampled: false });
            let last = b.conv(map, c, shape, false);
            let shape = b.shape(last);
            let (c, _) = b.dense(last, [1, 1], (1, [0, 0]), 3, Activation::None);
            b.conv(last, c, Shape { channels: 3, ..shape }, false);
            b.check();
        }
    }
}

#[test]
fn depthwise_convolutions() {
    for (height, width, ins, middle, kernel, stride) in [
        (9, 16, 32, 128, 5, 1),
        (18, 32, 24, 96, 5, 2),
        (7, 11, 5, 88, 3, 1),
        (8, 8, 16, 72, 3, 2),
        (1, 1, 3, 17, 3, 1),
        (2, 3, 3, 33, 5, 2),
        (5, 4, 2, 6, 7, 1),
        (6, 6, 70, 70, 3, 1),
    ] {
        for (expanded, add) in [(true, false), (false, false), (true, true), (false, true)] {
            let mut b = Build::new(height, width, ins);
            let channels = if expanded { middle } else { ins };
            let mut d = b.depthwise(channels, kernel, stride, Activation::HardSwish);
            d.add_input = add && stride == 1;
            let expand = expanded.then(|| b.dense(0, [1, 1], (1, [0, 0]), middle, Activation::Relu).0);
            let shape = b.windows(0, [kernel; 2], stride, d.padding, channels);
            let output = b.map(shape);
            let mean = Some(b.map(Shape::vector(channels)));
            b.program.steps.push(Step::Depthwise { input: 0, output, expand, depthwise: d, mean });
            let (c, shape) = b.dense(output, [1, 1], (1, [0, 0]), 9, Activation::None);
            b.conv(output, c, shape, true);
            b.check();
        }
    }
}

#[test]
fn a_decoder_level() {
    for (height, width, skip, low) in [(4, 6, 16, 24), (2, 2, 7, 5), (10, 8, 24, 128), (18, 32, 40, 32)] {
        let mut b = Build::new(height, width, 3);
        let (c, shape) = b.dense(0, [1, 1], (1, [0, 0]), skip, Activation::HardSwish);
        let skip_map = b.conv(0, c, shape, true);
        let pooled = b.map(Shape { height: height / 2, width: width / 2, channels: skip });
        let pool = Step::Pool {
            input: skip_map,
            output: pooled,
            pooling: Pooling::Average,
            kernel: 2,
            stride: 2,
            padding: [0, 0],
        };
        b.program.steps.push(pool);
        let (c, shape) = b.dense(pooled, [1, 1], (1, [0, 0]), low, Activation::Relu);
        let middle = b.conv(pooled, c, shape, false);
        let gate = b.vector(middle, skip);
        let (c, shape) = b.dense(middle, [1, 1], (1, [0, 0]), skip, Activation::None);
        let low_map = b.conv(middle, c, shape, false);
        let (mut expand, shape) = b.dense(skip_map, [1, 1], (1, [0, 0]), skip, Activation::Relu);
        expand.gate = Some(gate);
        expand.residual = Some(Residual { map: low_map, upsampled: true });
        let direct = b.conv(skip_map, expand.clone(), shape, true);
        let mut d = b.depthwise(skip, 3, 1, Activation::Relu);
        d.add_input = true;
        let output = b.map(shape);
        b.program.steps.push(Step::Depthwise {
            input: skip_map,
            output,
            expand: Some(expand),
            depthwise: d,
            mean: None,
        });
        let sum = b.map(shape);
        b.program.steps.push(Step::Arithmetic {
            operation: Arithmetic::Add,
            a: output,
            b: direct,
            output: sum,
            activation: Activation::None,
        });
        let (c, shape) = b.dense(sum, [1, 1], (1, [0, 0]), 4, Activation::None);
        let four = b.conv(sum, c, shape, false);
        let mask = b.map(Shape { height: 2 * height, width: 2 * width, channels: 1 });
        b.program.steps.push(Step::PixelShuffle {
            input: four,
            output: mask,
            factor: 2,
            activation: Activation::Sigmoid,
        });
        b.check();
    }
}

#[test]
fn padding_of_every_side() {
    for border in [Border::Zero, Border::Replicate] {
        for (above, left, below, right) in [(1, 1, 1, 1), (0, 2, 3, 0), (2, 0, 0, 1), (5, 6, 0, 0), (0, 0, 0, 0)] {
            let mut b = Build::new(3, 4, 5);
            let padded = b.map(Shape { height: 3 + above + below, width: 4 + left + right, channels: 5 });
            b.program.steps.push(Step::Pad { input: 0, output: padded, border, padding: [above, left] });
            let (c, shape) = b.dense(padded, [3, 3], (1, [0, 0]), 7, Activation::Relu);
            b.conv(padded, c, shape, false);
            b.check();
        }
    }
}

#[test]
fn padding_that_does_not_fit_is_refused() {
    for (height, padding) in [(5, [3, 0]), (2, [0, 0]), (4, [1, usize::MAX])] {
        let mut b = Build::new(3, 4, 5);
        let padded = b.map(Shape { height, width: 4, channels: 5 });
        b.program.steps.push(Step::Pad { input: 0, output: padded, border: Border::Replicate, padding });
        b.program.output = padded;
        let error = b.program.check().expect_err("does not fit").to_string();
        assert!(error.contains("does not fit"), "{error}");
    }
}

#[test]
fn the_other_steps() {
    let mut b = Build::new(6, 10, 5);
    let slopes = b.noise(5, 1.0);
    let leaky = b.map(b.shape(0));
    b.program.steps.push(Step::LeakyRelu { input: 0, output: leaky, slopes });
    let clamped = b.map(b.shape(0));
    b.program.steps.push(Step::Clamp { input: leaky, output: clamped, low: -0.25, high: 0.5 });
    let leaky = clamped;
    let most = b.map(Shape { height: 3, width: 5, channels: 5 });
    b.program.steps.push(Step::Pool {
        input: leaky,
        output: most,
        pooling: Pooling::Max,
        kernel: 3,
        stride: 2,
        padding: [1, 1],
    });
    let large = Shape { height: 6, width: 10, channels: 5 };
    let (near, smooth) = (b.map(large), b.map(large));
    b.program.steps.push(Step::Resize { input: most, output: near, interpolation: Interpolation::Nearest, factor: 2 });
    b.program.steps.push(Step::Resize {
        input: most,
        output: smooth,
        interpolation: Interpolation::Bilinear,
        factor: 2,
    });
    let beside = b.map(Shape { channels: 15, ..large });
    b.program.steps.push(Step::Concatenate { inputs: vec![near, leaky, smooth], output: beside });
    let gate = b.vector(beside, 15);
    let product = b.map(b.shape(beside));
    b.program.steps.push(Step::Arithmetic {
        operation: Arithmetic::Multiply,
        a: beside,
        b: gate,
        output: product,
        activation: Activation::Relu,
    });
    let swish = b.map(b.shape(beside));
    b.program.steps.push(Step::Activate { input: product, output: swish, activation: Activation::HardSwish });
    let shuffled = b.map(Shape { height: 6, width: 10, channels: 15 });
    b.program.steps.push(Step::PixelShuffle {
        input: swish,
        output: shuffled,
        factor: 1,
        activation: Activation::None,
    });
    let soft = b.map(b.shape(shuffled));
    b.program.steps.push(Step::Softmax { input: shuffled, output: soft });
    b.check();
}

#[test]
fn bad_programs_are_refused() {
    let sound = || {
        let mut b = Build::new(4, 4, 3);
        let (c, shape) = b.dense(0, [3, 3], (1, [1, 1]), 8, Activation::Relu);
        let map = b.conv(0, c, shape, false);
        b.program.output = map;
        b.program
    };
    assert!(sound().check().is_ok());
    type Break = fn(&mut Program);
    let breaks: [Break; 8] = [
        |p| p.maps[1].channels = 9,
        |p| p.maps[1].width = 7,
        |p| p.maps[0].height = 0,
        |p| p.output = 5,
        |p| p.steps.clear(),
        |p| p.steps.push(p.steps[0].clone()),
        |p| p.names.clear(),
        |p| {
            if let Step::Convolution { input, .. } = &mut p.steps[0] {
                *input = 1;
            }
        },
    ];
    for (index, spoil) in breaks.into_iter().enumerate() {
        let mut program = sound();
        spoil(&mut program);
        assert!(program.check().is_err(), "change {index} went unnoticed");
        assert!(Machine::new(program, Isa::Scalar, false).is_err());
    }
    let mut machine = Machine::new(sound(), Isa::Scalar, false).expect("a sound program");
    assert!(machine.run(&[0.0; 47], Order::Planar, &mut [0.0; 128]).is_err());
    assert!(machine.run(&[0.0; 48], Order::Planar, &mut [0.0; 127]).is_err());
    let bytes = dump::write(&sound());
    for length in 0..bytes.len() {
        assert!(dump::read(&bytes[..length]).is_err(), "a file cut off after {length} bytes");
    }
}

/// A net of two layers whose first one makes numbers up to `largest` from an input of ones.
fn growing(largest: f32) -> Program {
    let mut b = Build::new(40, 40, 16);
    let (mut c, shape) = b.dense(0, [1, 1], (1, [0, 0]), 32, Activation::Relu);
    c.weights.fill(largest / 16.0);
    c.bias.fill(0.0);
    let map = b.conv(0, c, shape, true);
    let (mut c, shape) = b.dense(map, [1, 1], (1, [0, 0]), 8, Activation::Relu);
    c.weights.fill(-1.0);
    c.bias.fill(1.0);
    b.program.output = b.conv(map, c, shape, false);
    b.program
}

#[test]
fn numbers_that_are_too_large_for_half_precision_are_computed_in_single_precision() {
    for isa in half_sets() {
        for two_threads in [false, true] {
            let mut input = vec![1.0; 40 * 40 * 16];
            // The sum of the second layer has 32 terms. It overflows, and its rectifier hides that.
            for (largest, overflows) in [(1000.0, false), (4000.0, true), (70_000.0, true)] {
                let machine = |precision| {
                    let mut machine =
                        Machine::with_precision(growing(largest), isa, false, precision).expect("a sound program");
                    if two_threads {
                        machine.use_two_threads().expect("a thread");
                    }
                    machine
                };
                let mut machine = [machine(Precision::Half), machine(Precision::Single)];
                let mut outputs = [vec![f32::NAN; 40 * 40 * 8], vec![f32::NAN; 40 * 40 * 8]];
                for run in 0..3 {
                    // Only one pixel of the last run, in the second half of the rows, is large.
                    input.fill(if run < 2 { 1e-3 } else { 0.0 });
                    if run == 2 {
                        input[35 * 40 * 16..][..16].fill(1.0);
                    }
                    for (machine, output) in machine.iter_mut().zip(&mut outputs) {
                        machine.run(&input, Order::Interleaved, output).expect("fitting buffers");
                    }
                    let expected = if run == 2 && overflows { Precision::Single } else { Precision::Half };
                    assert_eq!(machine[0].precision(), expected, "{isa}, up to {largest}, run {run}");
                }
                if overflows {
                    assert_eq!(outputs[0], outputs[1], "{isa}, up to {largest}");
                }
            }
        }
    }
}
