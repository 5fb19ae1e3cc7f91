//! A frozen copy of what released clients rely on: version 1 of the ring, and the words on D-Bus.
//!
//! The values here are literals on purpose. Do not change or remove any of them: a failure shows
//! that a program built with an earlier release would stop working. `docs/design/compatibility.md`
//! says what an incompatible change needs.

use portraitd_protocol::layout::{self, HEADER_BYTES, RingLayout, header, slot};
use portraitd_protocol::{
    BackgroundMode, CameraState, Colorimetry, CropMode, FramingMode, FramingSpeed, FramingState, Inset, MaskResolution,
    Matrix, PixelFormat, Range, Size, SlotFlags, StreamKind, sequence_lock,
};

#[test]
fn sizes_and_limits_stay() {
    assert_eq!(&layout::MAGIC, b"PORTRAIT");
    assert_eq!(layout::VERSION, 1);
    assert_eq!(layout::HEADER_BYTES, 4096);
    assert_eq!(layout::SLOT_HEADER_BYTES, 512);
    assert_eq!(layout::ALIGNMENT, 64);
    assert_eq!((layout::MIN_SLOTS, layout::MAX_SLOTS), (4, 64));
    assert_eq!(layout::MAX_SIDE, 16384);
    assert_eq!(layout::MAX_PEOPLE, 16);
    assert_eq!(layout::MAX_PLANES, 4);
}

#[test]
fn offsets_stay() {
    for (found, offset) in [
        (header::MAGIC, 0),
        (header::VERSION, 8),
        (header::HEADER_BYTES, 12),
        (header::SLOT_COUNT, 16),
        (header::SLOT_BYTES, 20),
        (header::GENERATION, 24),
        (header::STREAM, 28),
        (header::FOURCC, 32),
        (header::WIDTH, 36),
        (header::HEIGHT, 40),
        (header::PLANES, 44),
        (header::PLANE_OFFSET, 48),
        (header::PLANE_STRIDE, 64),
        (header::PLANE_ROWS, 80),
        (header::COLOR_MATRIX, 96),
        (header::COLOR_RANGE, 100),
        (header::LATEST, 128),
        (header::CLOSED, 192),
        (slot::LOCK, 0),
        (slot::SEQUENCE, 8),
        (slot::CAPTURE_NS, 16),
        (slot::PUBLISH_NS, 24),
        (slot::MASK_SEQUENCE, 32),
        (slot::MASK_AGE_NS, 40),
        (slot::CROP, 48),
        (slot::FLAGS, 64),
        (slot::PEOPLE, 68),
        (slot::PERSON, 72),
        (slot::PERSON_BYTES, 24),
    ] {
        assert_eq!(found, offset);
    }
}

#[test]
fn codes_and_flags_stay() {
    for (stream, code) in
        [(StreamKind::Mask, 1), (StreamKind::View, 2), (StreamKind::Composite, 3), (StreamKind::Source, 4)]
    {
        assert_eq!(stream.code(), code);
    }
    for (flag, bit) in [
        (SlotFlags::MASK_VALID, 1),
        (SlotFlags::STILL, 2),
        (SlotFlags::STALE, 4),
        (SlotFlags::DEGRADED, 8),
        (SlotFlags::PRIVATE, 16),
    ] {
        assert_eq!(flag.bits(), bit);
    }
    for (format, fourcc) in [
        (PixelFormat::Yuyv, b"YUYV"),
        (PixelFormat::Uyvy, b"UYVY"),
        (PixelFormat::Nv12, b"NV12"),
        (PixelFormat::Nv21, b"NV21"),
        (PixelFormat::I420, b"YU12"),
        (PixelFormat::I422, b"422P"),
        (PixelFormat::Rgb24, b"RGB3"),
        (PixelFormat::Bgr24, b"BGR3"),
        (PixelFormat::Rgbx32, b"XB24"),
        (PixelFormat::Bgrx32, b"XR24"),
        (PixelFormat::Grey, b"GREY"),
    ] {
        assert_eq!(&format.fourcc(), fourcc);
    }
}

#[test]
fn the_sequence_lock_stays() {
    assert_eq!([1, 2, 4, 5, 9].map(|index| sequence_lock::slot_of(index, 4)), [0, 1, 3, 0, 0]);
    assert_eq!([1, 2, 1000].map(sequence_lock::lock_value), [2, 4, 2000]);
}

