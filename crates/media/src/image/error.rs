//! The errors of reading and writing pictures, and the limits that are checked before anything is
//! allocated.

use std::io;
use std::path::PathBuf;

use super::content::Content;
use portraitd_kernels::picture::Size;

/// The largest width and height of a picture that is decoded, in pixels.
pub const MAX_SIDE_PX: u32 = 8192;

/// The largest picture file that is read, in bytes: enough for an uncompressed RGB PNG of the
/// largest picture.
pub const MAX_FILE_BYTES: u64 = 3 * (MAX_SIDE_PX as u64).pow(2) + (1 << 20);

/// Why a picture could not be read or written. The text is one line that begins with the path.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct ImageError {
    /// The file, or the name that the caller gave to the bytes.
    pub path: PathBuf,
    /// The failure.
    pub reason: Reason,
}

/// The ways in which reading or writing a picture can fail.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// The file cannot be written.
    #[error("cannot be written: {0}")]
    Write(io::Error),
    /// The file is larger than [`MAX_FILE_BYTES`].
    #[error("larger than {MAX_FILE_BYTES} bytes, the limit for a picture file")]
    FileTooLarge,
    /// The contents are neither PNG nor JPEG.
    #[error("not a PNG or JPEG picture: it looks like {}{}", .0, .0.advice())]
    NotAPicture(Content),
    /// The picture has a width or height of 0.
    #[error("a picture of {0} has no pixels")]
    Empty(Size),
    /// The width or height exceeds [`MAX_SIDE_PX`].
    #[error("a picture of {0} is over the limit of {MAX_SIDE_PX}x{MAX_SIDE_PX} pixels")]
    TooLarge(Size),
    /// The kind of picture is not supported; the text says which kind.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The file is damaged or cut off; the text says where.
    #[error("damaged: {0}")]
    Malformed(String),
}

/// Checks a size before anything is allocated for it.
pub(super) fn check_size(size: Size) -> Result<(), Reason> {
    if size.is_empty() {
        return Err(Reason::Empty(size));
    }
    if size.width > MAX_SIDE_PX || size.height > MAX_SIDE_PX {
        return Err(Reason::TooLarge(size));
    }
    Ok(())
}
