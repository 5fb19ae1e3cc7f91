//! y4m (`YUV4MPEG2`): uncompressed video with one line of header and one short line before each frame. Pure over `Read`
//! and `Write`; paths are added by the callers.
//!
//! Read: progressive 8-bit 4:2:0, 4:2:2 and mono, of any size (odd ones too) up to [`MAX_SIDE_PX`]. Interlaced video,
//! other chroma and more than 8 bits are refused by name. The format does not say the matrix: BT.601 is assumed, as
//! converters that write y4m from RGB do. `XCOLORRANGE=FULL` and `=LIMITED` are honoured; limited is the default.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};

use crate::image::MAX_SIDE_PX;
use crate::playback::FrameRate;
use crate::{Colorimetry, OwnedPicture, Picture, PixelFormat, Range, Size, packed_bytes};

/// Why a y4m stream cannot be read. Display is one line without the file's name.
#[derive(Debug, thiserror::Error)]
pub enum Y4mError {
    /// The system's own error.
    #[error("frame {frame}: {error}")]
    Io {
        /// Frames read completely before it.
        frame: u64,
        /// What the system said.
        error: io::Error,
    },
    /// The header is not one.
    #[error("y4m header: {reason}")]
    Header {
        /// What is wrong, with the field.
        reason: String,
    },
    /// The header asks for what is not supported.
    #[error("y4m header: {reason}")]
    Unsupported {
        /// What it asks for and what is supported.
        reason: String,
    },
    /// A frame does not begin with `FRAME`.
    #[error("frame {frame}: {reason}")]
    Frame {
        /// Its number, from 0.
        frame: u64,
        /// What stands there.
        reason: String,
    },
    /// The stream ends inside a frame.
    #[error("frame {frame} is cut off: {available} of {needed} bytes")]
    Truncated {
        /// Its number, from 0.
        frame: u64,
        /// Bytes of it that were there.
        available: usize,
        /// Bytes of a whole frame.
        needed: usize,
    },
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Y4mHeader {
    /// `I420`, `I422` or `Grey`.
    pub pixel_format: PixelFormat,
    /// Picture size, in pixels.
    pub size: Size,
    /// BT.601, and the range.
    pub color: Colorimetry,
    /// Frames a second, where the header gives a usable rate.
    pub frame_rate: Option<FrameRate>,
}

const MAGIC: &[u8] = b"YUV4MPEG2";

/// The longest header line and the longest `FRAME` line that are read, in bytes.
const MAX_HEADER_BYTES: usize = 4096;
const MAX_FRAME_LINE_BYTES: usize = 256;

impl Y4mHeader {
    /// Bytes of the pixels of one frame.
    pub fn frame_bytes(&self) -> usize {
        packed_bytes(self.pixel_format, self.size)
    }

