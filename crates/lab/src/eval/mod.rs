//! How good masks, boxes and crops are: scores of pictures and of videos, and the pages that show them.
//!
//! - [`score`](mod@score): one mask against its truth, and the summary of a set;
//! - [`masks`]: a video's masks over time, with or without truth;
//! - [`motion`]: how calm boxes and crops are;
//! - [`video`]: both over a whole video;
//! - [`chain`]: a picture's whole way, from pixels to mask, people and crop, frame by frame, without threads;
//! - [`page`]: all of that as one self-contained HTML page.
//!
//! No threads, no clock, no I/O. What the figures mean and what they are today: `docs/quality.md`.

pub mod masks;
pub mod motion;
pub mod page;
pub mod score;
pub mod video;

pub use masks::{MaskFrame, MaskMeter};
pub use score::{Score, Summary, score};
pub use video::{Moment, VideoSummary};
