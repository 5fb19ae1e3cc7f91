//! Thumbnails for a page: PNG images as `data:` addresses.

use std::path::Path;

use portraitd_kernels::sample::{ChannelLayout, ChannelOrder, Fit, SampleSpec, Sampler};
use portraitd_media::{Colorimetry, OwnedPicture, Picture, PixelFormat, PixelRect, Size, image};

/// The largest size of a thumbnail.
const LARGEST: Size = Size::new(240, 180);

/// The RGBA colours of a difference picture: background found, person found, person missed,
/// background taken for a person.
const PALETTE: [[u8; 4]; 4] = [[0, 0, 0, 0], [44, 154, 91, 90], [47, 111, 219, 235], [216, 53, 42, 235]];

/// The size of the thumbnail of a picture of `size`: the largest that fits into [`LARGEST`] at the
/// same aspect. Pictures are never enlarged.
pub fn fitted(size: Size) -> Size {
    let (width, height) = (f64::from(size.width.max(1)), f64::from(size.height.max(1)));
    let scale = (f64::from(LARGEST.width) / width).min(f64::from(LARGEST.height) / height).min(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1..=240")]
    let side = |length: f64| (length * scale).round().max(1.0) as u32;
    Size::new(side(width), side(height))
}

/// The thumbnail of a picture of any format, as a `data:` address. `None` if the picture cannot be
/// sampled, for example because it has no pixels.
pub fn picture(source: &Picture<'_>) -> Option<String> {
    let size = fitted(source.size());
    let spec = SampleSpec {
        layout: ChannelLayout::Interleaved,
        order: ChannelOrder::Rgb,
        fit: Fit::Stretch,
        ..SampleSpec::new(size)
    };
    let mut values = vec![0.0; size.width as usize * size.height as usize * 3];
    Sampler::new(spec).ok()?.sample(source, PixelRect::of_size(source.size()), &mut values).ok()?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=255 by the clamp")]
    let bytes = values.iter().map(|value| (value * 255.0 + 0.5).clamp(0.0, 255.0) as u8).collect();
    let small = OwnedPicture::new(PixelFormat::Rgb24, size, Colorimetry::default(), bytes).ok()?;
    let mut out = Vec::new();
    image::encode_png(&mut out, &small.as_picture(), Path::new("thumbnail")).ok()?;
    Some(address(&out))
}

/// The thumbnail of a mask of `size`, by nearest-neighbour sampling, as a `data:` address.
pub fn mask(values: &[u8], size: Size) -> Option<String> {
    let small = fitted(size);
    let bytes = nearest(size, small).map(|index| values[index]).collect();
    let picture = OwnedPicture::new(PixelFormat::Grey, small, Colorimetry::default(), bytes).ok()?;
    let mut out = Vec::new();
    image::encode_png(&mut out, &picture.as_picture(), Path::new("thumbnail")).ok()?;
    Some(address(&out))
}

/// A thumbnail that shows where `mask` and `truth` differ, to be laid over the picture, as a
/// `data:` address.
pub fn difference(mask: &[u8], truth: &[u8], size: Size) -> Option<String> {
    let small = fitted(size);
    let kinds: Vec<u8> = nearest(size, small)
        .map(|index| match (truth[index] >= 128, mask[index] >= 128) {
            (false, false) => 0,
            (true, true) => 1,
            (true, false) => 2,
            (false, true) => 3,
        })
        .collect();
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, small.width, small.height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(PALETTE.iter().flat_map(|color| color[..3].to_vec()).collect::<Vec<u8>>());
    encoder.set_trns(PALETTE.iter().map(|color| color[3]).collect::<Vec<u8>>());
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&kinds).ok()?;
    writer.finish().ok()?;
    Some(address(&out))
}

/// For each pixel of `small`, row by row, the index of the pixel of `size` under its centre.
fn nearest(size: Size, small: Size) -> impl Iterator<Item = usize> {
    let at = |index: u32, of: u32, length: u32| (u64::from(index) * 2 + 1) * u64::from(length) / (u64::from(of) * 2);
    let index = move |x: u32, y: u32| {
        let index = at(y, small.height, size.height) * u64::from(size.width) + at(x, small.width, size.width);
        usize::try_from(index).unwrap_or(usize::MAX)
    };
    (0..small.height).flat_map(move |y| (0..small.width).map(move |x| index(x, y)))
}

fn address(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", base64(png))
}

/// Base64 as in RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0_usize, |word, byte| word << 8 | usize::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let sign = LETTERS[word >> (18 - 6 * place) & 63];
            out.push(if place <= three.len() { char::from(sign) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_the_test_vectors_of_the_standard() {
        // RFC 4648, section 10.
        for (text, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("fooba", "Zm9vYmE=")] {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
        assert_eq!(base64(&[251, 255, 191]), "+/+/");
    }

    /// Decodes a `data:` address.
    fn decoded(address: &str) -> OwnedPicture {
        let text = address.strip_prefix("data:image/png;base64,").expect("PNG");
        let value = |letter: u8| match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let mut png = Vec::new();
        for four in text.as_bytes().chunks(4) {
            let word = four.iter().fold(0u32, |word, letter| word << 6 | u32::from(value(*letter)));
            png.extend(&word.to_be_bytes()[1..]);
        }
        image::decode_rgba(&png, Path::new("thumbnail")).expect("a picture")
    }

    #[test]
    fn the_difference_shows_both_kinds_of_error() {
        let size = Size::new(4, 1);
        let shown = decoded(&difference(&[0, 255, 0, 255], &[0, 255, 255, 0], size).expect("encodes"));
        assert_eq!(shown.bytes(), PALETTE.concat());
    }

    #[test]
    fn thumbnails_keep_the_shape() {
        assert_eq!(fitted(Size::new(1280, 720)), Size::new(240, 135));
        assert_eq!(fitted(Size::new(720, 1280)), Size::new(101, 180));
        assert_eq!(fitted(Size::new(100, 50)), Size::new(100, 50), "pictures are not enlarged");
        assert_eq!(fitted(Size::new(8000, 1)), Size::new(240, 1));
        let values: Vec<u8> = (0..480 * 360).map(|at| if at % 480 < 240 { 0 } else { 255 }).collect();
        let small = decoded(&mask(&values, Size::new(480, 360)).expect("encodes"));
        assert_eq!(small.size(), Size::new(240, 180));
        assert!(small.bytes()[..4] == [0, 0, 0, 255] && small.bytes()[239 * 4..240 * 4] == [255; 4]);
        let red = OwnedPicture::new(PixelFormat::Rgb24, Size::new(2, 1), Colorimetry::default(), [255, 0, 0].repeat(2));
        assert_eq!(
            decoded(&picture(&red.expect("pixels").as_picture()).expect("samples")).bytes(),
            [255, 0, 0, 255].repeat(2)
        );
    }
}
