//! A program as a file, so that it can be run where its origin cannot be read: emulated CPUs, benches, fuzzers.
//!
//! Little-endian 32-bit words. A format for moving programs between builds of one version, not for keeping them.

use super::program::{
    Arithmetic, Convolution, Depthwise, Interpolation, Pooling, Program, ProgramError, Residual, Shape, Step,
};
use super::rows::Activation;

/// `PPRG`, then the version.
const MAGIC: [u32; 2] = [u32::from_le_bytes(*b"PPRG"), 1];

/// Why a file is no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// Not such a file, or cut off, or of another version.
    #[error("word {at}: {problem}")]
    Malformed {
        /// Index of the 32-bit word.
        at: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A file, but the program in it makes no sense.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// Writes words.
#[derive(Default)]
struct Writer(Vec<u32>);

impl Writer {
    fn number(&mut self, number: usize) {
        self.0.push(u32::try_from(number).expect("a checked program's numbers are small"));
    }
    fn numbers(&mut self, numbers: &[usize]) {
        for &number in numbers {
            self.number(number);
        }
    }
    /// A number that may be missing.
    fn optional(&mut self, number: Option<usize>) {
        self.number(number.map_or(0, |number| number + 1));
    }
    fn floats(&mut self, floats: &[f32]) {
        self.number(floats.len());
        self.0.extend(floats.iter().map(|float| float.to_bits()));
    }
    fn convolution(&mut self, c: &Convolution) {
        self.numbers(&[c.kernel[0], c.kernel[1], c.stride, c.padding[0], c.padding[1], c.activation as usize]);
        self.optional(c.gate);
        self.optional(c.residual.map(|residual| residual.map));
        self.number(c.residual.map_or(0, |residual| usize::from(residual.upsampled)));
        self.floats(&c.weights);
        self.floats(&c.bias);
    }
}

/// Reads words.
struct Reader<'a> {
    words: &'a [u32],
    at: usize,
}

impl Reader<'_> {
    fn fail<T>(&self, problem: &'static str) -> Result<T, DumpError> {
        Err(DumpError::Malformed { at: self.at, problem })
    }
    fn word(&mut self) -> Result<u32, DumpError> {
        let Some(&word) = self.words.get(self.at) else { return self.fail("the end") };
        self.at += 1;
        Ok(word)
    }
    fn number(&mut self) -> Result<usize, DumpError> {
        let word = self.word()?;
        usize::try_from(word).or_else(|_| self.fail("too large"))
    }
    fn pair(&mut self) -> Result<[usize; 2], DumpError> {
        Ok([self.number()?, self.number()?])
    }
    fn optional(&mut self) -> Result<Option<usize>, DumpError> {
        Ok(self.number()?.checked_sub(1))
    }
    fn truth(&mut self) -> Result<bool, DumpError> {
        match self.word()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => self.fail("neither 0 nor 1"),
        }
    }
    /// A count of things of which each takes at least a word: no more than there are words left.
    fn count(&mut self) -> Result<usize, DumpError> {
        let count = self.number()?;
        if count <= self.words.len() - self.at { Ok(count) } else { self.fail("more than the file has") }
    }
    fn floats(&mut self) -> Result<Vec<f32>, DumpError> {
        let count = self.count()?;
        let floats = self.words[self.at..self.at + count].iter().map(|&word| f32::from_bits(word)).collect();
        self.at += count;
        Ok(floats)
    }
    fn activation(&mut self) -> Result<Activation, DumpError> {
        match self.word()? {
            0 => Ok(Activation::None),
            1 => Ok(Activation::Relu),
            2 => Ok(Activation::HardSwish),
            3 => Ok(Activation::Sigmoid),
            _ => self.fail("no activation"),
        }
    }
    fn convolution(&mut self) -> Result<Convolution, DumpError> {
        let (kernel, stride, padding) = (self.pair()?, self.number()?, self.pair()?);
        let activation = self.activation()?;
        let gate = self.optional()?;
        let (residual, upsampled) = (self.optional()?, self.truth()?);
        let residual = residual.map(|map| Residual { map, upsampled });
        Ok(Convolution {
            kernel,
            stride,
            padding,
            weights: self.floats()?,
            bias: self.floats()?,
            activation,
            gate,
            residual,
        })
    }

    fn step(&mut self) -> Result<Step, DumpError> {
        let kind = self.word()?;
        let output = self.number()?;
        Ok(match kind {
            0 => {
                let (input, mean) = (self.number()?, self.optional()?);
                Step::Convolution { input, output, convolution: self.convolution()?, mean }
            }
            1 => {
                let (input, mean) = (self.number()?, self.optional()?);
                let expand = if self.truth()? { Some(self.convolution()?) } else { None };
                let (kernel, stride, padding) = (self.number()?, self.number()?, self.pair()?);
                let (activation, add_input) = (self.activation()?, self.truth()?);
                let (weights, bias) = (self.floats()?, self.floats()?);
                let depthwise = Depthwise { kernel, stride, padding, weights, bias, activation, add_input };
                Step::Depthwise { input, output, expand, depthwise, mean }
            }
            2 => {
                let (input, factor, activation) = (self.number()?, self.number()?, self.activation()?);
                Step::PixelShuffle { input, output, factor, activation }
            }
            3 => {
                let operation = if self.truth()? { Arithmetic::Multiply } else { Arithmetic::Add };
                let (a, b, activation) = (self.number()?, self.number()?, self.activation()?);
                Step::Arithmetic { operation, a, b, output, activation }
            }
            4 => Step::Activate { input: self.number()?, output, activation: self.activation()? },
            5 => Step::LeakyRelu { input: self.number()?, output, slopes: self.floats()? },
            6 => {
                let (input, factor) = (self.number()?, self.number()?);
                let interpolation = if self.truth()? { Interpolation::Bilinear } else { Interpolation::Nearest };
                Step::Resize { input, output, interpolation, factor }
            }
            7 => Step::Mean { input: self.number()?, output },
            8 => {
                let (input, kernel, stride, padding) = (self.number()?, self.number()?, self.number()?, self.pair()?);
                let pooling = if self.truth()? { Pooling::Average } else { Pooling::Max };
                Step::Pool { input, output, pooling, kernel, stride, padding }
            }
            9 => {
                let count = self.count()?;
                let inputs = (0..count).map(|_| self.number()).collect::<Result<_, _>>()?;
                Step::Concatenate { inputs, output }
            }
            10 => Step::Softmax { input: self.number()?, output },
            11 => {
                let input = self.number()?;
                let [low, high] = self.floats()?[..] else { return self.fail("not two limits") };
                Step::Clamp { input, output, low, high }
            }
            _ => return self.fail("no step"),
        })
    }
}

