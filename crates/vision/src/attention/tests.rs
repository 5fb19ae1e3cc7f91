use super::*;

const FRAME: Size = Size::new(1280, 720);
const GRID: Size = Size::new(256, 144);
/// About the interval of 30 frames a second.
const STEP_NS: u64 = 33_000_000;

/// A detector that says: everything moves.
fn moving() -> MotionDetector {
    MotionDetector::new()
}

fn still() -> MotionDetector {
    let mut detector = MotionDetector::new();
    detector.compare(&[100; 128 * 72]);
    detector.looked();
    detector.compare(&[100; 128 * 72]);
    detector
}

/// Something moves in this cell only.
fn moving_at(x: usize, y: usize) -> MotionDetector {
    let mut detector = still();
    let mut luma = [100; 128 * 72];
    luma[y * 128 + x] = 200;
    detector.compare(&luma);
    detector
}

/// An attention, and the clock.
struct Rig {
    attention: Attention,
    now_ns: u64,
}

impl Rig {
    fn new() -> Self {
        Self { attention: Attention::new(GRID), now_ns: 5_000_000_000 }
    }

    /// One frame; every look finds `people`.
    fn frame(&mut self, motion: &MotionDetector, people: &[UnitRect]) -> Look {
        self.now_ns += STEP_NS;
        let look = self.attention.next(FRAME, self.now_ns, motion);
        self.attention.found(look, people.iter().copied());
        look
    }

    fn frames(&mut self, count: usize, motion: &MotionDetector, people: &[UnitRect]) -> Vec<Look> {
        (0..count).map(|_| self.frame(motion, people)).collect()
    }
}

fn small() -> UnitRect {
    UnitRect::new(0.4, 0.3, 0.1, 0.6)
}

#[test]
fn the_first_look_is_at_the_frame_and_the_next_at_the_people() {
    let mut rig = Rig::new();
    assert_eq!(rig.frame(&moving(), &[small()]), Look::Frame);
    let Look::Window(window) = rig.frame(&moving(), &[small()]) else { panic!("no window") };
    assert!(window.contains(&small(), 0.0) && UnitRect::WHOLE.contains(&window, 1e-5), "{window:?}");
    assert!(window.area() < 0.35, "{window:?}");
    // The frame and the grid are alike: 0.28 to 0.84 is a stretch of three.
    assert!((window.height / window.width - 3.0).abs() < 0.05, "{window:?}");
}

#[test]
fn a_moving_scene_has_one_look_a_frame_and_a_glance_a_second() {
    let mut rig = Rig::new();
    let looks = rig.frames(300, &moving_at(60, 40), &[small()]);
    let glances = looks.iter().filter(|look| matches!(look, Look::Glance | Look::Frame)).count();
    assert!((9..=11).contains(&glances), "{glances} in ten seconds");
    assert!(!looks.contains(&Look::Keep));
}

#[test]
fn a_still_scene_is_looked_at_twice_a_second_at_most() {
    let mut rig = Rig::new();
    rig.frames(3, &moving(), &[small()]);
    let looks = rig.frames(300, &still(), &[small()]);
    let kept = looks.iter().filter(|look| **look == Look::Keep).count();
    assert!((278..=290).contains(&kept), "{kept}");
    let windows = looks.iter().filter(|look| matches!(look, Look::Window(_))).count();
    assert!(windows >= 9, "smoothing forgets after a second: {windows}");
}

#[test]
fn motion_outside_draws_a_glance_but_not_every_look() {
    let mut rig = Rig::new();
    rig.frames(30, &still(), &[small()]);
    let looks = rig.frames(30, &moving_at(120, 40), &[small()]);
    let glances = looks.iter().filter(|look| **look == Look::Glance).count();
    assert!((3..=4).contains(&glances), "{glances} in a second");
}

#[test]
fn who_comes_in_outside_is_taken_into_the_window() {
    let mut rig = Rig::new();
    rig.frames(5, &moving(), &[small()]);
    let other = UnitRect::new(0.8, 0.3, 0.1, 0.6);
    let looks = rig.frames(40, &moving_at(110, 40), &[small(), other]);
    let Some(Look::Window(window)) = looks.last() else { panic!("{looks:?}") };
    assert!(window.contains(&small(), 0.0) && window.contains(&other, 0.0), "{window:?}");
}

