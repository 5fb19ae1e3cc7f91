//! The entropy-coded data as a stream of bits, and the coefficients of a block (T.81, F.2.2).

use super::JpegError;
use super::headers::{Steps, ZIGZAG};
use super::huffman::{Code, HuffmanTable, LOOKUP_BITS};

/// Look-ups between two refills: what they take, and the next one needs, is there after a refill.
const LOOKUPS: u32 = 56 / LOOKUP_BITS - 1;

/// Bytes after a segment that can be read, so that a refill need not look for the end.
pub(super) const PADDING: usize = 8;

/// The coefficients of a block by rows, dequantized, and space for the values of codes that have
/// none.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct Block(pub(super) [i16; 64], [i16; 16]);

impl Block {
    /// A block whose coefficients are all 0.
    pub(super) const ZERO: Self = Self([0; 64], [0; 16]);
}

/// The bits of a segment, in which nothing is stuffed.
pub(super) struct Bits<'a> {
    /// The segment and [`PADDING`] bytes.
    bytes: &'a [u8],
    /// The next byte to read. It may lie after the end, where zeros are read.
    at: usize,
    /// The next bits, from the most significant one on.
    next: u64,
    /// How many of them count.
    count: u32,
}

impl<'a> Bits<'a> {
    /// The bits of a segment that is followed by [`PADDING`] bytes.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, next: 0, count: 0 }
    }

    /// Whether more bits were taken than the segment has.
    pub(super) const fn is_overrun(&self) -> bool {
        // `at` is at most the length of a picture's coefficients.
        self.at * 8 > (self.bytes.len() - PADDING) * 8 + self.count as usize
    }

    /// Makes at least 56 bits available.
    #[inline(always)]
    fn refill(&mut self) {
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
        // Only whole bytes count. What is read beyond them is read again.
        self.next |= u64::from_be_bytes(bytes) >> self.count;
        self.at += ((63 - self.count) >> 3) as usize;
        self.count |= 56;
    }

    #[inline(always)]
    fn take(&mut self, code: Code) {
        // A shift by the bits of the code, which are fewer than 32.
        self.next = self.next.wrapping_shl(code.bits());
        self.count -= code.bits();
    }
}

/// A quantization table as the block decoder reads it: for each coefficient in coding order, its
/// step and its place in the block. The values of codes after the last coefficient are placed
/// behind the block.
#[derive(Clone, Debug)]
pub(super) struct Places([(u16, u16); 128]);

impl Places {
    /// The places of a table.
    pub(super) fn new(steps: &Steps) -> Self {
        Self(std::array::from_fn(|k| steps.get(k).map_or((0, 64), |step| (*step, u16::from(ZIGZAG[k])))))
    }
}

/// The tables of a component.
pub(super) struct Tables<'a> {
    pub(super) dc: &'a HuffmanTable,
    pub(super) ac: &'a HuffmanTable,
    pub(super) places: &'a Places,
}

/// Decodes the next block to `block`. `last_dc` is the DC coefficient of the
/// component's last block, as it was coded. Returns the index of the last coefficient in coding
/// order.
#[inline(always)]
pub(super) fn read_block(
    bits: &mut Bits<'_>,
    tables: &Tables<'_>,
    last_dc: &mut i32,
    block: &mut Block,
) -> Result<usize, JpegError> {
    block.0 = [0; 64];
    bits.refill();
    let mut code = tables.dc.look_up(bits.next);
    if code.bits() == 0 {
        code = long_code(tables.dc, bits.next)?;
    }
    bits.take(code);
    *last_dc = last_dc.wrapping_add(code.value());
    let (step, _) = tables.places.0[0];
    block.0[0] = dequantize(*last_dc, step);
    let mut k = 0;
    loop {
        bits.refill();
        for _ in 0..LOOKUPS {
            let mut code = tables.ac.look_up(bits.next);
            if code.bits() == 0 {
                bits.refill();
                code = long_code(tables.ac, bits.next)?;
                bits.take(code);
                bits.refill();
            } else {
                bits.take(code);
            }
            k += code.advance();
            let (step, place) = tables.places.0[k & 127];
            let value = dequantize(code.value(), step);
            if let Some(coefficient) = block.0.get_mut(usize::from(place)) {
                *coefficient = value;
            }
            if k >= 63 {
                return match k {
                    63 => Ok(63),
                    _ if code.is_end() => Ok(k - 64),
                    _ => Err(JpegError::Invalid("a coefficient after the last one of a block")),
                };
            }
        }
    }
}

/// The coefficient of a coded value. Values that no encoder writes wrap around.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "coefficients of valid pictures have at most 12 bits")]
const fn dequantize(value: i32, step: u16) -> i16 {
    value.wrapping_mul(step as i32) as i16
}

#[cold]
#[inline(never)]
fn long_code(table: &HuffmanTable, bits: u64) -> Result<Code, JpegError> {
    table.decode(bits).ok_or(JpegError::Invalid("an invalid Huffman code"))
}
