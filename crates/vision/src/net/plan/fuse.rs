//! Fusion: moves activations, sums, gates, means and expansions into steps that compute them along
//! with their own result, so that fewer maps are written and read.

use portraitd_kernels::nn::{Activation, Arithmetic, Interpolation, MapId, Program, Residual, Step};

use super::graph::{prune, uses, writer};

/// Applies the rules until none of them applies, then removes unused steps and orders the others.
pub(super) fn fuse(program: &mut Program) {
    while fold_affine(program)
        || residual(program)
        || activation(program)
        || gate(program)
        || own_input(program)
        || expansion(program)
    {}
    means(program);
    prune(program);
}

/// Removes step `gone`. Step `kept` then writes the map that `gone` wrote.
fn absorb(program: &mut Program, kept: usize, gone: usize) {
    let output = program.steps[gone].writes()[0];
    program.steps[kept].set_output(output);
    // The step may now stand before a step whose output it reads; `prune` restores the order.
    program.steps.remove(gone);
    prune(program);
}

/// Folds a scale and a shift per channel into the weights of the convolution before it. If it
/// changes no value, it is removed.
fn fold_affine(program: &mut Program) -> bool {
    for index in 0..program.steps.len() {
        let Step::Depthwise { input, output, expand: None, depthwise, mean: None } = &program.steps[index] else {
            continue;
        };
        if depthwise.kernel != 1 || depthwise.stride != 1 || depthwise.add_input {
            continue;
        }
        let (input, output) = (*input, *output);
        let (scale, shift, activation) = (depthwise.weights.clone(), depthwise.bias.clone(), depthwise.activation);
        if activation == Activation::None
            && input != program.input
            && output != program.output
            && scale.iter().all(|scale| (scale - 1.0).abs() < 1e-6)
            && shift.iter().all(|&shift| shift == 0.0)
        {
            program.names[input] = program.names[output].clone();
            program.steps.remove(index);
            for step in &mut program.steps {
                step.replace_read(output, input);
            }
            return true;
        }
        let Some(before) = writer(program, input).filter(|_| uses(program, input) == 1) else { continue };
        let (weights, bias, last) = match &mut program.steps[before] {
            Step::Convolution { convolution: c, mean: None, .. } if c.residual.is_none() => {
                (&mut c.weights, &mut c.bias, &mut c.activation)
            }
            Step::Depthwise { depthwise: d, mean: None, .. } if !d.add_input => {
                (&mut d.weights, &mut d.bias, &mut d.activation)
            }
            _ => continue,
        };
        if *last != Activation::None {
            continue;
        }
        let depth = weights.len() / bias.len();
        for (channel, bias) in bias.iter_mut().enumerate() {
            *bias = *bias * scale[channel] + shift[channel];
            for weight in &mut weights[channel * depth..(channel + 1) * depth] {
                *weight *= scale[channel];
            }
        }
        *last = activation;
        absorb(program, before, index);
        return true;
    }
    false
}

/// Fuses the sum of a convolution and another map.
fn residual(program: &mut Program) -> bool {
    for index in 0..program.steps.len() {
        let Step::Arithmetic { operation: Arithmetic::Add, a, b, activation, .. } = program.steps[index] else {
            continue;
        };
        if program.maps[a] != program.maps[b] || a == b {
            continue;
        }
        // Fusing the sum with an upsampled map saves more work, so these pairs come first.
        let upsampled = |map: MapId| {
            let step = writer(program, map).filter(|_| uses(program, map) == 1)?;
            match program.steps[step] {
                Step::Resize { input, interpolation: Interpolation::Bilinear, factor: 2, .. } => Some(input),
                _ => None,
            }
        };
        let pairs = [(a, b, upsampled(b)), (b, a, upsampled(a)), (a, b, None), (b, a, None)];
        let candidate = pairs.into_iter().enumerate().find_map(|(rank, (own, other, low))| {
            if rank < 2 && low.is_none() {
                return None;
            }
            let step = writer(program, own).filter(|_| uses(program, own) == 1)?;
            match &program.steps[step] {
                Step::Convolution { convolution: c, mean: None, .. }
                    if c.residual.is_none() && c.activation == Activation::None =>
                {
                    Some((step, other, low))
                }
                _ => None,
            }
        });
        let Some((step, other, low)) = candidate else { continue };
        if let Step::Convolution { convolution, .. } = &mut program.steps[step] {
            convolution.residual = Some(Residual { map: low.unwrap_or(other), upsampled: low.is_some() });
            convolution.activation = activation;
        }
        absorb(program, step, index);
        return true;
    }
    false
}

