//! The laboratory of portraitd: it measures, demonstrates and compares the parts of the daemon.
//!
//! | module | contents |
//! |---|---|
//! | [`eval`] | scores of masks, boxes and crops, and HTML pages of them |
//! | [`layers`] | the tensors of a net, compared between engines and frameworks |
//! | [`trace`] | the director on a recorded trace of people |
//!
//! The program `portraitd-lab` runs them. `README.md` of this crate lists its commands.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests compute small pictures from loop counters; the library itself is linted without `test`"
    )
)]

pub mod eval;
pub mod layers;
pub mod trace;

use portraitd_vision::net::{EngineOptions, Model, Package};
use portraitd_vision::{HeadDetector, ObserveError};

/// The face detector of `models/heads`, which is part of this program.
///
/// # Errors
/// [`ObserveError::Model`] if its net cannot be prepared.
pub fn head_detector() -> Result<HeadDetector, ObserveError> {
    let manifest = include_str!("../../../models/heads/faces.toml");
    let onnx = include_bytes!("../../../models/heads/faces.onnx");
    HeadDetector::new(Model::new(Package::built_in("faces.toml", manifest, onnx)?, EngineOptions::default())?)
}
