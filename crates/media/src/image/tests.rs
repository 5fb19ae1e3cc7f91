use super::*;

/// A PNG of any colour type and depth, made by the encoder of the crate `png`.
fn png_of(size: Size, color: ::png::ColorType, depth: ::png::BitDepth, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut bytes, size.width, size.height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == ::png::ColorType::Indexed {
        encoder.set_palette(vec![10, 20, 30, 200, 100, 50]);
    }
    encoder.write_header().expect("header").write_image_data(data).expect("data");
    bytes
}

fn name() -> &'static Path {
    Path::new("some.png")
}

fn pixels(bytes: &[u8]) -> Vec<u8> {
    decode(bytes, name()).expect("decodes").into_bytes()
}

/// A PNG header with `size`, without picture data.
fn png_header(size: Size) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(size.width.to_be_bytes());
    bytes.extend(size.height.to_be_bytes());
    bytes.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// A JPEG with the given size and number of components, whose scan is empty.
fn jpeg_header(width: u16, height: u16, components: u8) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xc0, 0, 8 + 3 * components, 8];
    bytes.extend(height.to_be_bytes());
    bytes.extend(width.to_be_bytes());
    bytes.push(components);
    for component in 0..components {
        bytes.extend([component + 1, 0x11, 0]);
    }
    bytes.extend([0xff, 0xda, 0, 2, 0xff, 0xd9]);
    bytes
}

#[test]
fn every_colour_type_and_depth_becomes_rgb() {
    use ::png::BitDepth::{Eight, One, Sixteen};
    use ::png::ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
    let two = Size::new(2, 1);
    assert_eq!(pixels(&png_of(two, Rgb, Eight, &[1, 2, 3, 4, 5, 6])), [1, 2, 3, 4, 5, 6]);
    assert_eq!(pixels(&png_of(two, Grayscale, Eight, &[7, 9])), [7, 7, 7, 9, 9, 9]);
    assert_eq!(pixels(&png_of(two, Grayscale, One, &[0b0100_0000])), [0, 0, 0, 255, 255, 255]);
    assert_eq!(pixels(&png_of(two, Grayscale, Sixteen, &[7, 255, 9, 0])), [7, 7, 7, 9, 9, 9]);
    assert_eq!(pixels(&png_of(two, Indexed, Eight, &[1, 0])), [200, 100, 50, 10, 20, 30]);
    // Alpha is composited over white: 255 keeps the colour, 0 is white, 51 is one fifth of the
    // colour.
    assert_eq!(pixels(&png_of(two, Rgba, Eight, &[9, 8, 7, 255, 0, 0, 0, 0])), [9, 8, 7, 255, 255, 255]);
    assert_eq!(pixels(&png_of(two, GrayscaleAlpha, Eight, &[0, 51, 3, 255])), [204, 204, 204, 3, 3, 3]);
}

#[test]
fn grey_and_alpha_can_be_decoded() {
    let bytes = png_of(Size::new(2, 1), ::png::ColorType::Rgba, ::png::BitDepth::Eight, &[255, 0, 0, 1, 5, 5, 5, 9]);
    assert_eq!(decode_grey(&bytes, name()).expect("decodes").bytes(), [76, 5]);
    let rgba = decode_rgba(&bytes, name()).expect("decodes");
    assert_eq!((rgba.format(), rgba.bytes()), (PixelFormat::Rgbx32, &[255, 0, 0, 1, 5, 5, 5, 9][..]));
}

#[test]
fn a_written_picture_is_read_back() {
    let folder = tempfile::tempdir().expect("a folder");
    for (format, size) in [(PixelFormat::Grey, Size::new(5, 3)), (PixelFormat::Rgb24, Size::new(3, 4))] {
        let mut picture = OwnedPicture::zeroed(format, size, Colorimetry::default()).expect("has pixels");
        picture.bytes_mut().iter_mut().zip((0..).step_by(3)).for_each(|(byte, value)| *byte = value);
        let path = folder.path().join("out");
        write_png(&path, &picture.as_picture()).expect("written");
        let back = if format == PixelFormat::Grey { read_grey(&path) } else { read(&path) };
        assert_eq!(back.expect("read"), picture);
    }
}

#[test]
fn padding_between_rows_is_not_written() {
    let data: Vec<u8> = (0..24).collect();
    let planes = [crate::Plane { data: &data, stride_bytes: 8 }, Default::default(), Default::default()];
    let picture =
        Picture::new(PixelFormat::Grey, Size::new(3, 3), Colorimetry::default(), planes).expect("a valid picture");
    let mut bytes = Vec::new();
    encode_png(&mut bytes, &picture, name()).expect("encodes");
    assert_eq!(decode_grey(&bytes, name()).expect("decodes").bytes(), [0, 1, 2, 8, 9, 10, 16, 17, 18]);
}

#[test]
fn errors_are_one_line_with_the_name() {
    let cases: [(Vec<u8>, &str); 10] = [
        (b"hello\n".to_vec(), "some.png: not a PNG or JPEG picture: it looks like text"),
        (Vec::new(), "some.png: not a PNG or JPEG picture: it looks like an empty file"),
        (b"YUV4MPEG2 W2 H2\n".to_vec(), "some.png: not a PNG or JPEG picture: it looks like a y4m video"),
        (
            png_header(Size::new(16_384, 16_384)),
            "some.png: a picture of 16384x16384 is over the limit of 8192x8192 pixels",
        ),
        (
            png_header(Size::new(u32::MAX, 1)),
            "some.png: a picture of 4294967295x1 is over the limit of 8192x8192 pixels",
        ),
        (png_header(Size::new(0, 0)), "some.png: a picture of 0x0 has no pixels"),
        (jpeg_header(16_384, 16_384, 3), "some.png: a picture of 16384x16384 is over the limit of 8192x8192 pixels"),
        (jpeg_header(0, 5, 3), "some.png: a picture of 0x5 has no pixels"),
        (jpeg_header(8, 8, 4), "some.png: not supported: a JPEG of 4 components (CMYK); save it as RGB or grey"),
        (vec![0xff, 0xd8, 0xff], "some.png: damaged: a segment is cut off or no picture follows the header"),
    ];
    for (bytes, message) in cases {
        assert_eq!(decode(&bytes, name()).expect_err("refused").to_string(), message);
    }
    let missing = read(Path::new("/nowhere/a.png")).expect_err("missing").to_string();
    assert_eq!(missing, "/nowhere/a.png: cannot be read: No such file or directory (os error 2)");
    let endless = read(Path::new("/dev/zero")).expect_err("endless").to_string();
    assert!(endless.ends_with("and this is a device"), "{endless}");
}

#[test]
fn a_png_cut_off_at_any_byte_is_an_error() {
    let noise: Vec<u8> = (0..300_u32).map(|i| u8::try_from(i * 7919 % 251).expect("small")).collect();
    let whole = png_of(Size::new(10, 10), ::png::ColorType::Rgb, ::png::BitDepth::Eight, &noise);
    assert!(decode(&whole, name()).is_ok());
    for length in 0..whole.len() {
        let error = decode(&whole[..length], name()).expect_err("cut off").to_string();
        assert!(error.starts_with("some.png: ") && !error.contains('\n'), "{length}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn damaged_png_files_never_panic(
        at in 0_usize..200, value in proptest::num::u8::ANY, cut in 0_usize..200,
    ) {
        let mut bytes = png_of(Size::new(4, 3), ::png::ColorType::Rgb, ::png::BitDepth::Eight, &[9; 36]);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        bytes.truncate(cut);
        let _ = decode(&bytes, name());
        let _ = decode_grey(&bytes, name());
    }
}
