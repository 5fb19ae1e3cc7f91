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
pub mod mask;
pub mod view;

pub use chain::{Chain, ChainError, subjects};
pub use composite::{Background, CompositeRenderer};
pub use mask::{EdgeRenderer, draw_mask};
pub use view::ViewRenderer;

/// Why a picture could not be drawn. Nothing of the source has been written then.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RenderError {
    /// The crop or a size is none that can be scaled.
    #[error(transparent)]
    Scale(#[from] portraitd_kernels::scale::ScaleError),
    /// The parts of a composite do not fit together.
    #[error(transparent)]
    Blend(#[from] portraitd_kernels::blend::BlendError),
}
