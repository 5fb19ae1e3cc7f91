//! PNG, with the crate `png`: decodes any colour type and depth to 8 bits a component; encodes grey
//! and RGB.

use std::io::{self, Cursor, Write};

use super::error::{Reason, check_size};
use portraitd_kernels::picture::{Picture, PixelFormat, Size};

/// A decoded picture: packed rows, 8 bits a component.
pub(super) struct Decoded {
    pub(super) size: Size,
    /// 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha (not premultiplied).
    pub(super) channels: usize,
    pub(super) bytes: Vec<u8>,
}

/// The size in the `IHDR` chunk, which is always the first one; `None` if the bytes do not begin
/// with it.
pub(super) fn header_size(bytes: &[u8]) -> Option<Size> {
    let header = bytes.get(8..24)?.strip_prefix(&[0, 0, 0, 13, b'I', b'H', b'D', b'R'])?;
    let number = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    Some(Size::new(number(0)?, number(4)?))
}

/// What the decoder may take for rows and chunks, in bytes.
const DECODER_BYTES: usize = 2 << 20;

/// The most memory that decoding to RGB takes, in bytes; `None` if the header is cut off.
pub(super) fn peak_bytes(bytes: &[u8]) -> Option<u64> {
    let area = header_size(bytes)?.area();
    // Any picture may have a transparent colour. Grey is converted in a second buffer.
    let a_pixel = match bytes.get(25)? {
        0 | 4 => 2 + 3,
        _ => 4,
    };
    Some(a_pixel * area + DECODER_BYTES as u64 + (1 << 20))
}

/// Decodes the first picture. Palettes and depths below 8 bits are expanded, the upper 8 of 16 bits
/// are used, and a transparent colour becomes alpha.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Reason> {
    let size = header_size(bytes).ok_or_else(|| Reason::Malformed("the header is cut off".into()))?;
    check_size(size)?;
    let malformed = |error: png::DecodingError| Reason::Malformed(error.to_string());
    // Enough for the rows of the widest picture and for other chunks. The picture itself is in our
    // own memory.
    let limits = png::Limits { bytes: DECODER_BYTES };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(malformed)?;
    let mut out = vec![0; reader.output_buffer_size().ok_or(Reason::TooLarge(size))?];
    let info = reader.next_frame(&mut out).map_err(malformed)?;
    reader.finish().map_err(malformed)?;
    if (info.width, info.height) != (size.width, size.height) {
        return Err(Reason::Malformed(format!("the first frame is {}x{} instead of {size}", info.width, info.height)));
    }
    Ok(Decoded { size, channels: info.color_type.samples(), bytes: out })
}

/// Encodes a `Grey` or `Rgb24` picture.
pub(super) fn encode(out: impl Write, picture: &Picture<'_>) -> Result<(), Reason> {
    let color = match picture.format() {
        PixelFormat::Grey => png::ColorType::Grayscale,
        PixelFormat::Rgb24 => png::ColorType::Rgb,
        other => return Err(Reason::Unsupported(format!("writing {other} pixels as PNG"))),
    };
    let size = picture.size();
    let (row_bytes, rows) = picture.format().plane_extent(0, size);
    let mut encoder = png::Encoder::new(out, size.width, size.height);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let io_reason = |error: png::EncodingError| Reason::Write(io::Error::from(error));
    let mut writer = encoder.write_header().map_err(io_reason)?;
    let mut stream = writer.stream_writer().map_err(io_reason)?;
    for y in 0..rows {
        stream.write_all(&picture.plane(0).row(y)[..row_bytes]).map_err(Reason::Write)?;
    }
    stream.finish().map_err(io_reason)?;
    writer.finish().map_err(io_reason)
}
