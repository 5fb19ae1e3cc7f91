//! The composite: people on a background, and never the room.
//!
//! Fails closed: where there is no mask that may be used, the background is written and nothing else. Rows are mixed
//! before they are written, so the room is not in the ring's memory for an instant either.

use portraitd_kernels::blend::{Backdrop, Blur, Compositor};
use portraitd_kernels::convert;
use portraitd_kernels::scale::{Filter, Scaler};

use super::{Edge, MaskView, RenderError, check_output, check_stream};
use crate::pixel::{Colorimetry, Picture, PictureMut, PixelFormat, Rectangle, Region, Size, packed_bytes};

/// What is behind the people.
#[derive(Clone, Debug, Default)]
pub enum Background {
    /// Nothing: black.
    #[default]
    None,
    /// One colour, `[r, g, b]`.
    Color([u8; 3]),
    /// An image.
    Image(BackgroundImage),
    /// The room, blurred, without its people: 0 (about 1/50 of the picture's height) ..= 1 (about 1/8 of it). The least is
    /// strong enough that nothing can be read.
    Blur(f32),
}

/// An image to be put behind people, of any size: its middle part, in the shape of the output, fills the output.
#[derive(Clone, Debug)]
pub struct BackgroundImage {
    rgb: Vec<u8>,
    size: Size,
}

impl BackgroundImage {
    /// An image of `size` whose pixels are `rgb` (RGB24, no padding).
    ///
    /// # Errors
    /// [`RenderError::Image`] where there are too few bytes or no pixels.
    pub fn new(rgb: Vec<u8>, size: Size) -> Result<Self, RenderError> {
        Picture::packed(PixelFormat::Rgb24, size, Colorimetry::default(), &rgb)?;
        Ok(Self { rgb, size })
    }
}

/// What a composite shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// People on the background.
    People,
    /// The background alone, because there was no mask.
    BackgroundAlone,
}

/// Renders composites of one size and format.
#[derive(Debug)]
pub struct CompositeRenderer {
    size: Size,
    format: PixelFormat,
    compositor: Compositor,
    blur: Blur,
    edge: Edge,
    background: Background,
    /// The image at the output's size and format, and the colorimetry it was made for.
    image: Vec<u8>,
    image_color: Option<Colorimetry>,
}

impl CompositeRenderer {
    /// A renderer of `output` pixels in `format` (NV12 or RGB24), on black.
    ///
    /// # Errors
    /// [`RenderError::Stream`] for another format, or no pixels.
    pub fn new(output: Size, format: PixelFormat) -> Result<Self, RenderError> {
        check_stream(format, output, &[PixelFormat::Nv12, PixelFormat::Rgb24])?;
        Ok(Self {
            size: output,
            format,
            compositor: Compositor::new(Filter::Cubic),
            blur: Blur::new(),
            edge: Edge::default(),
            background: Background::None,
            image: Vec::new(),
            image_color: None,
        })
    }

    /// Puts another background behind people. An image is scaled when the next frame is rendered, once.
    pub fn set_background(&mut self, background: Background) {
        self.background = background;
        self.image_color = None;
    }

    /// Shapes the edge of people anew.
    pub fn set_edge(&mut self, edge: Edge) {
        self.edge = edge;
    }

