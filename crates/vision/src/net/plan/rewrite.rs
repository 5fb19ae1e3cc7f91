//! Algebra: work moves to where there is less of it. Exact but for rounding.
//!
//! - A 1x1 convolution of an upsampled map is the upsampled 1x1 convolution of the map (the weights of an interpolation add
//!   up to one, and borders are replicated): a quarter of the work.
//! - The mean of an upsampled map is the mean of the map (each pixel's weights add up to four, at borders too). Means of sums,
//!   of products with a vector and of 1x1 convolutions are sums, products and convolutions of means.
//! - A 1x1 convolution of a sum with an upsampled map is a sum of convolutions, the second at the low resolution.
//! - Two 1x1 convolutions without anything between them are one.
//!
//! Together they take the barrier out of a decoder level that gates its skip connection by the mean of the sum: the gate is
//! known before anything is upsampled.

use portraitd_kernels::nn::{Activation, Arithmetic, Convolution, Interpolation, MapId, Program, Shape, Step};

use super::fuse::writer;

/// Rewrites until nothing changes.
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

/// How many times `map` is read; the caller of the net is a reader of its output.
pub(super) fn uses(program: &Program, map: MapId) -> usize {
    let reads: usize = program.steps.iter().map(|step| step.count_reads(map)).sum();
    reads + usize::from(map == program.output)
}

/// Drops steps and maps that nobody needs, and orders the steps so that each map is written before it is read.
pub(super) fn prune(program: &mut Program) {
    let mut order = Vec::with_capacity(program.steps.len());
    let mut done = vec![false; program.steps.len()];
    // Depth first from the output; a step is pushed when everything that it reads has been.
    let mut stack: Vec<(usize, bool)> = writer(program, program.output).map(|step| (step, false)).into_iter().collect();
    while let Some((step, ready)) = stack.pop() {
        if ready {
            order.push(step);
        } else if !std::mem::replace(&mut done[step], true) {
            stack.push((step, true));
            let mut reads = program.steps[step].reads();
            reads.sort_unstable();
            let before = reads.iter().rev().filter_map(|&map| writer(program, map));
            stack.extend(before.filter(|&before| !done[before]).map(|before| (before, false)));
        }
    }
    let mut steps: Vec<Option<Step>> = std::mem::take(&mut program.steps).into_iter().map(Some).collect();
    program.steps = order.into_iter().filter_map(|step| steps[step].take()).collect();
    compact(program);
}

/// Renumbers the maps so that there are none without a writer.
fn compact(program: &mut Program) {
    let mut number = vec![None; program.maps.len()];
    let (mut maps, mut names) = (Vec::new(), Vec::new());
    let written = program.steps.iter().flat_map(Step::writes);
    for map in std::iter::once(program.input).chain(written) {
        number[map] = Some(maps.len());
        maps.push(program.maps[map]);
        names.push(std::mem::take(&mut program.names[map]));
    }
    let renumber = |map: MapId| number[map].unwrap_or(0);
    for step in &mut program.steps {
        step.renumber(renumber);
    }
    (program.input, program.output) = (renumber(program.input), renumber(program.output));
    (program.maps, program.names) = (maps, names);
}

fn new_map(program: &mut Program, shape: Shape) -> MapId {
    program.maps.push(shape);
    program.names.push(String::new());
    program.maps.len() - 1
}

/// A linear 1x1 convolution: step index, input and output.
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

fn convolution(program: &Program, index: usize) -> Option<&Convolution> {
    match &program.steps[index] {
        Step::Convolution { convolution, .. } => Some(convolution),
        _ => None,
    }
}

/// The map that `map` is the bilinear upsampling of, if nobody but one step reads `map`.
fn upsampled(program: &Program, map: MapId) -> Option<MapId> {
    match program.steps[writer(program, map).filter(|_| uses(program, map) == 1)?] {
        Step::Resize { input, interpolation: Interpolation::Bilinear, factor: 2, .. } => Some(input),
        _ => None,
    }
}

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

/// The map that holds the mean of `map`, made if there is none.
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
        // The bias goes with the low resolution.
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

/// A 1x1 convolution whose only readers are one other 1x1 convolution and means.
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
            // The mean of the first convolution is the convolution of the mean.
            let output = program.steps[index].writes()[0];
            let vector = mean_of(program, input, Shape::vector(ins));
            program.steps[index] = Step::Convolution { input: vector, output, convolution: a, mean: None };
        }
        return true;
    }
    false
}
