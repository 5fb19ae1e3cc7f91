//! Converts frames to packed pixels and to PNG, PPM and PGM files, which is not fast, and to the
//! videos that other programs read from a pipe: y4m and motion JPEG.

mod jpeg;
mod y4m;

pub use jpeg::JpegEncoder;
pub use y4m::{append_y4m_frame, y4m_header};

use std::io::{self, Write as _};

use crate::ring::FrameCopy;
use portraitd_protocol::{PixelFormat, Range, Size};

/// A grey or RGB picture with 8 bits per channel and without padding between rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedPicture {
    /// Width in pixels.
    pub width: u32,
    /// Height in rows.
    pub height: u32,
    /// Channels of a pixel: 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// The pixels, `height * width * channels` bytes, row by row.
    pub data: Vec<u8>,
}

/// Converts a frame to grey (masks) or RGB (all other formats). Chroma is repeated and not
/// interpolated. Returns `None` for a [`FrameCopy`] that never held a frame.
pub fn to_packed(frame: &FrameCopy) -> Option<PackedPicture> {
    let layout = frame.layout()?;
    let Size { width, height } = layout.size;
    let (columns, rows) = (portraitd_protocol::layout::to_usize(width), portraitd_protocol::layout::to_usize(height));
    if layout.format == PixelFormat::Grey {
        let data = frame.rows(0).flatten().copied().collect();
        return Some(PackedPicture { width, height, channels: 1, data });
    }
    let convert = Converter::new(frame)?;
    let mut data = Vec::with_capacity(columns * rows * 3);
    for y in 0..rows {
        for x in 0..columns {
            data.extend_from_slice(&convert.pixel(x, y));
        }
    }
    Some(PackedPicture { width, height, channels: 3, data })
}

fn unsupported(what: &str, format: PixelFormat) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("{what} is made of 4:2:0 or grey frames, not of {format}"))
}

/// Where the chroma of a frame in 4:2:0 lies: for each of Cb and Cr the plane and the first byte in
/// its rows, and the bytes from one sample to the next.
#[derive(Clone, Copy)]
struct Chroma {
    cb: (usize, usize),
    cr: (usize, usize),
    step: usize,
}

impl Chroma {
    /// `None` if the format is not 4:2:0.
    const fn of(format: PixelFormat) -> Option<Self> {
        match format {
            PixelFormat::Nv12 => Some(Self { cb: (1, 0), cr: (1, 1), step: 2 }),
            PixelFormat::Nv21 => Some(Self { cb: (1, 1), cr: (1, 0), step: 2 }),
            PixelFormat::I420 => Some(Self { cb: (1, 0), cr: (2, 0), step: 1 }),
            _ => None,
        }
    }
}

