//! Frames as JPEG: baseline, 4:2:0 or grey, with the Huffman tables of the standard's annex K.
//!
//! The chroma of a frame is already half as wide and high, so it is neither enlarged nor reduced.
//! JPEG (JFIF) means BT.601 with all values from 0 to 255; other frames are converted.

use std::io;

use portraitd_protocol::layout::to_usize;
use portraitd_protocol::{PixelFormat, Size};

use super::{Chroma, Converter, unsupported};
use crate::FrameCopy;

/// The order in which the coefficients of a block are stored.
const ZIGZAG: [usize; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// The quantization of luma and chroma at quality 50, by rows.
const LUMA: [u16; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
];
const CHROMA: [u16; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99,
];

/// The number of codes of each length from 1 to 16, and the first symbols. The other symbols follow
/// in ascending order.
type Symbols = ([u8; 16], &'static [u8]);
const DC_LUMA: Symbols = ([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], &[]);
const DC_CHROMA: Symbols = ([0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], &[]);
const AC_LUMA: Symbols = (
    [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d],
    &[
        0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71,
        0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72,
        0x82,
    ],
);
const AC_CHROMA: Symbols = (
    [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77],
    &[
        0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22,
        0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1,
        0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1,
    ],
);

/// A Huffman table: its segment in the file, and code and length of each symbol.
struct Huffman {
    segment: Vec<u8>,
    codes: Box<[(u16, u8); 256]>,
}

impl Huffman {
    /// `class` is 0 for DC and 1 for AC, `id` 0 for luma and 1 for chroma.
    fn new(class: u8, id: u8, (counts, first): Symbols) -> Self {
        let is_symbol = |symbol: &u8| match (class, symbol & 15) {
            (0, _) => *symbol <= 11,
            (_, 0) => matches!(symbol, 0x00 | 0xf0),
            (_, size) => size <= 10,
        };
        let rest = (0..=255).filter(|symbol| is_symbol(symbol) && !first.contains(symbol));
        let symbols: Vec<u8> = first.iter().copied().chain(rest).collect();
        let mut codes = Box::new([(0, 0); 256]);
        let (mut code, mut next) = (0u16, symbols.iter());
        for (length, count) in (1..).zip(counts) {
            for symbol in next.by_ref().take(count.into()) {
                codes[usize::from(*symbol)] = (code, length);
                code += 1;
            }
            code <<= 1;
        }
        let segment = [&[class << 4 | id], counts.as_slice(), &symbols].concat();
        Self { segment, codes }
    }
}

/// How a component is quantized and coded.
struct Component {
    quantization: [u8; 64],
    /// The factors of the coefficients, by rows: the inverse of quantization and of what the
    /// transform has left out.
    factors: [f32; 64],
    dc: Huffman,
    ac: Huffman,
}

impl Component {
    fn new(id: u8, quality: u8, base: &[u16; 64], dc: Symbols, ac: Symbols) -> Self {
        /// The factors that [`transform`] leaves out (Arai, Agui, Nakajima).
        const SCALE: [f32; 8] = [1.0, 1.387_039_8, 1.306_563, 1.175_875_6, 1.0, 0.785_695, 0.541_196_1, 0.275_899_38];
        let quality = u16::from(quality.clamp(1, 100));
        let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
        let quantization = base.map(|step| {
            let step = (u32::from(step) * u32::from(percent) + 50) / 100;
            u8::try_from(step.clamp(1, 255)).expect("clamped")
        });
        let factors = std::array::from_fn(|i| 1.0 / (f32::from(quantization[i]) * SCALE[i / 8] * SCALE[i % 8] * 8.0));
        Self { quantization, factors, dc: Huffman::new(0, id, dc), ac: Huffman::new(1, id, ac) }
    }
}

/// Encodes frames as JPEG.
pub struct JpegEncoder {
    luma: Component,
    chroma: Component,
}

impl std::fmt::Debug for JpegEncoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JpegEncoder").finish_non_exhaustive()
    }
}

impl JpegEncoder {
    /// Creates an encoder. `quality` is from 1 to 100, as libjpeg counts it.
    pub fn new(quality: u8) -> Self {
        Self {
            luma: Component::new(0, quality, &LUMA, DC_LUMA, AC_LUMA),
            chroma: Component::new(1, quality, &CHROMA, DC_CHROMA, AC_CHROMA),
        }
    }

