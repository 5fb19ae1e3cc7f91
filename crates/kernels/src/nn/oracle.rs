//! The oracle of the network's kernels: the same computations by plain loops, in double precision
//! where sums are long. It is slow and meant for tests.

use super::program::{Arithmetic, Border, Convolution, Depthwise, Interpolation, MapId, Pooling, Program, Shape, Step};
use super::rows::Activation;

/// The activation of a single number.
#[must_use]
pub fn activate(x: f64, activation: Activation) -> f64 {
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
    }
}

/// A feature map that owns its numbers.
#[derive(Clone, Debug)]
pub struct Map {
    /// The shape of the map.
    pub shape: Shape,
    /// `[height, width, channels]`.
    pub data: Vec<f32>,
}

impl Map {
    fn at(&self, y: usize, x: usize, c: usize) -> f64 {
        f64::from(self.data[(y * self.shape.width + x) * self.shape.channels + c])
    }

    fn from_fn(shape: Shape, mut f: impl FnMut(usize, usize, usize) -> f64) -> Self {
        let mut data = Vec::with_capacity(shape.len());
        for y in 0..shape.height {
            for x in 0..shape.width {
                for c in 0..shape.channels {
                    #[expect(clippy::cast_possible_truncation, reason = "a feature map's precision is f32's")]
                    data.push(f(y, x, c) as f32);
                }
            }
        }
        Self { shape, data }
    }
}

/// Input index of tap `k` of window `at`, or `None` if it lies outside the input.
fn tap(at: usize, stride: usize, k: usize, padding: usize, side: usize) -> Option<usize> {
    (at * stride + k).checked_sub(padding).filter(|&i| i < side)
}

/// A bilinear sample at twice the resolution, with half-pixel centres and replicated borders.
#[must_use]
pub fn upsampled(map: &Map, y: usize, x: usize, c: usize) -> f64 {
    let sides = |at: usize, side: usize| {
        let position = ((at as f64 + 0.5) / 2.0 - 0.5).clamp(0.0, (side - 1) as f64);
        let low = at.saturating_sub(1) / 2;
        (low, (low + 1).min(side - 1), position - low as f64)
    };
    let (y0, y1, fy) = sides(y, map.shape.height);
    let (x0, x1, fx) = sides(x, map.shape.width);
    let row = |y: usize| map.at(y, x0, c) * (1.0 - fx) + map.at(y, x1, c) * fx;
    row(y0) * (1.0 - fy) + row(y1) * fy
}

/// A dense convolution with its gate, residual and activation. `maps` returns the maps that these
/// refer to.
#[must_use]
pub fn convolution(c: &Convolution, input: &Map, output: Shape, maps: &dyn Fn(MapId) -> Map) -> Map {
    let gate = c.gate.map(maps);
    let residual = c.residual.map(|residual| (maps(residual.map), residual.upsampled));
    let channels = input.shape.channels;
    Map::from_fn(output, |y, x, n| {
        let mut sum = f64::from(c.bias[n]);
        for ky in 0..c.kernel[0] {
            for kx in 0..c.kernel[1] {
                let row = tap(y, c.stride, ky, c.padding[0], input.shape.height);
                let column = tap(x, c.stride, kx, c.padding[1], input.shape.width);
                let (Some(row), Some(column)) = (row, column) else { continue };
                for k in 0..channels {
                    let weight = c.weights[((n * c.kernel[0] + ky) * c.kernel[1] + kx) * channels + k];
                    let factor = gate.as_ref().map_or(1.0, |gate| f64::from(gate.data[k]));
                    sum += f64::from(weight) * input.at(row, column, k) * factor;
                }
            }
        }
        sum += match &residual {
            None => 0.0,
            Some((map, true)) => upsampled(map, y, x, n),
            Some((map, false)) => map.at(y, x, n),
        };
        activate(sum, c.activation)
    })
}

/// A depthwise convolution with its activation and the addition of its input.
#[must_use]
pub fn depthwise(d: &Depthwise, input: &Map, output: Shape) -> Map {
    Map::from_fn(output, |y, x, c| {
        let mut sum = f64::from(d.bias[c]);
        for ky in 0..d.kernel {
            for kx in 0..d.kernel {
                let row = tap(y, d.stride, ky, d.padding[0], input.shape.height);
                let column = tap(x, d.stride, kx, d.padding[1], input.shape.width);
                if let (Some(row), Some(column)) = (row, column) {
                    sum += f64::from(d.weights[(c * d.kernel + ky) * d.kernel + kx]) * input.at(row, column, c);
                }
            }
        }
        activate(sum, d.activation) + if d.add_input { input.at(y, x, c) } else { 0.0 }
    })
}

/// The mean of each channel over all pixels.
#[must_use]
pub fn mean(input: &Map) -> Map {
    let Shape { height, width, channels } = input.shape;
    Map::from_fn(Shape::vector(channels), |_, _, c| {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        pixels.map(|(y, x)| input.at(y, x, c)).sum::<f64>() / (height * width) as f64
    })
}

