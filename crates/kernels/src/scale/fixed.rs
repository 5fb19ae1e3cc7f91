//! The fixed-point formats of the scaler.

/// The value one of filter weights, which have 14 fractional bits.
pub(crate) const ONE: i16 = 1 << 14;

/// Fractional bits of samples that are converted from bytes for the horizontal filter.
pub(crate) const ROW_BITS: u32 = 6;

/// Fractional bits of the results of the vertical filter when the horizontal filter follows.
pub(crate) const COLUMN_BITS: u32 = 5;
