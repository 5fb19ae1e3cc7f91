use proptest::prelude::*;

use super::*;

const RATES: [f32; 4] = [5.0, 10.0, 15.0, 30.0];

fn region(x: f32, y: f32, width: f32, height: f32) -> Region {
    let bounds = UnitRect::new(x, y, width, height);
    Region { bounds, area: width * height * 0.7, confidence: 0.9, reach: bounds }
}

/// The regions of people in a mask. People whose boxes overlap are one region. Boxes are cut at the
/// edge of the frame.
fn seen(boxes: &[UnitRect]) -> Vec<Region> {
    let mut blobs: Vec<UnitRect> = boxes.iter().map(|b| b.intersection(&UnitRect::WHOLE)).collect();
    blobs.retain(|blob| !blob.is_empty());
    while let Some((a, b)) = (0..blobs.len())
        .flat_map(|a| (0..a).map(move |b| (a, b)))
        .find(|(a, b)| !blobs[*a].intersection(&blobs[*b]).is_empty())
    {
        blobs[b] = blobs[a].union(&blobs[b]);
        blobs.remove(a);
    }
    blobs.iter().map(|blob| region(blob.x, blob.y, blob.width, blob.height)).collect()
}

/// Plays a scene of `seconds` at `rate`, and calls `check` with the time and the people of each
/// frame.
fn play(
    rate: f32,
    seconds: f32,
    scene: impl Fn(f32) -> Vec<UnitRect>,
    mut check: impl FnMut(f32, &[TrackedPerson], &[UnitRect]),
) {
    let mut tracker = Tracker::new();
    for frame in 0..(seconds * rate) as u32 {
        let time = frame as f32 / rate;
        let boxes = scene(time);
        let people = tracker.update(&seen(&boxes), 7_000_000_000 + (f64::from(time) * 1e9) as u64);
        check(time, people, &boxes);
    }
}

fn ids(people: &[TrackedPerson]) -> Vec<u32> {
    people.iter().map(|person| person.id).collect()
}

#[test]
fn walking_keeps_the_id() {
    for rate in RATES {
        let scene = |time: f32| vec![UnitRect::new(0.4 + 0.3 * (time * 1.5).sin(), 0.2, 0.15, 0.7)];
        play(rate, 10.0, scene, |time, people, boxes| {
            assert_eq!(ids(people), [1], "{rate} fps, {time} s");
            assert!(people[0].bounds.iou(&boxes[0]) > 0.99);
        });
    }
}

#[test]
fn ids_survive_a_second_of_occlusion_and_no_more() {
    for (hidden_s, same) in [(0.3, true), (0.95, true), (1.3, false)] {
        for rate in RATES {
            for speed in [0.0, 0.1] {
                let scene = |time: f32| {
                    let hidden = (2.0..2.0 + hidden_s).contains(&time);
                    let person = UnitRect::new(0.2 + speed * time, 0.2, 0.2, 0.6);
                    if hidden { Vec::new() } else { vec![person] }
                };
                let mut last = Vec::new();
                play(rate, 5.0, scene, |_, people, boxes| {
                    assert_eq!(people.len(), boxes.len(), "hidden people are not reported");
                    last = ids(people);
                });
                assert_eq!(last, [if same { 1 } else { 2 }], "{rate} fps, hidden for {hidden_s} s at {speed}/s");
            }
        }
    }
}

#[test]
fn two_people_who_touch_and_part_keep_their_ids() {
    for rate in RATES {
        // They walk towards each other, stay together for 2 s, and part again.
        let scene = |time: f32| {
            let apart = ((time - 3.0).abs() - 1.0).max(-0.1) * 0.15;
            vec![UnitRect::new(0.3 - apart, 0.2, 0.2, 0.8), UnitRect::new(0.5 + apart, 0.3, 0.18, 0.7)]
        };
        let mut touched = false;
        play(rate, 6.0, scene, |time, people, boxes| {
            assert_eq!(ids(people).len(), 2, "{rate} fps, {time} s: {people:?}");
            touched |= seen(boxes).len() == 1;
            // The order of the regions is that of `seen`.
            let left = people.iter().find(|person| person.id == people[0].id).unwrap();
            let near = |person: &TrackedPerson, truth: &UnitRect| person.bounds.iou(truth) > 0.75;
            assert!(
                near(left, &boxes[0]) && near(&people[1], &boxes[1]),
                "{rate} fps, {time} s: {people:?}, {boxes:?}"
            );
            assert_eq!(ids(people), [1, 2]);
        });
        assert!(touched);
    }
}

