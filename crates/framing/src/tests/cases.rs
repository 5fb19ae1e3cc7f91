//! Where the crop goes: composition, shapes of frame and output, groups, zoom range, invalid input,
//! and irregular timestamps.

use portraitd_protocol::{FramingSpeed, FramingState};

use super::*;

fn framed(settings: Settings, people: &[Subject]) -> PixelRect {
    let mut rig = Rig::new(settings);
    rig.settle(people);
    rig.run(0.1, |_| people.to_vec());
    rig.shot().crop
}

/// The person's box in fractions of the crop.
fn within(crop: PixelRect, bounds: UnitRect, frame: Size) -> UnitRect {
    let person = bounds.to_pixels(frame);
    let (x, y) = ((person.x - crop.x) / crop.width, (person.y - crop.y) / crop.height);
    UnitRect::new(x, y, person.width / crop.width, person.height / crop.height)
}

#[test]
fn somebody_is_in_the_middle_with_headroom_and_margins() {
    let wide = UnitRect::new(0.3, 0.35, 0.45, 0.5);
    let crop = framed(Settings::new(FRAME, OUTPUT), &[subject(1, wide)]);
    let person = within(crop, wide, FRAME);
    assert!((person.center().0 - 0.5).abs() < 0.03, "{person:?}");
    assert!((person.y - 0.1).abs() < 0.03, "headroom {person:?}");
    assert!((0.09..0.16).contains(&person.x) && (0.09..0.16).contains(&(1.0 - person.right())), "margins {person:?}");
}

#[test]
fn a_person_at_the_edge_is_shown_up_to_the_edge_of_the_frame() {
    for (x, edge) in [(-0.05, 0.0), (0.9, 1.0)] {
        let crop = framed(Settings::new(FRAME, OUTPUT), &[subject(1, UnitRect::new(x, 0.5, 0.15, 0.5))]);
        let touches = if edge > 0.5 { crop.right() - 1920.0 } else { crop.x };
        assert_eq!(touches, 0.0, "{crop:?}");
        assert!(crop.width < 1200.0);
    }
}

#[test]
fn at_the_edge_the_dead_band_does_not_press_on() {
    let mut rig = Rig::standard();
    let at_edge = [subject(1, UnitRect::new(0.0, 0.5, 0.12, 0.4))];
    rig.settle(&at_edge);
    rig.run(20.0, |_| at_edge.to_vec());
    assert_eq!((rig.changes_since(0.0), rig.director.moves()), (0, 1));
}

#[test]
fn a_tall_frame_is_cut_at_the_bottom() {
    let frame = Size::new(720, 1280);
    let settings = Settings::new(frame, Size::new(640, 360));
    let tall = UnitRect::new(0.1, 0.3, 0.8, 0.7);
    let crop = framed(settings, &[subject(1, tall)]);
    // 405 is not even: the crop is the next smaller one of this aspect with even sides.
    assert!((crop.width - 720.0).abs() <= 2.0 && (crop.height - 405.0).abs() <= 2.0, "{crop:?}");
    let head = within(crop, tall, frame).y;
    assert!((head - 0.1).abs() < 0.02, "the head stays in: {head}");
    let nobody = Rig::new(settings).director.limits().largest_crop;
    assert_eq!(nobody.y, 0.0);
}

#[test]
fn an_upright_output_from_a_wide_frame_follows_across() {
    let settings = Settings::new(FRAME, Size::new(540, 960));
    for x in [0.05, 0.3, 0.7] {
        // The person is too close for any zoom: the crop is as high as the frame and still follows.
        let near = UnitRect::new(x, 0.1, 0.2, 0.9);
        let crop = framed(settings, &[subject(1, near)]);
        assert_eq!((crop.y, crop.height), (0.0, 1080.0));
        assert!((crop.width - 607.5).abs() <= 2.0, "{crop:?}");
        assert!((within(crop, near, FRAME).center().0 - 0.5).abs() < 0.03 || crop.x == 0.0, "{crop:?}");
    }
}

