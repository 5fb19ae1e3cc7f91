//! The view: a crop of the source at the stream's size.

use portraitd_kernels::scale::{Filter, Scaler};

use super::{RenderError, check_output, check_stream};
use crate::pixel::{Colorimetry, Picture, PictureMut, PixelFormat, Rectangle, Size};

/// A corner of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corner {
    /// Top left.
    TopLeft,
    /// Top right.
    TopRight,
    /// Bottom left.
    BottomLeft,
    /// Bottom right.
    BottomRight,
}

/// The whole room, small, in a corner of the view. It shows what the `source` stream shows, so whoever sets it must have
/// asked for the same permission.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Inset {
    /// Where.
    pub corner: Corner,
    /// Its width as a fraction of the view's; brought into 0.1..=0.5.
    pub fraction: f32,
}

/// Renders views of one size and format.
#[derive(Debug)]
pub struct ViewRenderer {
    size: Size,
    format: PixelFormat,
    scaler: Scaler,
    inset: Option<Inset>,
    inset_scaler: Scaler,
}

impl ViewRenderer {
    /// A renderer of `output` pixels in `format` (NV12, RGB24 or GREY).
    ///
    /// # Errors
    /// [`RenderError::Stream`] for another format, or no pixels.
    pub fn new(output: Size, format: PixelFormat) -> Result<Self, RenderError> {
        check_stream(format, output, &[PixelFormat::Nv12, PixelFormat::Rgb24, PixelFormat::Grey])?;
        let (scaler, inset_scaler) = (Scaler::new(Filter::Cubic), Scaler::new(Filter::Linear));
        Ok(Self { size: output, format, scaler, inset: None, inset_scaler })
    }

    /// Shows the whole room in a corner, or no longer.
    pub fn set_inset(&mut self, inset: Option<Inset>) {
        self.inset = inset;
    }

    /// Fills `output` with `crop` of `source`, in source pixels, at sub-pixel precision. A crop of the output's size on whole,
    /// even pixels is a plain copy. Returns what the output's numbers mean: what the source's do.
    ///
    /// # Errors
    /// [`RenderError`] where `output` is no picture of this stream or the crop no rectangle.
    pub fn render(
        &mut self,
        source: &Picture<'_>,
        crop: Rectangle,
        output: &mut PictureMut<'_>,
    ) -> Result<Colorimetry, RenderError> {
        check_output(self.format, self.size, output)?;
        let color = self.scaler.scale(source, crop.into(), output)?;
        if let Some((x, y, size)) = self.inset.and_then(|inset| place(inset, source.size(), self.size))
            && let Some(mut window) = output.window(x, y, size)
        {
            let room = Rectangle::of_size(source.size());
            self.inset_scaler.scale(source, room.into(), &mut window)?;
        }
        Ok(color)
    }
}

