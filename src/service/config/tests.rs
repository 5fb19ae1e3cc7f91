//! The configuration's tests: every kind of error with its exact message, the order of layers, the
//! shipped file.

use super::*;
use crate::source::SourceSpec;
use portraitd_protocol::settings::Color;
use std::fs;

/// Files under a folder that stands for `/`, and the sources that read them.
struct System {
    root: tempfile::TempDir,
    sources: ConfigSources,
}

impl System {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().expect("folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("parent")).expect("folders");
            fs::write(path, text).expect("file");
        }
        let sources = ConfigSources { root: root.path().to_owned(), ..ConfigSources::default() };
        Self { root, sources }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn flags(mut self, flags: Flags) -> Self {
        self.sources.flags = flags;
        self
    }

    fn load(&self) -> Result<Config, String> {
        Config::load(&self.sources).map_err(|error| self.clean(&error.to_string()))
    }

    fn good(&self) -> Config {
        self.load().expect("a good configuration")
    }

    fn warnings(&self) -> Vec<String> {
        self.good().warnings.iter().map(|warning| self.clean(&warning.to_string())).collect()
    }

    /// Takes the folder out of a message.
    fn clean(&self, message: &str) -> String {
        message.replace(&format!("{}/", self.root.path().display()), "/")
    }
}

const VENDOR: &str = "usr/lib/portraitd/portraitd.toml";
const ADMIN: &str = "etc/portraitd/portraitd.toml";

/// What loading this file, as the administrator's, complains about.
fn complaint(text: &str) -> String {
    let error = System::new(&[(ADMIN, text)]).load().expect_err(text);
    assert!(!error.contains('\n'), "one line: {error}");
    error.strip_prefix("/etc/portraitd/portraitd.toml:").unwrap_or(&error).to_owned()
}

#[test]
fn with_no_files_there_is_one_camera_with_the_defaults() {
    assert_eq!(System::new(&[]).good(), Config::default());
    insta::assert_snapshot!(toml::to_string(&Config::default()).expect("TOML"));
}

#[test]
fn the_defaults_read_back() {
    let text = toml::to_string(&Config::default()).expect("TOML");
    let mut config = System::new(&[(ADMIN, &text)]).good();
    config.files.clear();
    assert_eq!(config, Config::default());
}

#[test]
fn syntax_errors() {
    assert_eq!(
        complaint("threads = 1\nbus = system\n"),
        "2:7: not TOML: string values must be quoted, expected literal string"
    );
    assert_eq!(complaint("threads\n"), "1:8: not TOML: key with no value, expected `=`");
    assert_eq!(complaint("threads = 1\nthreads = 2\n"), "2:1: not TOML: duplicate key");
    assert_eq!(complaint("[camera\n"), "1:8: not TOML: unclosed table, expected `]`");
    assert_eq!(complaint("bus = \"system"), "1:14: not TOML: invalid basic string, expected `\"`");
}

#[test]
fn a_file_of_another_version_is_refused() {
    let config = System::new(&[(ADMIN, "version = 1\nthreads = 2\n")]).good();
    assert_eq!((config.version, config.threads), (1, 2));
    for (text, found) in [
        (
            "threads = 2\nversion = 2\n",
            "2:11: `version`: this program reads version 1 of the configuration, and not 2:",
        ),
        ("version = 0\n", "1:11: "),
    ] {
        let error = complaint(text);
        assert!(error.starts_with(found), "{error}");
    }
    assert!(complaint("version = \"1\"\n").starts_with("1:11: `version`: "));
}

#[test]
fn columns_count_characters() {
    assert_eq!(
        complaint("models_dir = \"/grüße\" x\n"),
        "1:23: not TOML: unexpected key or value, expected newline, `#`"
    );
    assert_eq!(
        complaint("\r\n# ü\r\nfoo = 1\r\n"),
        "3:1: unknown key `foo`; known here: version, bus, models_dir, threads, metrics_file, log, camera"
    );
}

#[test]
fn unknown_keys() {
    let error = "3:1: unknown key `camera.door.wdith` (did you mean `width`?); known here: name, device, width, height, fps, rotate, mirror, allow_source, idle_close_s, controls, segmentation, framing, background, output";
    assert_eq!(complaint("[[camera]]\nname = \"door\"\nwdith = 640\n"), error);
    let error = "2:1: unknown key `camera.main.segmentation.modle` (did you mean `model`?); known here: model, budget_ms, max_rate";
    assert_eq!(complaint("[[camera]]\nsegmentation.modle = \"a\"\n"), error.replace("2:1", "2:14"));
    let error = "3:1: unknown key `camera.main.output[0].node`; known here: device, stream";
    assert_eq!(complaint("[[camera]]\n[[camera.output]]\nnode = \"/dev/x\"\n"), error);
    let error = "1:2: unknown key `kamera` (did you mean `camera`?); known here: version, bus, models_dir, threads, metrics_file, log, camera";
    assert_eq!(complaint("[kamera]\nname = \"door\"\n"), error);
    assert!(complaint("warnings = []\n").contains("unknown key `warnings`"), "what is not read from files is no key");
}

