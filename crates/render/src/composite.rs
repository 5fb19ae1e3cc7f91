//! The composite: people on another background. Without a mask it shows the background alone; the room is never written,
//! but as a blur beyond recognition where the background is `blur` - and then only where a mask tells people from room.

use portraitd_kernels::blend::{Backdrop, Blur, Compositor, Edge, MaskView};
use portraitd_kernels::convert::rgb_to_ycc;
use portraitd_kernels::scale::{Filter, Scaler};
use portraitd_protocol::BackgroundMode;

use crate::error::RenderError;
use portraitd_media::{Colorimetry, OwnedPicture, Picture, PictureMut, PixelFormat, PixelRect, Size, packed_bytes};

/// The least blur, as a fraction of the output's height: less would leave faces to be recognised.
const LEAST_BLUR: f64 = 0.02;

/// What is to stand behind the people.
#[derive(Clone, Copy, Debug)]
pub struct Background<'a> {
    /// Another number for another background: what was prepared for the last one is kept while it stays the same.
    pub version: u64,
    /// Which kind.
    pub mode: BackgroundMode,
    /// Red, green, blue of the mode `color`, and of `image` without a picture.
    pub color: [u8; 3],
    /// Standard deviation of the mode `blur`, as a fraction of the output's height.
    pub blur: f64,
    /// The picture of the mode `image` (RGB24): it covers the output, cut at the sides or at top and bottom.
    pub image: Option<&'a OwnedPicture>,
}

/// A background picture brought to an output.
#[derive(Clone, Debug)]
struct Prepared {
    version: u64,
    format: PixelFormat,
    size: Size,
    color: Colorimetry,
    bytes: Vec<u8>,
}

/// Draws composites. Owns the scaler's rows and the prepared background.
#[derive(Clone, Debug)]
pub struct CompositeRenderer {
    compositor: Compositor,
    blur: Blur,
    prepared: Option<Prepared>,
}

impl Default for CompositeRenderer {
    fn default() -> Self {
        Self::new()
    }
}

impl CompositeRenderer {
    /// One without memory yet.
    pub fn new() -> Self {
        Self { compositor: Compositor::guided(Filter::Cubic), blur: Blur::new(), prepared: None }
    }

    /// Fills `output` (NV12 or RGB24) with the people in `crop` (source pixels) of `source` on `background`.
    ///
    /// # Errors
    /// [`RenderError`]; `output` then holds nothing of the source that was not there before.
    pub fn render(
        &mut self,
        source: &Picture<'_>,
        crop: PixelRect,
        mask: Option<&MaskView<'_>>,
        background: &Background<'_>,
        output: &mut PictureMut<'_>,
    ) -> Result<(), RenderError> {
        let (format, size, color) = (output.format(), output.size(), source.color());
        let plain = |rgb: [u8; 3]| {
            let nv12 = format == PixelFormat::Nv12;
            Backdrop::Color(if nv12 { rgb_to_ycc(rgb, color) } else { rgb })
        };
        let Self { compositor, blur, prepared } = self;
        let backdrop = match (background.mode, background.image, mask) {
            (BackgroundMode::None, ..) => plain([0; 3]),
            (BackgroundMode::Image, Some(image), _) => {
                Backdrop::Picture(prepare(prepared, image, background.version, format, size, color)?)
            }
            (BackgroundMode::Blur, _, Some(mask)) => {
                let radius = background.blur.max(LEAST_BLUR) * f64::from(size.height);
                #[expect(clippy::cast_possible_truncation, reason = "a radius in pixels: rounding only")]
                let radius = radius as f32;
                Backdrop::Stretched(blur.scene_background(source, crop.into(), Some(mask), radius, size, format)?)
            }
            // A blur that cannot tell people from the room would show both; one colour shows neither.
            (BackgroundMode::Blur | BackgroundMode::Color | BackgroundMode::Image, ..) => plain(background.color),
        };
        compositor.compose(source, crop.into(), mask, Edge::default(), &backdrop, output)?;
        Ok(())
    }
}

/// The background picture for an output, made anew only where something differs.
fn prepare<'a>(
    prepared: &'a mut Option<Prepared>,
    image: &OwnedPicture,
    version: u64,
    format: PixelFormat,
    size: Size,
    color: Colorimetry,
) -> Result<Picture<'a>, RenderError> {
    let current = prepared
        .take_if(|held| held.version == version && held.format == format && held.size == size && held.color == color);
    let held = match current {
        Some(held) => held,
        None => {
            let mut bytes = vec![0; packed_bytes(format, size)];
            let source = image.as_picture();
            let named = Picture::packed(source.format(), source.size(), color, image.bytes());
            if let (Ok(source), Ok(mut output)) = (named, PictureMut::packed(format, size, &mut bytes)) {
                Scaler::new(Filter::Linear).scale(&source, cover(source.size(), size).into(), &mut output)?;
            }
            Prepared { version, format, size, color, bytes }
        }
    };
    let held = prepared.insert(held);
    Ok(Picture::packed(format, size, color, &held.bytes).expect("made with the bytes of this format and size"))
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
    use portraitd_kernels::blend::MaskValues;

    const SIZE: Size = Size::new(32, 32);

    /// A red person's half (left) before a green room.
    fn scene() -> Vec<u8> {
        (0..32 * 32).flat_map(|index| if index % 32 < 16 { [255, 0, 0] } else { [0, 255, 0] }).collect()
    }

    fn render(mode: BackgroundMode, with_mask: bool, image: Option<&OwnedPicture>) -> Vec<u8> {
        let bytes = scene();
        let color = Colorimetry::default();
        let source = Picture::packed(PixelFormat::Rgb24, SIZE, color, &bytes).expect("a picture");
        let values: Vec<f32> = (0..32 * 32).map(|index| if index % 32 < 16 { 1.0 } else { 0.0 }).collect();
        let covers = PixelRect::of_size(SIZE).into();
        let mask = MaskView::new(MaskValues::Float(&values), SIZE, covers).expect("a mask");
        let mut out = vec![77; 32 * 32 * 3];
        let mut output = PictureMut::packed(PixelFormat::Rgb24, SIZE, &mut out).expect("a picture");
        let background = Background { version: 1, mode, color: [1, 2, 3], blur: 0.05, image };
        CompositeRenderer::new()
            .render(&source, PixelRect::of_size(SIZE), with_mask.then_some(&mask), &background, &mut output)
            .expect("drawn");
        out
    }

    fn at(out: &[u8], x: usize, y: usize) -> [u8; 3] {
        let start = (y * 32 + x) * 3;
        [out[start], out[start + 1], out[start + 2]]
    }

    #[test]
    fn people_stand_on_the_background() {
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
    fn a_picture_covers_the_output() {
        // Twice as wide as high: its outer quarters are cut.
        let bytes = (0..64 * 32).flat_map(|index| if (16..48).contains(&(index % 64)) { [9, 9, 9] } else { [200; 3] });
        let image = OwnedPicture::new(PixelFormat::Rgb24, Size::new(64, 32), Colorimetry::default(), bytes.collect());
        let out = render(BackgroundMode::Image, true, Some(&image.expect("a picture")));
        assert_eq!(at(&out, 28, 9), [9, 9, 9]);
        assert_eq!(at(&out, 4, 9), [255, 0, 0]);
    }

    #[test]
    fn a_blurred_room_has_nothing_of_the_person() {
        let out = render(BackgroundMode::Blur, true, None);
        let [red, green, _] = at(&out, 24, 9);
        assert!(red < 10 && green > 240, "{:?}", at(&out, 24, 9));
    }
}
