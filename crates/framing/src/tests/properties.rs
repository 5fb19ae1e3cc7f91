//! Properties that always hold: the crop is inside the frame, keeps its aspect and its limits (A3),
//! and comes to rest. Nothing panics.

use portraitd_protocol::{FramingMode, FramingSpeed};
use proptest::prelude::*;

use super::*;

fn bounds() -> impl Strategy<Value = UnitRect> {
    (-0.2f32..1.0, -0.2f32..1.0, 0.02f32..0.7, 0.05f32..1.0).prop_map(|(x, y, w, h)| UnitRect::new(x, y, w, h))
}

fn people() -> impl Strategy<Value = Vec<Subject>> {
    prop::collection::vec((0u32..4, bounds()).prop_map(|(id, bounds)| subject(id, bounds)), 0..4)
}

fn sizes() -> impl Strategy<Value = (Size, Size)> {
    let frame = prop_oneof![
        Just(FRAME),
        Just(Size::new(1280, 720)),
        Just(Size::new(720, 1280)),
        Just(Size::new(641, 479)),
        (64u32..3000, 64u32..3000).prop_map(|(w, h)| Size::new(w, h)),
    ];
    let output = prop_oneof![
        Just(OUTPUT),
        Just(Size::new(360, 640)),
        Just(Size::new(320, 320)),
        (64u32..2000, 64u32..2000).prop_map(|(w, h)| Size::new(w, h)),
    ];
    (frame, output)
}

fn any_number() -> impl Strategy<Value = f32> {
    prop_oneof![
        -2.0f32..2.0,
        Just(f32::NAN),
        Just(f32::INFINITY),
        Just(f32::NEG_INFINITY),
        Just(f32::MAX),
        Just(f32::MIN_POSITIVE),
        Just(-0.0),
    ]
}

