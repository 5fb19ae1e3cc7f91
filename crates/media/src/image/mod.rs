//! Still pictures: decodes PNG and JPEG, encodes PNG. The contents of a file decide its type, not
//! its name. All functions can be called from any thread.
//!
//! - **RGB** ([`decode`], [`read`]): packed `Rgb24`. Grey is expanded to three components. A
//!   picture with alpha is composited over white, as viewers do. Of 16-bit components the upper 8
//!   bits are used. Colour profiles are ignored (sRGB is assumed). The EXIF orientation of a JPEG
//!   is applied. CMYK is refused.
//! - **Grey** ([`decode_grey`], [`read_grey`]): for masks. Colour pictures are converted to BT.601
//!   luma; alpha is ignored.
//! - **RGB and alpha** ([`decode_rgba`]): `Rgbx32` whose fourth component is alpha, not
//!   premultiplied.
//!
//! Limits are checked before anything is allocated: [`MAX_SIDE_PX`] a side (64 Mi pixels),
//! [`MAX_FILE_BYTES`] a file. A file that is cut off is an error; a partial picture is never
//! returned.

mod content;
mod error;
mod jpeg;
mod png;

pub use content::{Content, sniff};
pub use error::{ImageError, MAX_FILE_BYTES, MAX_SIDE_PX, Reason};

use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::bounded::read_regular;
use crate::owned::OwnedPicture;
use portraitd_kernels::picture::{Colorimetry, Picture, PixelFormat, Size};

/// Adds the name of the file or bytes to an error.
fn named<T>(path: &Path, result: Result<T, Reason>) -> Result<T, ImageError> {
    result.map_err(|reason| ImageError { path: path.to_owned(), reason })
}

/// Decodes a PNG or JPEG to `Rgb24`. `name` is used in errors.
///
/// # Errors
/// [`ImageError`]: the bytes are not a picture, or it is too large, empty, unsupported, damaged or
/// cut off.
pub fn decode(bytes: &[u8], name: &Path) -> Result<OwnedPicture, ImageError> {
    named(name, decode_as(bytes, PixelFormat::Rgb24))
}

/// Decodes a PNG or JPEG to `Grey`. `name` is used in errors.
///
/// # Errors
/// The errors of [`decode`].
pub fn decode_grey(bytes: &[u8], name: &Path) -> Result<OwnedPicture, ImageError> {
    named(name, decode_as(bytes, PixelFormat::Grey))
}

/// Decodes a PNG or JPEG to `Rgbx32` whose fourth component is alpha; 255 if the file has no alpha.
///
/// # Errors
/// The errors of [`decode`].
pub fn decode_rgba(bytes: &[u8], name: &Path) -> Result<OwnedPicture, ImageError> {
    named(name, decode_as(bytes, PixelFormat::Rgbx32))
}

/// Reads and decodes a file to `Rgb24`.
///
/// # Errors
/// The errors of [`decode`], or the file cannot be read.
pub fn read(path: &Path) -> Result<OwnedPicture, ImageError> {
    named(path, bytes_of(path).and_then(|bytes| decode_as(&bytes, PixelFormat::Rgb24)))
}

/// Reads and decodes a file to `Grey`.
///
/// # Errors
/// The errors of [`decode`], or the file cannot be read.
pub fn read_grey(path: &Path) -> Result<OwnedPicture, ImageError> {
    named(path, bytes_of(path).and_then(|bytes| decode_as(&bytes, PixelFormat::Grey)))
}

/// Writes a `Grey` or `Rgb24` picture as PNG.
///
/// # Errors
/// [`ImageError`] with the path `name`: another pixel format, or an error of `out`.
pub fn encode_png(out: impl Write, picture: &Picture<'_>, name: &Path) -> Result<(), ImageError> {
    named(name, png::encode(out, picture))
}

