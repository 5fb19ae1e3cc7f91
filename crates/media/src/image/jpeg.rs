//! JPEG: the segments of the file are scanned without decoding, then the crate `zune-jpeg` decodes
//! it.
//!
//! The scan has three purposes. The size, and the memory that decoding takes, are known before the
//! decoder allocates. A file that is
//! cut off is an error, while decoders fill the rest with grey. The EXIF orientation is found and
//! applied, so that pictures of telephones are upright, as in every viewer.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::error::{MAX_SIDE_PX, Reason, check_size};
use portraitd_kernels::picture::Size;

/// The properties of a JPEG file that its segments contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    /// The stored size in pixels, before the orientation is applied.
    pub(super) size: Size,
    components: u8,
    /// EXIF tag 0x0112, 1..=8; 1 if there is none.
    orientation: u8,
    progressive: bool,
    /// The most bytes that the decoder takes besides those of the picture and the metadata.
    buffer_bytes: u64,
    /// The bytes of the segments `APP0` to `APP15`, which the decoder copies.
    metadata_bytes: u64,
    /// Whether there is an end-of-image marker.
    complete: bool,
}

impl Outline {
    /// The most memory that [`decode`] takes, in bytes.
    pub(super) fn peak_bytes(&self) -> u64 {
        let pixels = 3 * self.size.area();
        let decoding = pixels + self.buffer_bytes + 4 * self.metadata_bytes;
        let turning = if self.orientation >= 5 { 2 * pixels } else { pixels };
        decoding.max(turning) + (1 << 20)
    }
}

/// The frame header: marker, size and the sampling factors of the components.
struct Frame {
    size: Size,
    sampling: Vec<(u8, u8)>,
    progressive: bool,
}

impl Frame {
    /// Reads precision, height, width, and three bytes for each component.
    fn read(marker: u8, payload: &[u8]) -> Option<Self> {
        let [_, h1, h0, w1, w0, components, ref rest @ ..] = *payload else { return None };
        let size = Size::new(u16::from_be_bytes([w1, w0]).into(), u16::from_be_bytes([h1, h0]).into());
        let sampling = rest.chunks_exact(3).map(|component| (component[1] >> 4, component[1] & 15));
        let sampling: Vec<_> = sampling.take(components.into()).collect();
        (sampling.len() == usize::from(components)).then_some(Self {
            size,
            sampling,
            progressive: !matches!(marker, 0xc0 | 0xc1),
        })
    }

    /// The most bytes of the decoder's rows: eight of each component, before and after upsampling.
    /// With `whole`, also those of the coefficients of the whole picture. All are 16 bits.
    fn buffer_bytes(&self, whole: bool) -> u64 {
        let most = |factor: fn(&(u8, u8)) -> u8| self.sampling.iter().map(factor).max().unwrap_or(1).max(1);
        let (most_h, most_v) = (u64::from(most(|of| of.0)), u64::from(most(|of| of.1)));
        let across = u64::from(self.size.width).div_ceil(8 * most_h);
        let down = u64::from(self.size.height).div_ceil(8 * most_v);
        let blocks: u64 = self.sampling.iter().map(|of| u64::from(of.0) * u64::from(of.1)).sum();
        let coefficients = if whole { across * down * blocks * 64 * 2 } else { 0 };
        let rows = across * 8 * most_h * self.sampling.len() as u64 * (32 * most_h * most_v + 128);
        coefficients + rows
    }
}

