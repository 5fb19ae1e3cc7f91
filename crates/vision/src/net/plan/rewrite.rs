//! Rewriting by algebra: moves work to places where less of it is needed. The results are the same
//! except for rounding.
//!
//! - A 1x1 convolution of an upsampled map equals the upsampled 1x1 convolution of the map: the
//!   weights of an interpolation add up to one, and borders are replicated. It takes a quarter of
//!   the work.
//! - The mean of an upsampled map equals the mean of the map, because the weights of each pixel add
//!   up to four, also at borders.
//! - The means of sums, of products with a vector and of 1x1 convolutions equal the sums, products
//!   and convolutions of means.
//! - A 1x1 convolution of a sum with an upsampled map equals a sum of two convolutions, and the
//!   second of them runs at the low resolution.
//! - Two 1x1 convolutions without a step between them equal one.
//!
//! Some decoders gate the skip connection of a level by the mean of a sum. The rewriting computes
//! that gate before anything is upsampled, so the level need not be computed in two passes.

use portraitd_kernels::nn::{Activation, Arithmetic, Convolution, Interpolation, MapId, Program, Shape, Step};

use super::graph::{new_map, prune, uses, writer};

/// Applies the rules until none of them applies.
pub(super) fn rewrite(program: &mut Program) {
    prune(program);
    while convolution_of_upsampled(program)
        || mean(program)
        || convolution_of_sum(program)
        || convolution_of_convolution(program)
    {
        prune(program);
    }
}

/// Input and output of step `index` if it is a linear 1x1 convolution with stride 1.
fn linear(program: &Program, index: usize) -> Option<(MapId, MapId)> {
    match &program.steps[index] {
        Step::Convolution { input, output, convolution: c, mean: None }
            if c.kernel == [1, 1]
                && c.stride == 1
                && c.activation == Activation::None
                && c.gate.is_none()
                && c.residual.is_none() =>
        {
            Some((*input, *output))
        }
        _ => None,
    }
}

/// The convolution of step `index` if it is one.
fn convolution(program: &Program, index: usize) -> Option<&Convolution> {
    match &program.steps[index] {
        Step::Convolution { convolution, .. } => Some(convolution),
        _ => None,
    }
}

/// The map whose bilinear upsampling by two is `map`, if only one step reads `map`.
fn upsampled(program: &Program, map: MapId) -> Option<MapId> {
    match program.steps[writer(program, map).filter(|_| uses(program, map) == 1)?] {
        Step::Resize { input, interpolation: Interpolation::Bilinear, factor: 2, .. } => Some(input),
        _ => None,
    }
}

/// Moves a linear 1x1 convolution before the upsampling of its input.
fn convolution_of_upsampled(program: &mut Program) -> bool {
    for index in 0..program.steps.len() {
        let Some((input, output)) = linear(program, index) else { continue };
        let Some(low) = upsampled(program, input) else { continue };
        let shape = Shape { channels: program.maps[output].channels, ..program.maps[low] };
        let result = new_map(program, shape);
        if let Step::Convolution { input, output, .. } = &mut program.steps[index] {
            (*input, *output) = (low, result);
        }
        program.steps.push(Step::Resize { input: result, output, interpolation: Interpolation::Bilinear, factor: 2 });
        return true;
    }
    false
}

/// Moves a mean before the step that writes its input.
fn mean(program: &mut Program) -> bool {
    for index in 0..program.steps.len() {
        let Step::Mean { input, output } = program.steps[index] else { continue };
        let Some(before) = writer(program, input) else { continue };
        let single = uses(program, input) == 1;
        match program.steps[before] {
            Step::Resize { input: low, .. } => {
                program.steps[index] = Step::Mean { input: low, output };
                return true;
            }
            Step::Arithmetic { operation: Arithmetic::Add, a, b, activation: Activation::None, .. }
                if single && program.maps[a] == program.maps[b] =>
            {
                let vector = Shape::vector(program.maps[a].channels);
                let (mean_a, mean_b) = (mean_of(program, a, vector), mean_of(program, b, vector));
                program.steps[index] = Step::Arithmetic {
                    operation: Arithmetic::Add,
                    a: mean_a,
                    b: mean_b,
                    output,
                    activation: Activation::None,
                };
                return true;
            }
            Step::Arithmetic { operation: Arithmetic::Multiply, a, b, activation: Activation::None, .. }
                if program.maps[b].height * program.maps[b].width == 1 && program.maps[a] != program.maps[b] =>
            {
                let vector = Shape::vector(program.maps[a].channels);
                let mean_a = mean_of(program, a, vector);
                program.steps[index] = Step::Arithmetic {
                    operation: Arithmetic::Multiply,
                    a: mean_a,
                    b,
                    output,
                    activation: Activation::None,
                };
                return true;
            }
            _ => {}
        }
    }
    false
}

