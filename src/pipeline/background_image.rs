//! Reads background pictures, from files and from D-Bus. Their size is up to the sender, so the
//! memory that they take is limited: one picture is decoded at a time, and it is stored no larger
//! than 3840x2160.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use portraitd_protocol::ServiceError;

use super::blocking::{Worker, run_blocking};
use super::camera::invalid;
use portraitd_media::{OwnedPicture, PixelFormat, PixelRect, Size, image};
use portraitd_render::ViewRenderer;

/// The most memory that may be taken while a picture is decoded and scaled, in bytes: enough for a
/// baseline JPEG or an RGB PNG of 12 megapixels.
const MAX_DECODING_BYTES: u64 = 56 << 20;
/// The largest picture that is stored, in pixels: the longer and the shorter side.
const MAX_STORED: (u32, u32) = (3840, 2160);

/// Held while a picture is decoded: one at a time, for all cameras.
static TURN: Mutex<()> = Mutex::new(());

/// Reads a picture from a file. This may take a second.
///
/// # Errors
/// `InvalidArgument` with the path if there is no such file, or it is not a picture, or it is too
/// large.
pub(super) fn read(path: &Path) -> Result<Arc<OwnedPicture>, ServiceError> {
    let bytes = image::read_bytes(path).map_err(|error| invalid(&error))?;
    decode(&bytes, path)
}

/// Reads the picture of a configuration, if it names one, on a thread of its own.
///
/// # Errors
/// As [`read`], and as [`run_blocking`].
pub(super) async fn read_configured(path: Option<PathBuf>) -> Result<Option<Arc<OwnedPicture>>, ServiceError> {
    run_blocking(Worker::Loader, move || path.as_deref().map(read).transpose()).await?
}

/// The memory that [`decode`] takes, in bytes, the decoded picture included. 0 if the bytes are no
/// picture, which [`decode`] refuses at once.
///
/// # Errors
/// `InvalidArgument` if this is more than is allowed.
pub(super) fn decoding_bytes(bytes: &[u8], name: &Path) -> Result<usize, ServiceError> {
    let (Some(size), Some(decoding)) = (image::size_of(bytes), image::peak_bytes(bytes)) else { return Ok(0) };
    let stored = stored_size(size);
    let scaling = if stored == size { 0 } else { 3 * (size.area() + stored.area()) };
    let peak = decoding.max(scaling);
    if peak > MAX_DECODING_BYTES {
        let (name, needed, limit) = (name.display(), peak.div_ceil(1 << 20), MAX_DECODING_BYTES >> 20);
        let text = format!(
            "{name}: a picture of {size} takes {needed} MiB to decode, over the limit of {limit} MiB for a \
             background; make it smaller, or save it as a baseline (not progressive) JPEG in RGB, not turned"
        );
        return Err(ServiceError::InvalidArgument(text));
    }
    Ok(usize::try_from(peak).unwrap_or(usize::MAX))
}

/// Decodes a picture. `name` stands for it in errors. This may take a second.
///
/// # Errors
/// `InvalidArgument` if the bytes are not a picture, or it is too large.
pub(super) fn decode(bytes: &[u8], name: &Path) -> Result<Arc<OwnedPicture>, ServiceError> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    decoding_bytes(bytes, name)?;
    let picture = image::decode(bytes, name).map_err(|error| invalid(&error))?;
    let size = stored_size(picture.size());
    if size == picture.size() {
        return Ok(Arc::new(picture));
    }
    let failed = |error: &dyn std::fmt::Display| ServiceError::Failed(format!("{}: {error}", name.display()));
    let mut smaller =
        OwnedPicture::zeroed(PixelFormat::Rgb24, size, picture.color()).map_err(|error| failed(&error))?;
    let whole = PixelRect::of_size(picture.size());
    ViewRenderer::new()
        .render(&picture.as_picture(), whole, &mut smaller.as_picture_mut())
        .map_err(|error| failed(&error))?;
    Ok(Arc::new(smaller))
}

/// The largest size with the aspect of `size` that is neither larger than it nor than
/// [`MAX_STORED`].
fn stored_size(size: Size) -> Size {
    let (long, short) = (size.width.max(size.height), size.width.min(size.height));
    let (most_long, most_short) = (u64::from(MAX_STORED.0), u64::from(MAX_STORED.1));
    let (long, short) = (u64::from(long), u64::from(short));
    if long <= most_long && short <= most_short {
        return size;
    }
    // The side that exceeds its limit by more determines the scale.
    let (over, by) = if long * most_short >= short * most_long { (most_long, long) } else { (most_short, short) };
    let scaled = |side: u32| u32::try_from((u64::from(side) * over / by).max(1)).unwrap_or(u32::MAX);
    Size::new(scaled(size.width), scaled(size.height))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(size: Size, rgb: [u8; 3]) -> Vec<u8> {
        let pixels = usize::try_from(size.area()).expect("small");
        let bytes = rgb.into_iter().cycle().take(3 * pixels).collect();
        let picture = OwnedPicture::new(PixelFormat::Rgb24, size, portraitd_media::Colorimetry::default(), bytes);
        let mut png = Vec::new();
        image::encode_png(&mut png, &picture.expect("a picture").as_picture(), "test".as_ref()).expect("encodes");
        png
    }

    #[test]
    fn a_large_picture_is_stored_smaller_and_a_huge_one_refused() {
        let stored = decode(&png(Size::new(640, 360), [9, 80, 200]), "b.png".as_ref()).expect("small");
        assert_eq!(stored.size(), Size::new(640, 360));
        let stored = decode(&png(Size::new(5000, 100), [9, 80, 200]), "b.png".as_ref()).expect("large");
        assert_eq!(stored.size(), Size::new(3840, 76));
        let row = stored.as_picture().plane(0).row(40)[..6].to_vec();
        assert_eq!(row, [9, 80, 200, 9, 80, 200]);
        let error = decode(&png(Size::new(8192, 4096), [0; 3]), "b.png".as_ref()).expect_err("huge");
        assert!(
            error
                .to_string()
                .contains("b.png: a picture of 8192x4096 takes 131 MiB to decode, over the limit of 56 MiB"),
            "{error}"
        );
        assert!(decode(b"text", "b.png".as_ref()).is_err());
    }

    #[test]
    fn the_stored_picture_has_the_aspect_of_the_original_and_fits() {
        assert_eq!(stored_size(Size::new(3840, 2160)), Size::new(3840, 2160));
        assert_eq!(stored_size(Size::new(6000, 4000)), Size::new(3240, 2160));
        assert_eq!(stored_size(Size::new(4000, 6000)), Size::new(2160, 3240));
        assert_eq!(stored_size(Size::new(8192, 1)), Size::new(3840, 1));
    }
}
