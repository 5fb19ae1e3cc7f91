//! Modes, changes between modes, and settings that are refused.

use portraitd_protocol::{FramingMode, FramingState};

use super::*;

fn with(mode: FramingMode) -> Settings {
    Settings { mode, manual_crop: UnitRect::new(0.25, 0.25, 0.5, 0.5), ..Settings::new(FRAME, OUTPUT) }
}

#[test]
fn off_shows_the_whole_frame() {
    let mut rig = Rig::new(with(FramingMode::Off));
    rig.settle(&[subject(1, SITTING)]);
    assert_eq!(rig.director.step(1), rig.director.step(nanoseconds(rig.now())));
    let shot = rig.director.step(nanoseconds(rig.now()));
    let whole = PixelRect::of_size(FRAME);
    assert_eq!(shot, Shot { crop: whole, state: FramingState::Inactive, still: true, subject: 0 });
    rig.director.reframe();
    rig.run(5.0, |_| vec![subject(1, SITTING)]);
    assert_eq!((rig.changes_since(0.0), rig.director.moves()), (0, 0));
}

#[test]
fn turning_off_and_on_eases() {
    let mut rig = Rig::new(with(FramingMode::Follow));
    rig.settle(&[subject(1, SITTING)]);
    rig.run(0.1, |_| vec![subject(1, SITTING)]);
    rig.director.set(with(FramingMode::Off)).unwrap();
    rig.run(2.0, |_| vec![subject(1, SITTING)]);
    let whole = PixelRect::of_size(FRAME);
    let there = rig.shots.iter().find(|(_, shot)| shot.crop == whole).unwrap().0 - rig.shots[2].0;
    assert!((0.45..0.6).contains(&there), "{there}");
    rig.shots.clear();
    rig.director.set(with(FramingMode::Follow)).unwrap();
    rig.run(8.0, |_| vec![subject(1, SITTING)]);
    assert!(rig.first_motion().expect("frames at once") < 0.1);
    assert_limits(&rig.shots, FRAME, 2.45);
    assert_eq!(rig.shot().state, FramingState::Converged);
}

#[test]
fn once_frames_once_and_again_when_asked() {
    let mut rig = Rig::new(with(FramingMode::Once));
    assert_eq!(rig.director.step(1).state, FramingState::Lost);
    rig.settle(&[subject(1, SITTING)]);
    assert_eq!(rig.director.moves(), 1);
    rig.run(10.0, |_| vec![subject(1, shifted(SITTING, 0.3, 0.0))]);
    rig.run(10.0, |_| Vec::new());
    assert_eq!(rig.changes_since(0.0), 0);
    assert_eq!(rig.shot().state, FramingState::Converged);
    // A request while nobody is there takes effect as soon as somebody is.
    rig.director.reframe();
    rig.run(3.0, |_| Vec::new());
    assert_eq!((rig.changes_since(0.0), rig.shot().state), (0, FramingState::Lost));
    rig.run(8.0, |_| vec![subject(1, shifted(SITTING, 0.3, 0.0))]);
    assert_eq!((rig.director.moves(), rig.shot().state), (2, FramingState::Converged));
    assert!(rig.shot().still);
}

#[test]
fn reframe_does_not_wait_and_ends_in_the_same_place() {
    let mut rig = Rig::standard();
    rig.settle(&[subject(1, SITTING)]);
    // The person is inside the dead band, and a new person has not joined yet.
    rig.run(0.5, |_| vec![subject(1, shifted(SITTING, 0.05, 0.0))]);
    assert_eq!(rig.changes_since(0.0), 0);
    rig.director.reframe();
    rig.run(4.0, |_| vec![subject(1, shifted(SITTING, 0.05, 0.0))]);
    assert!(rig.first_motion().expect("it moves") < 0.6);
    let crop = rig.shot().crop;
    rig.director.reframe();
    rig.run(4.0, |_| vec![subject(1, shifted(SITTING, 0.05, 0.0))]);
    assert_eq!((rig.shot().crop, rig.director.moves()), (crop, 2));
}

#[test]
fn manual_eases_to_the_smallest_crop_that_holds_it() {
    let mut rig = Rig::new(with(FramingMode::Manual));
    rig.settle(&[]);
    assert_eq!(rig.director.step(1).crop, PixelRect::new(480.0, 270.0, 960.0, 540.0));
    let square = UnitRect::new(0.0, 0.4, 0.3, 0.6);
    rig.director.set(Settings { manual_crop: square, ..with(FramingMode::Manual) }).unwrap();
    rig.run(1.0, |_| Vec::new());
    assert!(rig.shots.iter().any(|(_, shot)| shot.state == FramingState::Framing));
    let shot = rig.shot();
    assert_eq!((shot.state, shot.still), (FramingState::Converged, true));
    assert!(shot.crop.contains(&square.to_pixels(FRAME), 0.0), "{shot:?}");
    assert_eq!(shot.crop, PixelRect::new(0.0, 432.0, 1152.0, 648.0));
    // A manual crop that is too small is limited by the zoom range.
    let tiny = UnitRect::new(0.5, 0.5, 0.001, 0.001);
    rig.director.set(Settings { manual_crop: tiny, ..with(FramingMode::Manual) }).unwrap();
    rig.run(1.0, |_| Vec::new());
    assert_eq!(rig.shot().crop.width, 960.0);
}

#[test]
fn following_with_nobody_there_opens_after_a_while() {
    let mut rig = Rig::new(with(FramingMode::Manual));
    rig.run(0.5, |_| Vec::new());
    rig.director.set(with(FramingMode::Follow)).unwrap();
    rig.run(5.0, |_| Vec::new());
    assert_eq!(rig.shot().crop, PixelRect::of_size(FRAME));
    assert_limits(&rig.shots, FRAME, 2.45);
}

