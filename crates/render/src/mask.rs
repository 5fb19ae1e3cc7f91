//! The mask stream: the net's grid at a requested size, 0 (background) to 255 (person).

use portraitd_kernels::blend::{Edge, GuidedMatte, MaskView, Matte};
use portraitd_kernels::scale::{Filter, Scaler};
use portraitd_media::{Picture, PictureMut, PixelFormat, PixelRect};

use crate::error::RenderError;

/// Fills `output` (GREY) with the mask of `region` (pixels of the source). The interpolation is
/// bilinear with half-pixel centres, and replicates the border of the grid. `matte` keeps its
/// tables between calls.
///
/// # Errors
/// [`RenderError::Scale`] if the region is empty or not finite.
pub fn draw_mask(
    matte: &mut Matte,
    mask: &MaskView<'_>,
    region: PixelRect,
    output: &mut PictureMut<'_>,
) -> Result<(), RenderError> {
    let size = output.size();
    let mut rows = matte.start(mask, region, size, None)?;
    for y in 0..size.height as usize {
        rows.row(y, output.row_mut(0, y));
    }
    Ok(())
}

/// Draws masks whose edges follow the edges of the picture (guided filter), for outputs finer than
/// the net's grid. The result is a matte: almost everywhere 0 or 255. Owns the cells of the filter
/// and a row of luma.
#[derive(Clone, Debug)]
pub struct EdgeRenderer {
    scaler: Scaler,
    matte: GuidedMatte,
    luma: Vec<u8>,
}

impl Default for EdgeRenderer {
    fn default() -> Self {
        Self::new()
    }
}

impl EdgeRenderer {
    /// A renderer that allocates its memory at the first use.
    pub fn new() -> Self {
        Self { scaler: Scaler::new(Filter::Cubic), matte: GuidedMatte::new(), luma: Vec::new() }
    }

    /// Fills `output` (GREY) with the matte of `region` (pixels of `source`). `mask` must be a mask
    /// of `source`.
    ///
    /// # Errors
    /// [`RenderError::Scale`] if the region is empty or not finite.
    pub fn render(
        &mut self,
        source: &Picture<'_>,
        region: PixelRect,
        mask: &MaskView<'_>,
        output: &mut PictureMut<'_>,
    ) -> Result<(), RenderError> {
        let size = output.size();
        let Self { scaler, matte, luma } = self;
        matte.start(mask, source, region, size, Edge::default(), None)?;
        let mut picture = scaler.start(*source, region, size, PixelFormat::Grey)?;
        luma.resize(size.width as usize, 0);
        for y in 0..size.height as usize {
            if matte.rows().contains(&y) {
                picture.row(0, y, luma);
            }
            matte.row(y, luma, output.row_mut(0, y));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portraitd_kernels::blend::MaskValues;
    use portraitd_media::{Colorimetry, Size};

    #[test]
    fn an_edge_is_drawn_where_the_picture_has_it() {
        // The picture is dark on the left and bright on the right of column 150. The cells of the
        // mask are 20 pixels wide, so the mask shows the edge only roughly.
        let size = Size::new(320, 180);
        let bytes: Vec<u8> = (0..320 * 180).map(|i| if i % 320 < 150 { 60 } else { 190 }).collect();
        let source = Picture::packed(PixelFormat::Grey, size, Colorimetry::default(), &bytes).expect("a picture");
        let grid = Size::new(16, 9);
        let values: Vec<f32> =
            (0..16 * 9).map(|i| [1.0, 0.6, 0.2, 0.0][(i % 16_usize).saturating_sub(6).min(3)]).collect();
        let mask = MaskView::new(MaskValues::Float(&values), grid, PixelRect::of_size(size)).expect("a mask");
        let mut out = vec![7; 320 * 180];
        let mut output = PictureMut::packed(PixelFormat::Grey, size, &mut out).expect("a picture");
        EdgeRenderer::new().render(&source, PixelRect::of_size(size), &mask, &mut output).expect("drawn");
        let mut plain = vec![7; 320 * 180];
        let mut output = PictureMut::packed(PixelFormat::Grey, size, &mut plain).expect("a picture");
        draw_mask(&mut Matte::new(), &mask, PixelRect::of_size(size), &mut output).expect("drawn");
        // The sum of the errors against the true edge, in pixels per row.
        let off = |mask: &[u8]| {
            let truth = |index: usize| if index % 320 < 150 { 255 } else { 0 };
            mask.iter().enumerate().map(|(index, value)| u64::from(value.abs_diff(truth(index)))).sum::<u64>()
                / (180 * 255)
        };
        assert!(
            off(&out) * 3 <= off(&plain),
            "{} pixels per row are wrong, {} without the picture",
            off(&out),
            off(&plain)
        );
        assert!(out.chunks_exact(320).all(|row| row[..146].iter().all(|value| *value > 250)), "the person has a hole");
    }
}
