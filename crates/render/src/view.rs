//! The view: a crop of the source at the size of the stream. An optional inset shows the whole
//! frame in a corner.

use portraitd_kernels::scale::{Filter, Scaler};
use portraitd_media::{Picture, PictureMut, PixelFormat, PixelRect, Size};
use portraitd_protocol::Inset;

use crate::error::RenderError;

/// The width of the view divided by the width of an inset.
const INSET_DIVISOR: u32 = 4;
/// The width of the view divided by the distance of an inset from the borders of the view.
const INSET_MARGIN_DIVISOR: u32 = 64;
/// The width of the inset's white border, pixels. It is even because chroma has half the
/// resolution.
const INSET_BORDER_PX: u32 = 2;

/// Draws views. Owns the tables and rows of the scalers.
#[derive(Clone, Debug)]
pub struct ViewRenderer {
    scaler: Scaler,
    /// A separate scaler, so that the tables of the view remain valid while its crop is at rest.
    inset: Scaler,
}

impl Default for ViewRenderer {
    fn default() -> Self {
        Self::new()
    }
}

impl ViewRenderer {
    /// A renderer that allocates its memory at the first use.
    pub fn new() -> Self {
        Self { scaler: Scaler::new(Filter::Cubic), inset: Scaler::new(Filter::Linear) }
    }

    /// Fills `output` (NV12, RGB24 or GREY) with `crop` (pixels of `source`, at sub-pixel
    /// precision). An NV12 output has the colorimetry of the source.
    ///
    /// # Errors
    /// [`RenderError::Scale`] if the crop is empty or not finite.
    pub fn render(
        &mut self,
        source: &Picture<'_>,
        crop: PixelRect,
        output: &mut PictureMut<'_>,
    ) -> Result<(), RenderError> {
        self.scaler.scale(source, crop, output)?;
        Ok(())
    }

    /// As [`Self::render`], with the whole of `source` in a corner on top. If the output is too
    /// small for an inset, the inset is left out.
    ///
    /// # Errors
    /// [`RenderError::Scale`] if the crop is empty or not finite.
    pub fn render_with_inset(
        &mut self,
        source: &Picture<'_>,
        crop: PixelRect,
        inset: Inset,
        output: &mut PictureMut<'_>,
    ) -> Result<(), RenderError> {
        self.render(source, crop, output)?;
        let Some(frame) = inset_frame(inset, source.size(), output.size()) else { return Ok(()) };
        let white = if output.format().is_rgb() { 255 } else { 235 };
        if let Some(mut window) = output.window(frame.x, frame.y, frame.size) {
            for plane in 0..window.format().plane_count() {
                let chroma = window.format() == PixelFormat::Nv12 && plane == 1;
                for y in 0..window.format().plane_extent(plane, frame.size).1 {
                    window.row_mut(plane, y).fill(if chroma { 128 } else { white });
                }
            }
        }
        let inner = Size::new(frame.size.width - 2 * INSET_BORDER_PX, frame.size.height - 2 * INSET_BORDER_PX);
        if let Some(mut window) = output.window(frame.x + INSET_BORDER_PX, frame.y + INSET_BORDER_PX, inner) {
            self.inset.scale(source, PixelRect::of_size(source.size()), &mut window)?;
        }
        Ok(())
    }
}

/// The rectangle of an inset in the output, including its border, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InsetFrame {
    x: u32,
    y: u32,
    size: Size,
}

/// `None` if there is no inset or if it does not fit.
fn inset_frame(inset: Inset, source: Size, output: Size) -> Option<InsetFrame> {
    let (right, bottom) = match inset {
        Inset::TopLeft => (false, false),
        Inset::TopRight => (true, false),
        Inset::BottomLeft => (false, true),
        Inset::BottomRight => (true, true),
        _ => return None,
    };
    let width = (output.width / INSET_DIVISOR) & !1;
    let height = u32::try_from(u64::from(width) * u64::from(source.height) / u64::from(source.width.max(1))).ok()? & !1;
    let margin = (output.width / INSET_MARGIN_DIVISOR) & !1;
    let fits = height + 2 * margin <= output.height && width.min(height) > 4 * INSET_BORDER_PX;
    let far = |side: u32, extent: u32| (side - margin - extent) & !1;
    fits.then(|| InsetFrame {
        x: if right { far(output.width, width) } else { margin },
        y: if bottom { far(output.height, height) } else { margin },
        size: Size::new(width, height),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portraitd_media::{Colorimetry, packed_bytes};

    /// Draws a source whose left half is dark and whose right half is bright. The crop is in the
    /// dark half.
    fn draw(inset: Inset, format: PixelFormat) -> Vec<u8> {
        let size = Size::new(320, 180);
        let mut source = vec![128; packed_bytes(PixelFormat::Nv12, size)];
        for (i, luma) in source[..320 * 180].iter_mut().enumerate() {
            *luma = if i % 320 < 160 { 40 } else { 180 };
        }
        let source = Picture::packed(PixelFormat::Nv12, size, Colorimetry::default(), &source).expect("a picture");
        let mut out = vec![0; packed_bytes(format, size)];
        let mut output = PictureMut::packed(format, size, &mut out).expect("a picture");
        let crop = PixelRect::new(10.0, 10.0, 128.0, 72.0);
        ViewRenderer::new().render_with_inset(&source, crop, inset, &mut output).expect("drawn");
        out
    }

    #[test]
    fn the_inset_is_in_its_corner_and_nowhere_else() {
        for (inset, x, y) in [
            (Inset::TopLeft, 4, 4),
            (Inset::TopRight, 236, 4),
            (Inset::BottomLeft, 4, 132),
            (Inset::BottomRight, 236, 132),
        ] {
            let out = draw(inset, PixelFormat::Nv12);
            for (i, &luma) in out[..320 * 180].iter().enumerate() {
                let (column, row) = ((i % 320).wrapping_sub(x), (i / 320).wrapping_sub(y));
                let expected = match (column, row) {
                    (0..80, 0..44) if column < 2 || row < 2 || column >= 78 || row >= 42 => 235,
                    (0..38, 0..44) => 40,
                    (42..80, 0..44) => 180,
                    // The edge between dark and bright in the inset.
                    (38..42, 0..44) => continue,
                    _ => 40,
                };
                assert_eq!(luma, expected, "{inset}, pixel {i}");
            }
            assert!(out[320 * 180..].iter().all(|&chroma| chroma == 128));
        }
    }

    #[test]
    fn without_an_inset_nothing_bright_is_shown() {
        assert!(draw(Inset::None, PixelFormat::Nv12)[..320 * 180].iter().all(|&luma| luma == 40));
        let rgb = draw(Inset::TopLeft, PixelFormat::Rgb24);
        assert_eq!(rgb[(4 * 320 + 4) * 3..][..3], [255; 3], "the border is white");
    }

    #[test]
    fn an_inset_that_does_not_fit_is_left_out() {
        let source = Size::new(1280, 720);
        assert_eq!(inset_frame(Inset::TopLeft, source, Size::new(32, 16)), None);
        assert_eq!(inset_frame(Inset::TopLeft, Size::new(100, 1000), Size::new(640, 360)), None);
        let frame = inset_frame(Inset::BottomRight, source, Size::new(1280, 720)).expect("the inset fits");
        assert_eq!(frame, InsetFrame { x: 940, y: 520, size: Size::new(320, 180) });
    }
}
