//! Any bytes that a camera sends as a JPEG picture, decoded twice (a decoder learns from the first
//! time), and by another decoder: no panic, no memory error, no other picture.

use portraitd_kernels::jpeg::JpegDecoder;
use portraitd_media::{PictureMut, Size, packed_bytes};
use portraitd_v4l2::jpeg::{Decoder, FORMAT};
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

const SIZE: Size = Size::new(32, 16);
const WIDTH: usize = 32;

/// Decodes the bytes twice, and compares the luma of a baseline picture with that of `zune-jpeg` if
/// it decodes them as well. Returns whether it was compared.
///
/// # Panics
/// If the second result differs from the first, or from that of the other decoder.
pub fn check(bytes: &[u8]) -> bool {
    let mut decoder = Decoder::default();
    let mut out = vec![0; packed_bytes(FORMAT, SIZE)];
    let first = decoder.decode(bytes, SIZE, &mut out).is_ok();
    let picture = first.then(|| out.clone());
    let second = decoder.decode(bytes, SIZE, &mut out).is_ok();
    assert!(second || !first, "decoded once, but not the second time");
    let Some(picture) = picture else { return false };
    assert_eq!(picture, out, "the same bytes gave another picture");
    let mut planes = PictureMut::packed(FORMAT, SIZE, &mut out).expect("large enough");
    if JpegDecoder::new().decode(bytes, &mut planes).is_err() {
        return false;
    }
    assert_eq!(picture, out, "not the picture of the decoder for baseline pictures");
    let Some(luma) = other_luma(bytes) else { return false };
    let mut compared = false;
    for start in (0..WIDTH * 16).step_by(8 * WIDTH).flat_map(|row| (row..row + WIDTH).step_by(8)) {
        let at = |index: usize| start + index / 8 * WIDTH + index % 8;
        // A block without saturated samples has coefficients of at most 1024 (Parseval). Larger ones
        // overflow in one way or another.
        if (0..64).all(|index| (1..255).contains(&luma[at(index)])) {
            for index in 0..64 {
                let (ours, other) = (picture[at(index)], luma[at(index)]);
                assert!(ours.abs_diff(other) <= 2, "{ours} instead of {other} at {}", at(index));
            }
            compared = true;
        }
    }
    compared
}

/// The luma that `zune-jpeg` decodes from a baseline picture in Y'CbCr.
fn other_luma(bytes: &[u8]) -> Option<Vec<u8>> {
    let options = DecoderOptions::default().set_strict_mode(true).jpeg_set_out_colorspace(ColorSpace::YCbCr);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().ok()?;
    let info = decoder.info()?;
    let of_size = usize::from(info.width) == WIDTH && info.height == 16;
    if !of_size || !info.sof.is_sequential_dct() || decoder.input_colorspace() != Some(ColorSpace::YCbCr) {
        return None;
    }
    let pixels = decoder.decode().ok()?;
    Some(pixels.chunks_exact(3).map(|pixel| pixel[0]).collect())
}