/// The header of a view, up to the last field that is not 0: generation 7, 640x360 NV12, BT.709
/// full range, four slots.
#[rustfmt::skip]
const VIEW: [u8; 104] = [
    b'P', b'O', b'R', b'T', b'R', b'A', b'I', b'T',
    1, 0, 0, 0, // version
    0, 16, 0, 0, // header bytes: 4096
    4, 0, 0, 0, // slot count
    0x00, 0x48, 0x05, 0x00, // slot bytes: 346112
    7, 0, 0, 0, // generation
    2, 0, 0, 0, // stream: view
    b'N', b'V', b'1', b'2',
    0x80, 2, 0, 0, // width: 640
    0x68, 1, 0, 0, // height: 360
    2, 0, 0, 0, // planes
    0, 2, 0, 0, 0x00, 0x86, 0x03, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, // plane offsets: 512, 230912
    0x80, 2, 0, 0, 0x80, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // plane strides: 640, 640
    0x68, 1, 0, 0, 180, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // plane rows: 360, 180
    2, 0, 0, 0, // color matrix: BT.709
    2, 0, 0, 0, // color range: full
];

/// The header of a mask: generation 1, 200x100 grey, eight slots.
#[rustfmt::skip]
const MASK: [u8; 104] = [
    b'P', b'O', b'R', b'T', b'R', b'A', b'I', b'T',
    1, 0, 0, 0, // version
    0, 16, 0, 0, // header bytes: 4096
    8, 0, 0, 0, // slot count
    0x00, 0x66, 0x00, 0x00, // slot bytes: 26112
    1, 0, 0, 0, // generation
    1, 0, 0, 0, // stream: mask
    b'G', b'R', b'E', b'Y',
    200, 0, 0, 0, // width
    100, 0, 0, 0, // height
    1, 0, 0, 0, // planes
    0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // plane offset: 512
    0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // plane stride: 256
    100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // plane rows
    0, 0, 0, 0, // color matrix: not applicable
    0, 0, 0, 0, // color range: not applicable
];

#[test]
fn headers_stay() {
    let color = Colorimetry { matrix: Matrix::Bt709, range: Range::Full };
    let view = RingLayout::new(StreamKind::View, 7, PixelFormat::Nv12, color, Size::new(640, 360), 4);
    let mask = RingLayout::new(StreamKind::Mask, 1, PixelFormat::Grey, Colorimetry::default(), Size::new(200, 100), 8);
    for (layout, golden) in [(view, VIEW), (mask, MASK)] {
        let layout = layout.expect("valid");
        let mut bytes = Box::new([0; HEADER_BYTES]);
        bytes[..golden.len()].copy_from_slice(&golden);
        assert!(layout.encode() == bytes, "the header of a new ring differs");
        assert_eq!(RingLayout::parse(&bytes, layout.total_bytes() as u64), Ok(layout));
        // Readers ignore what later releases write to reserved bytes.
        bytes[104..128].fill(0xff);
        bytes[256..].fill(0xff);
        assert_eq!(RingLayout::parse(&bytes, layout.total_bytes() as u64), Ok(layout));
    }
}

/// Checks that every released word still exists. New words may follow.
fn assert_words<T: Copy + std::fmt::Display>(all: &[T], released: &[&str]) {
    let all: Vec<String> = all.iter().map(T::to_string).collect();
    for word in released {
        assert!(all.iter().any(|known| known == word), "`{word}` is missing in {all:?}");
    }
}

#[test]
fn words_stay() {
    assert_words(StreamKind::ALL, &["mask", "view", "composite", "source"]);
    assert_words(CameraState::ALL, &["absent", "idle", "starting", "running", "stalled", "private", "failed"]);
    assert_words(FramingMode::ALL, &["off", "once", "follow", "manual"]);
    assert_words(FramingState::ALL, &["inactive", "framing", "converged", "lost"]);
    assert_words(FramingSpeed::ALL, &["calm", "normal", "quick"]);
    assert_words(BackgroundMode::ALL, &["none", "color", "image", "blur"]);
    assert_words(CropMode::ALL, &["view", "full"]);
    assert_words(Inset::ALL, &["none", "top-left", "top-right", "bottom-left", "bottom-right"]);
    assert_words(MaskResolution::ALL, &["net", "quarter", "full"]);
}

#[test]
fn names_stay() {
    use portraitd_protocol::names;
    assert_eq!(names::SERVICE_NAME, "org.portraitd");
    assert_eq!(names::ROOT_PATH, "/org/portraitd");
    assert_eq!(names::CAMERAS_PATH, "/org/portraitd/cameras");
    assert_eq!(names::MANAGER_INTERFACE, "org.portraitd.Manager1");
    assert_eq!(
        names::CAMERA_INTERFACES,
        ["org.portraitd.Camera1", "org.portraitd.Framing1", "org.portraitd.Segmentation1", "org.portraitd.Background1"]
    );
    assert_eq!(names::ERROR_PREFIX, "org.portraitd.Error");
    assert_eq!(names::camera_path("front-door 2"), "/org/portraitd/cameras/front_2ddoor_202");
}
