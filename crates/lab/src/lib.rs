//! The laboratory of portraitd: what measures, shows and compares, outside of the daemon.
//!
//! | module | contents |
//! |---|---|
//! | [`eval`] | scores of masks, boxes and crops, and HTML pages of them |
//! | [`layers`] | the tensors of a net, compared between engines and frameworks |
//! | [`trace`] | the director over a recorded trace of people |

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; what ships is linted without `test`"
    )
)]

pub mod eval;
pub mod layers;
pub mod trace;