    /// Appends a frame as a JPEG picture to `out`.
    ///
    /// # Errors
    /// `Unsupported` for a format that is neither 4:2:0 nor grey, or without a frame.
    pub fn append(&self, frame: &FrameCopy, out: &mut Vec<u8>) -> io::Result<()> {
        let format = frame.layout().map_or(PixelFormat::Rgb24, |layout| layout.format);
        let picture = Picture::new(frame).ok_or_else(|| unsupported("JPEG", format))?;
        self.append_headers(&picture, out);
        let mut bits = Bits { out, waiting: 0, count: 0 };
        let mut last = [0; 3];
        let side = if picture.chroma.is_some() { 16 } else { 8 };
        for y in (0..picture.height).step_by(side) {
            for x in (0..picture.width).step_by(side) {
                for block in 0..side * side / 64 {
                    let (right, down) = (block % 2 * 8, block / 2 * 8);
                    bits.block(&self.luma, picture.luma(x + right, y + down), &mut last[0]);
                }
                if let Some(chroma) = picture.chroma {
                    let [cb, cr] = picture.chroma(chroma, x / 2, y / 2);
                    bits.block(&self.chroma, cb, &mut last[1]);
                    bits.block(&self.chroma, cr, &mut last[2]);
                }
            }
        }
        bits.finish();
        out.extend_from_slice(&[0xff, 0xd9]);
        Ok(())
    }

    fn append_headers(&self, picture: &Picture<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0xff, 0xd8]);
        let mut segment = |marker: u8, bytes: &[u8]| {
            let length = u16::try_from(bytes.len() + 2).expect("headers are short");
            out.extend_from_slice(&[0xff, marker]);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(bytes);
        };
        let colored = picture.chroma.is_some();
        let [width, height] = [picture.width, picture.height].map(|side| u16::try_from(side).expect("16384 at most"));
        let ([w0, w1], [h0, h1]) = (width.to_be_bytes(), height.to_be_bytes());
        let tables = [&self.luma, &self.chroma];
        let tables = if colored { &tables[..] } else { &tables[..1] };
        segment(0xe0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0");
        for (id, table) in (0..).zip(tables) {
            let steps = ZIGZAG.map(|place| table.quantization[place]);
            segment(0xdb, &[&[id], steps.as_slice()].concat());
        }
        if colored {
            segment(0xc0, &[8, h0, h1, w0, w1, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
        } else {
            segment(0xc0, &[8, h0, h1, w0, w1, 1, 1, 0x11, 0]);
        }
        for table in tables {
            segment(0xc4, &table.dc.segment);
            segment(0xc4, &table.ac.segment);
        }
        let scan: &[u8] = if colored { &[3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0] } else { &[1, 1, 0, 0, 63, 0] };
        segment(0xda, scan);
    }
}

/// Eight by eight values around 0, by rows.
type Block = [f32; 64];

/// A frame whose blocks are read.
struct Picture<'a> {
    width: usize,
    height: usize,
    convert: Converter<'a>,
    chroma: Option<Chroma>,
    /// The factors from Cb and Cr to luma, to Cb and to Cr of BT.601.
    to_601: [[f32; 2]; 3],
}

impl<'a> Picture<'a> {
    fn new(frame: &'a FrameCopy) -> Option<Self> {
        let layout = frame.layout()?;
        let chroma = Chroma::of(layout.format);
        let mut convert = Converter::new(frame)?;
        if layout.format == PixelFormat::Grey {
            (convert.luma_offset, convert.luma_gain) = (0.0, 1.0);
        } else {
            chroma?;
        }
        let Size { width, height } = layout.size;
        let [red, green_cb, green_cr, blue] = convert.matrix;
        let to_luma = [0.587 * green_cb + 0.114 * blue, 0.299 * red + 0.587 * green_cr];
        let to_cb = [(blue - to_luma[0]) / 1.772, -to_luma[1] / 1.772];
        let to_cr = [-to_luma[0] / 1.402, (red - to_luma[1]) / 1.402];
        let (width, height) = (to_usize(width), to_usize(height));
        Some(Self { width, height, convert, chroma, to_601: [to_luma, to_cb, to_cr] })
    }

    /// The block at the luma sample `left`, `top`. The last column and row are repeated.
    fn luma(&self, left: usize, top: usize) -> Block {
        let converted = self.chroma.filter(|_| self.to_601[0].iter().any(|factor| factor.abs() > 1e-4));
        let (data, stride) = self.convert.planes[0];
        let mut block = [0.0; 64];
        for (y, values) in (top..).zip(block.chunks_exact_mut(8)) {
            let y = y.min(self.height - 1);
            let row = &data[y * stride..][..self.width];
            for (x, value) in (left..).zip(values) {
                let x = x.min(self.width - 1);
                *value = (f32::from(row[x]) - self.convert.luma_offset) * self.convert.luma_gain - 128.0;
                if let Some(chroma) = converted {
                    let [cb, cr] = self.chroma_sample(chroma, x / 2, y / 2);
                    *value += self.to_601[0][0] * cb + self.to_601[0][1] * cr;
                }
            }
        }
        block
    }

    /// Cb and Cr around 0 at a chroma sample.
    fn chroma_sample(&self, chroma: Chroma, x: usize, y: usize) -> [f32; 2] {
        [chroma.cb, chroma.cr].map(|(plane, start)| {
            (f32::from(self.convert.byte(plane, start + x * chroma.step, y)) - 128.0) * self.convert.chroma_gain
        })
    }