/// Runs a program and returns every map. Maps that no step writes are empty.
///
/// # Panics
/// If the program is inconsistent or the input has the wrong length.
#[must_use]
pub fn run(program: &Program, input: &[f32]) -> Vec<Map> {
    program.check().expect("a sound program");
    let mut maps: Vec<Option<Map>> = vec![None; program.maps.len()];
    assert_eq!(input.len(), program.maps[program.input].len());
    maps[program.input] = Some(Map { shape: program.maps[program.input], data: input.to_vec() });
    for step in &program.steps {
        let get = |map: MapId| maps[map].clone().expect("written before");
        let shape = |map: MapId| program.maps[map];
        let mut means = None;
        let result = match step {
            Step::Convolution { input, output, convolution: c, mean: to } => {
                let result = convolution(c, &get(*input), shape(*output), &get);
                means = to.map(|to| (to, mean(&result)));
                result
            }
            Step::Depthwise { input, output, expand, depthwise: d, mean: to } => {
                let input = get(*input);
                let middle = Shape { channels: shape(*output).channels, ..input.shape };
                let middle = expand.as_ref().map_or(input.clone(), |c| convolution(c, &input, middle, &get));
                let result = depthwise(d, &middle, shape(*output));
                means = to.map(|to| (to, mean(&result)));
                result
            }
            Step::PixelShuffle { input, output, factor, activation } => {
                let input = get(*input);
                let channels = shape(*output).channels;
                Map::from_fn(shape(*output), |y, x, c| {
                    let from = ((y % factor) * factor + x % factor) * channels + c;
                    activate(input.at(y / factor, x / factor, from), *activation)
                })
            }
            Step::Arithmetic { operation, a, b, output, activation } => {
                let (a, b) = (get(*a), get(*b));
                let vector = b.shape != a.shape;
                Map::from_fn(shape(*output), |y, x, c| {
                    let (a, b) = (a.at(y, x, c), if vector { b.at(0, 0, c) } else { b.at(y, x, c) });
                    let result = match operation {
                        Arithmetic::Add => a + b,
                        Arithmetic::Multiply => a * b,
                    };
                    activate(result, *activation)
                })
            }
            Step::Activate { input, output, activation } => {
                let input = get(*input);
                Map::from_fn(shape(*output), |y, x, c| activate(input.at(y, x, c), *activation))
            }
            Step::LeakyRelu { input, output, slopes } => {
                let input = get(*input);
                Map::from_fn(shape(*output), |y, x, c| {
                    let value = input.at(y, x, c);
                    if value < 0.0 { value * f64::from(slopes[c]) } else { value }
                })
            }
            Step::Clamp { input, output, low, high } => {
                let input = get(*input);
                Map::from_fn(shape(*output), |y, x, c| input.at(y, x, c).clamp(f64::from(*low), f64::from(*high)))
            }
            Step::Resize { input, output, interpolation, factor } => {
                let input = get(*input);
                Map::from_fn(shape(*output), |y, x, c| match interpolation {
                    Interpolation::Nearest => input.at(y / factor, x / factor, c),
                    Interpolation::Bilinear => upsampled(&input, y, x, c),
                })
            }
            Step::Mean { input, .. } => mean(&get(*input)),
            Step::Pool { input, output, pooling, kernel, stride, padding } => {
                let input = get(*input);
                Map::from_fn(shape(*output), |y, x, c| {
                    let mut values = Vec::new();
                    for (ky, kx) in (0..*kernel).flat_map(|ky| (0..*kernel).map(move |kx| (ky, kx))) {
                        let row = tap(y, *stride, ky, padding[0], input.shape.height);
                        let column = tap(x, *stride, kx, padding[1], input.shape.width);
                        if let (Some(row), Some(column)) = (row, column) {
                            values.push(input.at(row, column, c));
                        }
                    }
                    match pooling {
                        Pooling::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                        Pooling::Average => values.iter().sum::<f64>() / values.len().max(1) as f64,
                    }
                })
            }
            Step::Pad { input, output, border, padding } => {
                let input = get(*input);
                Map::from_fn(shape(*output), |y, x, c| {
                    let inside = |at: usize, before: usize, side: usize| (before..before + side).contains(&at);
                    let Shape { height, width, .. } = input.shape;
                    if *border == Border::Zero && !(inside(y, padding[0], height) && inside(x, padding[1], width)) {
                        return 0.0;
                    }
                    let nearest = |at: usize, before: usize, side: usize| at.clamp(before, before + side - 1) - before;
                    input.at(nearest(y, padding[0], height), nearest(x, padding[1], width), c)
                })
            }
            Step::Concatenate { inputs, output } => {
                let inputs: Vec<Map> = inputs.iter().map(|&input| get(input)).collect();
                Map::from_fn(shape(*output), |y, x, c| {
                    let mut left = c;
                    for input in &inputs {
                        if left < input.shape.channels {
                            return input.at(y, x, left);
                        }
                        left -= input.shape.channels;
                    }
                    unreachable!("the check has counted the channels")
                })
            }
            Step::Softmax { input, output } => {
                let input = get(*input);
                let channels = input.shape.channels;
                Map::from_fn(shape(*output), |y, x, c| {
                    let sum: f64 = (0..channels).map(|i| (input.at(y, x, i) - input.at(y, x, c)).exp()).sum();
                    1.0 / sum
                })
            }
        };
        if let Some((to, mean)) = means {
            maps[to] = Some(mean);
        }
        maps[step.writes()[0]] = Some(result);
    }
    maps.into_iter().map(|map| map.unwrap_or(Map { shape: Shape::vector(0), data: Vec::new() })).collect()
}
