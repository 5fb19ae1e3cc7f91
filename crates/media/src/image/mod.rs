//! Still pictures: PNG and JPEG in, PNG out. What a file is, is told by its bytes and not by its name. Any thread; the
//! caller owns what is returned.
//!
//! - **RGB** ([`decode`], [`read`]): packed `Rgb24`. Grey is spread to three components; a picture with alpha is shown on
//!   white, as viewers show it; 16 bits are cut to the upper 8; colour profiles are ignored (sRGB is assumed); the EXIF
//!   orientation of a JPEG is applied. CMYK is refused.
//! - **Grey** ([`decode_grey`], [`read_grey`]): for masks. Colour pictures are turned into BT.601 luma; alpha is ignored.
//! - **RGB and alpha** ([`decode_rgba`]): `Rgbx32` whose fourth component is alpha, not premultiplied.
//!
//! Limits hold before anything is allocated: [`MAX_SIDE_PX`] a side (so 64 Mi pixels), [`MAX_FILE_BYTES`] a file. A file
//! that was cut off is an error, never half a picture.

mod content;
mod jpeg;
mod png;

pub use content::{Content, sniff};

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::{Colorimetry, OwnedPicture, Picture, PixelFormat, Size};

/// The largest width and height that is decoded, in pixels.
pub const MAX_SIDE_PX: u32 = 8192;

/// The largest file that is read, in bytes: an uncompressed RGB PNG of the largest picture.
pub const MAX_FILE_BYTES: u64 = 3 * (MAX_SIDE_PX as u64).pow(2) + (1 << 20);

/// Why a picture could not be read or written. Display is one line that begins with the path.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct ImageError {
    /// The file, or what the caller calls the bytes.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a picture.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// The file cannot be written.
    #[error("cannot be written: {0}")]
    Write(io::Error),
    /// It is larger than [`MAX_FILE_BYTES`].
    #[error("larger than {MAX_FILE_BYTES} bytes, the limit for a picture file")]
    FileTooLarge,
    /// It is something else.
    #[error("not a PNG or JPEG picture: it looks like {0}")]
    NotAPicture(Content),
    /// It has no pixels.
    #[error("a picture of {0} has no pixels")]
    Empty(Size),
    /// It has too many.
    #[error("a picture of {0} is over the limit of {MAX_SIDE_PX}x{MAX_SIDE_PX} pixels")]
    TooLarge(Size),
    /// It is a picture of a kind that is not supported.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// It is damaged or cut off.
    #[error("damaged: {0}")]
    Malformed(String),
}

fn check_size(size: Size) -> Result<(), Reason> {
    if size.is_empty() {
        return Err(Reason::Empty(size));
    }
    if size.width > MAX_SIDE_PX || size.height > MAX_SIDE_PX {
        return Err(Reason::TooLarge(size));
    }
    Ok(())
}

fn named<T>(path: &Path, result: Result<T, Reason>) -> Result<T, ImageError> {
    result.map_err(|reason| ImageError { path: path.to_owned(), reason })
}

/// Decodes a PNG or JPEG to `Rgb24`. `name` is what errors call it.
///
/// # Errors
/// [`ImageError`]: not a picture, too large, empty, unsupported, damaged or cut off.
pub fn decode(bytes: &[u8], name: &Path) -> Result<OwnedPicture, ImageError> {
    named(name, decode_as(bytes, PixelFormat::Rgb24))
}

/// Decodes a PNG or JPEG to `Grey`. `name` is what errors call it.
///
/// # Errors
/// As [`decode`].
pub fn decode_grey(bytes: &[u8], name: &Path) -> Result<OwnedPicture, ImageError> {
    named(name, decode_as(bytes, PixelFormat::Grey))
}

/// Decodes a PNG or JPEG to `Rgbx32` with alpha as the fourth component, 255 where the file has none.
///
/// # Errors
/// As [`decode`].
pub fn decode_rgba(bytes: &[u8], name: &Path) -> Result<OwnedPicture, ImageError> {
    named(name, decode_as(bytes, PixelFormat::Rgbx32))
}

