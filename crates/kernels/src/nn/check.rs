//! The consistency check of a program. Everything that runs a program relies on it.

use super::program::{Convolution, Depthwise, Interpolation, MapId, Program, ProgramError, Shape, Step};

/// The largest side or channel count of a map. The product of two of them and a channel count fits
/// a 32-bit `usize` after the check of [`MAX_NUMBERS`].
const MAX_SIDE: usize = 1 << 13;

/// The largest number of values in one map.
const MAX_NUMBERS: usize = 1 << 28;

impl Program {
    /// Checks every index, every shape and the number of weights.
    ///
    /// # Errors
    /// [`ProgramError`] names the first step that is inconsistent, and the problem.
    pub fn check(&self) -> Result<(), ProgramError> {
        let fail = |step: usize, problem: String| {
            let output = self.steps.get(step).and_then(|step| step.writes().first().copied());
            let name = output.and_then(|map| self.names.get(map)).cloned().unwrap_or_default();
            Err(ProgramError { step, name, problem })
        };
        let end = self.steps.len();
        if self.names.len() != self.maps.len() {
            return fail(end, format!("{} names for {} maps", self.names.len(), self.maps.len()));
        }
        for (map, shape) in self.maps.iter().enumerate() {
            let sides = [shape.height, shape.width, shape.channels];
            if sides.iter().any(|&side| side == 0 || side > MAX_SIDE) || shape.len() > MAX_NUMBERS {
                return fail(end, format!("map {map} has an unsupported shape {sides:?}"));
            }
        }
        if self.input >= self.maps.len() || self.output >= self.maps.len() || self.input == self.output {
            return fail(end, "the input or the output is not a map, or both are the same map".to_owned());
        }
        let mut written = vec![false; self.maps.len()];
        written[self.input] = true;
        for (index, step) in self.steps.iter().enumerate() {
            for map in step.reads() {
                if written.get(map) != Some(&true) {
                    return fail(index, format!("reads map {map} before it is written"));
                }
            }
            for map in step.writes() {
                match written.get_mut(map) {
                    Some(written) if !*written => *written = true,
                    _ => return fail(index, format!("writes map {map}, which does not exist or was written before")),
                }
            }
            if let Err(problem) = self.check_step(step) {
                return fail(index, problem);
            }
        }
        if written[self.output] { Ok(()) } else { fail(end, "the output is never written".to_owned()) }
    }

    fn shape(&self, map: MapId) -> Shape {
        self.maps[map]
    }

    fn check_step(&self, step: &Step) -> Result<(), String> {
        let same = |a: MapId, b: MapId| {
            let (a, b) = (self.shape(a), self.shape(b));
            if a == b { Ok(()) } else { Err(format!("shapes {a:?} and {b:?} differ")) }
        };
        match step {
            Step::Convolution { input, output, convolution, mean } => {
                self.check_convolution(convolution, self.shape(*input), self.shape(*output))?;
                self.check_mean(*mean, *output)
            }
            Step::Depthwise { input, output, expand, depthwise, mean } => {
                let (input, out) = (self.shape(*input), self.shape(*output));
                let middle = Shape { channels: out.channels, ..input };
                match expand {
                    Some(expand) if expand.kernel != [1, 1] || expand.stride != 1 => {
                        return Err("the expanding convolution is not 1x1".to_owned());
                    }
                    Some(expand) => self.check_convolution(expand, input, middle)?,
                    None if input.channels != out.channels => {
                        return Err("input and output have different channels".to_owned());
                    }
                    None => {}
                }
                check_depthwise(depthwise, middle, out)?;
                self.check_mean(*mean, *output)
            }
            Step::PixelShuffle { input, output, factor, .. } => {
                let (input, output) = (self.shape(*input), self.shape(*output));
                let wanted = [input.height * factor, input.width * factor, input.channels];
                if *factor == 0
                    || *factor > MAX_SIDE
                    || wanted != [output.height, output.width, output.channels * factor * factor]
                {
                    return Err(format!("{input:?} cannot be shuffled into {output:?}"));
                }
                Ok(())
            }
            Step::Arithmetic { a, b, output, .. } => {
                same(*a, *output)?;
                let b = self.shape(*b);
                let a = self.shape(*a);
                if b == a || b == Shape::vector(a.channels) { Ok(()) } else { Err(format!("{b:?} does not fit {a:?}")) }
            }
            Step::Activate { input, output, .. } | Step::Softmax { input, output } => same(*input, *output),
            Step::LeakyRelu { input, output, slopes } => {
                same(*input, *output)?;
                count("slopes", slopes.len(), self.shape(*input).channels)
            }
            Step::Clamp { input, output, low, high } => {
                same(*input, *output)?;
                if low <= high { Ok(()) } else { Err(format!("the limits {low}..={high} are not a range")) }
            }
            Step::Resize { input, output, interpolation, factor } => {
                let (input, output) = (self.shape(*input), self.shape(*output));
                let known = *interpolation == Interpolation::Nearest || *factor == 2;
                let wanted =
                    Shape { height: input.height * factor, width: input.width * factor, channels: input.channels };
                if known && *factor >= 1 && *factor <= MAX_SIDE && wanted == output {
                    Ok(())
                } else {
                    Err(format!("{input:?} cannot be enlarged by {factor} into {output:?}"))
                }
            }
            Step::Mean { input, output } => self.check_mean(Some(*output), *input),
            Step::Pool { input, output, kernel, stride, padding, .. } => {
                let (input, output) = (self.shape(*input), self.shape(*output));
                if input.channels != output.channels {
                    return Err("input and output have different channels".to_owned());
                }
                check_windows([*kernel, *kernel], *stride, *padding, input, output)
            }
            Step::Pad { input, output, padding, .. } => {
                let (input, output) = (self.shape(*input), self.shape(*output));
                if input.channels != output.channels {
                    return Err("input and output have different channels".to_owned());
                }
                let sides = [(input.height, output.height), (input.width, output.width)];
                if padding.iter().zip(sides).all(|(&before, (from, to))| before <= MAX_SIDE && before + from <= to) {
                    Ok(())
                } else {
                    Err(format!("{input:?} with {padding:?} before it does not fit {output:?}"))
                }
            }
            Step::Concatenate { inputs, output } => {
                let output = self.shape(*output);
                let mut channels = 0;
                for &input in inputs {
                    let input = self.shape(input);
                    if (input.height, input.width) != (output.height, output.width) {
                        return Err(format!("{input:?} cannot be concatenated into {output:?}"));
                    }
                    channels += input.channels;
                }
                count("channels", channels, output.channels)
            }
        }
    }

