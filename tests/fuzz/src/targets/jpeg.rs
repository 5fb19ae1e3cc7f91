//! Whatever bytes a camera sends as a JPEG picture, twice (a decoder learns from the first): no panic, no memory error.

use portraitd_v4l2::jpeg::Decoder;
use portraitd_media::Size;

/// Decodes the bytes twice.
///
/// # Panics
/// Where the second time differs from the first.
pub fn check(bytes: &[u8]) {
    let size = Size::new(32, 16);
    let mut decoder = Decoder::default();
    let mut out = vec![0; 32 * 16 * 3];
    let first = decoder.decode(bytes, size, &mut out).is_ok();
    let picture = first.then(|| out.clone());
    let second = decoder.decode(bytes, size, &mut out).is_ok();
    assert!(second || !first, "good once, bad the next time");
    if let Some(picture) = picture {
        assert_eq!(picture, out, "the same bytes, another picture");
    }
}