/// Reads and decodes a file to `Rgb24`.
///
/// # Errors
/// As [`decode`], or the file cannot be read.
pub fn read(path: &Path) -> Result<OwnedPicture, ImageError> {
    named(path, bytes_of(path).and_then(|bytes| decode_as(&bytes, PixelFormat::Rgb24)))
}

/// Reads and decodes a file to `Grey`.
///
/// # Errors
/// As [`decode`], or the file cannot be read.
pub fn read_grey(path: &Path) -> Result<OwnedPicture, ImageError> {
    named(path, bytes_of(path).and_then(|bytes| decode_as(&bytes, PixelFormat::Grey)))
}

/// Writes a `Grey` or `Rgb24` picture as PNG.
///
/// # Errors
/// [`ImageError`] under the name of `name`: another pixel format, or what `out` returns.
pub fn encode_png(out: impl Write, picture: &Picture<'_>, name: &Path) -> Result<(), ImageError> {
    named(name, png::encode(out, picture))
}

/// Writes a `Grey` or `Rgb24` picture to a PNG file, encoded in memory first so that a full disk is the only way to leave
/// half a file.
///
/// # Errors
/// As [`encode_png`].
pub fn write_png(path: &Path, picture: &Picture<'_>) -> Result<(), ImageError> {
    let mut bytes = Vec::new();
    encode_png(&mut bytes, picture, path)?;
    named(path, std::fs::write(path, bytes).map_err(Reason::Write))
}

/// The size that a PNG or JPEG says it has, as it is stored; `None` for anything else.
pub fn size_of(bytes: &[u8]) -> Option<Size> {
    match sniff(bytes) {
        Content::Png => png::header_size(bytes),
        Content::Jpeg => jpeg::outline(bytes).map(|outline| outline.size),
        _ => None,
    }
}

/// The bytes of a picture file.
///
/// # Errors
/// It cannot be read, or has more than [`MAX_FILE_BYTES`].
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, ImageError> {
    named(path, bytes_of(path))
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, Reason> {
    let file = File::open(path).map_err(Reason::Read)?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that an endless file (a device) ends here too.
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(Reason::Read)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(Reason::FileTooLarge);
    }
    Ok(bytes)
}

fn decode_as(bytes: &[u8], wanted: PixelFormat) -> Result<OwnedPicture, Reason> {
    let (size, channels, bytes) = match sniff(bytes) {
        Content::Png => {
            let decoded = png::decode(bytes)?;
            (decoded.size, decoded.channels, decoded.bytes)
        }
        Content::Jpeg => {
            let (size, bytes) = jpeg::decode(bytes)?;
            (size, 3, bytes)
        }
        other => return Err(Reason::NotAPicture(other)),
    };
    let bytes = convert(bytes, channels, wanted);
    OwnedPicture::new(wanted, size, Colorimetry::default(), bytes).map_err(|error| Reason::Malformed(error.to_string()))
}

/// From 1 to 4 channels (grey, grey + alpha, RGB, RGB + alpha) to `wanted`.
fn convert(bytes: Vec<u8>, channels: usize, wanted: PixelFormat) -> Vec<u8> {
    match (channels, wanted) {
        (1, PixelFormat::Grey) | (3, PixelFormat::Rgb24) | (4, PixelFormat::Rgbx32) => return bytes,
        _ => {}
    }
    let pixels = bytes.chunks_exact(channels).map(|pixel| match *pixel {
        [grey] => [grey, grey, grey, 255],
        [grey, alpha] => [grey, grey, grey, alpha],
        [r, g, b] => [r, g, b, 255],
        [r, g, b, alpha] => [r, g, b, alpha],
        _ => [0; 4],
    });
    match wanted {
        PixelFormat::Grey => pixels.map(luma).collect(),
        PixelFormat::Rgbx32 => pixels.flatten().collect(),
        _ => pixels.flat_map(|[r, g, b, alpha]| [r, g, b].map(|value| on_white(value, alpha))).collect(),
    }
}

/// BT.601 luma in full range; equal components keep their value.
fn luma([r, g, b, _]: [u8; 4]) -> u8 {
    let sum = 299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b);
    u8::try_from((sum + 500) / 1000).unwrap_or(u8::MAX)
}

fn on_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    u8::try_from((value * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