#[test]
fn values_of_the_wrong_type() {
    assert_eq!(complaint("threads = \"2\"\n"), "1:11: `threads`: string \"2\" is not a whole number from 1 to 2");
    assert_eq!(complaint("threads = 1.0\n"), "1:11: `threads`: 1.0 is not a whole number from 1 to 2");
    assert_eq!(complaint("threads = [1]\n"), "1:11: `threads`: sequence is not a whole number from 1 to 2");
    assert_eq!(complaint("bus = 1\n"), "1:7: `bus`: integer `1` is not a string in quotes");
    assert_eq!(
        complaint("[[camera]]\nallow_source = 1\n"),
        "2:16: `camera.main.allow_source`: integer `1` is not a boolean"
    );
    assert_eq!(
        complaint("[[camera]]\nfps = \"30\"\n"),
        "2:7: `camera.main.fps`: string \"30\" is not a number from 1 to 240, or 0"
    );
    assert_eq!(
        complaint("[[camera]]\nframing = 1\n"),
        "2:11: `camera.main.framing`: integer `1` is not struct FramingConfig"
    );
    assert_eq!(complaint("[[camera]]\nname = 1\n"), "2:8: `camera.main.name`: integer `1` is not a string in quotes");
    assert_eq!(complaint("camera = 5\n"), "1:1: `camera`: there can be several: write [[camera]], with two brackets");
    assert_eq!(
        complaint("[camera]\nname = \"a\"\n"),
        "1:2: `camera`: there can be several: write [[camera]], with two brackets"
    );
    assert_eq!(
        complaint("[[camera]]\n[camera.output]\ndevice = \"/dev/x\"\n"),
        "2:9: `camera.main.output`: there can be several: write [[camera.output]], with two brackets"
    );
    assert_eq!(complaint("camera = [5]\n"), "1:11: ``: integer `5` is not struct CameraConfig");
}

#[test]
fn values_out_of_range() {
    let camera = |line: &str| complaint(&format!("[[camera]]\nname = \"c\"\n{line}\n"));
    assert_eq!(complaint("threads = 3"), "1:11: `threads`: 3 is not a whole number from 1 to 2");
    assert_eq!(
        complaint("threads = 9223372036854775807"),
        "1:11: `threads`: 9223372036854775807 is not a whole number from 1 to 2"
    );
    assert_eq!(
        complaint("bus = \"sytem\""),
        "1:7: `bus`: `sytem` is not system, session, none or a D-Bus address as unix:path=/run/bus"
    );
    assert_eq!(
        complaint("log = \"loud\""),
        "1:7: `log`: `loud` is not a level (off error warn info debug trace) or a directive as target=level"
    );
    assert_eq!(complaint("metrics_file = \"x.prom\""), "1:16: `metrics_file`: `x.prom` is not an absolute path");
    assert_eq!(complaint("models_dir = \"\""), "1:14: `models_dir`: a folder is needed");
    assert_eq!(camera("width = 641"), "3:9: `camera.c.width`: 641 is not an even number from 16 to 8192, or 0");
    assert_eq!(camera("width = 14"), "3:9: `camera.c.width`: 14 is not an even number from 16 to 8192, or 0");
    assert_eq!(camera("height = -720"), "3:10: `camera.c.height`: -720 is not an even number from 16 to 8192, or 0");
    assert_eq!(camera("fps = 0.5"), "3:7: `camera.c.fps`: 0.5 is not a number from 1 to 240, or 0");
    for angle in ["45", "-90", "360"] {
        let error = format!("3:10: `camera.c.rotate`: {angle} is not 0, 90, 180 or 270");
        assert_eq!(camera(&format!("rotate = {angle}")), error);
    }
    assert_eq!(
        camera("controls = { Gain = 1 }"),
        "3:14: `camera.c.controls.Gain`: `Gain` is not the name of a control: it is written `gain`, as `portraitd devices` \
         prints it"
    );
    assert_eq!(
        camera("controls = { gain = 1.5 }"),
        "3:21: `camera.c.controls.gain`: floating point `1.5` is not a whole number, true, false, or the text of an item \
         in quotes"
    );
    assert_eq!(camera("rotate = 90.5"), "3:10: `camera.c.rotate`: floating point `90.5` is not 0, 90, 180 or 270");
    assert_eq!(camera("fps = nan"), "3:7: `camera.c.fps`: NaN is not a number from 1 to 240, or 0");
    assert_eq!(
        camera("idle_close_s = 1e9"),
        "3:16: `camera.c.idle_close_s`: 1000000000 is not a number from 0 to 3600"
    );
    for source in
        ["auto", "scene", "scene?fps=10", "scene:walk?size=640x360&fps=15", "file:/a/b.y4m?loop&fps=30", "/dev/video0"]
    {
        assert_eq!(source.parse::<SourceSpec>().map(drop), Ok(()), "{source}");
    }
    for source in ["scene:", "scene:a b?fps=10", "auto?fps=10", "file:", "webcam"] {
        assert!(source.parse::<SourceSpec>().is_err(), "{source}");
    }
    assert_eq!(
        camera("device = \"video0\""),
        "3:10: `camera.c.device`: unknown source \"video0\": expected auto, /dev/..., scene[:NAME], file:PATH or -"
    );
    assert_eq!(
        camera("[camera.segmentation]\nmodel = \"../etc\""),
        "4:9: `camera.c.segmentation.model`: `../etc` is not a model's name: 1 to 64 of letters, digits, _, - and ."
    );
    assert_eq!(
        camera("segmentation.budget_ms = 0"),
        "3:26: `camera.c.segmentation.budget_ms`: 0 is not a number from 1 to 1000"
    );
    assert_eq!(
        camera("segmentation.max_rate = 1000"),
        "3:25: `camera.c.segmentation.max_rate`: 1000 is not a number from 1 to 240, or 0"
    );
    assert_eq!(
        camera("[camera.framing]\nmode = \"folow\""),
        "4:8: `camera.c.framing.mode`: `folow` is not one of off, once, follow, manual"
    );
    assert_eq!(
        camera("[camera.framing]\nmax_zoom = 7"),
        "4:12: `camera.c.framing.max_zoom`: 7 is not a number from 1 to 4"
    );
    assert_eq!(
        camera("framing.speed = \"fast\""),
        "3:17: `camera.c.framing.speed`: `fast` is not one of calm, normal, quick"
    );
    assert_eq!(
        camera("framing.zones = [[0, 0, 0.5, 1], [0.5, 0, 0.6, 1]]"),
        "3:34: `camera.c.framing.zones[1]`: [0.5, 0, 0.6, 1] is not [x, y, width, height] in fractions inside 0 to 1"
    );
    assert_eq!(
        camera("framing.zones = [[0, 0, 0.5]]"),
        "3:18: `camera.c.framing.zones[0]`: 3 numbers are not [x, y, width, height]"
    );
    assert_eq!(
        camera(&format!("framing.zones = [{}]", "[0, 0, 1, 1],".repeat(17))),
        "3:17: `camera.c.framing.zones`: 17 zones are more than 16"
    );
    assert_eq!(
        camera("background.color = \"rot\""),
        "3:20: `camera.c.background.color`: `rot` is not a colour as #203040 (a hash and six hexadecimal digits) or one \
         of aqua, black, blue, fuchsia, gray, green, lime, maroon, navy, olive, purple, red, silver, teal, white, yellow"
    );
    assert_eq!(
        camera("background.mode = \"green\""),
        "3:19: `camera.c.background.mode`: `green` is not one of none, color, image, blur"
    );
    assert_eq!(
        camera("background.image = \"beach.png\""),
        "3:20: `camera.c.background.image`: `beach.png` is not an absolute path"
    );
    assert_eq!(camera("background.blur = 2"), "3:19: `camera.c.background.blur`: 2 is not a number from 0 to 0.25");
    assert_eq!(
        camera("[[camera.output]]\nstream = \"view\""),
        "3:1: `camera.c.output`: the key `device` is needed here"
    );
    assert_eq!(
        camera("[[camera.output]]\ndevice = \"video7\""),
        "4:10: `camera.c.output[0].device`: `video7` is not the absolute path of a device"
    );
    assert_eq!(
        camera("[[camera.output]]\ndevice = \"/dev/x\"\nstream = \"veiw\""),
        "5:10: `camera.c.output[0].stream`: `veiw` is not one of mask, view, composite, source"
    );
    let error = "2:8: `camera.Front Door.name`: `Front Door` is not a name: 1 to 32 of a-z, 0-9, _ and -";
    assert_eq!(complaint("[[camera]]\nname = \"Front Door\"\n"), error);
}

