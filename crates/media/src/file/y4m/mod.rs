//! y4m (`YUV4MPEG2`): uncompressed video with one header line, and one short line before each
//! frame. The reader and writer work on any `Read` and `Write`. Errors contain no path; callers add
//! it.
//!
//! Supported: progressive 8-bit 4:2:0, 4:2:2 and mono, of any size up to [`MAX_SIDE_PX`], odd sizes
//! included. The error for interlaced video, other chroma formats and more than 8 bits names the
//! unsupported value. The format contains no matrix: BT.601 is assumed, which converters from RGB
//! to y4m use. `XCOLORRANGE=FULL` and `=LIMITED` are read; the default is limited.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};

use portraitd_kernels::picture::{Colorimetry, Picture, PixelFormat, Range, Size, packed_bytes};
use portraitd_protocol::settings::excerpt;

use crate::image::MAX_SIDE_PX;
use crate::owned::OwnedPicture;
use crate::playback::FrameRate;

/// Why a y4m stream cannot be read or written. The text is one line without the name of the file.
#[derive(Debug, thiserror::Error)]
pub enum Y4mError {
    /// Reading or writing failed.
    #[error("frame {frame}: {error}")]
    Io {
        /// The number of complete frames before the error.
        frame: u64,
        /// The error of the system.
        error: io::Error,
    },
    /// The header is not valid.
    #[error("y4m header: {reason}")]
    Header {
        /// What is wrong, with the name of the field.
        reason: String,
    },
    /// The header or picture has a property that is not supported.
    #[error("y4m header: {reason}")]
    Unsupported {
        /// The property, and what is supported.
        reason: String,
    },
    /// A frame does not begin with `FRAME`.
    #[error("frame {frame}: {reason}")]
    Frame {
        /// The number of the frame, from 0.
        frame: u64,
        /// What was found instead.
        reason: String,
    },
    /// The stream ends inside a frame.
    #[error("frame {frame} is cut off: {available} of {needed} bytes")]
    Truncated {
        /// The number of the frame, from 0.
        frame: u64,
        /// The bytes of the frame that were read.
        available: usize,
        /// The bytes of a whole frame.
        needed: usize,
    },
}

/// The contents of a header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Y4mHeader {
    /// The pixel format: `I420`, `I422` or `Grey`.
    pub pixel_format: PixelFormat,
    /// The size of the pictures, in pixels.
    pub size: Size,
    /// The colorimetry: BT.601, and the range of the header.
    pub color: Colorimetry,
    /// The frame rate; `None` if the header has none or an unusable one.
    pub frame_rate: Option<FrameRate>,
}

const MAGIC: &[u8] = b"YUV4MPEG2";

/// The longest header line and the longest `FRAME` line that are accepted, in bytes.
const MAX_HEADER_BYTES: usize = 4096;
const MAX_FRAME_LINE_BYTES: usize = 256;

impl Y4mHeader {
    /// The size of the pixels of one frame, in bytes.
    pub fn frame_bytes(&self) -> usize {
        packed_bytes(self.pixel_format, self.size)
    }