    /// The blocks of Cb and Cr at the chroma sample `left`, `top`.
    fn chroma(&self, chroma: Chroma, left: usize, top: usize) -> [Block; 2] {
        let (right, bottom) = (self.width.div_ceil(2) - 1, self.height.div_ceil(2) - 1);
        let [_, to_cb, to_cr] = self.to_601;
        let samples: [[f32; 2]; 64] = std::array::from_fn(|place| {
            self.chroma_sample(chroma, (left + place % 8).min(right), (top + place / 8).min(bottom))
        });
        [to_cb, to_cr].map(|factors| samples.map(|[cb, cr]| factors[0] * cb + factors[1] * cr))
    }
}

/// The cosine transform of eight values, without the factors of `SCALE` (Arai, Agui, Nakajima).
fn transform(block: &mut Block, start: usize, step: usize) {
    let d: [f32; 8] = std::array::from_fn(|i| block[start + i * step]);
    let (s07, d07, s16, d16) = (d[0] + d[7], d[0] - d[7], d[1] + d[6], d[1] - d[6]);
    let (s25, d25, s34, d34) = (d[2] + d[5], d[2] - d[5], d[3] + d[4], d[3] - d[4]);
    let (even0, even3, even1, even2) = (s07 + s34, s07 - s34, s16 + s25, s16 - s25);
    let turn = (even2 + even3) * std::f32::consts::FRAC_1_SQRT_2;
    let (odd0, odd1, odd2) = (d34 + d25, d25 + d16, d16 + d07);
    let z5 = (odd0 - odd2) * 0.382_683_43;
    let z2 = 0.541_196_1 * odd0 + z5;
    let z4 = 1.306_563 * odd2 + z5;
    let z3 = odd1 * std::f32::consts::FRAC_1_SQRT_2;
    let (z11, z13) = (d07 + z3, d07 - z3);
    let out = [even0 + even1, z11 + z4, even3 + turn, z13 - z2, even0 - even1, z13 + z2, even3 - turn, z11 - z4];
    for (i, value) in out.into_iter().enumerate() {
        block[start + i * step] = value;
    }
}

/// Writes bits, the highest first, and a 0 after each byte 0xff.
struct Bits<'a> {
    out: &'a mut Vec<u8>,
    waiting: u32,
    count: u32,
}

impl Bits<'_> {
    /// Appends the lowest `length` bits of `value`, 16 at most.
    fn put(&mut self, value: u16, length: u8) {
        self.waiting = self.waiting << length | u32::from(value);
        self.count += u32::from(length);
        while self.count >= 8 {
            self.count -= 8;
            let [_, _, _, byte] = (self.waiting >> self.count).to_be_bytes();
            self.out.push(byte);
            if byte == 0xff {
                self.out.push(0);
            }
        }
        self.waiting &= (1 << self.count) - 1;
    }

    /// Appends a symbol, and the bits of a value that follow it.
    fn symbol(&mut self, table: &Huffman, run: u8, value: i32) {
        let size = 32 - value.unsigned_abs().leading_zeros();
        let size = u8::try_from(size).expect("32 at most");
        let (code, length) = table.codes[usize::from(run << 4 | size)];
        self.put(code, length);
        // A negative value is stored as its complement.
        let bits = if value < 0 { value - 1 } else { value };
        let [_, _, high, low] = bits.to_be_bytes();
        let mask = u16::try_from((1u32 << size) - 1).expect("11 bits at most");
        self.put(u16::from_be_bytes([high, low]) & mask, size);
    }

    /// Transforms, quantizes and appends a block. `last` is the average of the block before.
    #[expect(clippy::cast_possible_truncation, reason = "rounded and clamped")]
    fn block(&mut self, component: &Component, mut block: Block, last: &mut i32) {
        (0..8).for_each(|row| transform(&mut block, 8 * row, 1));
        (0..8).for_each(|column| transform(&mut block, column, 8));
        let quantized =
            |place: usize, limit: f32| (block[place] * component.factors[place]).round().clamp(-limit, limit) as i32;
        let average = quantized(0, 1023.0);
        self.symbol(&component.dc, 0, average - *last);
        *last = average;
        let mut zeros = 0u8;
        for place in &ZIGZAG[1..] {
            let value = quantized(*place, 1023.0);
            if value == 0 {
                zeros += 1;
                continue;
            }
            while zeros >= 16 {
                self.symbol(&component.ac, 15, 0);
                zeros -= 16;
            }
            self.symbol(&component.ac, zeros, value);
            zeros = 0;
        }
        if zeros > 0 {
            self.symbol(&component.ac, 0, 0);
        }
    }

    /// Fills the last byte with ones.
    fn finish(&mut self) {
        self.put(0x7f, 7);
    }
}