#[test]
fn values_that_do_not_go_together() {
    let camera = |line: &str| complaint(&format!("[[camera]]\n{line}\n"));
    assert_eq!(camera("[[camera]]"), "2:1: `name`: there is a camera `main` already, on line 1");
    assert_eq!(
        complaint("[[camera]]\nname = \"a\"\n[[camera]]\nname = \"b\"\n[[camera]]\nname = \"a\"\n"),
        "6:8: `name`: there is a camera `a` already, on line 2"
    );
    assert_eq!(
        camera("width = 0"),
        "2:9: `camera.main.width`: width and height are both 0 (the source's own) or neither is"
    );
    assert_eq!(
        camera("width = 640\nheight = 0"),
        "3:10: `camera.main.height`: width and height are both 0 (the source's own) or neither is"
    );
    assert_eq!(
        camera("framing.output_height = 480"),
        "2:25: `camera.main.framing.output_height`: output_width and output_height are both 0 (the source's) or neither is"
    );
    assert_eq!(
        camera("background.mode = \"image\""),
        "2:19: `camera.main.background.mode`: the mode `image` needs the key `image`"
    );
    assert_eq!(
        camera("[[camera.output]]\ndevice = \"/dev/x\"\nstream = \"source\""),
        "4:10: `camera.main.output[0].stream`: the stream `source` needs `allow_source = true` on the camera"
    );
    assert_eq!(
        camera("device = \"/dev/x\"\n[[camera.output]]\ndevice = \"/dev/x\""),
        "4:10: `camera.main.output[0].device`: `/dev/x` is in use by `camera.main.device`"
    );
    assert_eq!(
        complaint("[[camera]]\nname = \"a\"\ndevice = \"/dev/x\"\n[[camera]]\nname = \"b\"\ndevice = \"/dev/x\"\n"),
        "6:10: `camera.b.device`: `/dev/x` is in use by `camera.a.device`"
    );
}

#[test]
fn files_that_cannot_be_read() {
    let mut system = System::new(&[]);
    let path = system.root.path().join(ADMIN);
    fs::create_dir_all(&path).expect("folder");
    assert_eq!(
        system.load(),
        Err("/etc/portraitd/portraitd.toml: cannot be read: a regular file is needed here, and this is a folder"
            .to_owned())
    );
    fs::remove_dir(&path).expect("folder");
    fs::write(&path, b"threads = 1\nlog = \"\xff\"").expect("file");
    assert_eq!(system.load(), Err("/etc/portraitd/portraitd.toml:2:8: not UTF-8 text".to_owned()));
    fs::remove_file(&path).expect("file");
    system.sources.file = Some(system.root.path().join("mine.toml"));
    assert_eq!(system.load(), Err("/mine.toml: cannot be read: no such file".to_owned()));
}