proptest! {
    #![proptest_config(at_least(200))]

    /// The frame is large enough that the rounding to even pixels is small against the limits.
    #[test]
    fn a3_limits_are_kept_and_the_crop_is_inside(
        scenes in prop::collection::vec((0.1f64..4.0, people()), 1..12),
        speed in prop::sample::select(FramingSpeed::ALL),
        max_zoom in 1.0f32..4.0,
        output in prop_oneof![Just(OUTPUT), Just(Size::new(540, 960)), Just(Size::new(640, 480))],
        every in 1u32..7,
    ) {
        let settings = Settings { speed, max_zoom, ..Settings::new(Size::new(3840, 2160), output) };
        let mut rig = Rig::new(settings);
        rig.every = every;
        for (seconds, people) in scenes {
            rig.run(seconds, |_| people.clone());
        }
        assert_limits(&rig.shots, settings.frame, 2.6);
    }

    #[test]
    fn any_shape_and_any_course_stays_inside_and_comes_to_rest(
        (frame, output) in sizes(),
        scenes in prop::collection::vec((0.05f64..3.0, people()), 1..10),
        max_zoom in 1.0f32..4.0,
        fps in 5u32..61,
    ) {
        let settings = Settings { max_zoom, ..Settings::new(frame, output) };
        // A frame and an output whose shapes allow no crop are refused.
        let Ok(director) = Director::new(settings) else { return Ok(()) };
        let mut rig = Rig { director, fps, every: 1, count: 0, shots: Vec::new() };
        let mut last = Vec::new();
        for (seconds, people) in scenes {
            rig.run(seconds, |_| people.clone());
            last = people;
        }
        // A pan across a narrow strip takes long: the frame is many crops wide.
        let patience = 15.0 + 4.0 * f64::from((frame.aspect() / output.aspect()).max(output.aspect() / frame.aspect()));
        rig.run(patience, |_| last.clone());
        let resting = rig.shot();
        prop_assert!(resting.still, "{resting:?}");
        let whole = PixelRect::of_size(frame);
        for (_, shot) in &rig.shots {
            let crop = shot.crop;
            prop_assert!(whole.contains(&crop, 0.0), "{shot:?}");
            let slack = if shot.still { 1.01 * output.aspect().max(1.0) + 1.0 } else { 0.01 * output.aspect().max(1.0) };
            prop_assert!((crop.width - crop.height * output.aspect()).abs() <= slack + 2.0, "{shot:?}");
            let even = [crop.x, crop.y, crop.width, crop.height].iter().all(|edge| edge % 2.0 == 0.0);
            prop_assert!(even || !shot.still, "{shot:?}");
        }
    }

    /// The whole frame is never shown: in no mode, for no size, while nobody is there, while the
    /// crop moves, and from the first frame after a change of the settings.
    #[test]
    fn no_crop_is_larger_than_the_least_zoom_allows(
        (frame, output) in sizes(),
        steps in prop::collection::vec(
            (0.05f64..2.0, people(), prop::sample::select(FramingMode::ALL), bounds(), 1.0f32..4.0, 0.0f32..1.0),
            1..10),
    ) {
        let Ok(director) = Director::new(Settings::new(frame, output)) else { return Ok(()) };
        let mut rig = Rig { director, fps: 30, every: 1, count: 0, shots: Vec::new() };
        for (seconds, people, mode, manual, max_zoom, share) in steps {
            let manual_crop = UnitRect::new(
                manual.x.clamp(0.0, 0.9), manual.y.clamp(0.0, 0.9),
                manual.width.min(1.0 - manual.x.clamp(0.0, 0.9)), manual.height.min(1.0 - manual.y.clamp(0.0, 0.9)));
            let min_zoom = 1.0 + (max_zoom - 1.0) * share;
            let settings = Settings { mode, manual_crop, max_zoom, min_zoom, ..Settings::new(frame, output) };
            prop_assert_eq!(rig.director.set(settings), Ok(()));
            rig.shots.clear();
            rig.run(seconds, |_| people.clone());
            // The crop's edges are `f32`, and a crop of two pixels is as small as one can be.
            let most = |side: u32| (side as f32 / min_zoom + 0.01).max(2.0);
            for (_, shot) in &rig.shots {
                prop_assert!(shot.crop.width <= most(frame.width), "{settings:?} {shot:?}");
                prop_assert!(shot.crop.height <= most(frame.height), "{settings:?} {shot:?}");
                prop_assert!(PixelRect::of_size(frame).contains(&shot.crop, 0.0), "{shot:?}");
            }
            prop_assert!(rig.director.limits().max_zoom >= rig.director.limits().min_zoom);
        }
    }

    #[test]
    fn nonsense_never_panics_and_the_crop_is_always_inside(
        events in prop::collection::vec(
            (any::<u8>(), any::<u64>(), any::<u32>(), prop::array::uniform4(any_number()), 0usize..4), 1..300),
    ) {
        let mut director = Director::new(Settings::new(FRAME, OUTPUT)).unwrap();
        let mut now = 0u64;
        for (kind, stamp, id, [x, y, width, height], mode) in events {
            now = now.saturating_add(stamp % 100_000_000);
            let time = if kind.is_multiple_of(16) { stamp } else { now };
            let bounds = UnitRect::new(x, y, width, height);
            match kind % 5 {
                0 => director.observe(time, &[subject(id, bounds), subject(1, SITTING)]),
                1 => director.observe(time, &[]),
                2 => {
                    let mut settings = *director.settings();
                    settings.mode = FramingMode::ALL[mode];
                    settings.max_zoom = x;
                    settings.manual_crop = bounds;
                    let _ = director.set(settings);
                    settings.max_zoom = 3.0;
                    settings.manual_crop = UnitRect::new(0.0, 0.5, 0.25, 0.25);
                    settings.output.height = id % 4000;
                    let _ = director.set(settings);
                }
                3 => director.reframe(),
                _ => {}
            }
            let shot = director.step(time);
            prop_assert!(PixelRect::of_size(FRAME).contains(&shot.crop, 0.0), "{shot:?}");
            prop_assert!(shot.crop.width >= 1.0 && shot.crop.height >= 1.0, "{shot:?}");
        }
    }
}
