//! Why a ring cannot be made, or a client not added to one.

use portraitd_media::{PixelFormat, Size};
use portraitd_protocol::layout::LayoutError;
use rustix::io::Errno;

/// Why a ring cannot be made, or a client not added.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The picture cannot be laid out.
    #[error("a ring for {size} {format} pictures: {error}")]
    Layout {
        /// Size of the pictures.
        size: Size,
        /// Their format.
        format: PixelFormat,
        /// What cannot be.
        error: LayoutError,
    },
    /// The ring is closed; attach to its successor.
    #[error("the ring is closed")]
    Closed,
    /// The ring has as many clients as it may have: a program that attaches and never leaves must not use up the service's
    /// descriptors.
    #[error("this stream has {0} clients already, and no more are served")]
    Full(usize),
    /// All rings together would take too much of the service's memory.
    #[error(
        "this stream's pictures would take {} MiB, and the streams that are served take {} of the {} that they may",
        wanted.div_ceil(1 << 20), used.div_ceil(1 << 20), limit >> 20
    )]
    OverBudget {
        /// Bytes of the ring that is asked for.
        wanted: usize,
        /// Of those that there are.
        used: usize,
        /// The most.
        limit: usize,
    },
    /// A system call failed.
    #[error("{call}: {error}")]
    System {
        /// The call, by its name in the manual.
        call: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
}

impl PublishError {
    pub(super) fn call(call: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::System { call, error: errno.into() }
    }
}
