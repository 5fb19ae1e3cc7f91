use super::*;

const FRAME: Size = Size::new(1280, 720);
const GRID: Size = Size::new(256, 144);
/// About the interval of 30 frames a second.
const STEP_NS: u64 = 33_000_000;

/// A detector that reports motion everywhere.
fn moving() -> MotionDetector {
    MotionDetector::new()
}

fn still() -> MotionDetector {
    let mut detector = MotionDetector::new();
    detector.compare(&[100; 128 * 72]);
    detector.set_reference();
    detector.compare(&[100; 128 * 72]);
    detector
}

/// A detector that reports motion in this cell only.
fn moving_at(x: usize, y: usize) -> MotionDetector {
    let mut detector = still();
    let mut luma = [100; 128 * 72];
    luma[y * 128 + x] = 200;
    detector.compare(&luma);
    detector
}

/// An attention and its clock.
struct Rig {
    attention: Attention,
    now_ns: u64,
}

impl Rig {
    fn new() -> Self {
        Self { attention: Attention::new(GRID), now_ns: 5_000_000_000 }
    }

    /// Plays one frame. Every pass finds `people`.
    fn frame(&mut self, motion: &MotionDetector, people: &[UnitRect]) -> Pass {
        self.now_ns += STEP_NS;
        let pass = self.attention.next_pass(FRAME, self.now_ns, motion);
        self.attention.report(pass, people.iter().copied());
        pass
    }

    fn frames(&mut self, count: usize, motion: &MotionDetector, people: &[UnitRect]) -> Vec<Pass> {
        (0..count).map(|_| self.frame(motion, people)).collect()
    }
}

fn small() -> UnitRect {
    UnitRect::new(0.4, 0.3, 0.1, 0.6)
}

#[test]
fn the_first_pass_is_on_the_frame_and_the_next_on_the_window() {
    let mut rig = Rig::new();
    assert_eq!(rig.frame(&moving(), &[small()]), Pass::FullFrame);
    let Pass::Window(window) = rig.frame(&moving(), &[small()]) else { panic!("no window") };
    assert!(window.contains(&small(), 0.0) && UnitRect::WHOLE.contains(&window, 1e-5), "{window:?}");
    assert!(window.area() < 0.35, "{window:?}");
    // The frame and the grid have the same aspect ratio: 0.28 to 0.84 is a stretch of three.
    assert!((window.height / window.width - 3.0).abs() < 0.05, "{window:?}");
}

#[test]
fn a_moving_scene_has_one_pass_per_frame_and_one_check_per_second() {
    let mut rig = Rig::new();
    let passes = rig.frames(300, &moving_at(60, 40), &[small()]);
    let checks = passes.iter().filter(|pass| matches!(pass, Pass::FullFrameCheck | Pass::FullFrame)).count();
    assert!((9..=11).contains(&checks), "{checks} in ten seconds");
    assert!(!passes.contains(&Pass::Keep));
}

#[test]
fn a_still_scene_has_at_most_two_passes_per_second() {
    let mut rig = Rig::new();
    rig.frames(3, &moving(), &[small()]);
    let passes = rig.frames(300, &still(), &[small()]);
    let kept = passes.iter().filter(|pass| **pass == Pass::Keep).count();
    assert!((278..=290).contains(&kept), "{kept}");
    let windows = passes.iter().filter(|pass| matches!(pass, Pass::Window(_))).count();
    assert!(windows >= 9, "smoothing discards its history after a second: {windows}");
}

#[test]
fn motion_outside_causes_checks_but_not_in_every_frame() {
    let mut rig = Rig::new();
    rig.frames(30, &still(), &[small()]);
    let passes = rig.frames(30, &moving_at(120, 40), &[small()]);
    let checks = passes.iter().filter(|pass| **pass == Pass::FullFrameCheck).count();
    assert!((3..=4).contains(&checks), "{checks} in a second");
}

#[test]
fn the_window_grows_to_people_who_enter_outside_it() {
    let mut rig = Rig::new();
    rig.frames(5, &moving(), &[small()]);
    let other = UnitRect::new(0.8, 0.3, 0.1, 0.6);
    let passes = rig.frames(40, &moving_at(110, 40), &[small(), other]);
    let Some(Pass::Window(window)) = passes.last() else { panic!("{passes:?}") };
    assert!(window.contains(&small(), 0.0) && window.contains(&other, 0.0), "{window:?}");
}