#[test]
fn later_layers_win_key_by_key() {
    let system = System::new(&[
        (
            VENDOR,
            "threads = 1\nlog = \"warn\"\n[[camera]]\nname = \"a\"\nwidth = 320\nheight = 240\nframing.max_zoom = 3\nframing.zones = [[0, 0, 1, 0.5], [0, 0, 0.5, 1]]\n",
        ),
        (
            ADMIN,
            "threads = 2\n[[camera]]\nname = \"b\"\ndevice = \"scene\"\n[[camera]]\nname = \"a\"\nwidth = 640\nframing.speed = \"calm\"\n",
        ),
        ("etc/portraitd/portraitd.toml.d/20-b.toml", "[[camera]]\nname = \"a\"\nheight = 480\n"),
        (
            "etc/portraitd/portraitd.toml.d/10-a.toml",
            "[[camera]]\nname = \"a\"\nheight = 360\nframing.zones = [[0.5, 0.5, 0.5, 0.5]]\n",
        ),
        ("etc/portraitd/portraitd.toml.d/30-c.toml.bak", "this is no configuration"),
        ("etc/portraitd/portraitd.toml.d/.40-d.toml", "nor this"),
    ]);
    let config = system.good();
    assert_eq!((config.threads, config.log.as_str()), (2, "warn"));
    assert_eq!(config.cameras.iter().map(|camera| camera.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let a = &config.cameras[0];
    assert_eq!((a.width, a.height), (640, 480), "the administrator's width, the last drop-in's height");
    assert_eq!((a.framing.max_zoom, a.framing.speed), (3.0, portraitd_protocol::FramingSpeed::Calm));
    assert_eq!(a.framing.zones, [[0.5, 0.5, 0.5, 0.5]], "a list is replaced whole");
    assert_eq!((config.cameras[1].device.as_str(), config.cameras[1].width), ("scene", 1280));
    let names: Vec<_> = config.files.iter().map(|path| system.clean(&path.display().to_string())).collect();
    assert_eq!(
        names,
        [
            "/usr/lib/portraitd/portraitd.toml",
            "/etc/portraitd/portraitd.toml",
            "/etc/portraitd/portraitd.toml.d/10-a.toml",
            "/etc/portraitd/portraitd.toml.d/20-b.toml"
        ]
    );
}

#[test]
fn a_bad_value_is_not_hidden_by_a_good_one_above_it() {
    let system = System::new(&[(VENDOR, "threads = 7"), (ADMIN, "threads = 1")]);
    assert_eq!(
        system.load(),
        Err("/usr/lib/portraitd/portraitd.toml:1:11: `threads`: 7 is not a whole number from 1 to 2".to_owned())
    );
}

#[test]
fn what_does_not_go_together_is_blamed_where_it_was_said_last() {
    let outputs = "[[camera]]\n[[camera.output]]\ndevice = \"/dev/x\"\nstream = \"source\"\n";
    let system = System::new(&[(VENDOR, "[[camera]]\nallow_source = true\n"), (ADMIN, outputs)]);
    assert_eq!(system.good().cameras[0].outputs.len(), 1);
    let system = System::new(&[
        (VENDOR, outputs),
        ("etc/portraitd/portraitd.toml.d/a.toml", "[[camera]]\n[[camera.output]]\ndevice = \"/dev/y\"\n"),
    ]);
    assert_eq!(
        system.good().cameras[0].outputs[0].stream,
        portraitd_protocol::StreamKind::View,
        "the list below is replaced, default and all"
    );
}

#[test]
fn a_named_file_stands_in_for_all_files() {
    let mut system = System::new(&[(ADMIN, "threads = 2"), ("mine.toml", "log = \"debug\"")]);
    system.sources.file = Some(system.root.path().join("mine.toml"));
    let config = system.good();
    assert_eq!((config.threads, config.log.as_str(), config.files.len()), (1, "debug", 1));
}

#[test]
fn variables_lie_over_files_and_flags_over_variables() {
    let flags = Flags { bus: Some("none".to_owned()), source: Some("file:/x.y4m?loop".to_owned()), ..Flags::default() };
    let config = System::new(&[(
        ADMIN,
        "threads = 1\nbus = \"system\"\n[[camera]]\nname = \"front-door\"\nframing.max_zoom = 1.25\n",
    )])
    .variable("PORTRAITD_THREADS", "2")
    .variable("PORTRAITD_BUS", "session")
    .variable("PORTRAITD_LOG", "debug")
    .variable("PORTRAITD_CAMERA__FRONT_DOOR__WIDTH", "640")
    .variable("PORTRAITD_CAMERA__FRONT_DOOR__FRAMING__ZONES", "[[0, 0, 0.5, 1]]")
    .variable("PORTRAITD_CAMERA__FRONT_DOOR__BACKGROUND__COLOR", "#ABCDEF")
    .variable("PORTRAITD_CAMERA__FRONT_DOOR__ALLOW_SOURCE", "true")
    .variable("PORTRAITD_CAMERA__FRONT_DOOR__OUTPUT", "[{ device = '/dev/x', stream = 'source' }]")
    .variable("PATH", "/bin")
    .flags(flags)
    .good();
    assert_eq!((config.threads, config.bus, config.log.as_str()), (2, BusConfig::None, "debug"));
    assert_eq!(config.cameras.len(), 1);
    let camera = &config.cameras[0];
    assert_eq!((camera.name.as_str(), camera.device.as_str()), ("front-door", "file:/x.y4m?loop"));
    assert_eq!((camera.width, camera.height, camera.framing.max_zoom), (640, 720, 1.25));
    assert_eq!(camera.framing.zones, [[0.0, 0.0, 0.5, 1.0]]);
    assert_eq!(camera.background.color, Color { red: 0xab, green: 0xcd, blue: 0xef });
    assert_eq!(
        camera.outputs,
        [OutputConfig { device: "/dev/x".to_owned(), stream: portraitd_protocol::StreamKind::Source }]
    );
    assert_eq!(config.warnings, []);
}

#[test]
fn a_variable_that_looks_like_a_number_can_be_a_string() {
    let config = System::new(&[]).variable("PORTRAITD_CAMERA__2__SEGMENTATION__MODEL", "256").good();
    assert_eq!((config.cameras[0].name.as_str(), config.cameras[0].segmentation.model.as_str()), ("2", "256"));
}

#[test]
fn bad_variables_and_flags_are_named() {
    let variable = |name: &str, value: &str| System::new(&[]).variable(name, value).load().expect_err("refused");
    assert_eq!(variable("PORTRAITD_THREADS", "8"), "PORTRAITD_THREADS: `threads`: 8 is not a whole number from 1 to 2");
    assert_eq!(
        variable("PORTRAITD_THREADS", ""),
        "PORTRAITD_THREADS: `threads`: string \"\" is not a whole number from 1 to 2"
    );
    assert_eq!(
        variable("PORTRAITD_THREADS", "2\nbus='none'"),
        "PORTRAITD_THREADS: `threads`: string \"2\\nbus='none'\" is not a whole number from 1 to 2"
    );
    assert_eq!(
        variable("PORTRAITD_CAMERA__MAIN__FRAMING__ZOOM", "2"),
        "PORTRAITD_CAMERA__MAIN__FRAMING__ZOOM: unknown key `camera.main.framing.zoom`; known here: mode, max_zoom, min_zoom, speed, lead_room, zones, output_width, output_height"
    );
    assert_eq!(
        variable("PORTRAITD_CAMERA__Ü\"__WIDTH", "640"),
        "PORTRAITD_CAMERA__Ü\"__WIDTH: `camera.Ü\".name`: `Ü\\\"` is not a name: 1 to 32 of a-z, 0-9, _ and -"
    );
    let flags = Flags { log: Some("loud".to_owned()), ..Flags::default() };
    let error = "--log: `log`: `loud` is not a level (off error warn info debug trace) or a directive as target=level";
    assert_eq!(System::new(&[]).flags(flags).load(), Err(error.to_owned()));
    let mut system = System::new(&[]);
    let bytes = std::os::unix::ffi::OsStringExt::from_vec(b"\xff".to_vec());
    system.sources.environment.push(("PORTRAITD_LOG".into(), bytes));
    assert_eq!(system.load(), Err("PORTRAITD_LOG: not UTF-8 text".to_owned()));
}

#[test]
fn a_variable_that_makes_another_camera_says_so() {
    let files = [(ADMIN, "[[camera]]\nname = \"front-door\"\n[[camera]]\nname = \"hall\"\ndevice = \"scene\"\n")];
    let config = System::new(&files).variable("PORTRAITD_CAMERA__FRONTDOOR__DEVICE", "scene:walk").good();
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "PORTRAITD_CAMERA__FRONTDOOR__DEVICE: makes another camera, `frontdoor`, beside `front-door`, `hall` of the files"
        ]
    );
    assert_eq!(config.cameras.len(), 3);
}