/// Writes a `Grey` or `Rgb24` picture to a PNG file. It is encoded in memory first, so only a
/// failed write (for example to a full disk) can leave a partial file.
///
/// # Errors
/// The errors of [`encode_png`].
pub fn write_png(path: &Path, picture: &Picture<'_>) -> Result<(), ImageError> {
    let mut bytes = Vec::new();
    encode_png(&mut bytes, picture, path)?;
    named(path, std::fs::write(path, bytes).map_err(Reason::Write))
}

/// The size in the header of a PNG or JPEG, before the EXIF orientation is applied; `None` for
/// anything else.
pub fn size_of(bytes: &[u8]) -> Option<Size> {
    match sniff(bytes) {
        Content::Png => png::header_size(bytes),
        Content::Jpeg => jpeg::outline(bytes).map(|outline| outline.size),
        _ => None,
    }
}

/// The most memory that [`decode`] takes besides `bytes`, in bytes, by the headers; `None` if they
/// are not those of a PNG or JPEG, which [`decode`] then refuses at once.
///
/// A progressive JPEG takes up to nine bytes a pixel, a baseline one three; one that its orientation
/// turns by 90 degrees takes at least six. A PNG takes four, or five if it is grey.
pub fn peak_bytes(bytes: &[u8]) -> Option<u64> {
    match sniff(bytes) {
        Content::Png => png::peak_bytes(bytes),
        Content::Jpeg => jpeg::outline(bytes).map(|outline| outline.peak_bytes()),
        _ => None,
    }
}

/// Reads a whole picture file without decoding it.
///
/// # Errors
/// The file cannot be read, or is larger than [`MAX_FILE_BYTES`].
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, ImageError> {
    named(path, bytes_of(path))
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, Reason> {
    read_regular(path, MAX_FILE_BYTES).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => Reason::FileTooLarge,
        _ => Reason::Read(error),
    })
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

/// Converts pixels of 1 to 4 channels (grey, grey + alpha, RGB, RGB + alpha) to `wanted`.
fn convert(mut bytes: Vec<u8>, channels: usize, wanted: PixelFormat) -> Vec<u8> {
    match (channels, wanted) {
        (1, PixelFormat::Grey) | (3, PixelFormat::Rgb24) | (4, PixelFormat::Rgbx32) => return bytes,
        _ => {}
    }
    let wanted_channels = match wanted {
        PixelFormat::Grey => 1,
        PixelFormat::Rgbx32 => 4,
        _ => 3,
    };
    let converted = |pixel: &[u8]| {
        let rgba @ [r, g, b, alpha] = rgba(pixel);
        match wanted {
            PixelFormat::Grey => [luma(rgba); 4],
            PixelFormat::Rgbx32 => rgba,
            _ => [r, g, b, 255].map(|value| on_white(value, alpha)),
        }
    };
    let pixels = bytes.len() / channels;
    if channels < wanted_channels {
        let mut out = Vec::with_capacity(pixels * wanted_channels);
        for pixel in bytes.chunks_exact(channels) {
            out.extend_from_slice(&converted(pixel)[..wanted_channels]);
        }
        return out;
    }
    // In place: a second copy of a large picture would be a lot of memory.
    for index in 0..pixels {
        let pixel = converted(&bytes[index * channels..][..channels]);
        bytes[index * wanted_channels..][..wanted_channels].copy_from_slice(&pixel[..wanted_channels]);
    }
    bytes.truncate(pixels * wanted_channels);
    bytes.shrink_to_fit();
    bytes
}

/// A pixel of 1 to 4 channels as red, green, blue and alpha.
fn rgba(pixel: &[u8]) -> [u8; 4] {
    match *pixel {
        [grey] => [grey, grey, grey, 255],
        [grey, alpha] => [grey, grey, grey, alpha],
        [r, g, b] => [r, g, b, 255],
        [r, g, b, alpha] => [r, g, b, alpha],
        _ => [0; 4],
    }
}

/// BT.601 luma in full range. Equal components keep their value.
fn luma([r, g, b, _]: [u8; 4]) -> u8 {
    let sum = 299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b);
    u8::try_from((sum + 500) / 1000).unwrap_or(u8::MAX)
}

/// One component composited over white.
fn on_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    u8::try_from((value * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
