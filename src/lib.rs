//! portraitd turns a camera into a service: it owns the camera, finds the people in the picture, and gives other
//! programs a mask, a person-centred view, or the people on another background.
//!
//! The way of a picture, who runs on which thread and who owns which buffer: `ARCHITECTURE.md`.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; what ships is linted without `test`"
    )
)]

pub mod command_line;
pub mod pipeline;
pub mod publish;
pub mod service;
pub mod source;
