use super::*;

/// A small scene, so that tests are quick.
fn scene(name: SceneName, change: impl FnOnce(&mut SceneOptions)) -> Scene {
    let mut options = SceneOptions::new(name);
    options.size = Some(Size::new(320, 180));
    change(&mut options);
    Scene::new(&options).expect("a scene")
}

/// The frame number at a time in seconds, for 30 frames a second.
fn frame(seconds: u64) -> u64 {
    seconds * 30
}

#[test]
fn a_frame_depends_only_on_its_number() {
    let walk = scene(SceneName::Walk, |_| ());
    let first = walk.picture(40);
    let mut scratch = Scratch::default();
    let mut out = walk.picture(7).into_bytes();
    walk.render(40, &mut scratch, &mut out);
    assert_eq!(first.bytes(), out, "the previous contents of the memory have no influence");
    assert_eq!(first, scene(SceneName::Walk, |_| ()).picture(40), "another scene with the same options");
    assert_ne!(first, scene(SceneName::Walk, |options| options.seed = 2).picture(40));
    assert_ne!(first, walk.picture(41));
}

#[test]
fn the_same_moment_is_the_same_at_every_frame_rate() {
    let at = |frames_per_second, sequence| {
        let scene = scene(SceneName::Walk, |options| {
            options.frame_rate = FrameRate::new(frames_per_second, 1);
            options.noise = 0.0;
        });
        (scene.picture(sequence), scene.truth(sequence).people)
    };
    assert_eq!(at(30, 90), at(10, 30));
}

#[test]
fn a_still_scene_does_not_change_and_periods_repeat() {
    let still = scene(SceneName::Still, |options| options.noise = 0.0);
    assert_eq!(still.picture(0), still.picture(133));
    for name in SceneName::ALL {
        let scene = scene(name, |options| options.noise = 0.0);
        assert_eq!(scene.picture(11), scene.picture(11 + scene.period_frames()), "{name}");
    }
}

#[test]
fn the_truth_contains_each_visible_person() {
    let count = |name, seconds| scene(name, |_| ()).truth(frame(seconds)).people.len();
    assert_eq!(count(SceneName::Still, 5), 1);
    assert_eq!(count(SceneName::Two, 3), 2);
    assert_eq!(count(SceneName::Empty, 3), 0);
    assert_eq!((count(SceneName::Leave, 1), count(SceneName::Leave, 8), count(SceneName::Leave, 15)), (1, 0, 1));
    let walk = scene(SceneName::Walk, |_| ());
    let mut left_edge = Vec::new();
    for second in 0..12 {
        let truth = walk.truth(frame(second));
        let [person] = truth.people[..] else { panic!("one person at {second} s") };
        assert!(PixelRect::of_size(Size::new(320, 180)).contains(&person.bounds, 0.0));
        let share = person.bounds.height / 180.0;
        assert!((0.55..0.75).contains(&share), "as large as in a video call, at {second} s: {share}");
        left_edge.push(person.bounds.x);
    }
    assert!(left_edge[6] - left_edge[0] > 100.0, "walks: {left_edge:?}");
    let wide = scene(SceneName::Wide, |_| ()).truth(frame(4));
    assert!((0.5..0.75).contains(&(wide.people[0].bounds.height / 180.0)), "{wide:?}");
    assert_eq!((count(SceneName::Group, 5), count(SceneName::Ends, 5), count(SceneName::Pass, 0)), (4, 2, 2));
}

#[test]
fn the_truth_has_ids_heads_and_what_is_hidden() {
    let pass = scene(SceneName::Pass, |_| ());
    let at = |seconds| pass.truth(frame(seconds)).people;
    let ids = |seconds| at(seconds).iter().map(|person| person.id).collect::<Vec<_>>();
    assert_eq!((ids(0), ids(9)), (vec![0, 1], vec![1, 0]), "they have passed each other");
    let least = |from: u64, to: u64| {
        let frames = (from..to).flat_map(|number| pass.truth(number).people);
        frames.map(|person| person.visible).fold(1.0, f32::min)
    };
    assert!(least(0, 30) > 0.99 && least(120, 150) < 0.5, "{} {}", least(0, 30), least(120, 150));
    for name in [SceneName::Still, SceneName::Walk, SceneName::Wide, SceneName::Ends] {
        for person in scene(name, |_| ()).truth(frame(1)).people {
            let (head, bounds) = (person.head, person.bounds);
            assert!((head.y - bounds.y).abs() <= 2.0, "{name}: the top of the head is the person's: {person:?}");
            assert!(head.x > bounds.x && head.right() < bounds.right(), "{name}: {person:?}");
        }
    }
}