#[test]
fn variables_that_are_no_settings_are_named_and_passed_over() {
    let system = System::new(&[])
        .variable("PORTRAITD_THRAEDS", "2")
        .variable("PORTRAITD_ISA", "scalar")
        .variable("PORTRAITDX", "1");
    assert_eq!(system.warnings(), ["PORTRAITD_THRAEDS: not a setting: ignored"]);
}

#[test]
fn the_source_flag_sets_the_one_camera() {
    let flags = || Flags { source: Some("scene:walk".to_owned()), ..Flags::default() };
    let config = System::new(&[]).flags(flags()).good();
    assert_eq!((config.cameras.len(), config.cameras[0].name.as_str()), (1, "main"));
    assert_eq!(config.cameras[0].device, "scene:walk");
    let two = [(ADMIN, "[[camera]]\nname = \"a\"\n[[camera]]\nname = \"b\"\n")];
    let error = "--source: `device`: sets the one camera's, and there are 2: a, b";
    assert_eq!(System::new(&two).flags(flags()).load(), Err(error.to_owned()));
}

#[test]
fn node_numbers_are_warned_of_with_the_better_name_where_it_is_known() {
    let text = "[[camera]]\ndevice = \"/dev/video2\"\n[[camera.output]]\ndevice = \"/dev/video10\"\n";
    let system = System::new(&[(ADMIN, text)]);
    let by_id = system.root.path().join("dev/v4l/by-id");
    fs::create_dir_all(&by_id).expect("folder");
    std::os::unix::fs::symlink("../../video2", by_id.join("usb-Maker_Camera-video-index0")).expect("link");
    let may = "may be another device after the next boot; write";
    assert_eq!(
        system.warnings(),
        [
            format!(
                "/etc/portraitd/portraitd.toml:2:10: `camera.main.device`: `/dev/video2` {may} `/dev/v4l/by-id/usb-Maker_Camera-video-index0`"
            ),
            format!(
                "/etc/portraitd/portraitd.toml:4:10: `camera.main.output[0].device`: `/dev/video10` {may} its name under /dev/v4l/by-id or /dev/v4l/by-path"
            ),
        ]
    );
    let system = System::new(&[(
        ADMIN,
        "[[camera]]\ndevice = \"/dev/v4l/by-id/x\"\n[[camera.output]]\ndevice = \"/dev/videocore\"\n",
    )]);
    assert_eq!(system.warnings(), Vec::<String>::new());
}