#[test]
fn a_flat_output_keeps_its_aspect_while_moving_too() {
    for output in [Size::new(540, 960), Size::new(1000, 250), Size::new(333, 1000), Size::new(640, 640)] {
        let mut rig = Rig::new(Settings::new(FRAME, output));
        rig.run(12.0, |t| vec![subject(1, shifted(SITTING, if t > 6.0 { 0.3 } else { -0.3 }, 0.0))]);
        assert!(rig.changes_since(0.0) > 20);
        for (_, shot) in &rig.shots {
            let crop = shot.crop;
            let slack = if shot.still { 2.0 } else { 0.01 };
            assert!((crop.width - crop.height * output.aspect()).abs() <= slack, "{output} {shot:?}");
        }
        assert_limits(&rig.shots, FRAME, 2.45);
    }
}

#[test]
fn two_people_are_framed_together_also_while_they_touch() {
    let (a, b) = (UnitRect::new(0.25, 0.45, 0.14, 0.5), UnitRect::new(0.5, 0.4, 0.14, 0.55));
    let mut rig = Rig::standard();
    rig.settle(&[subject(1, a), subject(2, b)]);
    let crop = rig.director.step(nanoseconds(rig.now())).crop;
    assert!(crop.contains(&a.union(&b).to_pixels(FRAME), 0.0), "{crop:?}");
    // The masks merge into one with one id for a long time, and separate again.
    rig.run(10.0, |_| vec![subject(1, a.union(&b))]);
    rig.run(10.0, |_| vec![subject(1, a), subject(2, b)]);
    assert_eq!(rig.changes_since(0.0), 0);
}

#[test]
fn a_group_that_needs_nearly_the_whole_frame_gets_it() {
    let people = [subject(1, UnitRect::new(0.05, 0.4, 0.15, 0.5)), subject(2, UnitRect::new(0.6, 0.4, 0.15, 0.5))];
    let crop = framed(Settings::new(FRAME, OUTPUT), &people);
    assert_eq!(crop, PixelRect::of_size(FRAME));
}

#[test]
fn whoever_is_in_sight_when_a_group_begins_is_framed_with_it() {
    let (a, b) = (subject(1, UnitRect::new(0.05, 0.45, 0.1, 0.5)), subject(2, UnitRect::new(0.8, 0.4, 0.1, 0.55)));
    let both_from = |seconds: f64| {
        let mut rig = Rig::standard();
        rig.run(10.0, |t| if t < seconds { vec![a] } else { vec![a, b] });
        rig
    };
    // Small people are found one after the other.
    assert_eq!(both_from(0.45).changes_since(0.0), 0, "both need the whole frame");
    // Somebody who has just appeared may be passing by, and waits as usual.
    assert!(both_from(0.75).changes_since(0.0) > 0);
}

#[test]
fn a_member_who_leaves_for_good_is_removed() {
    let mut rig = Rig::standard();
    let (a, b) = (subject(1, UnitRect::new(0.25, 0.45, 0.12, 0.5)), subject(2, UnitRect::new(0.55, 0.4, 0.12, 0.5)));
    rig.settle(&[a, b]);
    rig.run(10.0, |_| vec![a]);
    assert!(rig.first_motion().expect("it closes") >= 2.0);
    assert!((within(rig.shot().crop, a.bounds, FRAME).center().0 - 0.5).abs() < 0.05);
    // Nobody is framed alone although the other left a second earlier.
    rig.settle(&[a, b]);
    rig.run(7.0, |t| if t < 1.0 { vec![b] } else { Vec::new() });
    let opened = rig.first_motion().expect("it opens");
    assert!(opened >= 3.0, "{opened}");
    assert_eq!(rig.shot().state, FramingState::Lost);
}

#[test]
fn somebody_under_a_new_id_is_followed_soon() {
    let mut rig = Rig::standard();
    rig.settle(&[subject(1, shifted(SITTING, -0.2, 0.0))]);
    rig.run(8.0, |_| vec![subject(9, shifted(SITTING, 0.3, 0.0))]);
    assert!(rig.first_motion().expect("it follows") <= 0.4);
    assert_eq!(rig.director.moves(), 2);
}