/// Fuses an activation with a step before it that can apply it.
fn activation(program: &mut Program) -> bool {
    for index in 0..program.steps.len() {
        let Step::Activate { input, activation, .. } = program.steps[index] else { continue };
        let Some(before) = writer(program, input).filter(|_| uses(program, input) == 1) else { continue };
        let last = match &mut program.steps[before] {
            Step::Convolution { convolution, mean: None, .. } => &mut convolution.activation,
            Step::Depthwise { depthwise, mean: None, .. } if !depthwise.add_input => &mut depthwise.activation,
            Step::PixelShuffle { activation, .. } | Step::Arithmetic { activation, .. } => activation,
            _ => continue,
        };
        if *last == Activation::None {
            *last = activation;
            absorb(program, before, index);
            return true;
        }
    }
    false
}

/// Fuses the product with a vector (a gate) with the 1x1 convolutions that read it.
fn gate(program: &mut Program) -> bool {
    for index in 0..program.steps.len() {
        let Step::Arithmetic { operation: Arithmetic::Multiply, a, b, output, activation: Activation::None } =
            program.steps[index]
        else {
            continue;
        };
        if program.maps[b].height * program.maps[b].width != 1
            || program.maps[a] == program.maps[b]
            || output == program.output
        {
            continue;
        }
        // All readers must support the gate, otherwise the product is needed anyway.
        let takes = |step: &Step| {
            let once = step.count_reads(output) == 1;
            match step {
                Step::Convolution { input, convolution: c, .. } => {
                    once && *input == output && c.kernel == [1, 1] && c.stride == 1 && c.gate.is_none()
                }
                Step::Depthwise { input, expand: Some(c), .. } => once && *input == output && c.gate.is_none(),
                _ => false,
            }
        };
        let readers: Vec<usize> =
            (0..program.steps.len()).filter(|&step| program.steps[step].count_reads(output) > 0).collect();
        if readers.is_empty() || !readers.iter().all(|&step| takes(&program.steps[step])) {
            continue;
        }
        for step in readers {
            match &mut program.steps[step] {
                Step::Convolution { input, convolution: c, .. } | Step::Depthwise { input, expand: Some(c), .. } => {
                    *input = a;
                    c.gate = Some(b);
                }
                _ => {}
            }
        }
        prune(program);
        return true;
    }
    false
}

/// Fuses the sum of a depthwise convolution and its own input.
fn own_input(program: &mut Program) -> bool {
    for index in 0..program.steps.len() {
        let Step::Arithmetic { operation: Arithmetic::Add, a, b, activation: Activation::None, .. } =
            program.steps[index]
        else {
            continue;
        };
        for (own, other) in [(a, b), (b, a)] {
            let Some(step) = writer(program, own).filter(|_| uses(program, own) == 1) else { continue };
            let shape = program.maps[own];
            if let Step::Depthwise { input, expand: None, depthwise: d, mean: None, .. } = &mut program.steps[step] {
                let centred = d.stride == 1 && d.kernel % 2 == 1 && d.padding == [d.kernel / 2; 2];
                if *input == other && centred && !d.add_input && program.maps[other] == shape {
                    d.add_input = true;
                    absorb(program, step, index);
                    return true;
                }
            }
        }
    }
    false
}

/// Fuses a 1x1 convolution with the depthwise convolution that alone reads it.
fn expansion(program: &mut Program) -> bool {
    for index in 0..program.steps.len() {
        let Step::Depthwise { input: middle, expand: None, depthwise, .. } = &program.steps[index] else { continue };
        let middle = *middle;
        if uses(program, middle) != 1 || depthwise.kernel == 1 {
            continue;
        }
        let Some(before) = writer(program, middle) else { continue };
        let Step::Convolution { input: from, convolution, mean: None, .. } = &program.steps[before] else { continue };
        if convolution.kernel != [1, 1] || convolution.stride != 1 {
            continue;
        }
        let (from, convolution) = (*from, convolution.clone());
        if let Step::Depthwise { input, expand, .. } = &mut program.steps[index] {
            *input = from;
            *expand = Some(convolution);
        }
        prune(program);
        return true;
    }
    false
}

/// Fuses the mean of a convolution's output with the convolution.
fn means(program: &mut Program) {
    loop {
        let found = program.steps.iter().enumerate().find_map(|(index, step)| {
            let Step::Mean { input, output } = *step else { return None };
            let before = writer(program, input)?;
            match &program.steps[before] {
                Step::Convolution { mean: None, .. } | Step::Depthwise { mean: None, .. }
                    if program.maps[input].height * program.maps[input].width > 1 =>
                {
                    Some((index, before, output))
                }
                _ => None,
            }
        });
        let Some((index, before, output)) = found else { return };
        if let Step::Convolution { mean, .. } | Step::Depthwise { mean, .. } = &mut program.steps[before] {
            *mean = Some(output);
        }
        program.steps.remove(index);
    }
}