#[test]
fn empty_takes_back_what_a_lower_layer_said() {
    let system = System::new(&[(VENDOR, "metrics_file = \"/run/x.prom\""), (ADMIN, "metrics_file = \"\"")]);
    assert_eq!(system.good().metrics_file, None);
}

#[test]
fn zero_means_the_sources_own() {
    let camera = &System::new(&[(ADMIN, "[[camera]]\nwidth = 0\nheight = 0\nfps = 0\n")]).good().cameras[0];
    assert_eq!(camera.wanted(), portraitd_media::FormatRequest { size: None, frame_rate: None });
    assert_eq!(CameraConfig::default().wanted(), portraitd_media::FormatRequest::default());
}

#[test]
fn any_dashed_name_and_any_table_depth_merges() {
    // Names that mean something to path expressions must not.
    let system = System::new(&[
        (VENDOR, "[[camera]]\nname = \"1-a_b\"\nfps = 10\n"),
        (ADMIN, "[[camera]]\nname = \"1-a_b\"\nwidth = 640\n"),
    ]);
    let camera = &system.good().cameras[0];
    assert_eq!((camera.fps, camera.width), (10.0, 640));
}

const SHIPPED: &str = include_str!("../../../systemd/portraitd.toml");

#[test]
fn the_shipped_file_says_the_defaults() {
    let mut config = System::new(&[(VENDOR, SHIPPED)]).good();
    config.files.clear();
    assert_eq!(config, Config::default(), "as it is shipped it changes nothing");
    // With the hashes taken away (`#key`, not `# prose`) it is the default, and has every key.
    let open: String = SHIPPED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let mut config = System::new(&[(VENDOR, &open)]).good();
    config.files.clear();
    assert_eq!(config, Config::default());
    let shipped: toml::Table = open.parse().expect("TOML");
    let mut all = toml::Table::try_from(Config::default()).expect("TOML");
    // Outputs have no default; the file shows one in prose.
    let cameras = all["camera"].as_array_mut().expect("cameras");
    cameras[0].as_table_mut().expect("camera").remove("output");
    assert_eq!(shipped, all, "a key is missing from systemd/portraitd.toml");
}

#[test]
fn a_summary_for_people() {
    let system = System::new(&[(
        ADMIN,
        "threads = 2\nmetrics_file = \"/run/portraitd/x.prom\"\n[[camera]]\nname = \"door\"\ndevice = \"/dev/video2\"\nallow_source = true\n\
         [camera.framing]\noutput_width = 640\noutput_height = 360\n[camera.background]\nmode = \"blur\"\n[[camera.output]]\ndevice = \"/dev/x\"\n\
         [[camera]]\nname = \"scene\"\ndevice = \"scene\"\nwidth = 0\nheight = 0\nfps = 0\nsegmentation.max_rate = 0\n",
    )]);
    insta::assert_snapshot!(system.clean(&system.good().summary()));
    insta::assert_snapshot!(Config::default().summary());
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = "threads = 7\n[[camera]]\nname = \"door\"\nwdith = 640\nfps = \"30\"\n[camera.framing]\nmax_zoom = 9\n\
                zones = [[0, 0, 1, 1], [2, 0, 1, 1]]\n[camera.background]\ncolor = \"rot\"\nblur = 3\n";
    let system = System::new(&[(VENDOR, "bus = 1\n"), (ADMIN, text)]).variable("PORTRAITD_THREADS", "8");
    let mistakes = Config::check(&system.sources).expect_err("refused");
    let places: Vec<String> = mistakes.iter().map(|mistake| system.clean(&mistake.to_string())).collect();
    let starts = [
        "/usr/lib/portraitd/portraitd.toml:1:7: `bus`",
        "/etc/portraitd/portraitd.toml:1:11: `threads`",
        ":4:1: unknown key `camera.door.wdith`",
    ]
    .into_iter()
    .chain([
        ":5:7: `camera.door.fps`",
        ":7:12: `camera.door.framing.max_zoom`",
        ":8:24: `camera.door.framing.zones[1]`",
    ])
    .chain([
        ":10:9: `camera.door.background.color`",
        ":11:8: `camera.door.background.blur`",
        "PORTRAITD_THREADS: `threads`",
    ]);
    assert_eq!(places.len(), 9, "{places:#?}");
    for (place, start) in places.iter().zip(starts) {
        assert!(place.contains(start), "{start} is not in {place}");
    }
    // Those who can use only one get the first.
    let first = system.load().expect_err("refused");
    assert_eq!(first, format!("{} (and 8 more: `portraitd check-config` tells all)", places[0]));
}