    fn check_mean(&self, mean: Option<MapId>, of: MapId) -> Result<(), String> {
        match mean {
            Some(mean) if self.shape(mean) != Shape::vector(self.shape(of).channels) => {
                Err(format!("the mean has the wrong shape {:?}", self.shape(mean)))
            }
            _ => Ok(()),
        }
    }

    fn check_convolution(&self, c: &Convolution, input: Shape, output: Shape) -> Result<(), String> {
        check_windows(c.kernel, c.stride, c.padding, input, output)?;
        count("weights", c.weights.len(), output.channels * c.kernel[0] * c.kernel[1] * input.channels)?;
        count("biases", c.bias.len(), output.channels)?;
        if let Some(gate) = c.gate
            && (c.kernel != [1, 1] || self.shape(gate) != Shape::vector(input.channels))
        {
            return Err(format!("the gate {:?} does not fit", self.shape(gate)));
        }
        if let Some(residual) = c.residual {
            let has = self.shape(residual.map);
            let factor = if residual.upsampled { 2 } else { 1 };
            if (Shape { height: has.height * factor, width: has.width * factor, ..has }) != output {
                return Err(format!("the residual {has:?} does not fit {output:?}"));
            }
        }
        Ok(())
    }
}

fn check_depthwise(d: &Depthwise, input: Shape, output: Shape) -> Result<(), String> {
    check_windows([d.kernel, d.kernel], d.stride, d.padding, input, output)?;
    count("weights", d.weights.len(), output.channels * d.kernel * d.kernel)?;
    count("biases", d.bias.len(), output.channels)?;
    if d.add_input && (d.stride != 1 || input != output || d.padding != [d.kernel / 2; 2]) {
        return Err("the input cannot be added to the output".to_owned());
    }
    Ok(())
}

/// Checks that every window touches the input.
fn check_windows(
    kernel: [usize; 2],
    stride: usize,
    padding: [usize; 2],
    input: Shape,
    output: Shape,
) -> Result<(), String> {
    let sides = [(input.height, output.height), (input.width, output.width)];
    for axis in 0..2 {
        let (input, output) = sides[axis];
        let (kernel, padding) = (kernel[axis], padding[axis]);
        if kernel == 0 || kernel > MAX_SIDE || stride == 0 || stride > MAX_SIDE || padding >= kernel {
            return Err(format!("unsupported kernel {kernel}, stride {stride} or padding {padding}"));
        }
        if (output - 1) * stride >= input + padding {
            return Err(format!("{output} windows of {kernel}, {stride} apart, do not fit {input} pixels"));
        }
    }
    Ok(())
}

fn count(what: &str, has: usize, wanted: usize) -> Result<(), String> {
    if has == wanted { Ok(()) } else { Err(format!("{has} {what} where {wanted} are needed")) }
}
