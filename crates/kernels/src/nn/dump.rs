//! A program as a file, so that it can run where the original network cannot be read: on emulated
//! CPUs, in benchmarks and in fuzzers.
//!
//! The file is a sequence of little-endian 32-bit words. It moves programs between builds of the
//! same version and is not meant for storage.

use super::program::{
    Arithmetic, Border, Convolution, Depthwise, Interpolation, Pooling, Program, ProgramError, Residual, Shape, Step,
};
use super::rows::Activation;

/// The letters `PPRG`, then the version.
const MAGIC: [u32; 2] = [u32::from_le_bytes(*b"PPRG"), 1];

/// Why a file cannot be read as a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// The file is not a dump, is truncated, or has another version.
    #[error("the dump cannot be read: word {at}: {problem}")]
    Malformed {
        /// Index of the 32-bit word at which reading stopped.
        at: usize,
        /// The problem with that word.
        problem: &'static str,
    },
    /// The file was read, but the program in it is inconsistent.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// Writes a dump word by word.
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
    /// Writes a number that may be missing: 0, or the number plus one.
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

/// Reads a dump word by word.
struct Reader<'a> {
    words: &'a [u32],
    at: usize,
}

impl Reader<'_> {
    fn fail<T>(&self, problem: &'static str) -> Result<T, DumpError> {
        Err(DumpError::Malformed { at: self.at, problem })
    }
    fn word(&mut self) -> Result<u32, DumpError> {
        let Some(&word) = self.words.get(self.at) else { return self.fail("the file ends too early") };
        self.at += 1;
        Ok(word)
    }
    fn number(&mut self) -> Result<usize, DumpError> {
        let word = self.word()?;
        usize::try_from(word).or_else(|_| self.fail("the number is too large"))
    }
    fn pair(&mut self) -> Result<[usize; 2], DumpError> {
        Ok([self.number()?, self.number()?])
    }
    fn optional(&mut self) -> Result<Option<usize>, DumpError> {
        Ok(self.number()?.checked_sub(1))
    }
    fn boolean(&mut self) -> Result<bool, DumpError> {
        match self.word()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => self.fail("expected 0 or 1"),
        }
    }
    /// Reads the count of items that take at least one word each, so it cannot exceed the words
    /// that are left.
    fn count(&mut self) -> Result<usize, DumpError> {
        let count = self.number()?;
        if count <= self.words.len() - self.at {
            Ok(count)
        } else {
            self.fail("the count exceeds the rest of the file")
        }
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
            _ => self.fail("unknown activation"),
        }
    }
    fn convolution(&mut self) -> Result<Convolution, DumpError> {
        let (kernel, stride, padding) = (self.pair()?, self.number()?, self.pair()?);
        let activation = self.activation()?;
        let gate = self.optional()?;
        let (residual, upsampled) = (self.optional()?, self.boolean()?);
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
                let expand = if self.boolean()? { Some(self.convolution()?) } else { None };
                let (kernel, stride, padding) = (self.number()?, self.number()?, self.pair()?);
                let (activation, add_input) = (self.activation()?, self.boolean()?);
                let (weights, bias) = (self.floats()?, self.floats()?);
                let depthwise = Depthwise { kernel, stride, padding, weights, bias, activation, add_input };
                Step::Depthwise { input, output, expand, depthwise, mean }
            }
            2 => {
                let (input, factor, activation) = (self.number()?, self.number()?, self.activation()?);
                Step::PixelShuffle { input, output, factor, activation }
            }
            3 => {
                let operation = if self.boolean()? { Arithmetic::Multiply } else { Arithmetic::Add };
                let (a, b, activation) = (self.number()?, self.number()?, self.activation()?);
                Step::Arithmetic { operation, a, b, output, activation }
            }
            4 => Step::Activate { input: self.number()?, output, activation: self.activation()? },
            5 => Step::LeakyRelu { input: self.number()?, output, slopes: self.floats()? },
            6 => {
                let (input, factor) = (self.number()?, self.number()?);
                let interpolation = if self.boolean()? { Interpolation::Bilinear } else { Interpolation::Nearest };
                Step::Resize { input, output, interpolation, factor }
            }
            7 => Step::Mean { input: self.number()?, output },
            8 => {
                let (input, kernel, stride, padding) = (self.number()?, self.number()?, self.number()?, self.pair()?);
                let pooling = if self.boolean()? { Pooling::Average } else { Pooling::Max };
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
                let [low, high] = self.floats()?[..] else { return self.fail("expected two limits") };
                Step::Clamp { input, output, low, high }
            }
            12 => {
                let input = self.number()?;
                let border = if self.boolean()? { Border::Replicate } else { Border::Zero };
                Step::Pad { input, output, border, padding: self.pair()? }
            }
            _ => return self.fail("unknown kind of step"),
        })
    }
}

/// Serialises the program.
///
/// # Panics
/// If a number in the program is 2^32 or more. A program that passed its check has no such number.
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
            Step::Pad { .. } => 12,
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
            Step::Pad { input, border, padding, .. } => {
                w.numbers(&[*input, usize::from(*border == Border::Replicate), padding[0], padding[1]]);
            }
            Step::Concatenate { inputs, .. } => {
                w.number(inputs.len());
                w.numbers(inputs);
            }
        }
    }
    w.0.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Reads a program and checks it.
///
/// # Errors
/// [`DumpError`] if the bytes were not made by [`write()`], or if the program is inconsistent.
pub fn read(bytes: &[u8]) -> Result<Program, DumpError> {
    let words: Vec<u32> =
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
    let mut r = Reader { words: &words, at: 0 };
    for magic in MAGIC {
        if r.word()? != magic {
            return r.fail("not a program dump of this version");
        }
    }
    let (input, output) = (r.number()?, r.number()?);
    let (maps, steps) = (r.number()?, r.number()?);
    if maps.saturating_add(steps) > words.len() {
        return r.fail("the count exceeds the rest of the file");
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