#[test]
fn all_conflicts_are_told_at_once() {
    let text = "[[camera]]\nwidth = 0\nframing.min_zoom = 3\nbackground.mode = \"image\"\n";
    let mistakes = Config::check(&System::new(&[(ADMIN, text)]).sources).expect_err("refused");
    assert_eq!(mistakes.len(), 3, "{mistakes:?}");
}

#[test]
fn other_spellings_of_a_key_are_read_with_a_warning() {
    let system = System::new(&[(ADMIN, "[[camera]]\nidle-close-s = 7\n[camera.framing]\nMaxZoom = 1.25\n")]);
    let camera = &system.good().cameras[0];
    assert_eq!((camera.idle_close_s, camera.framing.max_zoom), (7.0, 1.25));
    assert_eq!(
        system.warnings(),
        [
            "/etc/portraitd/portraitd.toml:2:1: `idle-close-s` is another name of `idle_close_s`, which still works; write `idle_close_s`",
            "/etc/portraitd/portraitd.toml:4:1: `MaxZoom` is another name of `max_zoom`, which still works; write `max_zoom`",
        ]
    );
    assert_eq!(
        complaint("[[camera]]\n[camera.framing]\nmax_zoom = 2\nmax-zoom = 3\n"),
        "4:1: `max-zoom`: is another name of `max_zoom`, which is set too; remove it"
    );
    assert_eq!(
        complaint("[[camera]]\n[camera.framing]\nMaxZoom = 7\n"),
        "3:11: `camera.main.framing.max_zoom`: 7 is not a number from 1 to 4"
    );
}

#[test]
fn a_key_in_the_wrong_table_is_shown_its_place() {
    let error = complaint("[[camera]]\nmax_zoom = 1.5\n");
    assert!(
        error.starts_with("2:1: unknown key `camera.main.max_zoom` (`max_zoom` belongs in [camera.framing]); known"),
        "{error}"
    );
    let error = complaint("width = 640\n");
    assert!(error.starts_with("1:1: unknown key `width` (`width` belongs in [[camera]]); known"), "{error}");
}

#[test]
fn a_zoom_that_the_sizes_do_not_allow_is_told() {
    let zoom = |text: &str| System::new(&[(ADMIN, text)]).warnings();
    let text = "[[camera]]\nwidth = 1280\nheight = 720\n[camera.framing]\nmax_zoom = 2.5\n";
    assert_eq!(
        zoom(text),
        [
            "/etc/portraitd/portraitd.toml:5:12: `camera.main.framing.max_zoom`: 2.5 is limited to 1.5 with frames of 1280x720: a stronger \
          zoom would enlarge the picture; raise `width` and `height`, or lower `output_width` and `output_height`"
        ]
    );
    assert_eq!(zoom(&format!("{text}output_width = 640\noutput_height = 360\n")), [""; 0]);
    assert_eq!(zoom(&text.replace("2.5", "1.5")), [""; 0]);
    // The source's size is not known yet; and the default, written out.
    assert_eq!(zoom(&text.replace("1280", "0").replace("720", "0")), [""; 0]);
    assert_eq!(zoom("[[camera]]\nframing.max_zoom = 2.0\n"), [""; 0]);
    assert!(Config::default().summary().contains("zoom to 2 (limited to 1.5 by 1280x720)"));
}

#[test]
fn paths_that_systemd_hides_from_the_service_are_told() {
    let text = "models_dir = \"/root/models\"\nmetrics_file = \"/run/portraitd/x.prom\"\n[[camera]]\n\
                device = \"file:/home/me/a.y4m?loop\"\nbackground.image = \"/tmp/beach.png\"\n";
    let config = System::new(&[(ADMIN, text)]).good();
    assert_eq!(config.warnings, [], "a service that is started by hand can read them");
    let hidden: Vec<String> = config.hidden.iter().map(ToString::to_string).collect();
    for (warning, parts) in hidden.iter().zip([
        [":1:14: `models_dir`", "ProtectHome="],
        [":4:10: `camera.main.device`", "/home/me/a.y4m"],
        [":5:20: `camera.main.background.image`", "PrivateTmp="],
    ]) {
        assert!(parts.iter().all(|part| warning.contains(part)), "{parts:?}: {warning}");
    }
    assert_eq!(hidden.len(), 3, "{hidden:?}");
    assert_eq!(config.summary().matches("warning: ").count(), 3);
}

mod renamed_keys {
    use super::super::renamed::RenamedKey;
    use super::*;

    const RENAMED: [RenamedKey; 2] = [
        RenamedKey { table: "", old: "worker_threads", new: "threads" },
        RenamedKey { table: "camera.framing", old: "zoom", new: "max_zoom" },
    ];

    fn parse(text: &str) -> Result<Layer, String> {
        Layer::parse_with(text, &Origin::File("p.toml".into()), &RENAMED).map_err(|errors| errors[0].to_string())
    }

