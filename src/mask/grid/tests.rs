use proptest::prelude::*;

use super::*;

/// The obviously right one: a pixel's value from its centre, in f64. None outside the grid, or at its very edge, where
/// rounding may decide.
fn naive(grid: &MaskGrid, size: Size, x: u32, y: u32) -> Option<f64> {
    let along = |at: u32, count: u32, start: f32, extent: f32| {
        ((f64::from(at) + 0.5) / f64::from(count) - f64::from(start)) / f64::from(extent)
    };
    let x = along(x, size.width, grid.covers.x, grid.covers.width);
    let y = along(y, size.height, grid.covers.y, grid.covers.height);
    let inside = |along: f64| (1e-4..=1.0 - 1e-4).contains(&along);
    if !inside(x) || !inside(y) {
        return None;
    }
    let cell = |column: i64, row: i64| {
        let column = column.clamp(0, i64::from(grid.size.width) - 1);
        let row = row.clamp(0, i64::from(grid.size.height) - 1);
        f64::from(grid.values[usize::try_from(row * i64::from(grid.size.width) + column).unwrap()])
    };
    let (x, y) = (x * f64::from(grid.size.width) - 0.5, y * f64::from(grid.size.height) - 0.5);
    let (column, row) = (x.floor() as i64, y.floor() as i64);
    let (right, down) = (x - x.floor(), y - y.floor());
    let upper = cell(column, row) * (1.0 - right) + cell(column + 1, row) * right;
    let lower = cell(column, row + 1) * (1.0 - right) + cell(column + 1, row + 1) * right;
    Some(upper * (1.0 - down) + lower * down)
}

fn grid(width: u32, height: u32, values: &[f32], covers: Rectangle) -> MaskGrid {
    MaskGrid::from_values(Size::new(width, height), values.to_vec(), covers).unwrap()
}

#[test]
fn the_same_size_is_the_same_mask() {
    let grid = grid(3, 2, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0], Rectangle::UNIT);
    let mut out = [9; 6];
    grid.resample_u8(&mut out, grid.size()).unwrap();
    assert_eq!(out, [0, 51, 102, 153, 204, 255]);
}

#[test]
fn enlarging_keeps_the_centre_and_continues_the_border() {
    let mut out = [9; 4];
    grid(2, 1, &[0.0, 1.0], Rectangle::UNIT).resample_u8(&mut out, Size::new(4, 1)).unwrap();
    assert_eq!(out, [0, 64, 191, 255]);
    let mut out = [9; 15];
    grid(1, 1, &[1.0], Rectangle::UNIT).resample_u8(&mut out, Size::new(5, 3)).unwrap();
    assert_eq!(out, [255; 15]);
}

#[test]
fn outside_the_grid_is_nobody() {
    let mut out = [9; 16];
    grid(1, 1, &[1.0], Rectangle::new(0.25, 0.5, 0.5, 0.25)).resample_u8(&mut out, Size::new(4, 4)).unwrap();
    assert_eq!(out, [0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0, 0]);
    let mut out = [9; 1];
    grid(1, 1, &[1.0], Rectangle::new(-4.0, -3.0, 2.0, 2.0)).resample_u8(&mut out, Size::new(1, 1)).unwrap();
    assert_eq!(out, [0], "a window beside the frame");
}

#[test]
fn a_close_look_is_put_into_the_whole_mask() {
    let mut whole = MaskGrid::new(Size::new(4, 2), Rectangle::UNIT).unwrap();
    whole.values_mut().fill(0.25);
    grid(4, 4, &[0.75; 16], Rectangle::new(0.5, 0.0, 0.5, 1.0)).resample_into(&mut whole);
    assert_eq!(whole.values(), [0.25, 0.25, 0.75, 0.75, 0.25, 0.25, 0.75, 0.75]);
}

#[test]
fn bad_input_is_named() {
    let error = MaskGrid::from_values(Size::new(2, 2), vec![0.0; 3], Rectangle::UNIT).unwrap_err();
    assert_eq!(error.to_string(), "a mask grid of 2x2 needs 4 values, got 3");
    for covers in [Rectangle::default(), Rectangle::new(f32::NAN, 0.0, 1.0, 1.0), Rectangle::new(0.0, 0.0, 1.0, -1.0)] {
        assert!(matches!(MaskGrid::new(Size::new(2, 2), covers), Err(GridError::Covers { .. })), "{covers:?}");
    }
    let mut grid = grid(1, 1, &[0.5], Rectangle::UNIT);
    assert!(grid.resample_u8(&mut [0; 3], Size::new(2, 2)).is_err());
    assert!(grid.set(Size::new(2, 1), &[0.0], Rectangle::UNIT).is_err());
    assert_eq!(grid.values(), [0.5], "refused, and unchanged");
    grid.set(Size::new(2, 1), &[f32::NAN, 7.0], Rectangle::UNIT).unwrap();
    let mut out = [9; 2];
    grid.resample_u8(&mut out, Size::new(2, 1)).unwrap();
    assert_eq!(out, [0, 255], "what is not a number is nobody");
    out.fill(9);
    let empty = MaskGrid::new(Size::new(0, 0), Rectangle::UNIT).unwrap();
    empty.resample_u8(&mut out, Size::new(2, 1)).unwrap();
    assert_eq!(out, [0, 0]);
    empty.resample_u8(&mut [], Size::new(0, 9)).unwrap();
}

proptest! {
    #[test]
    fn every_pixel_is_as_the_naive_one(
        (width, height, values) in (1u32..20, 1u32..20).prop_flat_map(|(width, height)| {
            let length = usize::try_from(width * height).unwrap();
            (Just(width), Just(height), prop::collection::vec(0.0f32..=1.0, length))
        }),
        (out_width, out_height) in (1u32..150, 1u32..40),
        (x, y, covered_width, covered_height) in (-0.5f32..0.9, -0.5f32..0.9, 0.05f32..1.5, 0.05f32..1.5),
        whole in any::<bool>(),
    ) {
        let covers = if whole { Rectangle::UNIT } else { Rectangle::new(x, y, covered_width, covered_height) };
        let grid = grid(width, height, &values, covers);
        let size = Size::new(out_width, out_height);
        let mut out = vec![0; usize::try_from(size.area()).unwrap()];
        grid.resample_u8(&mut out, size).unwrap();
        for (at, pixel) in (0u32..).zip(&out) {
            if let Some(expected) = naive(&grid, size, at % out_width, at / out_width) {
                prop_assert!((f64::from(*pixel) - expected * 255.0).abs() < 0.6, "pixel {at}: {pixel}, {expected}");
            }
        }
    }
}