    /// Parses the header line, without its line feed.
    ///
    /// # Errors
    /// [`Y4mError::Header`] for a line that is not valid, [`Y4mError::Unsupported`] for an
    /// unsupported video.
    pub fn parse(line: &[u8]) -> Result<Self, Y4mError> {
        let header = |reason: String| Y4mError::Header { reason };
        let unsupported = |reason: String| Y4mError::Unsupported { reason };
        let rest = line.strip_prefix(MAGIC).filter(|rest| matches!(rest.first(), None | Some(b' ')));
        let Some(rest) = rest else {
            return Err(header("does not begin with YUV4MPEG2".into()));
        };
        let (mut width, mut height, mut frame_rate) = (None, None, None);
        let (mut pixel_format, mut range) = (PixelFormat::I420, Range::Limited);
        for field in rest.split(|&byte| byte == b' ').filter(|field| !field.is_empty()) {
            let text = String::from_utf8_lossy(field);
            let mut characters = text.chars();
            let key = characters.next();
            let value = characters.as_str();
            let side = |name: &str| {
                value
                    .parse::<u32>()
                    .map_err(|_| header(format!("{name} \"{}\" is not a number of pixels", excerpt(value))))
            };
            match key {
                Some('W') => width = Some(side("width")?),
                Some('H') => height = Some(side("height")?),
                Some('F') => {
                    let numbers = value.split_once(':').and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
                    let Some((numerator, denominator)) = numbers else {
                        return Err(header(format!("frame rate \"{}\" is not of the form 30:1", excerpt(value))));
                    };
                    // 0:0 and other invalid rates mean "unknown".
                    frame_rate = FrameRate::new(numerator, denominator);
                }
                Some('I') if !matches!(value, "p" | "?" | "") => {
                    return Err(unsupported(format!(
                        "interlaced video (I{value}); only progressive video is read, as `ffmpeg -i FILE -vf yadif -pix_fmt yuv420p -f yuv4mpegpipe -` makes it"
                    )));
                }
                Some('C') => pixel_format = chroma(value)?,
                Some('X') if value == "COLORRANGE=FULL" => range = Range::Full,
                Some('X') if value == "COLORRANGE=LIMITED" => range = Range::Limited,
                _ => {}
            }
        }
        let (Some(width), Some(height)) = (width, height) else {
            let missing = if width.is_none() { "width (W)" } else { "height (H)" };
            return Err(header(format!("no {missing}")));
        };
        let size = Size::new(width, height);
        if size.is_empty() {
            return Err(header(format!("a picture of {size} has no pixels")));
        }
        if width > MAX_SIDE_PX || height > MAX_SIDE_PX {
            let limit = format!("the limit of {MAX_SIDE_PX}x{MAX_SIDE_PX} pixels");
            return Err(unsupported(format!("a picture of {size} is over {limit}")));
        }
        let color = Colorimetry { range, ..Colorimetry::default() };
        Ok(Self { pixel_format, size, color, frame_rate })
    }

    /// Formats the header line, with its line feed.
    ///
    /// # Errors
    /// [`Y4mError::Unsupported`] for a pixel format that y4m cannot carry.
    fn line(&self) -> Result<String, Y4mError> {
        let chroma = match self.pixel_format {
            PixelFormat::I420 | PixelFormat::Nv12 | PixelFormat::Nv21 => "420mpeg2",
            PixelFormat::I422 => "422",
            PixelFormat::Grey => "mono",
            other => return Err(Y4mError::Unsupported { reason: format!("y4m cannot carry {other} pixels") }),
        };
        let range = if self.color.range == Range::Full { "FULL" } else { "LIMITED" };
        let (numerator, denominator) = self.frame_rate.unwrap_or(FrameRate::DEFAULT).fraction();
        let Size { width, height } = self.size;
        let rate = format!("F{numerator}:{denominator}");
        Ok(format!("YUV4MPEG2 W{width} H{height} {rate} Ip A1:1 C{chroma} XCOLORRANGE={range}\n"))
    }
}

/// The pixel format for a value of the field `C`.
fn chroma(value: &str) -> Result<PixelFormat, Y4mError> {
    const READ: &str = "8-bit 4:2:0, 4:2:2 and mono are read, as `ffmpeg -i FILE -pix_fmt yuv420p -f yuv4mpegpipe -` \
                        makes them";
    match value {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => Ok(PixelFormat::I420),
        "422" => Ok(PixelFormat::I422),
        "mono" => Ok(PixelFormat::Grey),
        _ => {
            let deep = value.strip_prefix("mono").or_else(|| value.split_once('p').map(|(_, bits)| bits));
            let reason = match deep.and_then(|bits| bits.parse::<u32>().ok()) {
                Some(bits) => format!("{bits} bits a component (C{value}); {READ}"),
                None => format!("chroma C{value}; {READ}"),
            };
            Err(Y4mError::Unsupported { reason })
        }
    }
}

/// Reads frames one after another. Use a buffered reader, because lines are read byte by byte.
#[derive(Debug)]
pub struct Y4mReader<R> {
    input: R,
    header: Y4mHeader,
    header_bytes: u64,
    frames: u64,
    line: Line<MAX_FRAME_LINE_BYTES>,
    /// The bytes of the frame that were read so far; `None` while its `FRAME` line is incomplete.
    pixels: Option<usize>,
}

