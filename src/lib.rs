//! portraitd turns a camera into a service: it owns the camera, segments the people in the picture,
//! and offers other programs masks, person-centred views, and the people in front of another
//! background.
//!
//! `ARCHITECTURE.md` describes the frame path, the threads, and which thread owns which buffer.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; the shipped code is linted without `test`"
    )
)]

pub mod command_line;
pub mod doctor;
pub mod pipeline;
pub mod publish;
pub mod service;
pub mod source;