#[test]
fn the_window_stays_while_people_sway_and_moves_by_whole_cells() {
    let mut rig = Rig::new();
    rig.frames(2, &moving_at(60, 40), &[small()]);
    let Pass::Window(first) = rig.frame(&moving_at(60, 40), &[small()]) else { panic!("no window") };
    for step in 0..20 {
        let sway = 0.01 * (step as f32).sin();
        let people = [UnitRect { x: small().x + sway, ..small() }];
        assert_eq!(rig.frame(&moving_at(60, 40), &people), Pass::Window(first));
    }
    let mut windows = vec![first];
    for step in 0..60 {
        let people = [UnitRect { x: small().x + 0.005 * step as f32, ..small() }];
        if let Pass::Window(window) = rig.frame(&moving_at(60, 40), &people)
            && windows.last() != Some(&window)
        {
            windows.push(window);
        }
    }
    assert!((3..15).contains(&windows.len()), "{windows:?}");
    for pair in windows.windows(2) {
        let cells = (pair[1].x - pair[0].x) / (pair[0].width / 256.0);
        assert_eq!((pair[0].width, pair[0].height), (pair[1].width, pair[1].height));
        assert!((cells - cells.round()).abs() < 1e-2, "{cells} cells");
    }
}

#[test]
fn large_people_get_full_frame_passes() {
    let mut rig = Rig::new();
    let close = UnitRect::new(0.2, 0.1, 0.6, 0.9);
    assert!(rig.frames(40, &moving(), &[close]).iter().all(|pass| *pass == Pass::FullFrame));
    // Between the two limits nothing changes.
    let between = UnitRect::new(0.3, 0.15, 0.5, 0.85);
    let focus = rig.attention.focus;
    rig.frames(5, &moving(), &[between]);
    assert_eq!(rig.attention.focus, focus);
}

#[test]
fn lost_people_are_searched_in_the_frame_and_its_tiles() {
    let mut rig = Rig::new();
    rig.frames(5, &moving(), &[small()]);
    let passes = rig.frames(30, &moving(), &[]);
    assert!(matches!(passes[0], Pass::Window(_)));
    assert!(passes[1..].contains(&Pass::FullFrame));
    let tiles: Vec<_> =
        passes.iter().filter_map(|pass| if let Pass::Tile(tile) = pass { Some(*tile) } else { None }).collect();
    assert!(tiles.len() >= 14, "{passes:?}");
    for corner in [(0.01, 0.5), (0.99, 0.5), (0.5, 0.01), (0.5, 0.99)] {
        let point = UnitRect::new(corner.0, corner.1, 1e-3, 1e-3);
        assert!(tiles.iter().any(|tile| tile.contains(&point, 1e-3)), "{corner:?} is in no tile");
    }
    // A person in a tile is only a candidate until a window pass confirms it.
    let mut rig = Rig::new();
    rig.frame(&moving(), &[]);
    let Pass::Tile(_) = rig.frame(&moving(), &[small()]) else { panic!("no tile") };
    assert!(matches!(rig.frame(&moving(), &[]), Pass::Window(_)));
    assert_eq!(rig.attention.focus, Focus::Nobody);
}

#[test]
fn the_area_that_moved_is_the_first_tile() {
    let mut rig = Rig::new();
    rig.frame(&moving_at(20, 40), &[]);
    let Pass::Tile(tile) = rig.frame(&moving_at(20, 40), &[]) else { panic!("no tile") };
    assert!(tile.contains(&UnitRect::new(20.0 / 128.0, 40.0 / 72.0, 1.0 / 128.0, 1.0 / 72.0), 1e-4), "{tile:?}");
    assert!(tile.area() < 0.05, "{tile:?}");
}

#[test]
fn an_empty_still_room_has_two_passes_per_second() {
    let mut rig = Rig::new();
    rig.frame(&moving(), &[]);
    let passes = rig.frames(300, &still(), &[]);
    let kept = passes.iter().filter(|pass| **pass == Pass::Keep).count();
    assert!((275..=285).contains(&kept), "{kept}");
    // With several windows, each tile once at the start.
    let mut rig = Rig::with_windows(8);
    rig.frame(&moving(), &[]);
    let passes = rig.frames(300, &still(), &[]);
    let kept = passes.iter().filter(|pass| **pass == Pass::Keep).count();
    assert!((264..=274).contains(&kept), "{kept}");
}