/// Reads the segments up to the first scan; `None` if they are not valid. It is as strict about
/// markers as it must be to find the same segments as the decoder.
pub(super) fn outline(bytes: &[u8]) -> Option<Outline> {
    let mut at = 2;
    let mut frame = None;
    let mut orientation = 1;
    let mut metadata_bytes = 0;
    loop {
        // A marker may follow any number of 0xff fill bytes.
        let mut marker = *bytes.get(at)?;
        if marker != 0xff {
            at += 1;
            continue;
        }
        while marker == 0xff {
            at += 1;
            marker = *bytes.get(at)?;
        }
        at += 1;
        if !matches!(marker, 0xc0..=0xcf | 0xda..=0xef | 0xfe) {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let payload = bytes.get(at + 2..at + length).unwrap_or_default();
        match marker {
            // 0xc4, 0xc8 and 0xcc are other segments.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) && frame.is_none() => {
                frame = Some(Frame::read(marker, payload)?);
            }
            0xe0..=0xef => {
                metadata_bytes += length as u64;
                if marker == 0xe1 {
                    orientation = exif_orientation(payload).unwrap_or(orientation);
                }
            }
            0xda => {
                // In entropy-coded data, 0xff is followed by 0 or a restart marker, so 0xff 0xd9 is
                // always an end marker.
                let complete = bytes[at..].windows(2).any(|pair| pair == [0xff, 0xd9]);
                // There may be segments between scans.
                metadata_bytes += bytes[at..]
                    .windows(4)
                    .filter(|four| four[0] == 0xff && matches!(four[1], 0xe0..=0xef))
                    .map(|four| u64::from(u16::from_be_bytes([four[2], four[3]])))
                    .sum::<u64>();
                let frame = frame?;
                let components = u8::try_from(frame.sampling.len()).ok()?;
                let progressive = frame.progressive;
                // The decoder keeps the coefficients of all components until it has seen all.
                let whole = progressive || payload.first() != Some(&components);
                let buffer_bytes = frame.buffer_bytes(whole);
                let size = frame.size;
                return Some(Outline {
                    size,
                    components,
                    orientation,
                    progressive,
                    buffer_bytes,
                    metadata_bytes,
                    complete,
                });
            }
            _ => {}
        }
        at += length.max(2);
    }
}

/// The orientation in an APP1 segment, which consists of `Exif\0\0`, a TIFF header and the first
/// directory.
fn exif_orientation(payload: &[u8]) -> Option<u8> {
    let tiff = payload.strip_prefix(b"Exif\0\0")?;
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let pair = [*tiff.get(at)?, *tiff.get(at.checked_add(1)?)?];
        Some(if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
    };
    let u32_at = |at: usize| {
        let (first, second) = (u32::from(u16_at(at)?), u32::from(u16_at(at.checked_add(2)?)?));
        Some(if little { second << 16 | first } else { first << 16 | second })
    };
    let directory = usize::try_from(u32_at(4)?).ok()?;
    let entries = u16_at(directory)?;
    (0..usize::from(entries)).find_map(|entry| {
        let at = directory.checked_add(2 + entry * 12)?;
        // Tag 0x0112, type SHORT.
        if u16_at(at)? != 0x0112 || u16_at(at + 2)? != 3 {
            return None;
        }
        u8::try_from(u16_at(at + 8)?).ok().filter(|value| (1..=8).contains(value))
    })
}

/// Decodes to packed RGB with the orientation applied. Returns the final size.
pub(super) fn decode(bytes: &[u8]) -> Result<(Size, Vec<u8>), Reason> {
    let Some(outline) = outline(bytes) else {
        return Err(Reason::Malformed("a segment is cut off or no picture follows the header".into()));
    };
    check_size(outline.size)?;
    if !matches!(outline.components, 1 | 3) {
        let what = if outline.components == 4 { " (CMYK)" } else { "" };
        return Err(Reason::Unsupported(format!(
            "a JPEG of {} components{what}; save it as RGB or grey",
            outline.components
        )));
    }
    if !outline.complete {
        return Err(Reason::Malformed(format!("cut off after {} bytes: no end-of-image marker", bytes.len())));
    }
    let side = usize::try_from(MAX_SIDE_PX).unwrap_or(usize::MAX);
    let options = DecoderOptions::default()
        .set_max_width(side)
        .set_max_height(side)
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let reason = |error: zune_jpeg::errors::DecodeErrors| Reason::Malformed(one_line(&error.to_string()));
    decoder.decode_headers().map_err(reason)?;
    let info = decoder.info().ok_or_else(|| Reason::Malformed("no header".into()))?;
    let size = Size::new(info.width.into(), info.height.into());
    let progressive = !info.sof.is_sequential_dct();
    if size != outline.size || info.components != outline.components || progressive != outline.progressive {
        return Err(Reason::Malformed(format!("two frame headers: {} and {size}", outline.size)));
    }
    let mut pixels = vec![0; decoder.output_buffer_size().ok_or(Reason::TooLarge(size))?];
    decoder.decode_into(&mut pixels).map_err(reason)?;
    drop(decoder);
    Ok(upright(size, pixels, outline.orientation))
}

