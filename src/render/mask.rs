//! The mask stream: the net's grid at a requested size, 0 (nobody) ..= 255 (surely a person).

use portraitd_kernels::blend::{MaskView, Matte};

use super::RenderError;
use crate::pixel::{PictureMut, Rectangle};

/// Fills `output` (GREY) with what `mask` says of `region` of the source (source pixels), bilinearly, half-pixel centres,
/// the grid's border replicated. `matte` keeps the tables between calls.
///
/// # Errors
/// [`RenderError::Scale`] where the region is no rectangle.
pub fn draw_mask(
    matte: &mut Matte,
    mask: &MaskView<'_>,
    region: Rectangle,
    output: &mut PictureMut<'_>,
) -> Result<(), RenderError> {
    let size = output.size();
    let mut rows = matte.start(mask, region.into(), size, None)?;
    for y in 0..size.height as usize {
        rows.row(y, output.row_mut(0, y));
    }
    Ok(())
}
