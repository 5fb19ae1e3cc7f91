use proptest::prelude::*;

use super::*;

const WHOLE: UnitRect = UnitRect::WHOLE;

/// The oracle: the value of a cell from its centre, in f64. `None` outside the grid, and so close
/// to its edge that rounding decides.
fn oracle(values: &[f32], from: Lattice, to: Lattice, x: u32, y: u32) -> Option<f64> {
    let place = |at: u32, count: u32, view: (f32, f32), covers: (f32, f32)| {
        let at = f64::from(view.0) + f64::from(view.1) * (f64::from(at) + 0.5) / f64::from(count);
        (at - f64::from(covers.0)) / f64::from(covers.1)
    };
    let (view, covers) = (to.covers, from.covers);
    let x = place(x, to.size.width, (view.x, view.width), (covers.x, covers.width));
    let y = place(y, to.size.height, (view.y, view.height), (covers.y, covers.height));
    let inside = |along: f64| (1e-4..=1.0 - 1e-4).contains(&along);
    if !inside(x) || !inside(y) {
        return None;
    }
    let cell = |column: i64, row: i64| {
        let column = column.clamp(0, i64::from(from.size.width) - 1);
        let row = row.clamp(0, i64::from(from.size.height) - 1);
        f64::from(values[usize::try_from(row * i64::from(from.size.width) + column).unwrap()])
    };
    let (x, y) = (x * f64::from(from.size.width) - 0.5, y * f64::from(from.size.height) - 0.5);
    let (column, row) = (x.floor() as i64, y.floor() as i64);
    let (right, down) = (x - x.floor(), y - y.floor());
    let upper = cell(column, row) * (1.0 - right) + cell(column + 1, row) * right;
    let lower = cell(column, row + 1) * (1.0 - right) + cell(column + 1, row + 1) * right;
    Some(upper * (1.0 - down) + lower * down)
}

fn lattice(width: u32, height: u32, covers: UnitRect) -> Lattice {
    Lattice { size: Size::new(width, height), covers }
}

/// `values` of the grid `from`, resampled to `to`; 9 outside `from`.
fn resampled(values: &[f32], from: Lattice, to: Lattice) -> Vec<f32> {
    let mut out = vec![7.0; usize::try_from(to.size.area()).unwrap()];
    resample(values, from, &mut out, to, 9.0);
    out
}

#[test]
fn the_same_grid_has_the_same_values() {
    let values = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
    assert_eq!(resampled(&values, lattice(3, 2, WHOLE), lattice(3, 2, WHOLE)), values);
}

#[test]
fn enlarging_keeps_the_centre_and_extends_the_border() {
    assert_eq!(resampled(&[0.0, 1.0], lattice(2, 1, WHOLE), lattice(4, 1, WHOLE)), [0.0, 0.25, 0.75, 1.0]);
    assert_eq!(resampled(&[1.0], lattice(1, 1, WHOLE), lattice(5, 3, WHOLE)), [1.0; 15]);
}

#[test]
fn cells_outside_the_grid_get_the_given_value() {
    let out = resampled(&[1.0], lattice(1, 1, UnitRect::new(0.25, 0.5, 0.5, 0.25)), lattice(4, 4, WHOLE));
    assert_eq!(out, [9., 9., 9., 9., 9., 9., 9., 9., 9., 1., 1., 9., 9., 9., 9., 9.]);
    let beside = lattice(1, 1, UnitRect::new(-4.0, -3.0, 2.0, 2.0));
    assert_eq!(resampled(&[1.0], beside, lattice(1, 1, WHOLE)), [9.0]);
}

#[test]
fn a_shift_by_whole_cells_is_exact() {
    let values: Vec<f32> = (0..64).map(|at| at as f32 * 0.37).collect();
    let moved = resampled(
        &values,
        lattice(8, 8, UnitRect::new(0.25, 0.25, 0.5, 0.5)),
        lattice(8, 8, UnitRect::new(0.375, 0.25, 0.5, 0.5)),
    );
    for (y, row) in moved.chunks(8).enumerate() {
        assert_eq!(row[..6], values[y * 8 + 2..y * 8 + 8]);
        assert_eq!(row[6..], [9.0, 9.0]);
    }
}

proptest! {
    #[test]
    fn every_cell_equals_the_oracle(
        (width, height, values) in (1u32..20, 1u32..20).prop_flat_map(|(width, height)| {
            let length = usize::try_from(width * height).unwrap();
            (Just(width), Just(height), prop::collection::vec(0.0f32..=1.0, length))
        }),
        (out_width, out_height) in (1u32..150, 1u32..40),
        covers in (-0.5f32..0.9, -0.5f32..0.9, 0.05f32..1.5, 0.05f32..1.5),
        view in (-0.2f32..0.5, -0.2f32..0.5, 0.1f32..1.2, 0.1f32..1.2),
    ) {
        let rectangle = |(x, y, width, height)| UnitRect::new(x, y, width, height);
        let (from, to) = (lattice(width, height, rectangle(covers)), lattice(out_width, out_height, rectangle(view)));
        for (at, cell) in (0u32..).zip(resampled(&values, from, to)) {
            if let Some(expected) = oracle(&values, from, to, at % out_width, at / out_width) {
                prop_assert!((f64::from(cell) - expected).abs() < 2e-3, "cell {at}: {cell}, {expected}");
            }
        }
    }
}