    /// Fills `output` with the people of the `crop` of `source` (in source pixels) on the background. Who they are is said by
    /// `mask`; `None` is for *no mask that may be used*, and then `output` is the background alone. (A blurred room without a
    /// mask has its people blurred in it.) The output's numbers mean what the source's do.
    ///
    /// # Errors
    /// [`RenderError`]; nothing has been written then.
    pub fn render(
        &mut self,
        source: &Picture<'_>,
        crop: Rectangle,
        mask: Option<&MaskView<'_>>,
        output: &mut PictureMut<'_>,
    ) -> Result<Shown, RenderError> {
        check_output(self.format, self.size, output)?;
        let crop = Region::from(crop);
        let color = source.color();
        if let Background::Image(image) = &self.background
            && self.image_color != Some(color)
        {
            self.image.resize(packed_bytes(self.format, self.size), 0);
            fill(image, self.format, self.size, color, &mut self.image)?;
            self.image_color = Some(color);
        }
        let backdrop = match &self.background {
            Background::None => Backdrop::Color(self.components([0; 3], color)),
            Background::Color(rgb) => Backdrop::Color(self.components(*rgb, color)),
            Background::Image(_) => Backdrop::Picture(Picture::packed(self.format, self.size, color, &self.image)?),
            Background::Blur(strength) => {
                let radius = blur_radius(*strength, self.size);
                Backdrop::Stretched(self.blur.room(source, crop, mask, radius, self.size, self.format)?)
            }
        };
        self.compositor.compose(source, crop, mask, self.edge, &backdrop, output)?;
        Ok(if mask.is_some() { Shown::People } else { Shown::BackgroundAlone })
    }

    /// A colour in the output's terms.
    fn components(&self, rgb: [u8; 3], color: Colorimetry) -> [u8; 3] {
        if self.format.is_rgb() { rgb } else { convert::rgb_to_ycc(rgb, color) }
    }
}

/// The radius of blur for a strength (0..=1; what is no number is 1) in output pixels.
fn blur_radius(strength: f32, size: Size) -> f32 {
    let strength = if strength.is_nan() { 1.0 } else { strength.clamp(0.0, 1.0) };
    size.height as f32 * (0.02 + 0.105 * strength)
}

