//! The errors of rings.

use portraitd_media::{PixelFormat, Size};
use portraitd_protocol::layout::LayoutError;
use rustix::io::Errno;

/// Why a ring cannot be created, or why it takes no further client.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// No layout for pictures of this size and format.
    #[error("a ring for {size} {format} pictures: {error}")]
    Layout {
        /// Size of the pictures.
        size: Size,
        /// Format of the pictures.
        format: PixelFormat,
        /// The reason.
        error: LayoutError,
    },
    /// The ring is closed. The client can attach to its successor.
    #[error("the ring is closed")]
    Closed,
    /// The ring has the most clients that are allowed. The limit keeps a program that attaches
    /// endlessly from using up the service's descriptors.
    #[error("this stream already has {0} clients, the most that one ring serves")]
    Full(usize),
    /// All rings together would use more memory than they may.
    #[error(
        "a ring for this stream needs {} MiB, and the other rings use {} of the {} that they may use in all; ask for a smaller size",
        wanted.div_ceil(1 << 20), used.div_ceil(1 << 20), limit >> 20
    )]
    OverBudget {
        /// Bytes of the requested ring.
        wanted: usize,
        /// Bytes that the other rings use.
        used: usize,
        /// Bytes that all rings together may use.
        limit: usize,
    },
    /// A system call failed.
    #[error("{call}: {error}")]
    System {
        /// Name of the call, as in its manual page.
        call: &'static str,
        /// The error of the system.
        error: std::io::Error,
    },
}

impl PublishError {
    pub(super) fn call(call: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::System { call, error: errno.into() }
    }
}