#[test]
fn a_gap_or_a_step_back_in_time_resets() {
    for jump_ns in [-1_000_000_000_i64, 3_000_000_000] {
        let mut rig = Rig::new();
        rig.frames(5, &still(), &[small()]);
        rig.now_ns = rig.now_ns.saturating_add_signed(jump_ns);
        assert_eq!(rig.frame(&still(), &[small()]), Pass::FullFrame, "{jump_ns}");
    }
}

proptest::proptest! {
    /// For any sequence of boxes, windows and tiles lie within the frame, and windows contain the
    /// people.
    #[test]
    fn windows_are_within_the_frame(
        boxes in proptest::collection::vec((0.0f32..1.0, 0.0f32..1.0, 0.001f32..1.0, 0.001f32..1.0), 1..60),
        portrait in proptest::prelude::any::<bool>(),
    ) {
        let frame = if portrait { Size::new(720, 1280) } else { FRAME };
        let mut attention = Attention::new(GRID);
        for (step, (x, y, width, height)) in (0u64..).zip(boxes) {
            let people = UnitRect::new(x, y, width, height).intersection(&UnitRect::WHOLE);
            let pass = attention.next_pass(frame, 1_000_000_000 + step * STEP_NS, &moving());
            if let Pass::Window(window) | Pass::Tile(window) = pass {
                assert!(UnitRect::WHOLE.contains(&window, 1e-4), "{window:?}");
                assert!(window.width > 0.0 && window.height > 0.0);
            }
            attention.report(pass, std::iter::once(people));
            if let Focus::Window(window) = attention.focus {
                assert!(matches!(pass, Pass::FullFrameCheck) || window.contains(&people, 1e-3), "{window:?} {people:?}");
            }
        }
    }
}

/// A small person at the left or the right end of a wide room.
fn at_end(right: bool) -> UnitRect {
    UnitRect::new(if right { 0.82 } else { 0.1 }, 0.4, 0.08, 0.45)
}

impl Rig {
    fn with_windows(most: usize) -> Self {
        let mut rig = Self::new();
        rig.attention.set_most_windows(most);
        rig
    }
}

#[test]
fn two_small_people_far_apart_have_a_window_each_in_turn() {
    let mut rig = Rig::with_windows(8);
    let people = [at_end(false), at_end(true)];
    let passes = rig.frames(90, &moving(), &people);
    assert_eq!(passes[0], Pass::FullFrame);
    let mut counts = [0_usize; 2];
    for pass in &passes[1..] {
        match pass {
            Pass::Part { slot, area } => {
                counts[*slot] += 1;
                assert!(people.iter().any(|person| area.contains(person, 0.0)) && area.area() < 0.3, "{area:?}");
            }
            other => assert!(matches!(other, Pass::FullFrameCheck | Pass::TileCheck(_)), "{other:?}"),
        }
    }
    assert!(counts[0].abs_diff(counts[1]) <= 1 && counts[0] > 30, "{counts:?}");
    // With one window, every pass shows both.
    let passes = Rig::with_windows(1).frames(9, &moving(), &people);
    assert!(passes[1..].iter().all(|pass| !matches!(pass, Pass::Part { .. })), "{passes:?}");
}

#[test]
fn only_windows_in_which_something_moves_take_turns() {
    let mut rig = Rig::with_windows(8);
    let people = [at_end(false), at_end(true)];
    rig.frames(60, &moving(), &people);
    // A cell of the person on the left.
    let passes = rig.frames(27, &moving_at(18, 45), &people);
    let parts = |left: bool| {
        let is_left = |area: &UnitRect| area.x < 0.5;
        passes.iter().filter(|pass| matches!(pass, Pass::Part { area, .. } if is_left(area) == left)).count()
    };
    assert!(parts(true) >= 22 && parts(false) <= 1, "{passes:?}");
}

#[test]
fn people_who_are_near_or_large_share_a_window() {
    for people in [
        [UnitRect::new(0.3, 0.4, 0.08, 0.5), UnitRect::new(0.42, 0.4, 0.08, 0.5)],
        [UnitRect::new(0.2, 0.35, 0.2, 0.65), UnitRect::new(0.6, 0.35, 0.2, 0.65)],
    ] {
        let passes = Rig::with_windows(8).frames(9, &moving(), &people);
        assert!(passes.iter().all(|pass| !matches!(pass, Pass::Part { .. })), "{people:?}: {passes:?}");
    }
}

