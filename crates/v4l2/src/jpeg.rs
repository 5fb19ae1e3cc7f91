//! Decodes frames that are JPEG pictures into buffers that the caller reuses.
//!
//! [`JpegDecoder`] decodes what cameras send: baseline pictures. Other pictures, such as progressive
//! ones, are decoded by `zune-jpeg` to R'G'B' and converted, which takes many times as long. Both
//! are made for untrusted bytes.
//!
//! Damage that leaves valid codes (bytes that are missing from the middle) cannot be detected here.
//! The USB driver marks such frames, because it knows which packets were lost.

use portraitd_kernels::convert::to_nv12;
use portraitd_kernels::jpeg::{self, JpegDecoder};
use portraitd_media::{Colorimetry, Matrix, Picture, PictureMut, PixelFormat, Range, Size, packed_bytes};
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The format of decoded frames.
pub const FORMAT: PixelFormat = PixelFormat::Nv12;

/// The colorimetry of decoded frames: that of JFIF.
pub const COLOR: Colorimetry = Colorimetry { matrix: Matrix::Bt601, range: Range::Full };

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
    /// The picture is not valid.
    #[error("invalid JPEG data: {0}")]
    Invalid(&'static str),
    /// The picture is not baseline, and the decoder for such pictures found invalid data.
    #[error("invalid JPEG data: {0:?}")]
    Bytes(DecodeErrors),
    /// The output buffer (first, in bytes) does not have the size of the picture (second).
    #[error("an output buffer of {0} bytes instead of {1}")]
    Memory(usize, usize),
}

/// Decodes the frames of one device, and learns how the device deviates from the standard.
#[derive(Debug, Default)]
pub struct Decoder {
    decoder: JpegDecoder,
    /// Whether an earlier frame had an end marker. If so, a frame without one counts as truncated.
    has_end_marker: bool,
    /// The decoder for pictures that are not baseline, once there was one.
    other: Option<OtherDecoder>,
}

impl Decoder {
    /// Decodes `bytes` to `out`: the planes of [`FORMAT`] without padding. Padding after the picture
    /// is ignored.
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
        let needed = packed_bytes(FORMAT, size);
        if out.len() != needed {
            return Err(JpegError::Memory(out.len(), needed));
        }
        let mut picture = PictureMut::packed(FORMAT, size, out).map_err(|_| JpegError::Memory(0, needed))?;
        match self.decoder.decode(bytes, &mut picture) {
            Ok(()) => {}
            Err(jpeg::JpegError::Size { found, expected }) => return Err(JpegError::Size(found, expected)),
            Err(jpeg::JpegError::Invalid(reason)) => return Err(JpegError::Invalid(reason)),
            Err(reason @ (jpeg::JpegError::Unsupported(_) | jpeg::JpegError::Format(_))) => {
                let other = self.other.get_or_insert_with(|| {
                    tracing::warn!(%reason, "the camera's JPEG pictures are not baseline: decoding them takes long");
                    OtherDecoder::default()
                });
                other.decode(bytes, size, &mut picture)?;
            }
        }
        self.has_end_marker |= has_end_marker;
        Ok(())
    }
}

/// Decodes pictures that are not baseline.
#[derive(Debug, Default)]
struct OtherDecoder {
    /// Whether the device writes invalid bytes between the headers. The decoder then accepts them,
    /// and cannot detect damage inside the picture.
    lenient: bool,
    /// The picture as packed RGB rows, 3 bytes a pixel.
    rgb: Vec<u8>,
}