/// Nobody is seen through the table, and nobody at it reaches below it.
#[test]
fn the_table_hides_what_is_behind_it() {
    let group = scene(SceneName::Group, |options| options.noise = 0.0);
    let truth = group.truth(0);
    let mut dark = scene(SceneName::Group, |options| options.noise = 0.0);
    dark.background.luma.fill(16);
    let rows = |picture: &OwnedPicture| picture.plane(0)[160 * 320..].to_vec();
    assert_eq!(rows(&group.picture(0)), rows(&dark.picture(0)));
    assert!(truth.alpha.bytes()[160 * 320..].iter().all(|alpha| *alpha == 0));
    assert!(truth.people.iter().all(|person| person.bounds.bottom() <= 150.0), "{:?}", truth.people);
    let [.., third, fourth] = &truth.people[..] else { panic!("four people") };
    assert!(third.visible < 0.99 && third.bounds.right() >= fourth.bounds.x, "two touch: {third:?} {fourth:?}");
}

/// Where alpha is 0, the picture is the background or its shadow. Where alpha is 255, nothing of
/// the background is visible.
#[test]
fn the_picture_agrees_with_its_truth() {
    for name in [SceneName::Walk, SceneName::Two, SceneName::Leave, SceneName::Wide] {
        let shown = scene(name, |options| options.noise = 0.0);
        let background = &shown.background.luma;
        for second in [0, 2, 4] {
            let picture = shown.picture(frame(second));
            let truth = shown.truth(frame(second));
            let pixels = picture.plane(0).iter().zip(background).zip(truth.alpha.bytes());
            for ((shown, background), alpha) in pixels.filter(|(_, alpha)| **alpha == 0) {
                assert!(shown <= background, "{name}: only shadow where alpha is {alpha}");
            }
            let people = truth.alpha.bytes().iter().filter(|alpha| **alpha == 255).count();
            assert!(people > 400, "{name} at {second} s: {people} pixels");
        }
        // A background of another brightness changes nothing where alpha is 255.
        let mut dark = scene(name, |options| options.noise = 0.0);
        dark.background.luma.fill(16);
        dark.background.chroma.fill(128);
        let (a, b) = (shown.picture(frame(4)), dark.picture(frame(4)));
        for ((a, b), alpha) in a.plane(0).iter().zip(b.plane(0)).zip(shown.truth(frame(4)).alpha.bytes()) {
            assert!(*alpha < 255 || a == b, "{name}: the background shows through a person");
        }
    }
}

#[test]
fn yuyv_shows_what_nv12_shows() {
    let nv12 = scene(SceneName::Two, |_| ()).picture(5);
    let yuyv = scene(SceneName::Two, |options| options.pixel_format = PixelFormat::Yuyv).picture(5);
    let luma: Vec<u8> = yuyv.bytes().iter().step_by(2).copied().collect();
    assert_eq!(luma, nv12.plane(0));
    let chroma: Vec<u8> = yuyv.bytes().iter().skip(1).step_by(2).copied().collect();
    for (y, row) in chroma.chunks_exact(320).enumerate() {
        assert_eq!(row, &nv12.plane(1)[y / 2 * 320..][..320], "row {y}");
    }
}

