//! Frames as YUV4MPEG2 (y4m), the uncompressed video that ffmpeg, mpv and GStreamer read from a
//! pipe.

use std::io;

use portraitd_protocol::{PixelFormat, Range, RingLayout, Size};

use super::{Chroma, unsupported};
use crate::FrameCopy;

/// The header line of a y4m video with the frames of a ring, with its line feed. `rate` is the
/// number of frames a second as a fraction.
///
/// y4m states the range of the values and not their matrix.
///
/// # Errors
/// `Unsupported` for a format that is neither 4:2:0 nor grey.
pub fn y4m_header(layout: &RingLayout, rate: (u32, u32)) -> io::Result<String> {
    let chroma = if layout.format == PixelFormat::Grey { "mono" } else { "420mpeg2" };
    if Chroma::of(layout.format).is_none() && layout.format != PixelFormat::Grey {
        return Err(unsupported("y4m", layout.format));
    }
    // A grey picture uses all values.
    let full = layout.color.range == Range::Full || layout.format == PixelFormat::Grey;
    let range = if full { "FULL" } else { "LIMITED" };
    let Size { width, height } = layout.size;
    Ok(format!("YUV4MPEG2 W{width} H{height} F{}:{} Ip A1:1 C{chroma} XCOLORRANGE={range}\n", rate.0, rate.1))
}

/// Appends a frame of a y4m video to `out`: its line, and its planes without padding.
///
/// # Errors
/// `Unsupported` for a format that is neither 4:2:0 nor grey, or without a frame.
pub fn append_y4m_frame(frame: &FrameCopy, out: &mut Vec<u8>) -> io::Result<()> {
    let format = frame.layout().map_or(PixelFormat::Rgb24, |layout| layout.format);
    let chroma = Chroma::of(format);
    if chroma.is_none() && format != PixelFormat::Grey {
        return Err(unsupported("y4m", format));
    }
    out.extend_from_slice(b"FRAME\n");
    frame.rows(0).for_each(|row| out.extend_from_slice(row));
    for (plane, start) in chroma.iter().flat_map(|chroma| [chroma.cb, chroma.cr]) {
        let step = chroma.map_or(1, |chroma| chroma.step);
        for row in frame.rows(plane) {
            if step == 1 {
                out.extend_from_slice(row);
            } else {
                out.extend(row.iter().skip(start).step_by(step));
            }
        }
    }
    Ok(())
}
