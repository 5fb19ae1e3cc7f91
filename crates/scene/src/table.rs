//! The table of the scene `group`: it stands before the people and hides them from the waist down.

use portraitd_media::Size;

/// The far and the near edge of the table top, as fractions of the picture's height. Below the near
/// edge is the front of the table.
const FAR: f64 = 0.80;
const NEAR: f64 = 0.93;
/// The half width of the table top at its two edges, as fractions of the picture's width.
const HALF_WIDTH: (f64, f64) = (0.47, 0.56);
/// The luma of the top at its left and right end, where the window is on the left, and of the front.
const TOP: (f64, f64) = (158.0, 122.0);
const FRONT: f64 = 62.0;
/// Cb and Cr of the wood.
const CHROMA: [u8; 2] = [116, 140];

/// The columns of row `y` of a plane of `size` that the table hides.
pub(super) fn columns(size: Size, y: usize) -> std::ops::Range<usize> {
    let down = (y as f64 + 0.5) / f64::from(size.height);
    if down < FAR {
        return 0..0;
    }
    let near = ((down - FAR) / (NEAR - FAR)).min(1.0);
    let half = HALF_WIDTH.0 + (HALF_WIDTH.1 - HALF_WIDTH.0) * near;
    let column = |at: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the width")]
        let column = (at.clamp(0.0, 1.0) * f64::from(size.width)).round() as usize;
        column
    };
    column(0.5 - half)..column(0.5 + half)
}

/// Draws the table on row `y` of the luma plane of `size`.
pub(super) fn draw_luma(size: Size, y: usize, row: &mut [u8]) {
    let is_front = (y as f64 + 0.5) / f64::from(size.height) >= NEAR;
    for x in columns(size, y) {
        let across = x as f64 / f64::from(size.width);
        let top = TOP.0 + (TOP.1 - TOP.0) * across;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "62 to 158")]
        let luma = if is_front { FRONT } else { top } as u8;
        row[x] = luma;
    }
}

/// Draws the table on row `pair` of the chroma plane of a picture of `size`.
pub(super) fn draw_chroma(size: Size, pair: usize, row: &mut [u8]) {
    let columns = columns(size, 2 * pair);
    for pixel in row.as_chunks_mut::<2>().0[columns.start / 2..columns.end / 2].iter_mut() {
        *pixel = CHROMA;
    }
}
