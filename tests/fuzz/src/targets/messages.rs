//! Any bytes that arrive over D-Bus: no panic, and the same sender whatever the pieces in which a
//! header comes.
//!
//! The modules are those of the service. They use nothing else of it.

#[path = "../../../../src/publish/dbus/transport/body.rs"]
mod body;
#[path = "../../../../src/publish/dbus/transport/header.rs"]
#[allow(dead_code)]
mod header;
#[path = "../../../../src/publish/dbus/transport/long_header.rs"]
mod long_header;

use body::Limits;
use header::{FIXED_BYTES, Fields, Fixed};
use long_header::LongHeader;

/// The sender in a header of which `piece` bytes come at a time.
fn sender(fixed: &Fixed, fields: &[u8], piece: usize) -> Option<String> {
    let mut header = LongHeader::new(fixed.endian);
    fields.chunks(piece.max(1)).for_each(|piece| header.push(piece));
    header.sender()
}

/// Reads the bytes as a message. Returns whether all of it was found good.
///
/// # Panics
/// If the sender depends on the pieces, or a name is longer than the protocol allows.
pub fn check(bytes: &[u8]) -> bool {
    let Some(start) = bytes.first_chunk::<FIXED_BYTES>() else { return false };
    let Some(fixed) = Fixed::parse(start) else { return false };
    let header = &bytes[..fixed.header_bytes.min(bytes.len())];
    let whole = sender(&fixed, &header[FIXED_BYTES..], usize::MAX);
    for piece in [1, 7, 64] {
        assert_eq!(sender(&fixed, &header[FIXED_BYTES..], piece), whole);
    }
    assert!(whole.is_none_or(|name| name.len() <= 255));
    let Ok(fields) = Fields::parse(header, fixed.endian) else { return false };
    assert!([fields.sender, fields.interface, fields.member].iter().all(|name| name.len() <= 255));
    let body = &bytes[header.len()..];
    body::check(body, fields.signature, fixed.endian, Limits::CALL).is_ok()
}