#[test]
fn somebody_who_walks_past_another_keeps_the_id() {
    for rate in [10.0, 15.0, 30.0] {
        let scene =
            |time: f32| vec![UnitRect::new(0.4, 0.4, 0.2, 0.6), UnitRect::new(-0.1 + 0.25 * time, 0.15, 0.16, 0.85)];
        let mut last = Vec::new();
        play(rate, 3.8, scene, |time, people, boxes| {
            if time < 0.4 {
                return;
            }
            // While one person is fully in front of the other, one of them is hidden.
            assert!(!people.is_empty() && people.len() <= 2, "{rate} fps, {time} s: {people:?}");
            last = people.iter().map(|person| (person.id, person.bounds.iou(&boxes[0]) > 0.5)).collect();
        });
        assert_eq!(last, [(1, true), (2, false)], "{rate} fps");
    }
}

/// Two people walk towards each other and past each other, and part again. The second is nearer to
/// the camera and hides the first for a moment.
#[test]
fn two_people_who_walk_past_each_other_keep_their_ids() {
    for rate in [10.0, 15.0, 30.0] {
        for seconds in [3.0, 5.0, 7.0] {
            for back in [false, true] {
                let scene = |time: f32| {
                    let along = ((time - 1.0) / seconds).clamp(0.0, 1.0);
                    let along = along * along * (3.0 - 2.0 * along);
                    let along = if back { 1.0 - along } else { along };
                    vec![
                        UnitRect::new(0.16 + 0.6 * along, 0.37, 0.08, 0.56),
                        UnitRect::new(0.77 - 0.64 * along, 0.35, 0.09, 0.62),
                    ]
                };
                let mut last = Vec::new();
                play(rate, seconds + 2.0, scene, |_, people, boxes| {
                    last = people.iter().map(|p| (p.id, boxes.iter().position(|b| p.bounds.iou(b) > 0.8))).collect();
                });
                // The larger person has the first id.
                assert_eq!(last, [(1, Some(1)), (2, Some(0))], "{rate} fps, {seconds} s, back {back}");
            }
        }
    }
}

/// A third person runs past two people who stand beside each other, from edge to edge in 1.4 s. The
/// runner is at most as wide as they are.
#[test]
fn somebody_who_runs_past_two_people_takes_no_id() {
    for rate in [10.0, 15.0, 30.0] {
        for width in [0.1, 0.15, 0.2] {
            for back in [false, true] {
                let scene = |time: f32| {
                    let mut boxes = vec![UnitRect::new(0.30, 0.45, 0.16, 0.55), UnitRect::new(0.51, 0.43, 0.19, 0.57)];
                    if (1.0..2.4).contains(&time) {
                        let x = if back { 1.2 - (time - 1.0) } else { -0.2 + (time - 1.0) };
                        boxes.push(UnitRect::new(x - width * 0.5, 0.38, width, 0.62));
                    }
                    boxes
                };
                let mut last = Vec::new();
                play(rate, 4.0, scene, |_, people, boxes| {
                    last = people.iter().map(|p| (p.id, boxes.iter().position(|b| p.bounds.iou(b) > 0.8))).collect();
                });
                // The larger person has the first id.
                assert_eq!(last, [(1, Some(1)), (2, Some(0))], "{rate} fps, {width} wide, back {back}");
            }
        }
    }
}

#[test]
fn three_people_in_a_row_keep_their_ids() {
    let scene = |time: f32| {
        let apart = (time - 1.5).abs().max(0.5) * 0.1 - 0.06;
        let person = |place: f32| UnitRect::new(0.4 + place * (0.2 + apart), 0.3, 0.2, 0.7);
        vec![person(-1.0), person(0.0), person(1.0)]
    };
    let mut fewest = usize::MAX;
    play(15.0, 3.0, scene, |time, people, boxes| {
        assert_eq!(ids(people), [1, 2, 3], "{time} s: {people:?}");
        fewest = fewest.min(seen(boxes).len());
        assert!(people.iter().zip(boxes).all(|(person, truth)| person.bounds.iou(truth) > 0.7), "{time} s: {people:?}");
    });
    assert_eq!(fewest, 1);
}

#[test]
fn somebody_who_enters_at_the_edge_is_one_person() {
    for rate in RATES {
        let scene = |time: f32| vec![UnitRect::new(0.97 - 0.35 * time, 0.1, 0.25, 0.9)];
        play(rate, 2.0, scene, |time, people, _| assert_eq!(ids(people), [1], "{rate} fps, {time} s"));
    }
}

#[test]
fn a_newcomer_who_touches_gets_an_id_when_apart() {
    let scene = |time: f32| {
        let mut boxes = vec![UnitRect::new(0.4, 0.2, 0.2, 0.8)];
        if time > 1.0 {
            boxes.push(UnitRect::new(0.55 + (time - 1.5).max(0.0) * 0.15, 0.25, 0.2, 0.75));
        }
        boxes
    };
    let mut last = Vec::new();
    play(15.0, 3.5, scene, |_, people, boxes| {
        last = people.iter().map(|person| (person.id, boxes.iter().position(|b| person.bounds.iou(b) > 0.8))).collect();
    });
    assert_eq!(last, [(1, Some(0)), (2, Some(1))]);
}