/// Where an inset of a picture of `source` lies in a view of `view`: corner and size, even. `None` where there is no room.
fn place(inset: Inset, source: Size, view: Size) -> Option<(u32, u32, Size)> {
    let fraction = if inset.fraction.is_finite() { inset.fraction.clamp(0.1, 0.5) } else { 0.25 };
    let even = |value: f32| whole(value) & !1;
    let width = even(view.width as f32 * fraction);
    let height = even(width as f32 / source.aspect());
    let margin = even(view.width as f32 / 40.0);
    let right = view.width.checked_sub(width + margin)? & !1;
    let bottom = view.height.checked_sub(height + margin)? & !1;
    let (x, y) = match inset.corner {
        Corner::TopLeft => (margin, margin),
        Corner::TopRight => (right, margin),
        Corner::BottomLeft => (margin, bottom),
        Corner::BottomRight => (right, bottom),
    };
    let size = Size::new(width, height);
    (!size.is_empty()).then_some((x, y, size))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's `as` saturates")]
fn whole(value: f32) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel::packed_bytes;

    fn room(size: Size) -> Vec<u8> {
        (0..packed_bytes(PixelFormat::Nv12, size)).map(|i| (i * 7 % 251).to_le_bytes()[0]).collect()
    }

    #[test]
    fn a_crop_of_the_output_s_size_is_a_copy() {
        let size = Size::new(64, 48);
        let data = room(size);
        let color = Colorimetry { range: crate::pixel::Range::Full, ..Colorimetry::default() };
        let source = Picture::packed(PixelFormat::Nv12, size, color, &data).expect("whole");
        let view = Size::new(32, 24);
        let mut renderer = ViewRenderer::new(view, PixelFormat::Nv12).expect("renders NV12");
        let mut bytes = vec![0; packed_bytes(PixelFormat::Nv12, view)];
        let mut output = PictureMut::packed(PixelFormat::Nv12, view, &mut bytes).expect("whole");
        let crop = Rectangle::new(10.0, 6.0, 32.0, 24.0);
        assert_eq!(renderer.render(&source, crop, &mut output), Ok(color));
        for y in 0..24 {
            assert_eq!(output.row_mut(0, y), &source.plane(0).row(y + 6)[10..42]);
        }
        for y in 0..12 {
            assert_eq!(output.row_mut(1, y), &source.plane(1).row(y + 3)[10..42]);
        }
    }

    #[test]
    fn the_inset_lies_in_its_corner() {
        let size = Size::new(160, 90);
        let data = vec![200; packed_bytes(PixelFormat::Nv12, size)];
        let source = Picture::packed(PixelFormat::Nv12, size, Colorimetry::default(), &data).expect("whole");
        for corner in [Corner::TopLeft, Corner::TopRight, Corner::BottomLeft, Corner::BottomRight] {
            let (x, y, inset) = place(Inset { corner, fraction: 0.25 }, size, Size::new(320, 180)).expect("room");
            assert_eq!(inset, Size::new(80, 44));
            assert!(x.is_multiple_of(2) && y.is_multiple_of(2) && x + 80 <= 320 && y + 44 <= 180, "{corner:?}");
        }
        assert_eq!(place(Inset { corner: Corner::TopLeft, fraction: 0.5 }, Size::new(9, 160), Size::new(32, 18)), None);
        let mut renderer = ViewRenderer::new(size, PixelFormat::Nv12).expect("renders NV12");
        renderer.set_inset(Some(Inset { corner: Corner::BottomRight, fraction: f32::NAN }));
        let mut bytes = vec![0; packed_bytes(PixelFormat::Nv12, size)];
        let mut output = PictureMut::packed(PixelFormat::Nv12, size, &mut bytes).expect("whole");
        renderer.render(&source, Rectangle::of_size(size), &mut output).expect("valid");
        assert!(bytes.iter().all(|&byte| byte == 200));
    }

    #[test]
    fn what_is_no_picture_of_the_stream_is_refused() {
        let size = Size::new(16, 8);
        assert!(matches!(ViewRenderer::new(size, PixelFormat::Yuyv), Err(RenderError::Stream { .. })));
        assert!(ViewRenderer::new(Size::new(0, 8), PixelFormat::Nv12).is_err());
        let data = room(size);
        let source = Picture::packed(PixelFormat::Nv12, size, Colorimetry::default(), &data).expect("whole");
        let mut renderer = ViewRenderer::new(size, PixelFormat::Nv12).expect("renders NV12");
        let mut bytes = vec![0; 1000];
        let mut wrong = PictureMut::packed(PixelFormat::Nv12, Size::new(16, 10), &mut bytes).expect("whole");
        let error = renderer.render(&source, Rectangle::of_size(size), &mut wrong).expect_err("another size");
        assert_eq!(error.to_string(), "the output is NV12 16x10, and the stream NV12 16x8");
        let mut output = PictureMut::packed(PixelFormat::Nv12, size, &mut bytes).expect("whole");
        let nowhere = Rectangle::new(0.0, 0.0, f32::NAN, 8.0);
        assert!(matches!(renderer.render(&source, nowhere, &mut output), Err(RenderError::Scale(_))));
    }
}