/// The map that holds the mean of `map`. A step is added if no step computes it.
fn mean_of(program: &mut Program, map: MapId, vector: Shape) -> MapId {
    let known = program.steps.iter().find_map(|step| match *step {
        Step::Mean { input, output } if input == map => Some(output),
        _ => None,
    });
    known.unwrap_or_else(|| {
        let output = new_map(program, vector);
        program.steps.push(Step::Mean { input: map, output });
        output
    })
}

/// Splits a linear 1x1 convolution of a sum with an upsampled map.
fn convolution_of_sum(program: &mut Program) -> bool {
    for index in 0..program.steps.len() {
        let Some((input, output)) = linear(program, index) else { continue };
        let Some(sum) = writer(program, input).filter(|_| uses(program, input) == 1) else { continue };
        let Step::Arithmetic { operation: Arithmetic::Add, a, b, activation: Activation::None, .. } =
            program.steps[sum]
        else {
            continue;
        };
        let found = [(a, b), (b, a)].into_iter().find_map(|(a, b)| Some((a, b, upsampled(program, b)?)));
        let (Some((high, resized, low)), Some(c)) = (found, convolution(program, index)) else { continue };
        if program.maps[high] != program.maps[resized] {
            continue;
        }
        // The convolution at the low resolution adds the bias.
        let mut of_high = c.clone();
        let of_low = c.clone();
        of_high.bias.fill(0.0);
        let channels = of_low.bias.len();
        let low_result = new_map(program, Shape { channels, ..program.maps[low] });
        let high_result = new_map(program, program.maps[output]);
        let up = new_map(program, program.maps[output]);
        program.steps[index] = Step::Convolution { input: low, output: low_result, convolution: of_low, mean: None };
        program.steps.push(Step::Convolution { input: high, output: high_result, convolution: of_high, mean: None });
        program.steps.push(Step::Resize {
            input: low_result,
            output: up,
            interpolation: Interpolation::Bilinear,
            factor: 2,
        });
        program.steps.push(Step::Arithmetic {
            operation: Arithmetic::Add,
            a: high_result,
            b: up,
            output,
            activation: Activation::None,
        });
        return true;
    }
    false
}

/// Merges a 1x1 convolution into the next one, if only that one and means read its output.
fn convolution_of_convolution(program: &mut Program) -> bool {
    for second in 0..program.steps.len() {
        let Some((middle, _)) = linear(program, second) else { continue };
        let Some((first, (input, _))) =
            writer(program, middle).and_then(|first| Some((first, linear(program, first)?)))
        else {
            continue;
        };
        if middle == program.output || program.maps[middle].height * program.maps[middle].width == 1 {
            continue;
        }
        let readers = || program.steps.iter().enumerate().filter(|(_, step)| step.reads().contains(&middle));
        if !readers().all(|(index, step)| index == second || matches!(step, Step::Mean { .. })) {
            continue;
        }
        let (Some(a), Some(b)) = (convolution(program, first), convolution(program, second)) else { continue };
        let (ins, middles, outs) = (program.maps[input].channels, a.bias.len(), b.bias.len());
        if ins * outs > ins * middles + middles * outs {
            continue;
        }
        let (a, mut merged) = (a.clone(), b.clone());
        let narrow = |x: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
            let x = x as f32;
            x
        };
        merged.weights = (0..outs * ins)
            .map(|at| {
                let (o, i) = (at / ins, at % ins);
                let product = |m: usize| f64::from(b.weights[o * middles + m]) * f64::from(a.weights[m * ins + i]);
                narrow((0..middles).map(product).sum())
            })
            .collect();
        merged.bias = (0..outs)
            .map(|o| {
                let product = |m: usize| f64::from(b.weights[o * middles + m]) * f64::from(a.bias[m]);
                narrow(f64::from(b.bias[o]) + (0..middles).map(product).sum::<f64>())
            })
            .collect();
        let mean = readers().find_map(|(index, _)| (index != second).then_some(index));
        if let Step::Convolution { input: from, convolution, .. } = &mut program.steps[second] {
            *from = input;
            *convolution = merged;
        }
        if let Some(index) = mean {
            // The mean of the first convolution equals the convolution of the mean.
            let output = program.steps[index].writes()[0];
            let vector = mean_of(program, input, Shape::vector(ins));
            program.steps[index] = Step::Convolution { input: vector, output, convolution: a, mean: None };
        }
        return true;
    }
    false
}
