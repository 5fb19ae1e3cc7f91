//! Decodes frames that are JPEG pictures into buffers that the caller reuses.
//!
//! The decoder is `zune-jpeg`, which is made for untrusted bytes. For each frame it allocates its
//! tables and a strip of coefficients; the picture is written to the caller's buffer. Cameras that
//! omit the Huffman tables (`AVI1`, as the UVC specification allows) are decoded with the standard
//! tables.
//!
//! Damage that leaves valid codes (bytes that are missing from the middle) cannot be detected here.
//! The USB driver marks such frames, because it knows which packets were lost.

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use portraitd_media::Size;

/// Why a frame was not decoded.
#[derive(Debug, thiserror::Error)]
pub enum JpegError {
    /// The bytes do not begin with a JPEG start marker.
    #[error("not a JPEG picture")]
    NoPicture,
    /// There is no end marker, although this device's earlier frames had one.
    #[error("the picture is cut off")]
    CutOff,
    /// The picture (first) does not have the size to which the device is set (second).
    #[error("a picture of {0} instead of {1}")]
    Size(Size, Size),
    /// The decoder found invalid data.
    #[error("invalid JPEG data: {0:?}")]
    Bytes(DecodeErrors),
    /// The output buffer (first, in bytes) does not have the size of the picture (second).
    #[error("an output buffer of {0} bytes instead of {1}")]
    Memory(usize, usize),
}

/// Decodes the frames of one device, and learns how the device deviates from the standard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder {
    /// Whether an earlier frame had an end marker. A frame without one is then cut off.
    has_end_marker: bool,
    /// Whether the device writes invalid bytes between the headers. The decoder then accepts them,
    /// and cannot detect damage inside the picture.
    lenient: bool,
}

impl Decoder {
    /// Decodes `bytes` to `out`: packed RGB rows of `size`, 3 bytes a pixel. Padding after the
    /// picture is ignored.
    ///
    /// # Errors
    /// [`JpegError`]: the frame must be skipped. The contents of `out` are then undefined.
    pub fn decode(&mut self, bytes: &[u8], size: Size, out: &mut [u8]) -> Result<(), JpegError> {
        if !bytes.starts_with(&[0xff, 0xd8, 0xff]) {
            return Err(JpegError::NoPicture);
        }
        let has_end_marker = has_end(bytes);
        if !has_end_marker && self.has_end_marker {
            return Err(JpegError::CutOff);
        }
        match self.attempt(bytes, size, out) {
            Err(JpegError::Bytes(DecodeErrors::FormatStatic(reason)))
                if !self.lenient && reason.contains("Extra bytes between headers") =>
            {
                self.lenient = true;
                tracing::warn!(
                    "the camera writes invalid bytes between JPEG headers: accepting them, damaged frames can no longer be detected"
                );
                self.attempt(bytes, size, out)
            }
            result => result,
        }?;
        self.has_end_marker |= has_end_marker;
        Ok(())
    }

    fn attempt(self, bytes: &[u8], size: Size, out: &mut [u8]) -> Result<(), JpegError> {
        let options = DecoderOptions::new_fast()
            .set_strict_mode(!self.lenient)
            .set_max_width(usize::try_from(size.width).unwrap_or(usize::MAX))
            .set_max_height(usize::try_from(size.height).unwrap_or(usize::MAX))
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers().map_err(JpegError::Bytes)?;
        let (width, height) = decoder.info().map_or((0, 0), |info| (info.width, info.height));
        let found = Size::new(u32::from(width), u32::from(height));
        if found != size {
            return Err(JpegError::Size(found, size));
        }
        match decoder.output_buffer_size() {
            Some(needed) if needed == out.len() => {}
            needed => return Err(JpegError::Memory(out.len(), needed.unwrap_or(0))),
        }
        decoder.decode_into(out).map_err(JpegError::Bytes)
    }
}

