//! Drawing for [portraitd](https://github.com/portraitd/portraitd): views, composites and masks.
//!
//! A renderer draws into memory that somebody else owns, for example a slot of a ring. Each render
//! thread has its own renderer. Nothing is allocated once a renderer has seen its sizes.
//!
//! | module | contents |
//! |---|---|
//! | [`view`] | a crop of the source, with an optional inset of the whole frame |
//! | [`composite`] | people in front of another background; fails closed without a mask |
//! | [`shown`] | decides what of a frame a composite may show |
//! | [`mask`] | masks at a requested size, also with edges that follow the picture |
//! | [`chain`] | observe, direct and render without threads, for tools and tests |
//!
//! # Example
//!
//! A composite of a picture whose left half is a person:
//!
//! ```
//! use portraitd_media::{Colorimetry, Picture, PictureMut, PixelFormat, PixelRect, Size};
//! use portraitd_protocol::BackgroundMode;
//! use portraitd_render::{CompositeRenderer, MatteRules, PreparedBackground};
//! use portraitd_vision::Observation;
//!
//! let size = Size::new(32, 32);
//! let whole = PixelRect::of_size(size);
//! let pixels = [200, 150, 100].repeat(32 * 32);
//! let source = Picture::packed(PixelFormat::Rgb24, size, Colorimetry::default(), &pixels)?;
//!
//! // The probability that each pixel belongs to a person.
//! let values: Vec<f32> = (0..32 * 32).map(|i| if i % 32 < 16 { 1.0 } else { 0.0 }).collect();
//! // Frame 7 was captured at 1000 ns. The observation is of this frame, so all of it may be shown.
//! let observation = Observation::of_mask(7, 1000, size, values, size, whole);
//! let mut rules = MatteRules::new();
//! let matte = rules.own(&observation, (7, 1000), size);
//!
//! let background = PreparedBackground {
//!     version: 1,
//!     mode: BackgroundMode::Color,
//!     color: [0, 80, 0],
//!     blur: 0.0,
//!     image: None,
//! };
//! let mut drawn = vec![0; 32 * 32 * 3];
//! let mut output = PictureMut::packed(PixelFormat::Rgb24, size, &mut drawn)?;
//! CompositeRenderer::new().render(&source, whole, matte, &background, &mut output)?;
//!
//! let pixel = |x: usize, y: usize| &drawn[(y * 32 + x) * 3..][..3];
//! assert_eq!(pixel(4, 16), [200, 150, 100]);
//! assert_eq!(pixel(28, 16), [0, 80, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
pub mod shown;
pub mod view;

pub use chain::{Chain, ChainError, SubjectList, subjects};
pub use composite::{CompositeRenderer, PreparedBackground};
pub use error::RenderError;
pub use mask::{EdgeRenderer, draw_mask};
pub use shown::{MatteRules, ShownMatte};
pub use view::ViewRenderer;
