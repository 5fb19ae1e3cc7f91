//! One function for each fuzz target. The fuzzer calls it, and so does `tests/replay.rs` on a
//! stable compiler.

pub mod formats;
pub mod jpeg;
pub mod messages;
pub mod negotiate;
pub mod ring;
