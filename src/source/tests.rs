use super::*;
use portraitd_media::playback::{FrameRate, Playback};
use portraitd_media::{PixelFormat, Size};
use portraitd_scene::SceneName;
use proptest::prelude::*;

fn parse(text: &str) -> Result<SourceSpec, String> {
    text.parse::<SourceSpec>().map_err(|error| error.to_string())
}

#[test]
fn each_kind_is_understood() {
    assert_eq!(parse("auto"), Ok(SourceSpec::Auto));
    assert_eq!(parse("/dev/video0"), Ok(SourceSpec::Device("/dev/video0".into())));
    assert_eq!(parse("-"), Ok(SourceSpec::File(FileOptions::new(FilePath::Stdin))));
    assert_eq!(parse("file:-"), parse("-"));
    assert_eq!(parse("scene"), Ok(SourceSpec::Scene(SceneOptions::default())));
    let mut file = FileOptions::new(FilePath::Path("a b/c%d?.y4m".into()));
    (file.repeat, file.playback, file.frame_rate) = (true, Playback::Fast, FrameRate::new(25, 2));
    assert_eq!(parse("file:a b/c%d%3F.y4m?loop&fps=12.5&pace=fast"), Ok(SourceSpec::File(file)));
    let mut scene = SceneOptions::new(SceneName::Two);
    (scene.size, scene.noise, scene.seed) = (Some(Size::new(640, 480)), 0.5, 7);
    (scene.repeat, scene.pixel_format) = (false, PixelFormat::Yuyv);
    assert_eq!(parse("scene:two?size=640x480&noise=0.5&seed=7&loop=no&format=YUYV"), Ok(SourceSpec::Scene(scene)));
    assert_eq!(parse("scene?loop").expect("parses").to_string(), "scene:walk");
}

#[test]
fn errors_name_the_bad_part_and_the_good_ones() {
    let cases = [
        ("", "unknown source \"\": expected auto, /dev/..., scene[:NAME], file:PATH or -"),
        ("scenery", "unknown source \"scenery\": expected auto, /dev/..., scene[:NAME], file:PATH or -"),
        ("file:", "file: needs a path, as in file:people.y4m"),
        ("file:a?speed=2", "file: unknown option \"speed\": there are loop, fps, pace"),
        ("file:a?fps=0", "file: option fps: \"0\" is not a number of frames a second from 0.01 to 1000"),
        ("file:a?fps", "file: option fps: \"\" is not a number of frames a second from 0.01 to 1000"),
        ("file:a?loop=maybe", "file: option loop: \"maybe\" is not yes or no"),
        ("file:a?pace=slow", "file: option pace: \"slow\" is not real or fast"),
        (
            "scene:run",
            "unknown scene \"run\": there are still, walk, two, leave, wide, empty, step, stop, nod, vanish, blink, cross, group, ends, pass",
        ),
        (
            "scene:",
            "unknown scene \"\": there are still, walk, two, leave, wide, empty, step, stop, nod, vanish, blink, cross, group, ends, pass",
        ),
        (
            "scene:walk?colour=1",
            "scene: unknown option \"colour\": there are fps, size, noise, seed, loop, format, pace, dark, blur, grey, jpeg",
        ),
        ("scene?size=640", "scene: option size: \"640\" is not an even width and height from 64x64 to 3840x2160"),
        (
            "scene?size=641x480",
            "scene: option size: \"641x480\" is not an even width and height from 64x64 to 3840x2160",
        ),
        ("scene?noise=NaN", "scene: option noise: \"NaN\" is not a number from 0 to 20"),
        ("scene?seed=-1", "scene: option seed: \"-1\" is not a whole number"),
        ("scene?dark=0", "scene: option dark: \"0\" is not a number from 0.01 to 1"),
        ("scene?dark=NaN", "scene: option dark: \"NaN\" is not a number from 0.01 to 1"),
        ("scene?blur=33", "scene: option blur: \"33\" is not a whole number from 0 to 32"),
        ("scene?blur=-1", "scene: option blur: \"-1\" is not a whole number from 0 to 32"),
        ("scene?grey=maybe", "scene: option grey: \"maybe\" is not yes or no"),
        ("scene?jpeg", "scene: option jpeg: \"\" is not a whole number from 1 to 100"),
        ("scene?jpeg=0", "scene: option jpeg: \"0\" is not a whole number from 1 to 100"),
        ("scene?format=RGB", "scene: option format: \"RGB\" is not NV12 or YUYV"),
    ];
    for (text, message) in cases {
        assert_eq!(parse(text).expect_err(text), message);
    }
}

#[test]
fn a_spec_becomes_the_source_it_names() {
    for text in ["scene:wide?seed=3", "file:nowhere.png?loop", "auto", "/dev/v4l/by-id/nothing", "provider"] {
        let source = parse(text).expect("parses").into_source();
        assert_eq!(source.name(), text);
    }
}

fn frame_rate() -> impl Strategy<Value = Option<FrameRate>> {
    proptest::option::of(
        (10_u32..=1_000_000).prop_map(|thousandths| FrameRate::new(thousandths, 1000).expect("a rate")),
    )
}

fn playback() -> impl Strategy<Value = Playback> {
    prop_oneof![Just(Playback::RealTime), Just(Playback::Fast)]
}

fn spec() -> impl Strategy<Value = SourceSpec> {
    let file =
        ("[^\0]{1,20}", any::<bool>(), frame_rate(), playback()).prop_map(|(path, repeat, frame_rate, playback)| {
            let path = if path == "-" { FilePath::Stdin } else { FilePath::Path(path.into()) };
            SourceSpec::File(FileOptions { path, repeat, frame_rate, playback })
        });
    let size = proptest::option::of((32_u32..=1920, 32_u32..=1080).prop_map(|(w, h)| Size::new(w * 2, h * 2)));
    let format = prop_oneof![Just(PixelFormat::Nv12), Just(PixelFormat::Yuyv)];
    let conditions = (0.01_f32..=1.0, 0_u8..=32, any::<bool>(), proptest::option::of(1_u8..=100));
    let scene =
        (0..6_usize, frame_rate(), size, 0.0_f32..=20.0, any::<u64>(), any::<bool>(), format, playback(), conditions)
            .prop_map(|(name, frame_rate, size, noise, seed, repeat, pixel_format, playback, conditions)| {
                let name = SceneName::ALL[name];
                let (dark, blur, grey, jpeg) = conditions;
                SourceSpec::Scene(SceneOptions {
                    name,
                    frame_rate,
                    size,
                    noise,
                    seed,
                    repeat,
                    pixel_format,
                    playback,
                    dark,
                    blur,
                    grey,
                    jpeg,
                })
            });
    let device = "/dev/[a-z0-9/?:-]{1,12}".prop_map(|path| SourceSpec::Device(path.into()));
    prop_oneof![Just(SourceSpec::Auto), Just(SourceSpec::Provider), device, file, scene]
}

proptest! {
    #[test]
    fn what_is_shown_is_understood_again(spec in spec()) {
        prop_assert_eq!(spec.to_string().parse::<SourceSpec>(), Ok(spec));
    }

    #[test]
    fn nothing_makes_the_parser_panic(text in "(scene:?|file:|/dev/|auto|-)?[a-z?&=%0-9.x-]{0,30}", any in ".{0,40}") {
        let _ = text.parse::<SourceSpec>();
        let _ = any.parse::<SourceSpec>();
    }
}
