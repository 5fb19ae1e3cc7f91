use super::*;
use crate::net::{EngineOptions, Model, Package};

const FRAME: Size = Size::new(1600, 900);
const STEP_NS: u64 = 33_333_333;
const AGE_NS: u64 = 1_500_000_000;

fn head(x: f32, y: f32) -> Head {
    Head { face: UnitRect::new(x - 0.02, y - 0.03, 0.04, 0.06), score: 0.9 }
}

fn squares_for(people: &[UnitRect]) -> Vec<UnitRect> {
    let mut found = Vec::new();
    squares(people, FRAME, &mut found);
    found
}

#[test]
fn one_square_shows_one_person() {
    let person = UnitRect::new(0.4, 0.3, 0.15, 0.6);
    let found = squares_for(&[person]);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains(&person, 0.0), "{found:?}");
    let pixels = found[0].to_pixels(FRAME);
    assert!((pixels.width - pixels.height).abs() < 1.0 && (pixels.height - 1.1 * 0.6 * 900.0).abs() < 1.0);
}

/// Wherever a head is in a row, one of its squares shows it as a whole.
#[test]
fn squares_of_a_wide_row_overlap() {
    let row = [UnitRect::new(0.05, 0.4, 0.5, 0.4), UnitRect::new(0.5, 0.4, 0.45, 0.4)];
    let found = squares_for(&row);
    assert!((4..=6).contains(&found.len()), "{found:?}");
    for step in 0..80 {
        let face = head(0.07 + 0.01 * step as f32, 0.45).face;
        assert!(found.iter().any(|square| square.contains(&face, 0.0)), "{face:?}");
    }
}

#[test]
fn people_who_are_apart_have_squares_of_their_own_size() {
    let found = squares_for(&[UnitRect::new(0.1, 0.2, 0.1, 0.7), UnitRect::new(0.7, 0.6, 0.05, 0.2)]);
    assert_eq!(found.len(), 2);
    assert!(found[0].height > 3.0 * found[1].height, "{found:?}");
    assert!(squares_for(&[]).is_empty());
}

proptest::proptest! {
    #[test]
    fn squares_are_few_and_inside_the_frame(
        boxes in proptest::collection::vec((0.0f32..1.0, 0.0f32..1.0, 0.001f32..1.0, 0.001f32..1.0), 0..16),
    ) {
        let people: Vec<UnitRect> =
            boxes.iter().map(|(x, y, w, h)| UnitRect::new(*x, *y, *w, *h).intersection(&UnitRect::WHOLE)).collect();
        let found = squares_for(&people);
        assert!(found.len() <= MAX_SQUARES && (people.is_empty() || !found.is_empty()));
        for square in &found {
            let pixels = square.to_pixels(FRAME);
            assert!(UnitRect::WHOLE.contains(square, 1e-4), "{square:?}");
            assert!((pixels.width - pixels.height).abs() < 0.5 && pixels.width >= 15.9, "{pixels:?}");
        }
    }
}

fn remembered(known: &[KnownHead]) -> Vec<(u32, u32)> {
    let place = |known: &KnownHead| (known.head.face.center().0 * 100.0).round() as u32;
    let mut all: Vec<_> = known.iter().map(|known| (place(known), known.looks)).collect();
    all.sort_unstable();
    all
}

#[test]
fn a_head_is_the_same_one_in_the_next_look_and_forgotten_when_it_is_gone() {
    let (left, right) = (UnitRect::new(0.0, 0.0, 0.5, 0.9), UnitRect::new(0.5, 0.0, 0.5, 0.9));
    let mut known = Vec::new();
    remember(&mut known, &[head(0.2, 0.3), head(0.3, 0.3)], &left, STEP_NS, AGE_NS);
    remember(&mut known, &[head(0.8, 0.3)], &right, 2 * STEP_NS, AGE_NS);
    assert_eq!(remembered(&known), [(20, 1), (30, 1), (80, 1)]);
    // One has moved a little, the other has turned away. The right half is not looked at.
    remember(&mut known, &[head(0.22, 0.3)], &left, 3 * STEP_NS, AGE_NS);
    assert_eq!(remembered(&known), [(22, 2), (80, 1)]);
    // The left half has not been looked at for too long.
    remember(&mut known, &[head(0.8, 0.3)], &right, 3 * STEP_NS + AGE_NS + 1, AGE_NS);
    assert_eq!(remembered(&known), [(80, 2)]);
}

