//! Huffman tables that give a code's coefficient in one look-up (T.81, annexes C and F.2.2.3).

use crate::cast;

/// The bits of the code and of the coefficient that one look-up covers.
pub(super) const LOOKUP_BITS: u32 = 11;

/// What a table codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Differences of DC coefficients. A symbol is the number of bits of the difference.
    Dc,
    /// Other coefficients. A symbol is a run of zeros (upper half) and the number of bits of the
    /// coefficient after them.
    Ac,
}

/// What a code and the bits after it mean.
///
/// | bits | content |
/// |---|---|
/// | 0-5 | the bits of the code and of the value; 0 if they do not fit in a look-up |
/// | 6 | the block has no more coefficients |
/// | 8-15 | how far the value lies after the last one: 1 to 16, 64 at the end of a block, 0 for DC |
/// | 16-31 | the value, signed |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Code(u32);

impl Code {
    const END: u32 = 1 << 6;

    fn new(class: Class, symbol: u8, bits: u32, value: i16) -> Self {
        let (run, size) = (u32::from(symbol >> 4), symbol & 15);
        let advance = match class {
            Class::Dc => 0,
            Class::Ac if size == 0 && run < 15 => 64 << 8 | Self::END,
            Class::Ac => (run + 1) << 8,
        };
        Self(bits | advance | u32::from(value.cast_unsigned()) << 16)
    }

    /// The number of bits of the code and of the value, up to 31. 0 if the look-up does not cover
    /// them.
    #[inline(always)]
    pub(super) const fn bits(self) -> u32 {
        self.0 & 63
    }

    /// Whether the block has no more coefficients.
    #[inline(always)]
    pub(super) const fn is_end(self) -> bool {
        self.0 & Self::END != 0
    }

    /// How far the value lies after the last one.
    #[inline(always)]
    pub(super) const fn advance(self) -> usize {
        (self.0 >> 8 & 0xff) as usize
    }

    /// The value.
    #[inline(always)]
    pub(super) const fn value(self) -> i32 {
        self.0.cast_signed() >> 16
    }
}

/// A Huffman table.
pub(super) struct HuffmanTable {
    class: Class,
    counts: [u8; 16],
    symbols: [u8; 256],
    /// The code for each value of the next [`LOOKUP_BITS`] bits.
    lookup: Box<[Code; 1 << LOOKUP_BITS]>,
    /// For each length from 1 to 16: the end of its codes, aligned to 16 bits, and what to add to a
    /// code for the index of its symbol.
    lengths: [(u32, i32); 16],
}

impl std::fmt::Debug for HuffmanTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HuffmanTable").field("class", &self.class).field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Default for HuffmanTable {
    /// A table without codes.
    fn default() -> Self {
        Self {
            class: Class::Dc,
            counts: [0; 16],
            symbols: [0; 256],
            lookup: Box::new([Code(0); 1 << LOOKUP_BITS]),
            lengths: [(0, 0); 16],
        }
    }
}

impl HuffmanTable {
    /// Makes this the table with `counts` codes of each length from 1 to 16 for `symbols`. Nothing
    /// is done if it is that table already. `None` if the table is not valid.
    pub(super) fn set(&mut self, class: Class, counts: &[u8; 16], symbols: &[u8]) -> Option<()> {
        if self.class == class && self.counts == *counts && self.symbols.get(..symbols.len()) == Some(symbols) {
            return Some(());
        }
        let total: usize = counts.iter().copied().map(usize::from).sum();
        if total != symbols.len() || total > 256 {
            return None;
        }
        // The codes of all lengths must fit.
        let mut room = 1 << 16;
        for (length, count) in (1..).zip(counts) {
            room -= i32::from(*count) << (16 - length);
        }
        if room < 0 {
            return None;
        }
        (self.class, self.counts) = (class, *counts);
        self.symbols[..total].copy_from_slice(symbols);
        let (mut code, mut index) = (0_u32, 0_i32);
        for ((length, count), entry) in (1..).zip(counts).zip(&mut self.lengths) {
            let first = index - code.cast_signed();
            code += u32::from(*count);
            index += i32::from(*count);
            *entry = (code << (16 - length), first);
            code <<= 1;
        }
        for next in 0..1_u32 << LOOKUP_BITS {
            let bits = u64::from(next) << (64 - LOOKUP_BITS);
            let code = self.decode(bits).filter(|code| code.bits() <= LOOKUP_BITS);
            self.lookup[next as usize] = code.unwrap_or(Code(0));
        }
        Some(())
    }

    /// Makes this the table of T.81, K.3.3, for luma (`index` 0) or chroma (1).
    pub(super) fn set_standard(&mut self, class: Class, index: usize) {
        let (counts, symbols) = standard(class, index);
        self.set(class, &counts, &symbols).expect("a valid table");
    }

    /// What the next bits mean, if [`LOOKUP_BITS`] cover it.
    #[inline(always)]
    pub(super) fn look_up(&self, bits: u64) -> Code {
        self.lookup[(bits >> (64 - LOOKUP_BITS)) as usize]
    }

    /// What the next bits mean, of which there are at least 31. `None` if they are no code.
    pub(super) fn decode(&self, bits: u64) -> Option<Code> {
        let next = (bits >> 48) as u32;
        let length = self.lengths.iter().position(|&(end, _)| next < end)?;
        let code = (next >> (15 - length)).cast_signed();
        let symbol = self.symbols[usize::try_from(code + self.lengths[length].1).ok()?];
        let length = u32::try_from(length + 1).ok()?;
        let size = match self.class {
            Class::Dc if symbol > 15 => return None,
            _ => u32::from(symbol & 15),
        };
        let magnitude = cast::low_half(bits << length >> 1 >> (63 - size)).cast_signed();
        // A value that begins with 0 is negative (T.81, F.12).
        let value = if size > 0 && magnitude >> (size - 1) == 0 { magnitude - (1 << size) + 1 } else { magnitude };
        Some(Code::new(self.class, symbol, length + size, i16::try_from(value).ok()?))
    }
}

/// The counts and symbols of T.81, K.3.3, for luma (`index` 0) or chroma (1).
pub(super) fn standard(class: Class, index: usize) -> ([u8; 16], Vec<u8>) {
    // The first symbols; the others follow in ascending order.
    let (counts, first): (_, &[u8]) = match (class, index) {
        (Class::Dc, 0) => ([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], &[]),
        (Class::Dc, _) => ([0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], &[]),
        (Class::Ac, 0) => (
            [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d],
            &[
                0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22,
                0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33,
                0x62, 0x72, 0x82,
            ],
        ),
        (Class::Ac, _) => (
            [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77],
            &[
                0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13,
                0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62,
                0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1,
            ],
        ),
    };
    let is_symbol = |symbol: &u8| match class {
        Class::Dc => *symbol <= 11,
        Class::Ac if symbol & 15 == 0 => matches!(symbol, 0x00 | 0xf0),
        Class::Ac => symbol & 15 <= 10,
    };
    let rest = (0..=255).filter(|symbol| is_symbol(symbol) && !first.contains(symbol));
    (counts, first.iter().copied().chain(rest).collect())
}
