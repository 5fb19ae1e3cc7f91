use super::*;
use proptest::prelude::*;

fn color_for(format: PixelFormat) -> Colorimetry {
    let color = Colorimetry { matrix: Matrix::Bt709, range: Range::Full };
    if color_codes(format, color) == (0, 0) { Colorimetry::default() } else { color }
}

#[test]
fn every_format_comes_back_and_planes_do_not_overlap() {
    for format in PixelFormat::ALL {
        for size in [(1, 1), (5, 3), (63, 2), (64, 64), (1280, 720), (16384, 1), (4096, 2160)] {
            let size = Size::new(size.0, size.1);
            let layout = RingLayout::new(StreamKind::View, 7, format, color_for(format), size, 4).expect("valid");
            let parsed = RingLayout::parse(&layout.encode(), layout.total_bytes() as u64).expect("our own header");
            assert_eq!(parsed, layout);
            let mut end = SLOT_HEADER_BYTES;
            for plane in layout.planes() {
                assert!(plane.offset >= end && plane.offset.is_multiple_of(64) && plane.stride.is_multiple_of(64));
                end = plane.offset + plane.stride * plane.rows;
            }
            assert!(end <= layout.slot_bytes);
        }
    }
}

#[test]
fn a_ring_cannot_have_too_few_slots_or_too_many_pixels() {
    let new = |(width, height), slots| {
        let size = Size::new(width, height);
        RingLayout::new(StreamKind::Mask, 0, PixelFormat::Grey, Colorimetry::default(), size, slots)
    };
    assert_eq!(new((8, 8), 3).expect_err("slots").to_string(), "slot count is 3, which is not 4 to 64");
    assert!(new((0, 8), 4).is_err());
    assert!(new((8, 16385), 4).is_err());
    assert!(new((8, 8), 65).is_err());
}

#[test]
fn one_byte_less_than_the_ring_is_refused() {
    let size = Size::new(256, 144);
    let layout = RingLayout::new(StreamKind::Mask, 1, PixelFormat::Grey, Colorimetry::default(), size, 4);
    let layout = layout.expect("valid");
    let error = RingLayout::parse(&layout.encode(), layout.total_bytes() as u64 - 1).expect_err("short");
    assert!(matches!(error, LayoutError::Short { .. }), "{error}");
}

proptest! {
    /// A header with changed words is refused, or its layout lies within the memory.
    #[test]
    fn a_header_with_words_changed_is_refused_or_safe(
        format in 0..PixelFormat::ALL.len(),
        width in 1u32..2000, height in 1u32..2000,
        changes in prop::collection::vec((0usize..32, any::<u32>(), prop::bool::ANY), 0..5),
        spare in 0u64..100_000,
    ) {
        let format = PixelFormat::ALL[format];
        let size = Size::new(width, height);
        let layout = RingLayout::new(StreamKind::Source, 1, format, Colorimetry::default(), size, 4);
        let layout = layout.expect("valid");
        let mut bytes = layout.encode();
        for (word, value, small) in changes {
            // Small changes reach checks that a random word hardly ever reaches.
            let value = if small { u32_at(&bytes, word * 4).wrapping_add(value % 129).wrapping_sub(64) } else { value };
            put_u32(&mut bytes, word * 4, value);
        }
        let memory = layout.total_bytes() as u64 + spare;
        if let Ok(parsed) = RingLayout::parse(&bytes, memory) {
            prop_assert!(parsed.total_bytes() as u64 <= memory);
            prop_assert!(parsed.slot_count >= MIN_SLOTS);
            for plane in parsed.planes() {
                prop_assert!(plane.row_bytes <= plane.stride);
                prop_assert!(plane.offset >= SLOT_HEADER_BYTES);
                prop_assert!(plane.offset + plane.stride * plane.rows <= parsed.slot_bytes);
            }
        }
    }

    /// Parsing random bytes after a valid magic and version never panics.
    #[test]
    fn random_headers_never_panic(seed in prop::collection::vec(any::<u8>(), 256), memory in any::<u64>()) {
        let mut bytes = Box::new([0; HEADER_BYTES]);
        bytes[..256].copy_from_slice(&seed);
        bytes[..8].copy_from_slice(&MAGIC);
        put_u32(&mut bytes, header::VERSION, VERSION);
        let _ = RingLayout::parse(&bytes, memory);
    }
}