#[test]
fn an_outstretched_arm_is_not_somebody_who_left() {
    let scene = |time: f32| {
        let width = if time > 1.6 { 0.27 } else { 0.2 };
        let mut boxes = vec![UnitRect::new(0.3, 0.3, width, 0.7)];
        if time < 1.5 {
            boxes.push(UnitRect::new(0.55, 0.3, 0.2, 0.7));
        }
        boxes
    };
    play(15.0, 4.0, scene, |time, people, boxes| assert_eq!(people.len(), boxes.len(), "{time} s: {people:?}"));
}

#[test]
fn only_the_sixteen_largest_are_tracked() {
    let mut tracker = Tracker::new();
    let crowd: Vec<Region> =
        (0..20u8).map(|n| region(f32::from(n) * 0.05, 0.1, 0.03, 0.1 + 0.02 * f32::from(n))).collect();
    for frame in 0..3 {
        let people = tracker.update(&crowd, frame * 33_000_000).to_vec();
        assert_eq!(people.len(), MAX_PEOPLE);
        assert!(people.iter().all(|person| person.bounds.height > 0.17), "the smallest four are left out");
    }
    // All others leave. New people take the tracks of the hidden ones.
    let others: Vec<Region> = (0..4u8).map(|n| region(f32::from(n) * 0.2, 0.8, 0.1, 0.2)).collect();
    assert_eq!(ids(tracker.update(&others, 150_000_000)), [17, 18, 19, 20]);
}

#[test]
fn timestamps_decide_what_is_forgotten() {
    let mut tracker = Tracker::new();
    let person = [region(0.3, 0.3, 0.2, 0.6)];
    assert_eq!(ids(tracker.update(&person, 5_000_000_000)), [1]);
    assert_eq!(ids(tracker.update(&[], 4_900_000_000)), [1], "a frame out of order is ignored");
    assert_eq!(ids(tracker.update(&person, 6_200_000_000)), [1], "a still scene has a pass once a second");
    assert_eq!(ids(tracker.update(&person, 9_000_000_000)), [2], "after a long gap all ids are new");
    assert_eq!(ids(tracker.update(&person, 1_000_000_000)), [3], "a file is played again");
    tracker.reset();
    assert_eq!(ids(tracker.update(&person, 1_000_000_000)), [4]);
    tracker.next_id = Some(u32::MAX);
    assert_eq!(ids(tracker.update(&person, 8_000_000_000)), [u32::MAX]);
    assert!(tracker.update(&person, 16_000_000_000).is_empty(), "ids are not reused");
}

#[test]
fn invalid_regions_are_ignored() {
    let mut tracker = Tracker::new();
    let bad = [region(f32::NAN, 0.0, 0.1, 0.1), region(0.1, 0.1, 0.0, 0.1), region(0.1, f32::INFINITY, 0.1, 0.1)];
    assert!(tracker.update(&bad, u64::MAX).is_empty());
    assert_eq!(ids(tracker.update(&[region(0.2, 0.2, 0.2, 0.2)], u64::MAX)), [1]);
}

proptest! {
    #[test]
    fn ids_are_unique_and_new_for_any_regions(
        frames in prop::collection::vec(
            (
                prop::collection::vec((-0.2f32..1.0, -0.2f32..1.0, 0.01f32..0.6, 0.01f32..0.9), 0..22),
                prop_oneof![8 => 0u64..200_000_000, 1 => 0u64..4_000_000_000],
                prop_oneof![8 => Just(false), 1 => Just(true)],
            ),
            1..40,
        ),
    ) {
        let mut tracker = Tracker::new();
        let (mut now, mut highest) = (5_000_000_000u64, 0);
        let (tracks, people) = (tracker.tracks.as_ptr(), tracker.people.as_ptr());
        for (boxes, step, back) in frames {
            now = if back { now.saturating_sub(step) } else { now + step };
            let regions: Vec<Region> = boxes.iter().map(|(x, y, w, h)| region(*x, *y, *w, *h)).collect();
            let known: Vec<u32> = tracker.tracks.iter().map(|track| track.id).collect();
            let seen = tracker.update(&regions, now);
            prop_assert!(seen.len() <= MAX_PEOPLE);
            prop_assert!(seen.windows(2).all(|pair| pair[0].id < pair[1].id), "unique and ascending");
            prop_assert!(seen.iter().all(|person| known.contains(&person.id) || person.id > highest));
            prop_assert!(seen.iter().all(|person| !person.bounds.is_empty()));
            highest = seen.iter().map(|person| person.id).fold(highest, u32::max);
        }
        prop_assert_eq!((tracks, people), (tracker.tracks.as_ptr(), tracker.people.as_ptr()), "nothing is allocated");
    }
}