    #[test]
    fn an_old_name_works_and_gives_a_warning() {
        let layer = parse("worker_threads = 2\n[[camera]]\nframing.zoom = 3\n").expect("accepted");
        let warnings: Vec<_> = layer.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "p.toml:1:1: `worker_threads` is another name of `threads`, which still works; write `threads`",
                "p.toml:3:9: `zoom` is another name of `max_zoom`, which still works; write `max_zoom`",
            ]
        );
        let config = layers::merge(&[layer]).expect("merges");
        assert_eq!((config.threads, config.cameras[0].framing.max_zoom), (2, 3.0));
    }

    #[test]
    fn an_old_name_overrides_the_new_one_of_a_lower_layer() {
        let lower = parse("threads = 1\n").expect("accepted");
        let upper = parse("worker_threads = 2\n").expect("accepted");
        assert_eq!(layers::merge(&[lower, upper]).expect("merges").threads, 2);
    }

    #[test]
    fn both_names_in_one_file_are_refused_and_a_bad_value_is_placed() {
        let error = parse("threads = 1\nworker_threads = 2\n").expect_err("both");
        let expected = "p.toml:2:1: `worker_threads`: is another name of `threads`, which is set too; remove it";
        assert_eq!(error, expected);
        let error = parse("[[camera]]\n[camera.framing]\nzoom = 7\n").expect_err("out of range");
        assert_eq!(error, "p.toml:3:8: `camera.main.framing.max_zoom`: 7 is not a number from 1 to 4");
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = Layer::parse(&text, &Origin::Flag("--test"));
        }

        #[test]
        fn no_plausible_text_panics(lines in proptest::collection::vec(
            "(\\[\\[camera\\]\\]|\\[camera\\.framing\\]|\\[\\[camera\\.output\\]\\]|name = \"[a-c]\"|(width|max_zoom|threads|zones|device) = (1|\"x\"|\\[\\[0, 0, 1, 1\\]\\]|\\{ a = 1 \\}|nan))",
            0..12,
        )) {
            let _ = Layer::parse(&lines.join("\n"), &Origin::Flag("--test"));
        }

        #[test]
        fn no_variable_panics(name in "PORTRAITD_(CAMERA__)?[A-Z_\"'.ü=\\[\\]#\\\\]{0,30}", value in "\\PC{0,30}") {
            let system = System::new(&[]).variable(&name, &value);
            let _ = system.load();
        }
    }
}

#[test]
fn more_than_the_limits_is_refused_at_the_first_one_too_many() {
    let cameras = |count: usize| (0..count).map(|n| format!("[[camera]]\nname = \"c{n}\"\n")).collect::<String>();
    assert_eq!(System::new(&[(ADMIN, &cameras(MAX_CAMERAS))]).good().cameras.len(), MAX_CAMERAS);
    assert_eq!(complaint(&cameras(MAX_CAMERAS + 1)), "33:1: more than 16 cameras, the limit");
    assert_eq!(complaint(&cameras(10_000)), "33:1: more than 16 cameras, the limit");
    // Each layer keeps to the limit, and together they do not.
    let system = System::new(&[(VENDOR, &cameras(MAX_CAMERAS)), (ADMIN, "[[camera]]\nname = \"extra\"\n")]);
    assert_eq!(system.load().expect_err("17"), "/etc/portraitd/portraitd.toml:2:8: more than 16 cameras, the limit");
    // Lists and tables inside a known key, which the parser would refuse only after a walk of them.
    let zones = format!("[[camera]]\n[camera.framing]\nzones = [{}]\n", "[0.0, 0.0, 1.0, 1.0],".repeat(2000));
    assert!(complaint(&zones).ends_with("more than 4096 keys, the limit"), "{}", complaint(&zones));
    let large = "#".repeat(300 << 10);
    assert_eq!(complaint(&large), " cannot be read: larger than 256 KiB, the limit for this file");
}

#[test]
fn more_variables_and_files_than_the_limits_are_refused() {
    let variables = |count: usize| {
        let mut system = System::new(&[]);
        for n in 0..count {
            system = system.variable(&format!("PORTRAITD_CAMERA__MAIN__FRAMING__MAX_ZOOM_{n:04}"), "1.5");
        }
        system
    };
    // An unknown key, and not the number of variables, is what is wrong with these.
    assert!(variables(MAX_VARIABLES).load().expect_err("unknown").contains("max_zoom_0000"));
    assert_eq!(
        variables(3000).load().expect_err("many"),
        "the environment: more than 256 variables PORTRAITD_*, the limit"
    );
    // Others' variables do not count.
    let mut system = System::new(&[]);
    for n in 0..3000 {
        system = system.variable(&format!("OTHER_{n}"), "1");
    }
    assert_eq!(system.good(), Config::default());
    let names: Vec<String> =
        (0..=MAX_DROP_INS).map(|n| format!("etc/portraitd/portraitd.toml.d/{n:03}.toml")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "threads = 1\n")).collect();
    assert_eq!(System::new(&files[1..]).good().files.len(), MAX_DROP_INS);
    assert_eq!(
        System::new(&files).load().expect_err("many"),
        "/etc/portraitd/portraitd.toml.d: more than 64 files, the limit"
    );
}

#[test]
fn a_file_that_is_none_is_refused_without_waiting_for_it() {
    let system = System::new(&[("etc/portraitd/portraitd.toml.d/20-x.toml", "")]);
    let fifo = system.root.path().join(ADMIN);
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).expect("FIFO");
    assert_eq!(
        system.load().expect_err("a FIFO"),
        "/etc/portraitd/portraitd.toml: cannot be read: a regular file is needed here, and this is a FIFO"
    );
    for device in ["/dev/zero", "/dev/null"] {
        let sources = ConfigSources { file: Some(device.into()), ..ConfigSources::default() };
        let error = Config::load(&sources).expect_err("a device").to_string();
        assert_eq!(error, format!("{device}: cannot be read: a regular file is needed here, and this is a device"));
    }
}
