//! The steps that take most of the time, as loops over rows that call the row kernels.
//!
//! The functions take raw pointers, because a step reads some maps of the arena while it writes
//! another.

pub(super) mod dense;
pub(super) mod parts;
pub(super) mod separable;
pub(super) mod upsample;
