//! The fixed-point numbers of the scaler.

/// Fixed-point one: weights have 14 fractional bits.
pub(crate) const ONE: i16 = 1 << 14;

/// Fractional bits of samples that were brought from a byte for the horizontal pass.
pub(crate) const ROW_BITS: u32 = 6;

/// Fractional bits of what the vertical pass makes of bytes, for the horizontal pass after it.
pub(crate) const COLUMN_BITS: u32 = 5;