#[test]
fn the_zoom_stays_in_its_range() {
    let far = [subject(1, UnitRect::new(0.5, 0.5, 0.02, 0.06))];
    let crop = framed(Settings::new(FRAME, OUTPUT), &far);
    assert_eq!((crop.width, crop.height), (960.0, 540.0));
    // Pixels are enlarged 1.5 times at most.
    let crop = framed(Settings { max_zoom: 4.0, ..Settings::new(FRAME, FRAME) }, &far);
    assert_eq!((crop.width, crop.height), (1280.0, 720.0));
    let crop = framed(Settings { max_zoom: 4.0, ..Settings::new(FRAME, Size::new(480, 270)) }, &far);
    assert_eq!((crop.width, crop.height), (480.0, 270.0));
    // The output is larger than the frame by more than that: there is no zoom at all.
    let settings = Settings::new(Size::new(640, 360), Size::new(1280, 720));
    assert_eq!(framed(settings, &far), PixelRect::of_size(settings.frame));
    let limits = Director::new(settings).unwrap().limits();
    assert_eq!((limits.max_zoom, limits.zoom_without_upscaling), (1.0, 0.5));
}

#[test]
fn moderate_moves_rest_in_between() {
    let mut rig = Rig::standard();
    let low = UnitRect::new(0.3, 0.35, 0.16, 0.42);
    rig.settle(&[subject(1, low)]);
    // The person takes a step, and another one as soon as the first move has come to rest.
    rig.run(6.0, |_| vec![subject(1, shifted(low, 0.1, 0.0))]);
    let moved: Vec<f64> =
        rig.shots.windows(2).filter(|pair| pair[0].1.crop != pair[1].1.crop).map(|pair| pair[1].0).collect();
    let ended = moved.last().unwrap() - rig.shots[0].0;
    let mut again = Rig::standard();
    again.settle(&[subject(1, low)]);
    again.run(12.0, |t| vec![subject(1, shifted(low, if t < ended { 0.1 } else { 0.2 }, 0.0))]);
    let start = again.shots[0].0;
    let mut next =
        again.shots.windows(2).filter(|pair| pair[0].1.still && !pair[1].1.still).map(|pair| pair[1].0 - start);
    let second = next.next_back().unwrap();
    assert!((ended + 1.9..ended + 2.3).contains(&second), "{ended} {second}");
}

#[test]
fn calm_is_slower_and_quick_is_faster() {
    let time = |speed| {
        let mut rig = Rig::new(Settings { speed, ..Settings::new(FRAME, OUTPUT) });
        rig.settle(&[subject(1, UnitRect::new(0.1, 0.4, 0.15, 0.45))]);
        rig.run(10.0, |_| vec![subject(1, UnitRect::new(0.5, 0.4, 0.15, 0.45))]);
        rig.shots.windows(2).filter(|pair| pair[0].1.crop != pair[1].1.crop).count()
    };
    let (calm, normal, quick) = (time(FramingSpeed::Calm), time(FramingSpeed::Normal), time(FramingSpeed::Quick));
    assert!(calm > normal && normal > quick, "{calm} {normal} {quick}");
}

#[test]
fn a_stale_mask_holds_and_a_stall_does_not_leap() {
    let mut rig = Rig::standard();
    rig.settle(&[subject(1, UnitRect::new(0.05, 0.4, 0.15, 0.45))]);
    rig.run(0.8, |_| vec![subject(1, UnitRect::new(0.75, 0.4, 0.15, 0.45))]);
    assert!(!rig.shot().still);
    // Without masks the crop comes to rest on the way, about a second later, without a jerk.
    rig.every = u32::MAX;
    rig.run(5.0, |_| unreachable!());
    assert!(rig.shot().still);
    assert_limits(&rig.shots, FRAME, 2.45);
    assert!(rig.changes_since(rig.now() - 3.0) == 0);
    let resting = rig.shot();
    assert_eq!(resting.state, FramingState::Converged);
    // Frames stop for a minute; the mask that follows counts as new.
    rig.count += 60 * 30;
    rig.every = 1;
    rig.run(0.2, |_| vec![subject(1, UnitRect::new(0.05, 0.4, 0.15, 0.45))]);
    assert_eq!(rig.shot().crop, resting.crop);
    rig.run(0.1, |_| vec![subject(1, UnitRect::new(0.05, 0.4, 0.15, 0.45))]);
    assert_ne!(rig.shot().crop, resting.crop);
    // A stall during a move counts for 0.2 s.
    let before = rig.shot().crop;
    rig.count += 60 * 30;
    rig.run(0.01, |_| vec![subject(1, UnitRect::new(0.05, 0.4, 0.15, 0.45))]);
    let moved = (before.x - rig.shot().crop.x) / before.width;
    assert!(moved <= 0.6 * 0.2 + 0.01, "{moved}");
}

