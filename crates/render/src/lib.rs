//! What streams show: the view, the composite and the mask, drawn into memory that somebody else owns (a ring's slot, or
//! a picture to be saved). Each render thread owns one renderer; nothing is allocated once it has met its sizes.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make small pictures from loop counters; what ships is linted without `test`"
    )
)]

pub mod chain;
pub mod composite;
mod error;
pub mod mask;
pub mod view;

pub use chain::{Chain, ChainError, SubjectList, subjects};
pub use composite::{Background, CompositeRenderer};
pub use error::RenderError;
pub use mask::{EdgeRenderer, draw_mask};
pub use view::ViewRenderer;