/// Reads single pixels of a frame as RGB.
struct Converter<'a> {
    format: PixelFormat,
    planes: [(&'a [u8], usize); 3],
    /// The factors from Cr to red, Cb to green, Cr to green, and Cb to blue.
    matrix: [f32; 4],
    luma_offset: f32,
    luma_gain: f32,
    chroma_gain: f32,
}

impl<'a> Converter<'a> {
    fn new(frame: &'a FrameCopy) -> Option<Self> {
        let layout = frame.layout()?;
        let (red, blue) = layout.color.matrix.weights();
        let green = 1.0 - red - blue;
        let (red_gain, blue_gain) = (2.0 * (1.0 - red), 2.0 * (1.0 - blue));
        let matrix = [red_gain, -blue * blue_gain / green, -red * red_gain / green, blue_gain];
        let full = layout.color.range == Range::Full;
        Some(Self {
            format: layout.format,
            planes: std::array::from_fn(|plane| frame.plane(plane)),
            matrix,
            luma_offset: if full { 0.0 } else { 16.0 },
            luma_gain: if full { 1.0 } else { 255.0 / 219.0 },
            chroma_gain: if full { 1.0 } else { 255.0 / 224.0 },
        })
    }

    fn byte(&self, plane: usize, x: usize, y: usize) -> u8 {
        let (data, stride) = self.planes[plane];
        data[y * stride + x]
    }

    fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = |plane, x, y| self.byte(plane, x, y);
        match self.format {
            PixelFormat::Grey => [at(0, x, y); 3],
            PixelFormat::Rgb24 => [at(0, 3 * x, y), at(0, 3 * x + 1, y), at(0, 3 * x + 2, y)],
            PixelFormat::Bgr24 => [at(0, 3 * x + 2, y), at(0, 3 * x + 1, y), at(0, 3 * x, y)],
            PixelFormat::Rgbx32 => [at(0, 4 * x, y), at(0, 4 * x + 1, y), at(0, 4 * x + 2, y)],
            PixelFormat::Bgrx32 => [at(0, 4 * x + 2, y), at(0, 4 * x + 1, y), at(0, 4 * x, y)],
            PixelFormat::Nv12 => self.rgb(at(0, x, y), at(1, x / 2 * 2, y / 2), at(1, x / 2 * 2 + 1, y / 2)),
            PixelFormat::Nv21 => self.rgb(at(0, x, y), at(1, x / 2 * 2 + 1, y / 2), at(1, x / 2 * 2, y / 2)),
            PixelFormat::I420 => self.rgb(at(0, x, y), at(1, x / 2, y / 2), at(2, x / 2, y / 2)),
            PixelFormat::I422 => self.rgb(at(0, x, y), at(1, x / 2, y), at(2, x / 2, y)),
            PixelFormat::Yuyv => self.rgb(at(0, 2 * x, y), at(0, x / 2 * 4 + 1, y), at(0, x / 2 * 4 + 3, y)),
            PixelFormat::Uyvy => self.rgb(at(0, 2 * x + 1, y), at(0, x / 2 * 4, y), at(0, x / 2 * 4 + 2, y)),
        }
    }

    fn rgb(&self, luma: u8, cb: u8, cr: u8) -> [u8; 3] {
        let luma = (f32::from(luma) - self.luma_offset) * self.luma_gain;
        let cb = (f32::from(cb) - 128.0) * self.chroma_gain;
        let cr = (f32::from(cr) - 128.0) * self.chroma_gain;
        let [red, green_cb, green_cr, blue] = self.matrix;
        [to_byte(luma + red * cr), to_byte(luma + green_cb * cb + green_cr * cr), to_byte(luma + blue * cb)]
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded and clamped to 0..=255")]
fn to_byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

/// Writes a picture as PNG.
///
/// # Errors
/// The error of `out`.
pub fn write_png(picture: &PackedPicture, out: impl io::Write) -> io::Result<()> {
    let mut encoder = png::Encoder::new(out, picture.width, picture.height);
    encoder.set_color(if picture.channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&picture.data)?;
    writer.finish()?;
    Ok(())
}

/// Writes a frame as PNG, row by row: grey for masks, RGB for all other formats. Takes less memory
/// and time than [`to_packed`] and [`write_png`], and compresses less.
///
/// # Errors
/// The error of `out`; `InvalidInput` for a [`FrameCopy`] that never held a frame.
pub fn write_frame_png(frame: &FrameCopy, out: impl io::Write) -> io::Result<()> {
    let none = || io::Error::new(io::ErrorKind::InvalidInput, "there is no frame");
    let layout = frame.layout().ok_or_else(none)?;
    let Size { width, height } = layout.size;
    let (columns, rows) = (portraitd_protocol::layout::to_usize(width), portraitd_protocol::layout::to_usize(height));
    let grey = layout.format == PixelFormat::Grey;
    let mut encoder = png::Encoder::new(out, width, height);
    encoder.set_color(if grey { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    let mut stream = writer.stream_writer_with_size(64 << 10)?;
    if grey {
        frame.rows(0).try_for_each(|row| stream.write_all(row))?;
    } else {
        let convert = Converter::new(frame).ok_or_else(none)?;
        let mut row = Vec::with_capacity(3 * columns);
        for y in 0..rows {
            row.clear();
            (0..columns).for_each(|x| row.extend_from_slice(&convert.pixel(x, y)));
            stream.write_all(&row)?;
        }
    }
    stream.finish()?;
    writer.finish()?;
    Ok(())
}

/// Writes a picture as binary PPM (RGB) or PGM (grey).
///
/// # Errors
/// The error of `out`.
pub fn write_pnm(picture: &PackedPicture, mut out: impl io::Write) -> io::Result<()> {
    let kind = if picture.channels == 1 { "P5" } else { "P6" };
    write!(out, "{kind}\n{} {}\n255\n", picture.width, picture.height)?;
    out.write_all(&picture.data)
}

/// Writes the planes of a frame one after the other, row by row and without padding.
///
/// # Errors
/// The error of `out`.
pub fn write_raw(frame: &FrameCopy, mut out: impl io::Write) -> io::Result<()> {
    for plane in 0..frame.layout().map_or(0, |layout| layout.planes().len()) {
        for row in frame.rows(plane) {
            out.write_all(row)?;
        }
    }
    Ok(())
}
