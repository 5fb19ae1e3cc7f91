//! Frames as y4m and JPEG. JPEG is compared with what another decoder reads.

use std::fs::File;
use std::os::unix::fs::FileExt;

use portraitd_client::picture::{JpegEncoder, append_y4m_frame, to_packed, y4m_header};
use portraitd_client::protocol::layout::{header, slot};
use portraitd_client::{Colorimetry, FrameCopy, Matrix, PixelFormat, Range, Ring, RingLayout, Size, StreamKind};
use rustix::fs::{MemfdFlags, SealFlags};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// A frame whose byte at (plane, x, y) is what `byte` says, and whose padding is 0xee.
fn frame(format: PixelFormat, color: Colorimetry, size: Size, byte: impl Fn(usize, usize, usize) -> u8) -> FrameCopy {
    let stream = if format == PixelFormat::Grey { StreamKind::Mask } else { StreamKind::View };
    let layout = RingLayout::new(stream, 1, format, color, size, 4).expect("valid");
    let memory = rustix::fs::memfd_create("pictures", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    let memory = File::from(memory.expect("memfd"));
    let mut bytes = vec![0xee; layout.total_bytes()];
    bytes[..layout.encode().len()].copy_from_slice(&layout.encode()[..]);
    let start = layout.slot_offset(0);
    bytes[start..start + 512].fill(0);
    bytes[start + slot::LOCK..][..8].copy_from_slice(&2u64.to_le_bytes());
    bytes[header::LATEST..][..8].copy_from_slice(&1u64.to_le_bytes());
    for (number, plane) in layout.planes().iter().enumerate() {
        for y in 0..plane.rows {
            for x in 0..plane.row_bytes {
                bytes[start + plane.offset + y * plane.stride + x] = byte(number, x, y);
            }
        }
    }
    memory.write_all_at(&bytes, 0).expect("write");
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK).expect("seal");
    let (event, _writer) = std::io::pipe().expect("pipe");
    let mut copy = FrameCopy::default();
    assert!(Ring::open(memory.into(), event.into()).expect("a ring").latest(&mut copy));
    copy
}

#[test]
fn y4m_has_planes_without_padding() {
    let size = Size::new(6, 3);
    let nv12 = frame(PixelFormat::Nv12, Colorimetry::default(), size, |plane, x, y| {
        u8::try_from(100 * plane + 10 * y + x).expect("small")
    });
    let layout = nv12.layout().expect("a frame");
    assert_eq!(
        y4m_header(layout, (30_000, 1001)).expect("4:2:0"),
        "YUV4MPEG2 W6 H3 F30000:1001 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\n"
    );
    let mut out = Vec::new();
    append_y4m_frame(&nv12, &mut out).expect("4:2:0");
    let luma = [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25];
    let [cb, cr] = [[100, 102, 104, 110, 112, 114], [101, 103, 105, 111, 113, 115]];
    assert_eq!(out, [b"FRAME\n".as_slice(), &luma, &cb, &cr].concat());

    let mask = frame(PixelFormat::Grey, Colorimetry::default(), size, |_, x, _| u8::try_from(x).expect("small"));
    let header = y4m_header(mask.layout().expect("a frame"), (30, 1)).expect("grey");
    assert!(header.contains("F30:1") && header.contains("Cmono XCOLORRANGE=FULL"), "{header}");
    out.clear();
    append_y4m_frame(&mask, &mut out).expect("grey");
    assert_eq!(out, [b"FRAME\n".as_slice(), &[0, 1, 2, 3, 4, 5].repeat(3)].concat());

    let rgb = frame(PixelFormat::Rgb24, Colorimetry::default(), size, |_, _, _| 0);
    assert!(y4m_header(rgb.layout().expect("a frame"), (30, 1)).is_err());
    assert!(append_y4m_frame(&rgb, &mut out).is_err() && append_y4m_frame(&FrameCopy::default(), &mut out).is_err());
    assert!(JpegEncoder::new(90).append(&rgb, &mut out).is_err());
}

/// The pixels that another decoder finds in a JPEG picture: channels, then bytes.
fn decode(jpeg: &[u8], color: ColorSpace) -> (Size, Vec<u8>) {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(color).set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    let pixels = decoder.decode().expect("a JPEG picture");
    let info = decoder.info().expect("decoded");
    (Size::new(info.width.into(), info.height.into()), pixels)
}

/// Smooth in both directions, so that little is lost. `x` counts samples.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "40 to 220")]
fn slope(component: usize, x: usize, y: usize, size: Size) -> u8 {
    let [width, height] = [size.width, size.height].map(f64::from);
    let value = match component {
        0 => 40.0 + 150.0 * x as f64 / width + 30.0 * y as f64 / height,
        1 => 90.0 + 60.0 * y as f64 / height,
        _ => 150.0 - 40.0 * x as f64 / width,
    };
    value as u8
}

#[test]
fn jpeg_shows_what_the_frame_shows() {
    for (width, height) in [(64, 48), (70, 35), (16, 16), (2, 2), (130, 6)] {
        let size = Size::new(width, height);
        for matrix in [Matrix::Bt601, Matrix::Bt709] {
            for range in [Range::Limited, Range::Full] {
                for format in [PixelFormat::Nv12, PixelFormat::Nv21, PixelFormat::I420] {
                    let color = Colorimetry { matrix, range };
                    let frame = frame(format, color, size, |plane, x, y| match (format, plane) {
                        (PixelFormat::Nv12, 1) => slope(1 + x % 2, x / 2, y, size),
                        (PixelFormat::Nv21, 1) => slope(2 - x % 2, x / 2, y, size),
                        _ => slope(plane, x, y, size),
                    });
                    let mut jpeg = Vec::new();
                    JpegEncoder::new(95).append(&frame, &mut jpeg).expect("4:2:0");
                    let (found, pixels) = decode(&jpeg, ColorSpace::RGB);
                    assert_eq!(found, size);
                    let expected = to_packed(&frame).expect("a frame").data;
                    let difference: f64 = expected.iter().zip(&pixels).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
                    let mean = difference / expected.len() as f64;
                    assert!(mean < 4.0, "{size} {format} {color:?}: {mean} of 255 on average");
                }
            }
        }
    }
}

/// Noise needs every code of the tables; half quality, runs of zeros.
#[test]
fn jpeg_carries_noise_and_is_smaller_with_less_quality() {
    let size = Size::new(200, 120);
    let mut bytes = Vec::new();
    for quality in [1, 30, 75, 100] {
        let frame = frame(PixelFormat::Grey, Colorimetry::default(), size, |_, x, y| {
            let hash = (x * 2_654_435_761 + y * 40_503).wrapping_mul(2_246_822_519) >> 13;
            if y < 60 { u8::try_from(hash % 256).expect("a byte") } else { u8::from(hash % 97 == 0) * 255 }
        });
        let mut jpeg = Vec::new();
        JpegEncoder::new(quality).append(&frame, &mut jpeg).expect("grey");
        let (found, pixels) = decode(&jpeg, ColorSpace::Luma);
        assert_eq!(found, size);
        if quality == 100 {
            let worst = to_packed(&frame).expect("a frame").data.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(6), "{worst:?}");
        }
        bytes.push(jpeg.len());
    }
    assert!(bytes.is_sorted() && bytes[0] * 4 < bytes[3], "{bytes:?}");
}