#[test]
fn every_allowed_size_is_rendered_and_others_are_refused() {
    for (width, height) in [(64, 64), (66, 200), (640, 480), (1920, 1080), (90, 160)] {
        let scene = scene(SceneName::Two, |options| options.size = Some(Size::new(width, height)));
        let truth = scene.truth(3);
        assert_eq!(truth.people.len(), 2, "{width}x{height}");
        assert_eq!(scene.picture(3).size(), Size::new(width, height));
    }
    for (width, height) in [(0, 0), (62, 64), (65, 64), (3842, 2160), (u32::MAX, u32::MAX)] {
        let mut options = SceneOptions::new(SceneName::Empty);
        options.size = Some(Size::new(width, height));
        assert!(Scene::new(&options).is_err(), "{width}x{height}");
    }
    let mut options = SceneOptions::new(SceneName::Empty);
    options.pixel_format = PixelFormat::Rgb24;
    let error = Scene::new(&options).expect_err("no RGB").to_string();
    assert!(error.ends_with("a scene in RGB3: NV12 and YUYV are rendered"), "{error}");
}

/// The mean luma of a frame in NV12.
fn mean_luma(picture: &OwnedPicture) -> f64 {
    let pixels = picture.size().area() as usize;
    picture.bytes()[..pixels].iter().map(|byte| f64::from(*byte)).sum::<f64>() / pixels as f64
}

/// The mean difference of neighbours in a row.
fn detail(picture: &OwnedPicture) -> f64 {
    let pixels = picture.size().area() as usize;
    let pairs = picture.bytes()[..pixels].windows(2).map(|pair| f64::from(pair[0].abs_diff(pair[1])));
    pairs.sum::<f64>() / pixels as f64
}

#[test]
fn conditions_change_the_picture_and_not_its_truth() {
    let plain = scene(SceneName::Two, |options| options.noise = 0.0);
    let (picture, truth) = (plain.picture(5), plain.truth(5));
    let changed = |change: fn(&mut SceneOptions)| {
        let scene = scene(SceneName::Two, |options| {
            options.noise = 0.0;
            change(options);
        });
        assert_eq!((scene.truth(5).alpha, scene.truth(5).people), (truth.alpha.clone(), truth.people.clone()));
        let same = scene.picture(5);
        assert_eq!(scene.picture(5), same);
        assert_ne!(same, picture);
        same
    };
    let dark = changed(|options| options.dark = 0.25);
    assert!((mean_luma(&dark) - 16.0 - 0.25 * (mean_luma(&picture) - 16.0)).abs() < 0.3);
    let blurred = changed(|options| options.blur = 4);
    assert!(detail(&blurred) < 0.7 * detail(&picture) && (mean_luma(&blurred) - mean_luma(&picture)).abs() < 0.5);
    let grey = changed(|options| options.grey = true);
    let pixels = grey.size().area() as usize;
    assert_eq!(grey.bytes()[..pixels], picture.bytes()[..pixels]);
    assert!(grey.bytes()[pixels..].iter().all(|byte| *byte == 128));
    let lossy = changed(|options| options.jpeg = Some(10));
    assert!((mean_luma(&lossy) - mean_luma(&picture)).abs() < 1.0);
}

#[test]
fn a_dark_camera_adds_its_noise_after_the_light_is_lost() {
    let noise = |dark: f32| {
        let frame =
            |noise: f32| scene(SceneName::Empty, |options| (options.dark, options.noise) = (dark, noise)).picture(0);
        let (clean, noisy) = (frame(0.0), frame(4.0));
        let pixels = clean.size().area() as usize;
        let sum: f64 = clean.bytes()[..pixels].iter().zip(noisy.bytes()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        sum / pixels as f64
    };
    assert!(noise(0.3) >= noise(1.0), "{} {}", noise(0.3), noise(1.0));
}

#[test]
fn conditions_are_the_same_in_both_pixel_formats() {
    let of = |pixel_format| {
        scene(SceneName::Walk, |options| {
            options.pixel_format = pixel_format;
            (options.dark, options.blur, options.jpeg) = (0.5, 2, Some(30));
        })
        .picture(3)
    };
    let (planes, packed) = (of(PixelFormat::Nv12), of(PixelFormat::Yuyv));
    let luma: Vec<u8> = packed.bytes().iter().step_by(2).copied().collect();
    assert_eq!(planes.bytes()[..luma.len()], luma[..]);
}