#[test]
fn timers_do_not_run_during_a_stall() {
    let mut rig = Rig::standard();
    rig.settle(&[subject(1, SITTING)]);
    rig.run(0.5, |_| Vec::new());
    rig.count += 60 * 30;
    rig.run(1.0, |_| Vec::new());
    assert_eq!(rig.changes_since(0.0), 0);
    rig.run(4.0, |_| Vec::new());
    assert_eq!(rig.shot().state, FramingState::Lost);
}

#[test]
fn a_restarted_camera_clock_is_followed() {
    let mut rig = Rig::standard();
    rig.settle(&[subject(1, SITTING)]);
    let mut moved = false;
    for index in 0..300u32 {
        let stamp = nanoseconds(f64::from(index) / 30.0);
        rig.director.observe(stamp, &[subject(1, shifted(SITTING, -0.3, 0.0))]);
        moved |= !rig.director.step(stamp).still;
    }
    assert!(moved);
}

#[test]
fn a_late_mask_counts_from_its_own_frame() {
    // Masks come 0.1 s late; a drastic move still begins 0.25 s after the frame that showed the
    // change.
    let mut rig = Rig::standard();
    rig.settle(&[subject(1, shifted(SITTING, -0.3, 0.0))]);
    let (start, mut first) = (rig.now(), None);
    for index in 0..30u32 {
        let now = start + f64::from(index) / 30.0;
        if index >= 3 {
            rig.director.observe(nanoseconds(now - 0.1), &[subject(1, shifted(SITTING, 0.3, 0.0))]);
        }
        if !rig.director.step(nanoseconds(now)).still && first.is_none() {
            first = Some(now - start);
        }
    }
    assert!(first.expect("it moves") < 0.3);
}

#[test]
fn a_member_who_blinks_out_may_come_back_under_another_id() {
    let (a, b) = (subject(1, UnitRect::new(0.3, 0.4, 0.12, 0.5)), subject(2, UnitRect::new(0.5, 0.4, 0.12, 0.5)));
    let mut rig = Rig::standard();
    rig.settle(&[a, b]);
    // Almost where they were: two masks are never quite equal.
    let renamed = subject(7, shifted(a.bounds, 0.01, 0.01));
    rig.run(10.0, |t| if t < 1.5 { vec![b] } else { vec![renamed, b] });
    assert_eq!((rig.changes_since(0.0), rig.director.moves()), (0, 1));
    // Under the new id, too, they leave after a while.
    rig.run(8.0, |_| vec![b]);
    assert_eq!(rig.director.moves(), 2);
    // A person at another place is another person: the first has left before the other joins.
    let mut rig = Rig::standard();
    rig.settle(&[a, b]);
    rig.run(10.0, |t| if t < 1.0 { vec![b] } else { vec![b, subject(7, shifted(a.bounds, -0.2, 0.0))] });
    assert!(rig.director.moves() > 1);
}

#[test]
fn strips_come_to_rest_or_are_refused() {
    let person = subject(0, UnitRect::new(0.0, 0.27, 0.02, 0.05));
    for height in [16, 17, 18, 19, 20, 21] {
        // The largest crop is `height` and a half pixels high, which is not an even number.
        let output = Size::new(640, 5 * height + 2);
        let mut rig = Rig::new(Settings { max_zoom: 1.0, ..Settings::new(Size::new(128, 96), output) });
        rig.run(30.0, |_| vec![person]);
        assert!(rig.shot().still, "{output}: {:?}", rig.shot());
    }
    let flat = Director::new(Settings::new(Size::new(78, 64), Size::new(1392, 83)));
    assert!(matches!(flat, Err(crate::SettingsError::Aspect { .. })), "{flat:?}");
}
