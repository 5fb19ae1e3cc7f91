//! `include/portraitd.h` and the Rust constants contain the same numbers.

use std::collections::BTreeMap;

use portraitd_protocol::SlotFlags;
use portraitd_protocol::layout::{self, header, slot};

#[test]
fn the_c_header_and_the_rust_constants_agree() {
    let text = include_str!("../include/portraitd.h");
    let number = |text: &str| -> Option<usize> {
        let text = text.split("/*").next()?.trim();
        if let Some(shift) = text.strip_prefix("(1u << ") {
            return Some(1 << shift.trim_end_matches(')').parse::<u32>().ok()?);
        }
        text.trim_end_matches('u').parse().ok()
    };
    let defined: BTreeMap<&str, usize> = text
        .lines()
        .filter_map(|line| line.strip_prefix("#define PORTRAITD_")?.split_once(' '))
        .filter_map(|(name, value)| Some((name, number(value)?)))
        .collect();
    let number_of = |value: u32| usize::try_from(value).expect("small");
    let expected = BTreeMap::from([
        ("VERSION", number_of(layout::VERSION)),
        ("HEADER_BYTES", layout::HEADER_BYTES),
        ("SLOT_HEADER_BYTES", layout::SLOT_HEADER_BYTES),
        ("ALIGNMENT", layout::ALIGNMENT),
        ("MIN_SLOTS", number_of(layout::MIN_SLOTS)),
        ("MAX_SLOTS", number_of(layout::MAX_SLOTS)),
        ("MAX_SIDE", number_of(layout::MAX_SIDE)),
        ("MAX_PEOPLE", layout::MAX_PEOPLE),
        ("MAX_PLANES", layout::MAX_PLANES),
        ("HEADER_MAGIC", header::MAGIC),
        ("HEADER_VERSION", header::VERSION),
        ("HEADER_HEADER_BYTES", header::HEADER_BYTES),
        ("HEADER_SLOT_COUNT", header::SLOT_COUNT),
        ("HEADER_SLOT_BYTES", header::SLOT_BYTES),
        ("HEADER_GENERATION", header::GENERATION),
        ("HEADER_STREAM", header::STREAM),
        ("HEADER_FOURCC", header::FOURCC),
        ("HEADER_WIDTH", header::WIDTH),
        ("HEADER_HEIGHT", header::HEIGHT),
        ("HEADER_PLANES", header::PLANES),
        ("HEADER_PLANE_OFFSET", header::PLANE_OFFSET),
        ("HEADER_PLANE_STRIDE", header::PLANE_STRIDE),
        ("HEADER_PLANE_ROWS", header::PLANE_ROWS),
        ("HEADER_COLOR_MATRIX", header::COLOR_MATRIX),
        ("HEADER_COLOR_RANGE", header::COLOR_RANGE),
        ("HEADER_LATEST", header::LATEST),
        ("HEADER_CLOSED", header::CLOSED),
        ("SLOT_LOCK", slot::LOCK),
        ("SLOT_SEQUENCE", slot::SEQUENCE),
        ("SLOT_CAPTURE_NS", slot::CAPTURE_NS),
        ("SLOT_PUBLISH_NS", slot::PUBLISH_NS),
        ("SLOT_MASK_SEQUENCE", slot::MASK_SEQUENCE),
        ("SLOT_MASK_AGE_NS", slot::MASK_AGE_NS),
        ("SLOT_CROP", slot::CROP),
        ("SLOT_FLAGS", slot::FLAGS),
        ("SLOT_PEOPLE", slot::PEOPLE),
        ("SLOT_PERSON", slot::PERSON),
        ("SLOT_PERSON_BYTES", slot::PERSON_BYTES),
        ("FLAG_MASK_VALID", number_of(SlotFlags::MASK_VALID.bits())),
        ("FLAG_STILL", number_of(SlotFlags::STILL.bits())),
        ("FLAG_STALE", number_of(SlotFlags::STALE.bits())),
        ("FLAG_DEGRADED", number_of(SlotFlags::DEGRADED.bits())),
        ("FLAG_PRIVATE", number_of(SlotFlags::PRIVATE.bits())),
    ]);
    assert_eq!(defined, expected);
    assert!(text.contains("#define PORTRAITD_MAGIC \"PORTRAIT\""));
}
