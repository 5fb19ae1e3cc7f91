//! Scores of masks against the truth, and their summary over a set of pictures. Pure.

pub mod score;

pub use score::{Score, Summary, score};