/// The middle of `image` in the shape of `size`, as a picture of `format` whose numbers mean `color`.
fn fill(
    image: &BackgroundImage,
    format: PixelFormat,
    size: Size,
    color: Colorimetry,
    bytes: &mut [u8],
) -> Result<(), RenderError> {
    let source = Picture::packed(PixelFormat::Rgb24, image.size, color, &image.rgb)?;
    let (width, height) = (image.size.width as f32, image.size.height as f32);
    let scale = (width / size.width as f32).min(height / size.height as f32);
    let (wide, high) = (scale * size.width as f32, scale * size.height as f32);
    let crop = Region::new((width - wide) / 2.0, (height - high) / 2.0, wide, high);
    let mut output = PictureMut::packed(format, size, bytes)?;
    Scaler::new(Filter::Cubic).scale(&source, crop, &mut output)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel::{Matrix, Range};
    use crate::render::MaskValues;

    const SIZE: Size = Size::new(64, 36);

    /// A bright room.
    fn room() -> Vec<u8> {
        vec![220; packed_bytes(PixelFormat::Nv12, SIZE)]
    }

    fn render(renderer: &mut CompositeRenderer, color: Colorimetry, mask: Option<&MaskView<'_>>) -> (Shown, Vec<u8>) {
        let data = room();
        let source = Picture::packed(PixelFormat::Nv12, SIZE, color, &data).expect("whole");
        let mut bytes = vec![0; packed_bytes(PixelFormat::Nv12, SIZE)];
        let mut output = PictureMut::packed(PixelFormat::Nv12, SIZE, &mut bytes).expect("whole");
        let shown = renderer.render(&source, Rectangle::of_size(SIZE), mask, &mut output).expect("valid");
        (shown, bytes)
    }

    fn backgrounds() -> Vec<Background> {
        let image = BackgroundImage::new(vec![10; 3 * 40 * 40], Size::new(40, 40)).expect("whole");
        vec![Background::None, Background::Color([20, 30, 40]), Background::Image(image)]
    }

    #[test]
    fn without_a_mask_nothing_of_the_room_is_written() {
        for background in backgrounds() {
            let mut renderer = CompositeRenderer::new(SIZE, PixelFormat::Nv12).expect("renders NV12");
            renderer.set_background(background.clone());
            let (shown, bytes) = render(&mut renderer, Colorimetry::default(), None);
            assert_eq!(shown, Shown::BackgroundAlone);
            assert!(bytes[..64 * 36].iter().all(|&luma| luma < 60), "{background:?}");
        }
    }

    #[test]
    fn people_are_where_the_mask_says() {
        let mut values = [0.0; 16 * 9];
        for row in values.chunks_exact_mut(16) {
            row[8..].fill(1.0);
        }
        let mask = MaskView::new(MaskValues::Float(&values), Size::new(16, 9), Region::of_size(SIZE)).expect("valid");
        for background in backgrounds() {
            let mut renderer = CompositeRenderer::new(SIZE, PixelFormat::Nv12).expect("renders NV12");
            renderer.set_background(background);
            let (shown, bytes) = render(&mut renderer, Colorimetry::default(), Some(&mask));
            assert_eq!(shown, Shown::People);
            for row in bytes[..64 * 36].chunks_exact(64) {
                assert!(row[..30].iter().all(|&luma| luma < 60) && row[34..].iter().all(|&luma| luma == 220));
            }
        }
    }

    #[test]
    fn colours_follow_the_source_s_colorimetry() {
        let full = Colorimetry { matrix: Matrix::Bt709, range: Range::Full };
        let image = BackgroundImage::new([200, 100, 50].repeat(64 * 36), SIZE).expect("whole");
        let mut renderer = CompositeRenderer::new(SIZE, PixelFormat::Nv12).expect("renders NV12");
        for background in [Background::Color([200, 100, 50]), Background::Image(image)] {
            renderer.set_background(background);
            for color in [Colorimetry::default(), full, Colorimetry::default()] {
                let (_, bytes) = render(&mut renderer, color, None);
                let [y, cb, cr] = convert::rgb_to_ycc([200, 100, 50], color);
                assert!(bytes[..64 * 36].iter().all(|&luma| luma == y), "{color:?}");
                assert!(bytes[64 * 36..].chunks_exact(2).all(|chroma| chroma == [cb, cr]), "{color:?}");
            }
        }
    }

    #[test]
    fn an_image_is_filled_from_its_middle() {
        // Left and right thirds of a wide image are cut off.
        let mut rgb = Vec::new();
        for _ in 0..30 {
            for x in 0..90 {
                rgb.extend(if (30..60).contains(&x) { [250; 3] } else { [0; 3] });
            }
        }
        let image = BackgroundImage::new(rgb, Size::new(90, 30)).expect("whole");
        let size = Size::new(20, 20);
        let mut bytes = vec![0; packed_bytes(PixelFormat::Rgb24, size)];
        fill(&image, PixelFormat::Rgb24, size, Colorimetry::default(), &mut bytes).expect("valid");
        assert!(bytes.iter().all(|&value| value >= 230), "{bytes:?}");
        assert!(matches!(BackgroundImage::new(vec![0; 10], size), Err(RenderError::Image(_))));
        assert!(BackgroundImage::new(Vec::new(), Size::new(0, 0)).is_err());
    }

    #[test]
    fn the_least_blur_hides_what_is_written() {
        let mut data = room();
        // Lettering: stripes two pixels wide.
        for (i, luma) in data[..64 * 36].iter_mut().enumerate() {
            *luma = if i % 4 < 2 { 30 } else { 220 };
        }
        let source = Picture::packed(PixelFormat::Nv12, SIZE, Colorimetry::default(), &data).expect("whole");
        for strength in [0.0, -1.0, 0.5, f32::NAN] {
            let mut renderer = CompositeRenderer::new(SIZE, PixelFormat::Nv12).expect("renders NV12");
            renderer.set_background(Background::Blur(strength));
            let mut bytes = vec![0; packed_bytes(PixelFormat::Nv12, SIZE)];
            let mut output = PictureMut::packed(PixelFormat::Nv12, SIZE, &mut bytes).expect("whole");
            let shown = renderer.render(&source, Rectangle::of_size(SIZE), None, &mut output).expect("valid");
            assert_eq!(shown, Shown::BackgroundAlone);
            assert!(bytes[..64 * 36].iter().all(|luma| luma.abs_diff(125) < 3), "{strength}: {bytes:?}");
        }
    }
}
