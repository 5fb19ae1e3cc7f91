use super::*;
use crate::mask::THRESHOLD;

const NET: Size = Size::new(64, 36);
const LEFT: UnitRect = UnitRect::new(0.0, 0.2, 0.3, 0.8);
const RIGHT: UnitRect = UnitRect::new(0.7, 0.2, 0.3, 0.8);

/// A net's output with a person in the middle third of its columns, in all rows but the first four.
fn person() -> Vec<f32> {
    (0..64 * 36).map(|cell| if (21..43).contains(&(cell % 64)) && cell / 64 >= 4 { 1.0 } else { 0.0 }).collect()
}

fn started(windows: &[UnitRect]) -> Parts {
    let mut parts = Parts::default();
    let nobody = vec![0.0; 64 * 36];
    let covers = UnitRect::WHOLE;
    parts.start(&Previous { mask: &nobody, size: NET, covers, sequence: 1, capture_ns: 100 });
    parts.set_windows(std::array::from_fn(|slot| windows.get(slot).copied()));
    parts
}

fn apply(parts: &mut Parts, slot: usize, window: UnitRect, time_ns: u64) -> usize {
    parts.apply(slot, (&person(), NET, window), (time_ns / 100, time_ns), &[]).len()
}

/// The value at a point of the frame, and the time of the pass that it comes from.
fn at(parts: &Parts, x: f32, y: f32) -> (bool, u64) {
    let (mut passes, mut origins) = ([0; PASSES], Vec::new());
    parts.fill_origins(&mut passes, &mut origins);
    assert_eq!(origins.len(), parts.mask().len());
    let cell = (y * SIZE.height as f32) as usize * SIZE.width as usize + (x * SIZE.width as f32) as usize;
    (parts.mask()[cell] >= THRESHOLD, passes[usize::from(origins[cell])])
}

#[test]
fn each_window_makes_its_part_and_has_its_own_time() {
    let mut parts = started(&[LEFT, RIGHT]);
    assert_eq!(apply(&mut parts, 0, LEFT, 200), 1);
    assert_eq!(apply(&mut parts, 1, RIGHT, 300), 2);
    assert_eq!([at(&parts, 0.15, 0.6), at(&parts, 0.85, 0.6)], [(true, 200), (true, 300)]);
    assert_eq!([at(&parts, 0.02, 0.6).0, at(&parts, 0.5, 0.6).0], [false, false]);
    assert_eq!(parts.oldest(), (2, 200));
    apply(&mut parts, 0, LEFT, 400);
    assert_eq!([at(&parts, 0.15, 0.6), at(&parts, 0.85, 0.6)], [(true, 400), (true, 300)]);
    assert_eq!(parts.oldest(), (3, 300));
}

#[test]
fn cells_of_a_window_that_moves_on_never_get_its_newer_time() {
    let mut parts = started(&[LEFT, RIGHT]);
    apply(&mut parts, 0, LEFT, 200);
    apply(&mut parts, 1, RIGHT, 300);
    // The left person's cells now belong to another window, whose pass has not been yet.
    let wide = UnitRect::new(0.0, 0.0, 0.5, 1.0);
    parts.set_windows([Some(RIGHT), None, Some(wide), None, None, None, None, None]);
    apply(&mut parts, 0, RIGHT, 400);
    let (is_there, time_ns) = at(&parts, 0.15, 0.6);
    assert!(is_there && time_ns <= 200, "still there, with no newer time than that of its pass: {time_ns}");
    assert_eq!(at(&parts, 0.85, 0.6), (true, 400));
    apply(&mut parts, 2, wide, 500);
    assert_eq!(at(&parts, 0.25, 0.6), (true, 500));
    assert_eq!(parts.oldest(), (4, 400));
}

#[test]
fn nobody_is_outside_the_windows() {
    let mut parts = started(&[LEFT, RIGHT]);
    apply(&mut parts, 0, LEFT, 200);
    apply(&mut parts, 1, RIGHT, 300);
    parts.set_windows([Some(LEFT), None, None, None, None, None, None, None]);
    assert_eq!((at(&parts, 0.15, 0.6).0, at(&parts, 0.85, 0.6).0), (true, false));
}

#[test]
fn the_gate_s_cells_belong_to_the_window_that_makes_them() {
    let parts = started(&[LEFT, RIGHT]);
    let cell = |x: usize, y: usize| y * GRID.width as usize + x;
    let (left, right) = (parts.is_made_by(0), parts.is_made_by(1));
    assert_eq!((left(cell(10, 40)), right(cell(10, 40))), (true, false));
    assert_eq!((left(cell(120, 40)), right(cell(120, 40))), (false, true));
    assert_eq!((left(cell(64, 40)), right(cell(64, 40))), (true, true), "in no window");
}

#[test]
fn where_windows_overlap_the_deeper_one_counts() {
    let (a, b) = (UnitRect::new(0.1, 0.0, 0.4, 1.0), UnitRect::new(0.4, 0.0, 0.4, 1.0));
    assert!(depth(&a, (0.42, 0.5)) > depth(&b, (0.42, 0.5)));
    assert!(depth(&a, (0.48, 0.5)) < depth(&b, (0.48, 0.5)));
    assert_eq!(depth(&a, (0.6, 0.5)), None);
    // The frame's edge is not an edge of what the net sees.
    assert_eq!(depth(&UnitRect::WHOLE, (0.0, 0.0)), Some(1.0));
}