impl OtherDecoder {
    fn decode(&mut self, bytes: &[u8], size: Size, out: &mut PictureMut<'_>) -> Result<(), JpegError> {
        match self.attempt(bytes, size) {
            Err(JpegError::Bytes(DecodeErrors::FormatStatic(reason)))
                if !self.lenient && reason.contains("Extra bytes between headers") =>
            {
                self.lenient = true;
                tracing::warn!(
                    "the camera writes invalid bytes between JPEG headers: accepting them, damaged frames can no longer be detected"
                );
                self.attempt(bytes, size)
            }
            result => result,
        }?;
        let memory = |_| JpegError::Memory(self.rgb.len(), packed_bytes(PixelFormat::Rgb24, size));
        let rgb = Picture::packed(PixelFormat::Rgb24, size, COLOR, &self.rgb).map_err(memory)?;
        to_nv12(&rgb, out, COLOR).expect("an NV12 picture of the same size");
        Ok(())
    }

    fn attempt(&mut self, bytes: &[u8], size: Size) -> Result<(), JpegError> {
        let options = DecoderOptions::new_fast()
            .set_strict_mode(!self.lenient)
            .set_max_width(usize::try_from(size.width).unwrap_or(usize::MAX))
            .set_max_height(usize::try_from(size.height).unwrap_or(usize::MAX))
            .jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers().map_err(JpegError::Bytes)?;
        let (width, height) = decoder.info().map_or((0, 0), |info| (info.width, info.height));
        let found = Size::new(u32::from(width), u32::from(height));
        if found != size {
            return Err(JpegError::Size(found, size));
        }
        self.rgb.resize(packed_bytes(PixelFormat::Rgb24, size), 0);
        match decoder.output_buffer_size() {
            Some(needed) if needed == self.rgb.len() => {}
            needed => return Err(JpegError::Memory(self.rgb.len(), needed.unwrap_or(0))),
        }
        decoder.decode_into(&mut self.rgb).map_err(JpegError::Bytes)
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

    /// The size of a picture in NV12.
    const BYTES: usize = 32 * 16 * 3 / 2;

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, JpegError> {
        let mut out = vec![0; BYTES];
        let mut decoder = Decoder { has_end_marker: true, ..Decoder::default() };
        decoder.decode(bytes, SIZE, &mut out).map(|()| out)
    }

    fn sized(bytes: &[u8]) -> Size {
        let mut decoder = zune_jpeg::JpegDecoder::new(ZCursor::new(bytes));
        decoder.decode_headers().expect("headers");
        let info = decoder.info().expect("known");
        Size::new(u32::from(info.width), u32::from(info.height))
    }

    /// What another decoder makes of a picture: RGB, 3 bytes a pixel.
    fn decoded_by_zune(bytes: &[u8]) -> Vec<u8> {
        let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
        zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options).decode().expect("decodes")
    }

    fn as_rgb(nv12: &[u8], size: Size) -> Vec<u8> {
        let mut rgb = vec![0; packed_bytes(PixelFormat::Rgb24, size)];
        let source = Picture::packed(FORMAT, size, COLOR, nv12).expect("large enough");
        let mut out = PictureMut::packed(PixelFormat::Rgb24, size, &mut rgb).expect("large enough");
        portraitd_kernels::convert::to_rgb24(&source, &mut out).expect("the same size");
        rgb
    }

    /// The largest and the mean difference.
    fn difference(a: &[u8], b: &[u8]) -> (u8, f64) {
        assert_eq!(a.len(), b.len());
        let each = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
        let sum: u64 = each.clone().map(u64::from).sum();
        (each.max().unwrap_or(0), sum as f64 / a.len() as f64)
    }