#[test]
fn memory_is_bounded() {
    let found: Vec<Head> = (0..100).map(|index| head(0.01 * index as f32, 0.5)).collect();
    let mut known = Vec::new();
    remember(&mut known, &found, &UnitRect::WHOLE, 1, AGE_NS);
    assert_eq!(known.len(), MAX_HEADS);
}

/// Whether a look is due in each of `frames`, 30 a second, and what it finds: `heads` heads.
fn looks(heads: &mut Heads, people: &[(u32, UnitRect)], frames: std::ops::Range<u64>, found: &[Head]) -> Vec<u64> {
    let mut due = Vec::new();
    for frame in frames {
        if let Some(square) = heads.next_square(people.iter().copied(), FRAME, frame * STEP_NS) {
            let max_age_ns = MAX_AGE * heads.interval_ns;
            remember(&mut heads.known, found, &square, frame * STEP_NS, max_age_ns);
            heads.is_crowded |= found.len() > 1;
            due.push(frame);
        }
    }
    due
}

fn heads_of_package() -> Heads {
    let (manifest, onnx) =
        (include_str!("../../../../models/heads/faces.toml"), include_bytes!("../../../../models/heads/faces.onnx"));
    let package = Package::built_in("faces.toml", manifest, onnx).expect("its files");
    Heads::new(HeadDetector::new(Model::new(package, EngineOptions::default()).expect("loads")).expect("a detector"))
}

#[test]
fn somebody_whom_the_mask_misses_is_looked_at_while_their_head_is_known() {
    let mut heads = heads_of_package();
    let (beside, missed) = (head(0.66, 0.5), head(0.82, 0.5));
    heads.boxes = vec![UnitRect::new(0.59, 0.45, 0.15, 0.35)];
    for look in 1..=2 {
        heads.next_round(FRAME, false);
        assert!(heads.squares.iter().all(|square| !square.contains(&missed.face, 0.0)));
        remember(&mut heads.known, &[beside, missed], &UnitRect::WHOLE, look * STEP_NS, AGE_NS);
    }
    heads.next_round(FRAME, false);
    assert!(heads.squares.iter().any(|square| square.contains(&missed.face, 0.0)), "{:?}", heads.squares);
    assert_eq!(heads.boxes.len(), 1, "the boxes are those of people");
}

#[test]
fn looks_are_frequent_at_first_and_then_as_often_as_there_are_people_to_tell_apart() {
    let mut heads = heads_of_package();
    assert!(looks(&mut heads, &[], 0..30, &[]).is_empty(), "nobody is there");
    let alone = [(1, UnitRect::new(0.4, 0.3, 0.15, 0.6))];
    assert_eq!(looks(&mut heads, &alone, 30..36, &[head(0.47, 0.4)]), [30, 32, 34]);
    let later = looks(&mut heads, &alone, 36..336, &[head(0.47, 0.4)]);
    assert!((4..=6).contains(&later.len()), "every two seconds: {later:?}");
    let both = [head(0.44, 0.4), head(0.5, 0.4)];
    let later = looks(&mut heads, &alone, 400..700, &both);
    assert!((23..=25).contains(&later.len()), "every 0.4 seconds: {later:?}");
    // A slow board has longer intervals, at the start too. One without time for looks has none.
    heads.set_interval(2_000_000_000);
    assert!(looks(&mut heads, &[(2, alone[0].1)], 700..760, &both).len() <= 1 + FIRST_LOOKS * 2);
    heads.set_interval(u64::MAX);
    assert!(looks(&mut heads, &[(3, alone[0].1)], 1000..2000, &both).is_empty());
}