/// Whether the bytes contain an end marker. It is searched from the back, because only padding
/// follows it.
fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(2).rev().any(|pair| pair == [0xff, 0xd9])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 32x16, baseline, 4:2:2, red on the left and blue on the right; made by `ffmpeg -f lavfi`
    /// (`tests/fuzz/seeds`).
    const PICTURE: &[u8] = include_bytes!("../../../tests/fuzz/seeds/jpeg/red-blue.jpg");
    const SIZE: Size = Size::new(32, 16);

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, JpegError> {
        let mut out = vec![0; 32 * 16 * 3];
        Decoder { has_end_marker: true, lenient: false }.decode(bytes, SIZE, &mut out).map(|()| out)
    }

    fn sized(bytes: &[u8]) -> Size {
        let mut decoder = JpegDecoder::new(ZCursor::new(bytes));
        decoder.decode_headers().expect("headers");
        let info = decoder.info().expect("known");
        Size::new(u32::from(info.width), u32::from(info.height))
    }

    #[test]
    fn a_picture_is_decoded_and_padding_ignored() {
        let picture = decoded(PICTURE).expect("good");
        let pixel = |x: usize| [picture[x * 3], picture[x * 3 + 1], picture[x * 3 + 2]];
        let near = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) < 12);
        assert!(near(pixel(4), [255, 0, 0]), "{:?}", pixel(4));
        assert!(near(pixel(28), [0, 0, 255]), "{:?}", pixel(28));
        let mut padded = PICTURE.to_vec();
        padded.resize(PICTURE.len() + 5000, 0);
        assert_eq!(decoded(&padded).expect("padding"), picture);
    }

    #[test]
    fn broken_frames_are_detected() {
        assert!(matches!(decoded(&[]), Err(JpegError::NoPicture)));
        assert!(matches!(decoded(&PICTURE[1..]), Err(JpegError::NoPicture)));
        assert!(matches!(decoded(&PICTURE[..PICTURE.len() - 30]), Err(JpegError::CutOff)));
        let mut decoder = Decoder::default();
        assert!(matches!(
            decoder.decode(PICTURE, Size::new(16, 16), &mut [0; 768]),
            Err(JpegError::Size(..) | JpegError::Bytes(_))
        ));
        assert!(matches!(decoder.decode(PICTURE, Size::new(32, 32), &mut [0; 3072]), Err(JpegError::Size(..))));
        assert!(matches!(decoder.decode(PICTURE, SIZE, &mut [0; 100]), Err(JpegError::Memory(100, 1536))));
        // Damage in the middle: an unexpected marker, and a missing end.
        let photograph = include_bytes!("../../../tests/fixtures/people/images/0007.jpg");
        let size = sized(photograph);
        let mut out = vec![0; portraitd_media::packed_bytes(portraitd_media::PixelFormat::Rgb24, size)];
        assert!(Decoder::default().decode(photograph, size, &mut out).is_ok());
        let middle = photograph.len() / 2;
        let mut damaged = photograph.to_vec();
        damaged[middle..middle + 2].copy_from_slice(&[0xff, 0xc0]);
        assert!(matches!(Decoder::default().decode(&damaged, size, &mut out), Err(JpegError::Bytes(_))));
        assert!(matches!(Decoder::default().decode(&photograph[..middle], size, &mut out), Err(JpegError::Bytes(_))));
    }

    #[test]
    fn pictures_of_a_camera_without_end_markers_are_decoded() {
        let mut decoder = Decoder::default();
        let mut out = vec![0; 32 * 16 * 3];
        let without_end = &PICTURE[..PICTURE.len() - 2];
        assert!(decoder.decode(without_end, SIZE, &mut out).is_ok());
        assert!(decoder.decode(PICTURE, SIZE, &mut out).is_ok());
        assert!(
            decoder.decode(without_end, SIZE, &mut out).is_err(),
            "an earlier frame of this camera had an end marker"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            length in any::<prop::sample::Index>(),
        ) {
            let mut bytes = PICTURE.to_vec();
            for (place, value) in cuts {
                let index = place.index(bytes.len());
                bytes[index] = value;
            }
            bytes.truncate(length.index(bytes.len() + 1));
            let _ = decoded(&bytes);
        }
    }
}
