//! Any bytes that a camera sends as a JPEG picture, decoded twice (a decoder learns from the first
//! time): no panic, no memory error.

use portraitd_media::Size;
use portraitd_v4l2::jpeg::Decoder;

/// Decodes the bytes twice.
///
/// # Panics
/// If the second result differs from the first.
pub fn check(bytes: &[u8]) {
    let size = Size::new(32, 16);
    let mut decoder = Decoder::default();
    let mut out = vec![0; 32 * 16 * 3];
    let first = decoder.decode(bytes, size, &mut out).is_ok();
    let picture = first.then(|| out.clone());
    let second = decoder.decode(bytes, size, &mut out).is_ok();
    assert!(second || !first, "decoded once, but not the second time");
    if let Some(picture) = picture {
        assert_eq!(picture, out, "the same bytes gave another picture");
    }
}
