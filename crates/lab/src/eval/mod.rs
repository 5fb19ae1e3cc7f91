//! Measures the quality of masks, boxes and crops, and writes HTML pages of the results.
//!
//! | module | contents |
//! |---|---|
//! | [`score`](mod@score) | one mask against its truth, and the summary of a set of pictures |
//! | [`masks`] | the masks of a video over time, with or without truth |
//! | [`stability`] | jitter of boxes, speed and direction changes of the crop |
//! | [`people`] | the number of people, their ids and heads, compared with a scene |
//! | [`breakdown`] | IoU by the size of a person and by the number of people |
//! | [`chain`] | the chain of `portraitd-render`, and beside it the net alone |
//! | [`video`] | all figures of a video, which passes through [`chain`] |
//! | [`page`] | self-contained HTML pages |
//! | [`room`] | how much of the room a composite shows |
//!
//! There are no threads, clocks or I/O. `docs/quality.md` defines the figures and gives today's
//! values.

pub mod breakdown;
pub mod chain;
pub mod masks;
pub mod page;
pub mod people;
pub mod room;
pub mod score;
pub mod stability;
pub mod video;

pub use chain::{EvalChain, EvalError};
pub use masks::{MaskMeter, MaskMetrics};
pub use people::{PeopleMeter, PeopleSummary};
pub use score::{PictureSummary, Score, score};
pub use video::{FrameMetrics, VideoSummary};
