//! What each fuzz target does with its input: for the fuzzer, and for `tests/replay.rs` on a stable compiler.

pub mod formats;
pub mod jpeg;
pub mod negotiate;
