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
