//! Black frames that replace the pictures of a camera whose shutter is closed.

use std::convert::Infallible;

use portraitd_kernels::picture::{PixelFormat, Range};

use crate::frame::{Frame, FrameFormat, MemoryPool};

/// Lends one black picture as any number of frames.
#[derive(Debug)]
pub struct BlankFrames {
    frame: Frame,
}

impl BlankFrames {
    /// Black frames of `format`, with its strides.
    ///
    /// # Panics
    /// If `format` has no pixels. The format of an open stream always has.
    pub fn new(format: FrameFormat) -> Self {
        let mut pool = MemoryPool::new(format, 1);
        let black = |bytes: &mut [u8]| {
            fill_black(&format, bytes);
            Ok::<_, Infallible>(())
        };
        let Ok(frame) = pool.fill(0, 0, black);
        Self {
            frame: Frame {
                private: true,
                ..frame.expect("the only buffer of a new pool is free and has the size of the format")
            },
        }
    }

    /// A black frame with this sequence number and capture timestamp (nanoseconds). Allocates
    /// nothing.
    pub fn frame(&self, sequence: u64, capture_ns: u64) -> Frame {
        Frame { sequence, capture_ns, ..self.frame.clone() }
    }
}

/// Writes black to a picture of `format`, including its padding. `bytes` are the planes, one after
/// the other.
pub fn fill_black(format: &FrameFormat, bytes: &mut [u8]) {
    let luma = match format.color.range {
        Range::Limited => 16,
        Range::Full => 0,
    };
    let pixels = format.pixel_format;
    let (_, rows) = pixels.plane_extent(0, format.size);
    let (first, rest) = bytes.split_at_mut((format.strides_bytes[0] * rows).min(bytes.len()));
    match pixels {
        PixelFormat::Yuyv => first.chunks_mut(2).for_each(|pair| pair.copy_from_slice(&[luma, 128][..pair.len()])),
        PixelFormat::Uyvy => first.chunks_mut(2).for_each(|pair| pair.copy_from_slice(&[128, luma][..pair.len()])),
        _ if pixels.is_rgb() => first.fill(0),
        _ => first.fill(luma),
    }
    rest.fill(128);
}

#[cfg(test)]
mod tests {
    use portraitd_kernels::convert::to_rgb24;

    use super::*;
    use crate::{Colorimetry, Matrix, OwnedPicture, Size};

    #[test]
    fn every_format_is_black_with_its_padding_and_marked() {
        let size = Size::new(6, 4);
        for range in [Range::Limited, Range::Full] {
            let color = Colorimetry { matrix: Matrix::Bt709, range };
            for pixels in PixelFormat::ALL {
                let mut format = FrameFormat::packed(pixels, size, color, 30.0);
                format.strides_bytes = format.strides_bytes.map(|stride| stride + 10);
                let blank = BlankFrames::new(format);
                let frame = blank.frame(7, 123);
                assert_eq!((frame.sequence, frame.capture_ns, frame.format, frame.private), (7, 123, format, true));
                let mut rgb = OwnedPicture::zeroed(PixelFormat::Rgb24, size, color).expect("a size");
                rgb.bytes_mut().fill(99);
                to_rgb24(&frame.picture(), &mut rgb.as_picture_mut()).expect("same size");
                assert!(rgb.bytes().iter().all(|value| *value == 0), "{pixels} {range:?}: {:?}", rgb.bytes());
            }
        }
    }

    #[test]
    fn all_black_frames_share_their_memory() {
        let format = FrameFormat::packed(PixelFormat::Grey, Size::new(2, 2), Colorimetry::default(), 0.0);
        let blank = BlankFrames::new(format);
        let address = |frame: &Frame| frame.picture().plane(0).row(0).as_ptr();
        assert_eq!(address(&blank.frame(0, 0)), address(&blank.frame(1, 1)));
    }
}
