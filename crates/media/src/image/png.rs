//! PNG, by the crate `png`: any colour type and depth in, 8 bits a component out.

use std::io::{self, Cursor, Write};

use super::{Reason, check_size};
use crate::{Picture, PixelFormat, Size};

/// Decoded rows, packed, 8 bits a component.
pub(super) struct Decoded {
    pub(super) size: Size,
    /// 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha (not premultiplied).
    pub(super) channels: usize,
    pub(super) bytes: Vec<u8>,
}

/// The size in the header, which the format puts first.
pub(super) fn header_size(bytes: &[u8]) -> Option<Size> {
    let header = bytes.get(8..24)?.strip_prefix(&[0, 0, 0, 13, b'I', b'H', b'D', b'R'])?;
    let number = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    Some(Size::new(number(0)?, number(4)?))
}

/// Decodes the (first) picture. Palettes and depths under 8 are expanded, 16 bits are cut to the upper 8, a transparent
/// colour becomes alpha.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Reason> {
    let size = header_size(bytes).ok_or_else(|| Reason::Malformed("the header is cut off".into()))?;
    check_size(size)?;
    let malformed = |error: png::DecodingError| Reason::Malformed(error.to_string());
    // Rows of the widest picture and the chunks beside them; the picture itself is in memory of our own.
    let limits = png::Limits { bytes: 16 << 20 };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info().map_err(malformed)?;
    let mut out = vec![0; reader.output_buffer_size().ok_or(Reason::TooLarge(size))?];
    let info = reader.next_frame(&mut out).map_err(malformed)?;
    reader.finish().map_err(malformed)?;
    if (info.width, info.height) != (size.width, size.height) {
        return Err(Reason::Malformed(format!("its first frame is {}x{} of {size}", info.width, info.height)));
    }
    Ok(Decoded { size, channels: info.color_type.samples(), bytes: out })
}

/// Writes a grey or RGB picture.
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