/// The decoder's error text as one line without quotes.
fn one_line(text: &str) -> String {
    text.trim_matches('"').split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Rotates and mirrors packed RGB of EXIF orientation `orientation` so that it is upright. Returns
/// the new size.
///
/// Only 5 to 8, which exchange width and height, take a second copy of the picture.
fn upright(size: Size, mut pixels: Vec<u8>, orientation: u8) -> (Size, Vec<u8>) {
    let (width, height) = (size.width as usize, size.height as usize);
    if !(5..=8).contains(&orientation) {
        let pixels_mut = pixels.as_chunks_mut::<3>().0;
        if matches!(orientation, 3 | 4) {
            pixels_mut.reverse();
        }
        if matches!(orientation, 2 | 4) {
            pixels_mut.chunks_exact_mut(width).for_each(<[_]>::reverse);
        }
        return (size, pixels);
    }
    let turned = Size::new(size.height, size.width);
    let mut out = Vec::with_capacity(pixels.len());
    for y in 0..turned.height as usize {
        for x in 0..turned.width as usize {
            let (from_x, from_y) = match orientation {
                5 => (y, x),
                6 => (y, height - 1 - x),
                7 => (width - 1 - y, height - 1 - x),
                _ => (width - 1 - y, x),
            };
            let at = (from_y * width + from_x) * 3;
            out.extend_from_slice(&pixels[at..at + 3]);
        }
    }
    (turned, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The segments of a file that holds an EXIF block and a frame header, without the scan's data.
    fn file(little: bool, orientation: u8, complete: bool) -> Vec<u8> {
        let mut tiff = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        let mut number = |value: u16| {
            tiff.extend(if little { value.to_le_bytes() } else { value.to_be_bytes() });
        };
        let (high, low) = if little { (8, 0) } else { (0, 8) };
        number(high);
        number(low);
        number(1);
        for value in [0x0112, 3] {
            number(value);
        }
        let (high, low) = if little { (1, 0) } else { (0, 1) };
        for value in [high, low, orientation.into(), 0] {
            number(value);
        }
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1];
        bytes.extend(u16::try_from(tiff.len() + 8).expect("short").to_be_bytes());
        bytes.extend(b"Exif\0\0");
        bytes.extend(tiff);
        bytes.extend([0xff, 0xc0, 0, 11, 8, 0, 20, 0, 10, 1, 1, 0x11, 0]);
        bytes.extend([0xff, 0xda, 0, 2, 1, 2, 3, 0xff, 0]);
        if complete {
            bytes.extend([0xff, 0xd9]);
        }
        bytes
    }

    #[test]
    fn the_outline_is_read_without_decoding() {
        for (little, orientation, complete) in [(true, 6, true), (false, 3, false), (true, 1, false)] {
            let expected = Outline {
                size: Size::new(10, 20),
                components: 1,
                orientation,
                progressive: false,
                buffer_bytes: 2 * 3 * 128 + 16 * 160,
                metadata_bytes: 30,
                complete,
            };
            assert_eq!(outline(&file(little, orientation, complete)), Some(expected));
        }
        assert_eq!(outline(&file(true, 9, true)).expect("an outline").orientation, 1, "9 is not an orientation");
    }

    #[test]
    fn each_orientation_becomes_upright() {
        // A 2 x 3 picture with the rows ab, cd and ef, as each orientation stores it.
        let stored: [(u8, u32, &str); 8] = [
            (1, 2, "abcdef"),
            (2, 2, "badcfe"),
            (3, 2, "fedcba"),
            (4, 2, "efcdab"),
            (5, 3, "acebdf"),
            (6, 3, "bdface"),
            (7, 3, "fdbeca"),
            (8, 3, "ecafdb"),
        ];
        for (orientation, width, letters) in stored {
            let pixels = letters.bytes().flat_map(|letter| [letter; 3]).collect();
            let (size, out) = upright(Size::new(width, 6 / width), pixels, orientation);
            let shown: String = out.chunks(3).map(|pixel| char::from(pixel[0])).collect();
            assert_eq!((size, shown.as_str()), (Size::new(2, 3), "abcdef"), "orientation {orientation}");
        }
    }

    proptest::proptest! {
        #[test]
        fn neither_outline_nor_decoder_panics(
            tail in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
            cut in 0_usize..120,
            flip in 0_usize..120,
            value in proptest::num::u8::ANY,
        ) {
            let mut bytes = file(true, 6, true);
            bytes.truncate(cut.max(2));
            if let Some(byte) = bytes.get_mut(flip) {
                *byte = value;
            }
            bytes.extend(tail);
            let _ = outline(&bytes);
            let _ = decode(&bytes);
        }
    }
}