    /// Parses the header line, without its line feed.
    ///
    /// # Errors
    /// [`Y4mError::Header`] and [`Y4mError::Unsupported`].
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
                value.parse::<u32>().map_err(|_| header(format!("{name} {value:?} is not a number of pixels")))
            };
            match key {
                Some('W') => width = Some(side("width")?),
                Some('H') => height = Some(side("height")?),
                Some('F') => {
                    let numbers = value.split_once(':').and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
                    let Some((numerator, denominator)) = numbers else {
                        return Err(header(format!("frame rate {value:?} is not of the form 30:1")));
                    };
                    // 0:0 and the like mean "unknown".
                    frame_rate = FrameRate::new(numerator, denominator);
                }
                Some('I') if !matches!(value, "p" | "?" | "") => {
                    return Err(unsupported(format!("interlaced video (I{value}); only progressive video is read")));
                }
                Some('C') => pixel_format = chroma(value).map_err(unsupported)?,
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

    /// The header line with its line feed.
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

fn chroma(value: &str) -> Result<PixelFormat, String> {
    const READ: &str = "8-bit 4:2:0, 4:2:2 and mono are read";
    match value {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => Ok(PixelFormat::I420),
        "422" => Ok(PixelFormat::I422),
        "mono" => Ok(PixelFormat::Grey),
        _ => {
            let deep = value.strip_prefix("mono").or_else(|| value.split_once('p').map(|(_, bits)| bits));
            match deep.and_then(|bits| bits.parse::<u32>().ok()) {
                Some(bits) => Err(format!("{bits} bits a component (C{value}); {READ}")),
                None => Err(format!("chroma C{value}; {READ}")),
            }
        }
    }
}

/// Reads frames one after another. Give it a buffered reader: it reads lines byte by byte.
#[derive(Debug)]
pub struct Y4mReader<R> {
    input: R,
    header: Y4mHeader,
    header_bytes: u64,
    frames: u64,
    line: Line<MAX_FRAME_LINE_BYTES>,
    /// Bytes of the frame read so far, once its `FRAME` line is complete.
    pixels: Option<usize>,
}

impl<R: Read> Y4mReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Y4mError`].
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

    /// What the header says.
    pub const fn header(&self) -> &Y4mHeader {
        &self.header
    }

    /// The number of frames read so far.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// The reader below.
    pub const fn get_mut(&mut self) -> &mut R {
        &mut self.input
    }

    /// Reads the next frame's planes into `out`, which holds [`Y4mHeader::frame_bytes`]. `false` at the end.
    /// Allocates nothing.
    ///
    /// # Errors
    /// [`Y4mError`]. After [`Y4mError::Io`] of a kind that passes (`WouldBlock`, `TimedOut`) a further call with the same
    /// buffer goes on where this one stopped; after any other, what `out` holds is not a frame.
    ///
    /// # Panics
    /// If `out` is of another length.
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
                            reason: format!("\"{found}\" stands where FRAME should"),
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

    /// Reads the next frame into memory of its own; `None` at the end.
    ///
    /// # Errors
    /// [`Y4mError`].
    pub fn read_picture(&mut self) -> Result<Option<OwnedPicture>, Y4mError> {
        let Y4mHeader { pixel_format, size, color, .. } = self.header;
        let mut picture = OwnedPicture::zeroed(pixel_format, size, color).expect("the header has a size");
        Ok(self.read_into(picture.bytes_mut())?.then_some(picture))
    }
}

impl<R: Read + Seek> Y4mReader<R> {
    /// Goes back to the first frame of a file whose header stands at its beginning.
    ///
    /// # Errors
    /// What the seek returns.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.input.seek(SeekFrom::Start(self.header_bytes))?;
        (self.frames, self.line, self.pixels) = (0, Line::default(), None);
        Ok(())
    }
}

fn is_frame_line(line: &[u8]) -> bool {
    line.strip_prefix(b"FRAME").is_some_and(|rest| matches!(rest.first(), None | Some(b' ')))
}

/// A line that is read byte by byte, because what follows it belongs to the pixels.
#[derive(Debug)]
struct Line<const LIMIT: usize> {
    bytes: [u8; LIMIT],
    length: usize,
}

/// What ended a line.
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

    /// Reads up to the line feed. After an error, a further call goes on.
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

/// Writes frames: 4:2:0 (from `I420`, `NV12` or `NV21`), 4:2:2 (from `I422`) or mono (from `Grey`).
#[derive(Debug)]
pub struct Y4mWriter<W: Write> {
    output: W,
    header: Y4mHeader,
    frames: u64,
    /// One row of chroma, for the interleaved formats.
    row: Vec<u8>,
}

impl<W: Write> Y4mWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// [`Y4mError::Unsupported`] for another pixel format, or what `output` returns.
    pub fn new(mut output: W, header: Y4mHeader) -> Result<Self, Y4mError> {
        let line = header.line()?;
        output.write_all(line.as_bytes()).map_err(|error| Y4mError::Io { frame: 0, error })?;
        Ok(Self { output, header, frames: 0, row: Vec::new() })
    }

    /// Writes one frame, of the header's format and size.
    ///
    /// # Errors
    /// [`Y4mError::Unsupported`] for a picture of another format or size, or what the writer returns.
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

    /// Flushes and gives the writer back.
    ///
    /// # Errors
    /// What the writer returns.
    pub fn finish(mut self) -> Result<W, Y4mError> {
        self.output.flush().map_err(|error| Y4mError::Io { frame: self.frames, error })?;
        Ok(self.output)
    }
}

#[cfg(test)]
mod tests;