#[test]
fn the_same_settings_change_nothing() {
    let mut rig = Rig::standard();
    rig.run(2.0, |_| vec![subject(1, SITTING)]);
    let mut other = rig.director.clone();
    let settings = *other.settings();
    for index in 0..150u32 {
        let stamp = nanoseconds(rig.now() + f64::from(index) / 30.0);
        other.set(settings).unwrap();
        for director in [&mut rig.director, &mut other] {
            director.observe(stamp, &[subject(1, SITTING)]);
        }
        assert_eq!(rig.director.step(stamp), other.step(stamp));
    }
}

#[test]
fn another_output_keeps_the_place() {
    let mut rig = Rig::standard();
    rig.settle(&[subject(1, shifted(SITTING, 0.1, 0.0))]);
    let before = rig.director.step(nanoseconds(rig.now())).crop;
    rig.director.set(Settings::new(FRAME, Size::new(540, 960))).unwrap();
    rig.run(0.04, |_| vec![subject(1, shifted(SITTING, 0.1, 0.0))]);
    let after = rig.shot().crop;
    assert!((before.center().0 - after.center().0).abs() <= 2.0, "{before:?} {after:?}");
    assert!((before.height - after.height).abs() <= 4.0);
    assert!((after.width - after.height * 9.0 / 16.0).abs() <= 2.0);
}

#[test]
fn off_with_a_least_zoom_shows_the_middle() {
    let least = |min_zoom| Settings { min_zoom, ..with(FramingMode::Off) };
    let mut rig = Rig::new(least(1.5));
    rig.run(1.0, |_| Vec::new());
    assert_eq!(rig.shot().crop, PixelRect::new(320.0, 180.0, 1280.0, 720.0));
    let limits = rig.director.limits();
    assert_eq!((limits.min_zoom, limits.max_zoom), (1.5, 2.0));
    assert_eq!(limits.largest_crop, rig.shot().crop);
    // A change takes effect with the next frame and not by a slow move.
    rig.director.set(least(2.0)).unwrap();
    rig.run(0.03, |_| Vec::new());
    let crop = rig.shot().crop;
    assert!(crop.width <= 960.0 && crop.height <= 540.0, "{crop:?}");
    // A greatest zoom under the least zoom is refused, as by a client that wants to see more.
    assert!(rig.director.set(Settings { max_zoom: 1.9, ..least(2.0) }).is_err());
    // The output is as large as the frame: the limit against upscaling yields.
    let large = Settings { min_zoom: 2.0, ..Settings::new(FRAME, FRAME) };
    let limits = Director::new(large).unwrap().limits();
    assert_eq!((limits.min_zoom, limits.max_zoom), (2.0, 2.0));
}

#[test]
fn settings_out_of_range_are_refused_and_the_old_ones_stay() {
    let good = Settings::new(FRAME, OUTPUT);
    let mut rig = Rig::new(good);
    let crops = [(0.0, 0.0, 0.0, 0.5), (0.6, 0.0, 0.5, 0.5), (f32::NAN, 0.0, 0.5, 0.5), (-0.1, 0.0, 0.5, 0.5)];
    let mut bad: Vec<Settings> = crops
        .iter()
        .map(|&(x, y, width, height)| Settings { manual_crop: UnitRect::new(x, y, width, height), ..good })
        .collect();
    for max_zoom in [0.99, 4.01, f32::NAN, f32::INFINITY, -2.0] {
        bad.push(Settings { max_zoom, ..good });
    }
    for min_zoom in [0.99, 2.01, f32::NAN, f32::INFINITY, -2.0] {
        bad.push(Settings { min_zoom, ..good });
    }
    for lead_room in [-0.01, 0.26, f32::NAN] {
        bad.push(Settings { lead_room, ..good });
    }
    for side in [0, 1, 32_769, u32::MAX] {
        bad.push(Settings { frame: Size::new(side, 720), ..good });
        bad.push(Settings { output: Size::new(1280, side), ..good });
    }
    bad.push(Settings::new(Size::new(100, 100), Size::new(2, 32_768)));
    for settings in bad {
        let error = rig.director.set(settings).unwrap_err();
        assert!(!error.to_string().is_empty());
        assert!(Director::new(settings).is_err(), "{settings:?}");
        assert_eq!(*rig.director.settings(), good);
    }
}

#[test]
fn walking_people_get_lead_room_and_return_to_the_middle() {
    // The person's position in the crop: 0 at its left edge, 1 at its right.
    let place = |lead_room: f32| {
        let mut rig = Rig::new(Settings { lead_room, ..Settings::new(FRAME, OUTPUT) });
        let start = shifted(SITTING, -0.25, 0.0);
        rig.settle(&[subject(1, start)]);
        let at = |seconds: f64| shifted(start, 0.08 * seconds as f32, 0.0);
        let share = |rig: &Rig, person: UnitRect| {
            let crop = rig.shot().crop;
            (person.center().0 * FRAME.width as f32 - crop.x) / crop.width
        };
        rig.run(5.0, |seconds| vec![subject(1, at(seconds))]);
        let walking = share(&rig, at(5.0));
        rig.run(12.0, |_| vec![subject(1, at(5.0))]);
        assert_limits(&rig.shots, FRAME, 2.4);
        (walking, share(&rig, at(5.0)))
    };
    let (without, with) = (place(0.0), place(0.25));
    assert!(with.0 < without.0 - 0.07, "walking to the right: {without:?}, {with:?}");
    assert!((with.1 - 0.5).abs() <= 0.11, "standing, within the dead band: {with:?}");
}