#[test]
fn the_window_rests_while_people_sway_and_follows_by_whole_cells() {
    let mut rig = Rig::new();
    rig.frames(2, &moving_at(60, 40), &[small()]);
    let Look::Window(first) = rig.frame(&moving_at(60, 40), &[small()]) else { panic!("no window") };
    for step in 0..20 {
        let sway = 0.01 * (step as f32).sin();
        let people = [UnitRect { x: small().x + sway, ..small() }];
        assert_eq!(rig.frame(&moving_at(60, 40), &people), Look::Window(first));
    }
    let mut windows = vec![first];
    for step in 0..60 {
        let people = [UnitRect { x: small().x + 0.005 * step as f32, ..small() }];
        if let Look::Window(window) = rig.frame(&moving_at(60, 40), &people)
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
fn large_people_are_looked_at_in_the_whole_frame() {
    let mut rig = Rig::new();
    let close = UnitRect::new(0.2, 0.1, 0.6, 0.9);
    assert!(rig.frames(40, &moving(), &[close]).iter().all(|look| *look == Look::Frame));
    // On the brink it stays as it is.
    let brink = UnitRect::new(0.3, 0.15, 0.5, 0.85);
    let focus = rig.attention.focus;
    rig.frames(5, &moving(), &[brink]);
    assert_eq!(rig.attention.focus, focus);
}

#[test]
fn who_is_lost_is_searched_in_the_frame_and_its_parts() {
    let mut rig = Rig::new();
    rig.frames(5, &moving(), &[small()]);
    let looks = rig.frames(30, &moving(), &[]);
    assert!(matches!(looks[0], Look::Window(_)));
    assert!(looks[1..].contains(&Look::Frame));
    let parts: Vec<_> =
        looks.iter().filter_map(|look| if let Look::Search(part) = look { Some(*part) } else { None }).collect();
    assert!(parts.len() >= 14, "{looks:?}");
    for corner in [(0.01, 0.5), (0.99, 0.5), (0.5, 0.01), (0.5, 0.99)] {
        let point = UnitRect::new(corner.0, corner.1, 1e-3, 1e-3);
        assert!(parts.iter().any(|part| part.contains(&point, 1e-3)), "{corner:?} is never searched");
    }
    // What a part shows is only a candidate until a window of its own shows it.
    let mut rig = Rig::new();
    rig.frame(&moving(), &[]);
    let Look::Search(_) = rig.frame(&moving(), &[small()]) else { panic!("no search") };
    assert!(matches!(rig.frame(&moving(), &[]), Look::Window(_)));
    assert_eq!(rig.attention.focus, Focus::Lost);
}

#[test]
fn what_moves_is_searched_first() {
    let mut rig = Rig::new();
    rig.frame(&moving_at(20, 40), &[]);
    let Look::Search(part) = rig.frame(&moving_at(20, 40), &[]) else { panic!("no search") };
    assert!(part.contains(&UnitRect::new(20.0 / 128.0, 40.0 / 72.0, 1.0 / 128.0, 1.0 / 72.0), 1e-4), "{part:?}");
    assert!(part.area() < 0.05, "{part:?}");
}

#[test]
fn an_empty_still_room_costs_two_looks_a_second() {
    let mut rig = Rig::new();
    rig.frame(&moving(), &[]);
    let looks = rig.frames(300, &still(), &[]);
    let kept = looks.iter().filter(|look| **look == Look::Keep).count();
    assert!((275..=285).contains(&kept), "{kept}");
}

#[test]
fn after_a_gap_or_a_step_back_all_begins_anew() {
    for jump_ns in [-1_000_000_000_i64, 3_000_000_000] {
        let mut rig = Rig::new();
        rig.frames(5, &still(), &[small()]);
        rig.now_ns = rig.now_ns.saturating_add_signed(jump_ns);
        assert_eq!(rig.frame(&still(), &[small()]), Look::Frame, "{jump_ns}");
    }
}

proptest::proptest! {
    /// Whatever is seen, a window lies within the frame, holds the people, and is not stretched more than allowed but where
    /// the frame's own edge does it.
    #[test]
    fn windows_are_within_the_frame(
        boxes in proptest::collection::vec((0.0f32..1.0, 0.0f32..1.0, 0.001f32..1.0, 0.001f32..1.0), 1..60),
        portrait in proptest::prelude::any::<bool>(),
    ) {
        let frame = if portrait { Size::new(720, 1280) } else { FRAME };
        let mut attention = Attention::new(GRID);
        for (step, (x, y, width, height)) in (0u64..).zip(boxes) {
            let people = UnitRect::new(x, y, width, height).intersection(&UnitRect::WHOLE);
            let look = attention.next(frame, 1_000_000_000 + step * STEP_NS, &moving());
            if let Look::Window(window) | Look::Search(window) = look {
                assert!(UnitRect::WHOLE.contains(&window, 1e-4), "{window:?}");
                assert!(window.width > 0.0 && window.height > 0.0);
            }
            attention.found(look, std::iter::once(people));
            if let Focus::Window(window) = attention.focus {
                assert!(matches!(look, Look::Glance) || window.contains(&people, 1e-3), "{window:?} {people:?}");
            }
        }
    }
}
