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
    /// The rings would use more memory than they may.
    #[error(
        "this needs {} MiB, and the rings use {} (this user's {}) of the {} that they may use in all; ask for a smaller size",
        wanted.div_ceil(1 << 20), used.div_ceil(1 << 20), by_user.div_ceil(1 << 20), limit >> 20
    )]
    OverBudget {
        /// Bytes that are wanted.
        wanted: usize,
        /// Bytes in use.
        used: usize,
        /// Bytes in use by the same user, those that its clients still hold included.
        by_user: usize,
        /// Bytes that all users may use.
        limit: usize,
    },
    /// A user has as many of something as it may have.
    #[error(
        "this user has {by_user} of {used} {what}, and there may be {limit}, some of which are kept for other users"
    )]
    OverQuota {
        /// What there is too much of.
        what: &'static str,
        /// How many this user has.
        by_user: usize,
        /// How many all users have.
        used: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The control group has nearly all of its memory.
    #[error(
        "the service uses nearly all of the {} MiB that it may use, perhaps because a client keeps memory of rings \
         that have ended: try again later",
        limit >> 20
    )]
    OutOfMemory {
        /// What the group may take, in bytes.
        limit: u64,
    },
    /// A user makes rings and snapshots faster than their remains can be accounted for.
    #[error("this user has asked for too many rings and snapshots in a short time; wait a minute")]
    TooFast,
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
