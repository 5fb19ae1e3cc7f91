//! The weighted rows of a sum, as the loops in assembly take them.

use super::area::Weighted;

/// A row of bytes and its weight: `whole`, plus `fraction` of 65536.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct WeightedRow {
    row: *const u8,
    whole: usize,
    fraction: usize,
}

/// The weighted rows of a sum, in the layout that the assembly expects.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Edges {
    rows: [WeightedRow; 2],
    /// Half of the unit that the shift cuts off, for rounding.
    half: usize,
    /// The shift: to the right, or negative for assembly that shifts to the left.
    shift: isize,
}

impl Edges {
    /// Two rows of at least `count` bytes, whose sum has `bits` fractional bits, 7 at most.
    ///
    /// # Panics
    /// If a row is shorter, or there are more bits.
    pub(super) fn new(rows: [&[u8]; 2], weights: [Weighted; 2], bits: u32, count: usize) -> Self {
        assert!(bits < 8, "a number of bits that fits");
        assert!(rows.iter().all(|row| row.len() >= count), "every row must be as long as the output");
        let rows = std::array::from_fn(|i| WeightedRow {
            row: rows[i].as_ptr(),
            whole: usize::from(weights[i].whole << bits),
            fraction: weights[i].fraction.into(),
        });
        Self { rows, half: (1 << (7 - bits)) / 2, shift: 7 - bits.cast_signed() as isize }
    }

    /// With the shift as a negative one to the left.
    #[cfg(target_arch = "arm")]
    pub(super) fn shifting_left(self) -> Self {
        Self { shift: -self.shift, ..self }
    }
}
