//! The mask as a picture: grey values, 0 (background) ..= 255 (person), over what the stream shows. No picture of the room
//! is in it.

use portraitd_kernels::blend::Matte;

use super::{MaskView, RenderError, check_output, check_stream};
use crate::pixel::{PictureMut, PixelFormat, Rectangle, Size};

/// Which size a client wants its masks in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaskSize {
    /// That of the net's grid.
    #[default]
    Net,
    /// A quarter of the source's width and height.
    Quarter,
    /// That of the source.
    Full,
}

impl MaskSize {
    /// The size in pixels, for a net with a grid of `grid` and a source of `source`. Never empty where they are not.
    pub fn pixels(self, grid: Size, source: Size) -> Size {
        match self {
            Self::Net => grid,
            Self::Quarter => Size::new(source.width.div_ceil(4), source.height.div_ceil(4)),
            Self::Full => source,
        }
    }
}

/// Renders masks of one size.
#[derive(Debug)]
pub struct MaskRenderer {
    size: Size,
    matte: Matte,
}

impl MaskRenderer {
    /// A renderer of masks of `output` pixels.
    ///
    /// # Errors
    /// [`RenderError::Stream`] for no pixels.
    pub fn new(output: Size) -> Result<Self, RenderError> {
        check_stream(PixelFormat::Grey, output, &[PixelFormat::Grey])?;
        Ok(Self { size: output, matte: Matte::new() })
    }

    /// Fills `output` (GREY) with the mask over the rectangle `shows` of the source (its pixels; as a rule the whole of it).
    /// Values are the net's, interpolated between cells; outside of what the mask covers they are 0. Without a mask all is
    /// 0.
    ///
    /// # Errors
    /// [`RenderError`] where `output` is no picture of this stream or the rectangle is none.
    pub fn render(
        &mut self,
        mask: Option<&MaskView<'_>>,
        shows: Rectangle,
        output: &mut PictureMut<'_>,
    ) -> Result<(), RenderError> {
        check_output(PixelFormat::Grey, self.size, output)?;
        let rows = self.size.height as usize;
        let Some(mask) = mask else {
            (0..rows).for_each(|y| output.row_mut(0, y).fill(0));
            return Ok(());
        };
        let mut matte = self.matte.start(mask, shows.into(), self.size, None)?;
        for y in 0..rows {
            matte.row(y, output.row_mut(0, y));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixel::Region;
    use crate::render::MaskValues;

    #[test]
    fn at_the_net_s_size_values_are_the_net_s() {
        let (grid, source) = (Size::new(5, 3), Size::new(640, 480));
        let values: Vec<f32> = (0..15_u8).map(|i| f32::from(i) / 15.0).collect();
        let mask = MaskView::new(MaskValues::Float(&values), grid, Region::of_size(source)).expect("valid");
        let size = MaskSize::Net.pixels(grid, source);
        let mut renderer = MaskRenderer::new(size).expect("not empty");
        let mut bytes = [7; 15];
        let mut output = PictureMut::packed(PixelFormat::Grey, size, &mut bytes).expect("whole");
        renderer.render(Some(&mask), Rectangle::of_size(source), &mut output).expect("valid");
        assert_eq!(bytes, std::array::from_fn(|i| (i * 17).to_le_bytes()[0]));
        let mut output = PictureMut::packed(PixelFormat::Grey, size, &mut bytes).expect("whole");
        renderer.render(None, Rectangle::of_size(source), &mut output).expect("valid");
        assert_eq!(bytes, [0; 15]);
    }

    #[test]
    fn outside_of_what_a_mask_covers_is_nobody() {
        let source = Size::new(64, 32);
        let values = [1.0; 4];
        let covers = Region::new(16.0, 8.0, 32.0, 16.0);
        let mask = MaskView::new(MaskValues::Float(&values), Size::new(2, 2), covers).expect("valid");
        let size = MaskSize::Quarter.pixels(Size::new(2, 2), source);
        let mut renderer = MaskRenderer::new(size).expect("not empty");
        let mut bytes = [7; 128];
        let mut output = PictureMut::packed(PixelFormat::Grey, size, &mut bytes).expect("whole");
        renderer.render(Some(&mask), Rectangle::of_size(source), &mut output).expect("valid");
        for (i, &value) in bytes.iter().enumerate() {
            let inside = (4..12).contains(&(i % 16)) && (2..6).contains(&(i / 16));
            assert_eq!(value, if inside { 255 } else { 0 }, "{i}");
        }
    }

    #[test]
    fn sizes() {
        let (grid, source) = (Size::new(256, 144), Size::new(1279, 3));
        assert_eq!(MaskSize::Quarter.pixels(grid, source), Size::new(320, 1));
        assert_eq!(MaskSize::Full.pixels(grid, source), source);
        assert!(MaskRenderer::new(Size::new(4, 0)).is_err());
    }
}
