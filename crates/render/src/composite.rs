//! The composite: people in front of another background.
//!
//! It fails closed: without a mask it shows only the background. The room is never written to the
//! output. The exception is the mode `blur`, which shows the room blurred beyond recognition, and
//! only if there is a mask that separates people from the room.

use portraitd_kernels::blend::{Backdrop, Blur, Compositor, Edge};
use portraitd_kernels::convert::rgb_to_ycc;
use portraitd_kernels::scale::{Filter, Scaler};
use portraitd_media::{Colorimetry, OwnedPicture, Picture, PictureMut, PixelFormat, PixelRect, Size, packed_bytes};
use portraitd_protocol::BackgroundMode;

use crate::error::RenderError;
use crate::shown::ShownMatte;

/// The least standard deviation of the blur, as a fraction of the *source's* height, whatever part
/// of it the output shows and in which size. Stripes of a thirtieth of the source's height, and
/// letters of a fifteenth, then keep less than 1 % of their contrast.
pub const LEAST_BLUR: f32 = 0.04;

/// A background that is ready to be drawn: its image, if it has one, is decoded.
#[derive(Clone, Copy, Debug)]
pub struct PreparedBackground<'a> {
    /// A different number for each background. The renderer scales an image once per version and
    /// keeps the result.
    pub version: u64,
    /// The kind of background.
    pub mode: BackgroundMode,
    /// Red, green and blue of the mode `color`. Also used by `image` without an image, and by
    /// `blur` without a mask.
    pub color: [u8; 3],
    /// Standard deviation of the blur in the mode `blur`, as a fraction of the output's height. It
    /// is at least [`LEAST_BLUR`] of the source's height.
    pub blur: f64,
    /// The image of the mode `image` (RGB24). It covers the output; what exceeds the output's
    /// aspect is cut off equally on both sides.
    pub image: Option<&'a OwnedPicture>,
}

/// A background image scaled to an output.
#[derive(Clone, Debug)]
struct ScaledImage {
    version: u64,
    format: PixelFormat,
    size: Size,
    color: Colorimetry,
    bytes: Vec<u8>,
}

/// Draws composites. Owns the memory of scaler and filter, and the scaled background image.
#[derive(Clone, Debug)]
pub struct CompositeRenderer {
    compositor: Compositor,
    blur: Blur,
    scaled: Option<ScaledImage>,
}

impl Default for CompositeRenderer {
    fn default() -> Self {
        Self::new()
    }
}

impl CompositeRenderer {
    /// A renderer that allocates its memory at the first use.
    pub fn new() -> Self {
        Self { compositor: Compositor::guided(Filter::Cubic), blur: Blur::new(), scaled: None }
    }

    /// Fills `output` (NV12 or RGB24) with the people in `crop` (pixels of `source`) in front of
    /// `background`, as far as `matte` lets them be shown. Nothing else of the source is drawn.
    ///
    /// # Errors
    /// [`RenderError`]; in this case nothing of the source has been written to `output`.
    pub fn render(
        &mut self,
        source: &Picture<'_>,
        crop: PixelRect,
        matte: ShownMatte<'_>,
        background: &PreparedBackground<'_>,
        output: &mut PictureMut<'_>,
    ) -> Result<(), RenderError> {
        let (format, size, color) = (output.format(), output.size(), source.color());
        let plain = |rgb: [u8; 3]| {
            let nv12 = format == PixelFormat::Nv12;
            Backdrop::Color(if nv12 { rgb_to_ycc(rgb, color) } else { rgb })
        };
        let Self { compositor, blur, scaled } = self;
        let mask = matte.mask();
        let backdrop = match (background.mode, background.image, mask) {
            (BackgroundMode::None, ..) => plain([0; 3]),
            (BackgroundMode::Image, Some(image), _) => {
                Backdrop::Picture(scaled_image(scaled, image, background.version, format, size, color)?)
            }
            (BackgroundMode::Blur, _, Some(mask)) => {
                #[expect(clippy::cast_possible_truncation, reason = "a fraction: rounding only")]
                let wanted = background.blur as f32 * crop.height;
                let radius = wanted.max(LEAST_BLUR * source.size().height as f32);
                let (room, part) = blur.scene_background(source, crop, Some(mask), radius, format)?;
                Backdrop::Stretched(room, part)
            }
            // Without a mask, a blur would include the people. A plain colour shows neither them
            // nor the room.
            _ => plain(background.color),
        };
        compositor.compose(source, crop, mask, Edge::default(), &backdrop, output)?;
        Ok(())
    }
}

