//! Frames that are JPEG pictures, decoded into buffers that are used again and again.
//!
//! The decoder is `zune-jpeg`, which takes hostile bytes. It allocates its own tables and a strip of coefficients a
//! frame; the picture itself goes to a buffer of ours. Cameras that leave out the Huffman tables (`AVI1`, as the UVC
//! specification allows) are decoded with the usual ones.
//!
//! Damage that leaves valid codes (a part that is missing from the middle) cannot be told here; the USB driver flags
//! such frames, since it sees the lost packets.

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use portraitd_media::Size;

/// Why a frame was not decoded.
#[derive(Debug, thiserror::Error)]
pub enum JpegError {
    /// It does not begin as a JPEG picture does.
    #[error("no JPEG picture")]
    NoPicture,
    /// It has no end, where this device's frames have one.
    #[error("the picture is cut off")]
    CutOff,
    /// It is not of the size that the device is set to.
    #[error("a picture of {0} instead of {1}")]
    Size(Size, Size),
    /// Its bytes are not JPEG.
    #[error("{0:?}")]
    Bytes(DecodeErrors),
    /// The memory given is not the picture's size.
    #[error("{0} bytes for the picture instead of {1}")]
    Memory(usize, usize),
}

/// Decodes one device's frames, and learns which liberties it takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decoder {
    /// Whether its frames have an end marker: then one without is cut off.
    ends: bool,
    /// Whether it puts bytes between the headers that do not belong there: then damage inside the picture cannot be told.
    sloppy: bool,
}

impl Decoder {
    /// Decodes `bytes`, which may have padding behind the picture, to `R G B` rows of `size` without padding.
    ///
    /// # Errors
    /// [`JpegError`]: the frame is to be skipped. What is in `out` then is of no use.
    pub fn decode(&mut self, bytes: &[u8], size: Size, out: &mut [u8]) -> Result<(), JpegError> {
        if !bytes.starts_with(&[0xff, 0xd8, 0xff]) {
            return Err(JpegError::NoPicture);
        }
        let ends = has_end(bytes);
        if !ends && self.ends {
            return Err(JpegError::CutOff);
        }
        match self.attempt(bytes, size, out) {
            Err(JpegError::Bytes(DecodeErrors::FormatStatic(reason)))
                if !self.sloppy && reason.contains("Extra bytes between headers") =>
            {
                self.sloppy = true;
                tracing::warn!(
                    "the camera's JPEG headers are not clean: damaged pictures cannot be told from good ones"
                );
                self.attempt(bytes, size, out)
            }
            result => result,
        }?;
        self.ends |= ends;
        Ok(())
    }

    fn attempt(self, bytes: &[u8], size: Size, out: &mut [u8]) -> Result<(), JpegError> {
        let options = DecoderOptions::new_fast()
            .set_strict_mode(!self.sloppy)
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

/// Whether an end marker is there. It is at the end or before some padding, so it is sought from the back.
fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(2).rev().any(|pair| pair == [0xff, 0xd9])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 32x16, baseline, 4:2:2, red left and blue right: made by `ffmpeg -f lavfi` (`tests/fuzz/seeds`).
    const PICTURE: &[u8] = include_bytes!("../../../tests/fuzz/seeds/jpeg/red-blue.jpg");
    const SIZE: Size = Size::new(32, 16);

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, JpegError> {
        let mut out = vec![0; 32 * 16 * 3];
        Decoder { ends: true, sloppy: false }.decode(bytes, SIZE, &mut out).map(|()| out)
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
    fn broken_frames_are_told() {
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
        // Damage in the middle: a marker that does not belong there, and an end that is missing.
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
    fn a_camera_that_never_ends_its_pictures_is_read_all_the_same() {
        let mut decoder = Decoder::default();
        let mut out = vec![0; 32 * 16 * 3];
        let endless = &PICTURE[..PICTURE.len() - 2];
        assert!(decoder.decode(endless, SIZE, &mut out).is_ok());
        assert!(decoder.decode(PICTURE, SIZE, &mut out).is_ok());
        assert!(decoder.decode(endless, SIZE, &mut out).is_err(), "it has learnt that this camera ends its pictures");
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
