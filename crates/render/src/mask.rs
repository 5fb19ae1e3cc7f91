//! The mask stream: the net's grid at a requested size, 0 (nobody) ..= 255 (surely a person).

use portraitd_kernels::blend::{Edge, GuidedMatte, MaskView, Matte};
use portraitd_kernels::scale::{Filter, Scaler};

use crate::error::RenderError;
use portraitd_media::{Picture, PictureMut, PixelFormat, PixelRect};

/// Fills `output` (GREY) with what `mask` says of `region` of the source (source pixels), bilinearly, half-pixel centres,
/// the grid's border replicated. `matte` keeps the tables between calls.
///
/// # Errors
/// [`RenderError::Scale`] where the region is no rectangle.
pub fn draw_mask(
    matte: &mut Matte,
    mask: &MaskView<'_>,
    region: PixelRect,
    output: &mut PictureMut<'_>,
) -> Result<(), RenderError> {
    let size = output.size();
    let mut rows = matte.start(mask, region.into(), size, None)?;
    for y in 0..size.height as usize {
        rows.row(y, output.row_mut(0, y));
    }
    Ok(())
}

/// Draws masks whose edges follow the picture (the guided filter), for outputs finer than the net's grid. They are mattes:
/// nearly everywhere 0 or 255. Owns the cells of the filter and a row of luma.
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
    /// One without memory yet.
    pub fn new() -> Self {
        Self { scaler: Scaler::new(Filter::Cubic), matte: GuidedMatte::new(), luma: Vec::new() }
    }

    /// Fills `output` (GREY) with the matte of `region` (source pixels) of `source`, of which `mask` was made.
    ///
    /// # Errors
    /// [`RenderError::Scale`] where the region is no rectangle.
    pub fn render(
        &mut self,
        source: &Picture<'_>,
        region: PixelRect,
        mask: &MaskView<'_>,
        output: &mut PictureMut<'_>,
    ) -> Result<(), RenderError> {
        let size = output.size();
        let Self { scaler, matte, luma } = self;
        matte.start(mask, source, region.into(), size, Edge::default(), None)?;
        let mut picture = scaler.start(*source, region.into(), size, PixelFormat::Grey)?;
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
        // Dark on the left, bright on the right of column 150; the mask's cells are 20 pixels wide and know only roughly.
        let size = Size::new(320, 180);
        let bytes: Vec<u8> = (0..320 * 180).map(|i| if i % 320 < 150 { 60 } else { 190 }).collect();
        let source = Picture::packed(PixelFormat::Grey, size, Colorimetry::default(), &bytes).expect("a picture");
        let grid = Size::new(16, 9);
        let values: Vec<f32> =
            (0..16 * 9).map(|i| [1.0, 0.6, 0.2, 0.0][(i % 16_usize).saturating_sub(6).min(3)]).collect();
        let mask = MaskView::new(MaskValues::Float(&values), grid, PixelRect::of_size(size).into()).expect("a mask");
        let mut out = vec![7; 320 * 180];
        let mut output = PictureMut::packed(PixelFormat::Grey, size, &mut out).expect("a picture");
        EdgeRenderer::new().render(&source, PixelRect::of_size(size), &mask, &mut output).expect("drawn");
        let mut plain = vec![7; 320 * 180];
        let mut output = PictureMut::packed(PixelFormat::Grey, size, &mut plain).expect("a picture");
        draw_mask(&mut Matte::new(), &mask, PixelRect::of_size(size), &mut output).expect("drawn");
        // How far the rows are from the picture's own edge, in whole pixels of 255.
        let off = |mask: &[u8]| {
            let truth = |index: usize| if index % 320 < 150 { 255 } else { 0 };
            mask.iter().enumerate().map(|(index, value)| u64::from(value.abs_diff(truth(index)))).sum::<u64>()
                / (180 * 255)
        };
        assert!(off(&out) * 3 <= off(&plain), "{} pixels off, {} without the picture", off(&out), off(&plain));
        assert!(out.chunks_exact(320).all(|row| row[..146].iter().all(|value| *value > 250)), "a hole in somebody");
    }
}