/// After somebody small was found, each tile that no window covers is scanned once, and no tile beside
/// somebody tall.
#[test]
fn tiles_are_scanned_beside_small_people() {
    let tile_checks = |people: &[UnitRect], most| {
        let passes = Rig::with_windows(most).frames(45, &moving_at(18, 45), people);
        assert!(passes.iter().all(|pass| *pass != Pass::Keep));
        passes.iter().filter(|pass| matches!(pass, Pass::TileCheck(_))).count()
    };
    assert!((6..=TILE_COUNT).contains(&tile_checks(&[at_end(false)], 8)));
    assert_eq!(tile_checks(&[at_end(false)], 1), 0);
    assert_eq!(tile_checks(&[UnitRect::new(0.1, 0.35, 0.2, 0.65)], 8), 0);
}

/// What a check shows outside the windows is confirmed or refuted by one of the next passes.
#[test]
fn a_candidate_has_a_window_until_a_pass_refutes_it() {
    for is_there in [true, false] {
        let mut rig = Rig::with_windows(8);
        rig.frames(20, &moving_at(18, 45), &[at_end(false)]);
        let (mut checked, mut looked) = (false, false);
        for _ in 0..40 {
            rig.now_ns += STEP_NS;
            let pass = rig.attention.next_pass(FRAME, rig.now_ns, &moving_at(18, 45));
            let is_look = matches!(pass, Pass::Part { area, .. } if area.contains(&at_end(true), 0.0));
            assert!(!is_look || checked, "nothing is known of anybody yet");
            checked |= pass == Pass::FullFrameCheck;
            looked |= is_look;
            let candidate = (pass == Pass::FullFrameCheck || (is_there && looked)).then_some(at_end(true));
            rig.attention.report(pass, [at_end(false)].into_iter().chain(candidate));
            if looked {
                break;
            }
        }
        assert!(checked && looked);
        let windows = rig.attention.windows().iter().flatten().count();
        assert_eq!((windows, rig.attention.focus == Focus::Several), if is_there { (2, true) } else { (0, false) });
    }
}

#[test]
fn windows_merge_when_people_meet_and_keep_their_slots_otherwise() {
    let mut rig = Rig::with_windows(8);
    let mut slots = Vec::new();
    for step in 0..60 {
        let x = 0.006 * step as f32;
        let people = [UnitRect { x: 0.1 + x, ..at_end(false) }, UnitRect { x: 0.82 - x, ..at_end(true) }];
        if let Pass::Part { slot, area } = rig.frame(&moving(), &people) {
            slots.push((slot, area.center().0 < 0.5));
        }
    }
    assert!(slots.iter().all(|(slot, left)| *left == (slots[0].1 == (*slot == slots[0].0))), "{slots:?}");
    assert!(matches!(rig.attention.focus, Focus::Window(_)), "{:?}", rig.attention.focus);
}

proptest::proptest! {
    /// For any people, there are at most as many windows as are allowed, none ends on the box of
    /// somebody, and everybody is in one.
    #[test]
    fn everybody_is_in_one_window(
        boxes in proptest::collection::vec((0.0f32..1.0, 0.0f32..1.0, 0.02f32..0.3, 0.05f32..0.6), 1..12),
        most in 2usize..9,
    ) {
        let people: Vec<UnitRect> =
            boxes.iter().map(|(x, y, w, h)| UnitRect::new(*x, *y, *w, *h).intersection(&UnitRect::WHOLE)).collect();
        let mut attention = Attention::new(GRID);
        attention.set_most_windows(most);
        attention.next_pass(FRAME, 1_000_000_000, &moving());
        attention.report(Pass::FullFrame, people.iter().copied());
        let windows: Vec<UnitRect> = attention.windows().iter().flatten().copied().collect();
        assert!(windows.len() <= most && windows.len() != 1, "{windows:?}");
        for person in people.iter().filter(|_| attention.focus == Focus::Several) {
            assert!(windows.iter().any(|window| window.contains(person, 1e-4)), "{person:?} {windows:?}");
        }
        for window in &windows {
            assert!(UnitRect::WHOLE.contains(window, 1e-4), "{window:?}");
        }
    }
}