/// The background image at the format and size of an output. It is scaled again only if something
/// has changed.
fn scaled_image<'a>(
    scaled: &'a mut Option<ScaledImage>,
    image: &OwnedPicture,
    version: u64,
    format: PixelFormat,
    size: Size,
    color: Colorimetry,
) -> Result<Picture<'a>, RenderError> {
    let current = scaled
        .take_if(|held| held.version == version && held.format == format && held.size == size && held.color == color);
    let held = match current {
        Some(held) => held,
        None => {
            let mut bytes = vec![0; packed_bytes(format, size)];
            let source = image.as_picture();
            let same_color = Picture::packed(source.format(), source.size(), color, image.bytes());
            if let (Ok(source), Ok(mut output)) = (same_color, PictureMut::packed(format, size, &mut bytes)) {
                Scaler::new(Filter::Linear).scale(&source, cover(source.size(), size), &mut output)?;
            }
            ScaledImage { version, format, size, color, bytes }
        }
    };
    let held = scaled.insert(held);
    Ok(Picture::packed(format, size, color, &held.bytes).expect("the buffer was allocated for this format and size"))
}

/// The largest centred part of a picture of `source` with the aspect of `output`.
fn cover(source: Size, output: Size) -> PixelRect {
    let (width, height) = (source.width as f32, source.height as f32);
    let aspect = output.aspect();
    let (wide, high) = if width > height * aspect { (height * aspect, height) } else { (width, width / aspect) };
    PixelRect::new((width - wide) * 0.5, (height - high) * 0.5, wide, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shown::MatteRules;
    use portraitd_vision::Observation;

    const SIZE: Size = Size::new(32, 32);

    /// The left half is a red person, the right half a green room.
    fn scene() -> Vec<u8> {
        (0..32 * 32).flat_map(|index| if index % 32 < 16 { [255, 0, 0] } else { [0, 255, 0] }).collect()
    }

    fn render(mode: BackgroundMode, with_mask: bool, image: Option<&OwnedPicture>) -> Vec<u8> {
        let bytes = scene();
        let color = Colorimetry::default();
        let source = Picture::packed(PixelFormat::Rgb24, SIZE, color, &bytes).expect("a picture");
        let values: Vec<f32> = (0..32 * 32).map(|index| if index % 32 < 16 { 1.0 } else { 0.0 }).collect();
        let covers = PixelRect::of_size(SIZE);
        let observation = Observation::of_mask(3, 9, SIZE, values, SIZE, covers);
        let mut rules = MatteRules::new();
        let matte = if with_mask { rules.own(&observation, (3, 9), SIZE) } else { ShownMatte::nothing() };
        let mut out = vec![77; 32 * 32 * 3];
        let mut output = PictureMut::packed(PixelFormat::Rgb24, SIZE, &mut out).expect("a picture");
        let background = PreparedBackground { version: 1, mode, color: [1, 2, 3], blur: 0.05, image };
        CompositeRenderer::new()
            .render(&source, PixelRect::of_size(SIZE), matte, &background, &mut output)
            .expect("drawn");
        out
    }

    fn at(out: &[u8], x: usize, y: usize) -> [u8; 3] {
        let start = (y * 32 + x) * 3;
        [out[start], out[start + 1], out[start + 2]]
    }

    #[test]
    fn people_are_drawn_in_front_of_the_background() {
        let out = render(BackgroundMode::Color, true, None);
        assert_eq!(at(&out, 4, 9), [255, 0, 0]);
        assert_eq!(at(&out, 28, 9), [1, 2, 3]);
        let out = render(BackgroundMode::None, true, None);
        assert_eq!(at(&out, 28, 9), [0, 0, 0]);
    }

    #[test]
    fn without_a_mask_nothing_of_the_source_is_shown() {
        for mode in BackgroundMode::ALL {
            let out = render(*mode, false, None);
            let expected = if *mode == BackgroundMode::None { [0, 0, 0] } else { [1, 2, 3] };
            assert!((0..32 * 32).all(|index| at(&out, index % 32, index / 32) == expected), "{mode}");
        }
    }

    #[test]
    fn an_image_covers_the_output() {
        // The image is twice as wide as high, so its outer quarters are cut off.
        let bytes = (0..64 * 32).flat_map(|index| if (16..48).contains(&(index % 64)) { [9, 9, 9] } else { [200; 3] });
        let image = OwnedPicture::new(PixelFormat::Rgb24, Size::new(64, 32), Colorimetry::default(), bytes.collect());
        let out = render(BackgroundMode::Image, true, Some(&image.expect("a picture")));
        assert_eq!(at(&out, 28, 9), [9, 9, 9]);
        assert_eq!(at(&out, 4, 9), [255, 0, 0]);
    }

    #[test]
    fn a_blurred_room_contains_nothing_of_the_person() {
        let out = render(BackgroundMode::Blur, true, None);
        let [red, green, _] = at(&out, 24, 9);
        assert!(red < 10 && green > 240, "{:?}", at(&out, 24, 9));
    }
}