impl<R: Read> Y4mReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Y4mError`]: `input` fails, or the header is not valid or not supported.
    pub fn new(mut input: R) -> Result<Self, Y4mError> {
        let mut line = Line::<MAX_HEADER_BYTES>::default();
        let ended = line.read(&mut input).map_err(|error| Y4mError::Io { frame: 0, error })?;
        let reason = match ended {
            _ if !line.bytes().starts_with(MAGIC) => "does not begin with YUV4MPEG2".into(),
            Ended::LineFeed => {
                let header = Y4mHeader::parse(line.bytes())?;
                let header_bytes = line.bytes().len() as u64 + 1;
                return Ok(Self { input, header, header_bytes, frames: 0, line: Line::default(), pixels: None });
            }
            Ended::Stream => format!("cut off after {} bytes", line.bytes().len()),
            Ended::Limit => format!("longer than {MAX_HEADER_BYTES} bytes"),
        };
        Err(Y4mError::Header { reason })
    }

    /// The header of the video.
    pub const fn header(&self) -> &Y4mHeader {
        &self.header
    }

    /// The number of complete frames that were read so far.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// The underlying reader.
    pub const fn get_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// Reads the planes of the next frame to `out`, which must have [`Y4mHeader::frame_bytes`]
    /// bytes. Returns false at the end. Allocates nothing.
    ///
    /// # Errors
    /// [`Y4mError`]. After a temporary [`Y4mError::Io`] (`WouldBlock`, `TimedOut`), another call
    /// with the same buffer continues at the same byte. After any other error, `out` does not
    /// contain a frame.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn read_into(&mut self, out: &mut [u8]) -> Result<bool, Y4mError> {
        let frame = self.frames;
        let needed = self.header.frame_bytes();
        assert_eq!(out.len(), needed, "a buffer of exactly one frame");
        let io_error = |error| Y4mError::Io { frame, error };
        let mut available = match self.pixels {
            Some(available) => available,
            None => {
                let ended = self.line.read(&mut self.input).map_err(io_error)?;
                let line = self.line.bytes();
                match ended {
                    Ended::Stream if line.is_empty() => return Ok(false),
                    Ended::LineFeed if is_frame_line(line) => {}
                    Ended::Stream if b"FRAME".starts_with(line) || is_frame_line(line) => {
                        return Err(Y4mError::Truncated { frame, available: 0, needed });
                    }
                    _ => {
                        let found = String::from_utf8_lossy(&line[..line.len().min(8)]).escape_debug().to_string();
                        return Err(Y4mError::Frame {
                            frame,
                            reason: format!("\"{found}\" is found instead of FRAME"),
                        });
                    }
                }
                self.line = Line::default();
                0
            }
        };
        while available < needed {
            self.pixels = Some(available);
            match self.input.read(&mut out[available..]) {
                Ok(0) => return Err(Y4mError::Truncated { frame, available, needed }),
                Ok(count) => available += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(io_error(error)),
            }
        }
        self.pixels = None;
        self.frames += 1;
        Ok(true)
    }

    /// Reads the next frame to a new picture; `None` at the end.
    ///
    /// # Errors
    /// The errors of [`Y4mReader::read_into`].
    pub fn read_picture(&mut self) -> Result<Option<OwnedPicture>, Y4mError> {
        let Y4mHeader { pixel_format, size, color, .. } = self.header;
        let mut picture = OwnedPicture::zeroed(pixel_format, size, color).expect("the header has a size");
        Ok(self.read_into(picture.bytes_mut())?.then_some(picture))
    }
}

impl<R: Read + Seek> Y4mReader<R> {
    /// Seeks to the first frame. The header must be at the beginning of the file.
    ///
    /// # Errors
    /// The error of the seek.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.input.seek(SeekFrom::Start(self.header_bytes))?;
        (self.frames, self.line, self.pixels) = (0, Line::default(), None);
        Ok(())
    }
}

fn is_frame_line(line: &[u8]) -> bool {
    line.strip_prefix(b"FRAME").is_some_and(|rest| matches!(rest.first(), None | Some(b' ')))
}

/// A line that is read byte by byte, because the bytes after it are pixels.
#[derive(Debug)]
struct Line<const LIMIT: usize> {
    bytes: [u8; LIMIT],
    length: usize,
}

/// Why the reading of a line ended.
enum Ended {
    LineFeed,
    Stream,
    Limit,
}

impl<const LIMIT: usize> Default for Line<LIMIT> {
    fn default() -> Self {
        Self { bytes: [0; LIMIT], length: 0 }
    }
}

impl<const LIMIT: usize> Line<LIMIT> {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Reads up to the line feed. After an error, another call continues.
    fn read(&mut self, input: &mut impl Read) -> io::Result<Ended> {
        loop {
            let mut byte = [0];
            match input.read(&mut byte) {
                Ok(0) => return Ok(Ended::Stream),
                Ok(_) if byte == *b"\n" => return Ok(Ended::LineFeed),
                Ok(_) if self.length == LIMIT => return Ok(Ended::Limit),
                Ok(_) => (self.bytes[self.length], self.length) = (byte[0], self.length + 1),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Writes frames as 4:2:0 (from `I420`, `Nv12` or `Nv21`), 4:2:2 (from `I422`) or mono (from
/// `Grey`).
#[derive(Debug)]
pub struct Y4mWriter<W: Write> {
    output: W,
    header: Y4mHeader,
    frames: u64,
    /// One row of a chroma component, for formats with interleaved chroma.
    row: Vec<u8>,
}

impl<W: Write> Y4mWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// [`Y4mError::Unsupported`] for a pixel format that y4m does not have, or [`Y4mError::Io`] of
    /// `output`.
    pub fn new(mut output: W, header: Y4mHeader) -> Result<Self, Y4mError> {
        let line = header.line()?;
        output.write_all(line.as_bytes()).map_err(|error| Y4mError::Io { frame: 0, error })?;
        Ok(Self { output, header, frames: 0, row: Vec::new() })
    }

    /// Writes one frame, which must have the format and size of the header.
    ///
    /// # Errors
    /// [`Y4mError::Unsupported`] for a picture of another format or size, or [`Y4mError::Io`] of
    /// the writer.
    pub fn write(&mut self, picture: &Picture<'_>) -> Result<(), Y4mError> {
        let Y4mHeader { pixel_format, size, .. } = self.header;
        if (picture.format(), picture.size()) != (pixel_format, size) {
            let got = format!("{} {}", picture.format(), picture.size());
            return Err(Y4mError::Unsupported { reason: format!("a {got} picture in a {pixel_format} {size} video") });
        }
        self.write_planes(picture).map_err(|error| Y4mError::Io { frame: self.frames, error })?;
        self.frames += 1;
        Ok(())
    }

    fn write_planes(&mut self, picture: &Picture<'_>) -> io::Result<()> {
        let (format, size) = (picture.format(), picture.size());
        self.output.write_all(b"FRAME\n")?;
        let first = match format {
            PixelFormat::Nv12 => Some(0),
            PixelFormat::Nv21 => Some(1),
            _ => None,
        };
        let planes = if first.is_some() { 1 } else { format.plane_count() };
        for plane in 0..planes {
            let (row_bytes, rows) = format.plane_extent(plane, size);
            for y in 0..rows {
                self.output.write_all(&picture.plane(plane).row(y)[..row_bytes])?;
            }
        }
        if let Some(cb) = first {
            let (row_bytes, rows) = format.plane_extent(1, size);
            for component in [cb, 1 - cb] {
                for y in 0..rows {
                    let row = &picture.plane(1).row(y)[..row_bytes];
                    self.row.clear();
                    self.row.extend(row.iter().skip(component).step_by(2));
                    self.output.write_all(&self.row)?;
                }
            }
        }
        Ok(())
    }

    /// Flushes and returns the writer.
    ///
    /// # Errors
    /// [`Y4mError::Io`] of the writer.
    pub fn finish(mut self) -> Result<W, Y4mError> {
        self.output.flush().map_err(|error| Y4mError::Io { frame: self.frames, error })?;
        Ok(self.output)
    }
}

#[cfg(test)]
mod tests;