/// The program as bytes.
///
/// # Panics
/// A number in the program is beyond 2^32: never in a program that passed its check.
#[must_use]
pub fn write(program: &Program) -> Vec<u8> {
    let mut w = Writer(MAGIC.to_vec());
    w.numbers(&[program.input, program.output, program.maps.len(), program.steps.len()]);
    for (shape, name) in program.maps.iter().zip(&program.names) {
        w.numbers(&[shape.height, shape.width, shape.channels, name.len()]);
        for bytes in name.as_bytes().chunks(4) {
            let mut word = [0; 4];
            word[..bytes.len()].copy_from_slice(bytes);
            w.0.push(u32::from_le_bytes(word));
        }
    }
    for step in &program.steps {
        let kind = match step {
            Step::Convolution { .. } => 0,
            Step::Depthwise { .. } => 1,
            Step::PixelShuffle { .. } => 2,
            Step::Arithmetic { .. } => 3,
            Step::Activate { .. } => 4,
            Step::LeakyRelu { .. } => 5,
            Step::Resize { .. } => 6,
            Step::Mean { .. } => 7,
            Step::Pool { .. } => 8,
            Step::Concatenate { .. } => 9,
            Step::Softmax { .. } => 10,
            Step::Clamp { .. } => 11,
        };
        w.numbers(&[kind, step.writes()[0]]);
        match step {
            Step::Convolution { input, convolution, mean, .. } => {
                w.number(*input);
                w.optional(*mean);
                w.convolution(convolution);
            }
            Step::Depthwise { input, expand, depthwise: d, mean, .. } => {
                w.number(*input);
                w.optional(*mean);
                w.number(usize::from(expand.is_some()));
                if let Some(expand) = expand {
                    w.convolution(expand);
                }
                w.numbers(&[d.kernel, d.stride, d.padding[0], d.padding[1], d.activation as usize]);
                w.number(usize::from(d.add_input));
                w.floats(&d.weights);
                w.floats(&d.bias);
            }
            Step::PixelShuffle { input, factor, activation, .. } => {
                w.numbers(&[*input, *factor, *activation as usize]);
            }
            Step::Arithmetic { operation, a, b, activation, .. } => {
                w.numbers(&[usize::from(*operation == Arithmetic::Multiply), *a, *b, *activation as usize]);
            }
            Step::Activate { input, activation, .. } => w.numbers(&[*input, *activation as usize]),
            Step::LeakyRelu { input, slopes, .. } => {
                w.number(*input);
                w.floats(slopes);
            }
            Step::Clamp { input, low, high, .. } => {
                w.number(*input);
                w.floats(&[*low, *high]);
            }
            Step::Resize { input, interpolation, factor, .. } => {
                w.numbers(&[*input, *factor, usize::from(*interpolation == Interpolation::Bilinear)]);
            }
            Step::Mean { input, .. } | Step::Softmax { input, .. } => w.number(*input),
            Step::Pool { input, pooling, kernel, stride, padding, .. } => {
                w.numbers(&[*input, *kernel, *stride, padding[0], padding[1]]);
                w.number(usize::from(*pooling == Pooling::Average));
            }
            Step::Concatenate { inputs, .. } => {
                w.number(inputs.len());
                w.numbers(inputs);
            }
        }
    }
    w.0.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// A checked program from bytes.
///
/// # Errors
/// The bytes are not what [`write()`] makes, or the program is inconsistent.
pub fn read(bytes: &[u8]) -> Result<Program, DumpError> {
    let words: Vec<u32> =
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
    let mut r = Reader { words: &words, at: 0 };
    for magic in MAGIC {
        if r.word()? != magic {
            return r.fail("not a program of this version");
        }
    }
    let (input, output) = (r.number()?, r.number()?);
    let (maps, steps) = (r.number()?, r.number()?);
    if maps.saturating_add(steps) > words.len() {
        return r.fail("more than the file has");
    }
    let mut program = Program { maps: Vec::new(), names: Vec::new(), steps: Vec::new(), input, output };
    for _ in 0..maps {
        program.maps.push(Shape { height: r.number()?, width: r.number()?, channels: r.number()? });
        let length = r.number()?;
        let mut name = Vec::new();
        for _ in 0..length.div_ceil(4) {
            name.extend(r.word()?.to_le_bytes());
        }
        name.truncate(length);
        program.names.push(String::from_utf8_lossy(&name).into_owned());
    }
    for _ in 0..steps {
        program.steps.push(r.step()?);
    }
    program.check()?;
    Ok(program)
}