    #[test]
    fn a_picture_is_decoded_and_padding_ignored() {
        let picture = decoded(PICTURE).expect("good");
        let rgb = as_rgb(&picture, SIZE);
        let pixel = |x: usize| [rgb[x * 3], rgb[x * 3 + 1], rgb[x * 3 + 2]];
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
        assert!(matches!(decoder.decode(PICTURE, Size::new(16, 16), &mut [0; 384]), Err(JpegError::Size(..))));
        assert!(matches!(decoder.decode(PICTURE, Size::new(32, 32), &mut [0; 1536]), Err(JpegError::Size(..))));
        assert!(matches!(decoder.decode(PICTURE, SIZE, &mut [0; 100]), Err(JpegError::Memory(100, 768))));
        assert!(matches!(decoder.decode(PICTURE, Size::default(), &mut []), Err(JpegError::Memory(..))));
        // Damage in the middle: an unexpected marker, and a missing end.
        let photograph = include_bytes!("../../../tests/fixtures/people/images/0007.jpg");
        let size = sized(photograph);
        let mut out = vec![0; packed_bytes(FORMAT, size)];
        assert!(Decoder::default().decode(photograph, size, &mut out).is_ok());
        let middle = photograph.len() / 2;
        let mut damaged = photograph.to_vec();
        damaged[middle..middle + 2].copy_from_slice(&[0xff, 0xc0]);
        assert!(matches!(Decoder::default().decode(&damaged, size, &mut out), Err(JpegError::Invalid(_))));
        assert!(matches!(Decoder::default().decode(&photograph[..middle], size, &mut out), Err(JpegError::Invalid(_))));
    }

    #[test]
    fn pictures_of_a_camera_without_end_markers_are_decoded() {
        let mut decoder = Decoder::default();
        let mut out = vec![0; BYTES];
        let without_end = &PICTURE[..PICTURE.len() - 2];
        assert!(decoder.decode(without_end, SIZE, &mut out).is_ok());
        assert!(decoder.decode(PICTURE, SIZE, &mut out).is_ok());
        assert!(
            decoder.decode(without_end, SIZE, &mut out).is_err(),
            "an earlier frame of this camera had an end marker"
        );
    }

    #[test]
    fn colours_are_those_of_another_decoder() {
        for name in ["0007", "0065", "0152", "0208", "0607", "0742"] {
            let path = format!("{}/../../tests/fixtures/people/images/{name}.jpg", env!("CARGO_MANIFEST_DIR"));
            let bytes = std::fs::read(path).expect("a photograph");
            let size = sized(&bytes);
            let mut out = vec![0; packed_bytes(FORMAT, size)];
            Decoder::default().decode(&bytes, size, &mut out).expect("decodes");
            let rgb = decoded_by_zune(&bytes);
            // At edges the other decoder interpolates chroma.
            let (_, mean) = difference(&as_rgb(&out, size), &rgb);
            assert!(mean < 1.5, "{name}: {mean}");
            let source = Picture::packed(PixelFormat::Rgb24, size, COLOR, &rgb).expect("large enough");
            let mut expected = vec![0; out.len()];
            let mut nv12 = PictureMut::packed(FORMAT, size, &mut expected).expect("large enough");
            to_nv12(&source, &mut nv12, COLOR).expect("the same size");
            let luma = size.width as usize * size.height as usize;
            let (luma, chroma) =
                (difference(&out[..luma], &expected[..luma]), difference(&out[luma..], &expected[luma..]));
            assert!(luma.1 < 0.6 && chroma.1 < 1.0, "{name}: luma {luma:?}, chroma {chroma:?}");
        }
    }

    #[test]
    fn a_picture_that_is_not_baseline_is_decoded_as_well() {
        let progressive = include_bytes!("../../../tests/fuzz/seeds/jpeg/progressive.jpg");
        let mut decoder = Decoder::default();
        let mut out = vec![0; BYTES];
        decoder.decode(progressive, SIZE, &mut out).expect("decodes");
        assert!(decoder.other.is_some());
        let (_, mean) = difference(&out, &decoded(PICTURE).expect("good"));
        assert!(mean < 4.0, "the same picture: {mean}");
        assert!(decoder.decode(&progressive[..progressive.len() / 2], SIZE, &mut out).is_err());
        let other_size = decoder.decode(progressive, Size::new(8, 8), &mut [0; 96]);
        assert!(matches!(other_size, Err(JpegError::Size(..) | JpegError::Bytes(_))));
        decoder.decode(PICTURE, SIZE, &mut out).expect("a baseline picture after it");
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
