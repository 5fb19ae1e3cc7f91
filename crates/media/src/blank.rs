//! Black frames, for a camera whose shutter is closed: what goes on in place of its pictures.

use std::convert::Infallible;

use super::frame::{Frame, FrameFormat, MemoryPool};
use crate::{PixelFormat, Range};

/// One black picture that is lent again and again.
#[derive(Debug)]
pub struct BlankFrames {
    frame: Frame,
}

impl BlankFrames {
    /// Black frames in the place of those of `format`, with its padding.
    ///
    /// # Panics
    /// For a format without pixels, which no open stream has.
    pub fn new(format: FrameFormat) -> Self {
        let mut pool = MemoryPool::new(format, 1);
        let black = |bytes: &mut [u8]| {
            blacken(&format, bytes);
            Ok::<_, Infallible>(())
        };
        let Ok(frame) = pool.fill(0, 0, black);
        Self { frame: Frame { private: true, ..frame.expect("a pool of its own, as large as its format says") } }
    }

    /// The black frame of this number and time. Allocates nothing.
    pub fn frame(&self, sequence: u64, capture_ns: u64) -> Frame {
        Frame { sequence, capture_ns, ..self.frame.clone() }
    }
}

/// Makes a picture of `format` black, its padding included. `bytes` are its planes, one behind the other.
pub fn blacken(format: &FrameFormat, bytes: &mut [u8]) {
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
    fn each_is_the_same_memory() {
        let format = FrameFormat::packed(PixelFormat::Grey, Size::new(2, 2), Colorimetry::default(), 0.0);
        let blank = BlankFrames::new(format);
        let address = |frame: &Frame| frame.picture().plane(0).row(0).as_ptr();
        assert_eq!(address(&blank.frame(0, 0)), address(&blank.frame(1, 1)));
    }
}
