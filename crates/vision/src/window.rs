//! The window: the part of a picture that the net sees, so that people are large in its input.

use portraitd_media::{Size, UnitRect};

/// The margin of a window on the left and right of the people, as a share of their width.
pub(crate) const MARGIN_X: f32 = 0.3;
/// The margin of a window above and below the people, as a share of their height.
pub(crate) const MARGIN_Y: f32 = 0.2;
/// The limit of the ratio of width to height, and of height to width, of a window's pixels after
/// they are fitted to the net's input. The nets were trained on pictures of all shapes squeezed
/// into one, and a standing person fills a wide grid better when stretched.
const MAX_STRETCH: f32 = 3.0;

/// The width of a cell divided by its height, in pixels of the frame, if a net's `grid` covers the
/// whole frame.
pub(crate) fn cell_aspect(frame: Size, grid: Size) -> f32 {
    let pixels_per_cell = |pixels: u32, cells: u32| pixels.max(1) as f32 / cells.max(1) as f32;
    pixels_per_cell(frame.width, grid.width) / pixels_per_cell(frame.height, grid.height)
}

/// The window for people in the box `people`, in fractions of the frame: with margins, which are
/// shares of the box's width and height, within the limit of the stretch, and inside the frame.
/// `cell_aspect` is that of the frame.
pub(crate) fn window_around(people: &UnitRect, (margin_x, margin_y): (f32, f32), cell_aspect: f32) -> UnitRect {
    let mut window = people.expanded(people.width * margin_x, people.height * margin_y);
    // The stretch of the window's pixels. Above 1, the net sees people narrower than they are.
    let stretch = cell_aspect * window.width / window.height;
    if stretch < 1.0 / MAX_STRETCH {
        let wider = window.width / (stretch * MAX_STRETCH) - window.width;
        window = window.expanded(wider * 0.5, 0.0);
    } else if stretch > MAX_STRETCH {
        let higher = window.height * stretch / MAX_STRETCH - window.height;
        window = window.expanded(0.0, higher * 0.5);
    }
    window.moved_into(&UnitRect::WHOLE)
}
