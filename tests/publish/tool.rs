//! portraitctl with the fake service, over a bus and over a socket without a bus.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use portraitd::publish::dbus::{serve, serve_peer};
use portraitd_client::feed::wait_for_camera;
use portraitd_protocol::CameraState;
use serde_json::{Value, json};

use crate::bus::PrivateBus;
use crate::fake::{FakeCamera, publication, runtime};
use crate::readers::against_a_camera;

/// Path of the program, built from the current sources with the profile of this test. The whole
/// workspace is named so that its dependencies have the features that they have in the tests, and
/// are not compiled again.
fn portraitctl() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().expect("our own path");
        let folder = test.parent().and_then(Path::parent).expect("target/PROFILE/deps/test");
        let profile = match folder.file_name().and_then(|name| name.to_str()).expect("a name") {
            "debug" => "dev",
            other => other,
        };
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--workspace", "--bin", "portraitctl"])
            .args(["--profile", profile, "--target-dir"])
            .arg(folder.parent().expect("target"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(status.expect("cargo").success(), "building portraitctl");
        folder.join("portraitctl")
    })
}

pub fn on(bus: &PrivateBus, arguments: &[&str]) -> Command {
    let mut command = Command::new(portraitctl());
    command.args(["--bus", &bus.address]).args(arguments).stdin(Stdio::null());
    command
}

fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

fn error_of(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

#[test]
fn it_lists_shows_and_sets() {
    let Some(bus) = PrivateBus::start() else { return };
    let camera = FakeCamera::new("front-1");
    let run = |arguments: &[&str]| against_a_camera(&bus, &camera, on(&bus, arguments));

    let list = json_of(&run(&["list", "--json"]));
    assert_eq!(list["cameras"][0]["name"], "front-1");
    assert_eq!(list["cameras"][0]["path"], "/org/portraitd/cameras/front_2d1");
    assert_eq!(String::from_utf8_lossy(&run(&["list"]).stdout), "front-1  idle  fake:0\n");

    let set = run(&["set", "--json", "framing.mode=manual", "framing.zones=0,0,0.5,0.5", "background.color=#ff0000"]);
    assert_eq!(json_of(&set), json!({"set": 3}));
    let status = json_of(&run(&["status", "--json", "--camera", "front-1"]));
    assert_eq!(status["framing"]["Mode"], "manual");
    assert_eq!(status["framing"]["Zones"], json!([[0.0, 0.0, 0.5, 0.5]]));
    assert_eq!(status["background"]["Color"], "#ff0000");
    assert_eq!(status["segmentation"]["People"], json!([[7, 0.1, 0.2, 0.3, 0.4]]));
    assert_eq!(status["camera"]["Stats"], json!({"framing_moves": 3, "latency_ms": 1.5, "frames": 12}));
    assert!(String::from_utf8_lossy(&run(&["status"]).stdout).contains("framing.mode = manual\n"));
    assert_eq!(json_of(&run(&["stats", "--json"])), json!({"framing_moves": 3, "latency_ms": 1.5, "frames": 12}));

    assert_eq!(status["camera"]["Private"], false);
    assert!(run(&["set", "camera.private=on"]).status.success());
    assert_eq!(json_of(&run(&["status", "--json"]))["camera"]["Private"], true);
    assert!(run(&["set", "camera.private=off"]).status.success());
    assert_eq!(json_of(&run(&["status", "--json"]))["camera"]["Private"], false);
    let (code, text) = error_of(&run(&["set", "camera.private=perhaps"]));
    assert!(code == Some(2) && text.contains("\"perhaps\" is not on or off"), "{code:?} {text}");

    let folder = tempfile::tempdir().expect("folder");
    let image = folder.path().join("image");
    std::fs::write(&image, b"picture").expect("write");
    let set = run(&["set", &format!("background.image={}", image.display())]);
    assert_eq!(set.status.code(), Some(0), "{set:?}");
    assert_eq!(camera.image.lock().expect("fake").as_deref(), Some(b"picture".as_slice()));
    let out = folder.path().join("mask.png");
    assert!(run(&["snapshot", "mask", "--out", out.to_str().expect("text")]).status.success());
    assert_eq!(std::fs::read_to_string(out).expect("read"), "\u{89}PNG of mask");
}

#[test]
fn it_reads_frames_and_saves_them() {
    let Some(bus) = PrivateBus::start() else { return };
    let camera = FakeCamera::new("front-1");
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let run = |arguments: &[&str]| against_a_camera(&bus, &camera, on(&bus, arguments));

    let (png, ppm, raw) = (file("a.png"), file("a.ppm"), file("a.raw"));
    let attach = run(&["attach", "view", "--frames", "30", "--out", &png, "--json"]);
    let summary = json_of(&attach);
    assert_eq!(
        (&summary["frames"], &summary["generation"], &summary["reattached"]),
        (&json!(30), &json!(1), &json!(0))
    );
    let reader = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&png).expect("png"))).read_info();
    assert_eq!(reader.expect("a PNG").info().size(), (64, 36));

    assert!(run(&["attach", "view", "--frames", "1", "--out", &ppm]).status.success());
    assert!(std::fs::read(&ppm).expect("ppm").starts_with(b"P6\n64 36\n255\n"));
    assert!(run(&["attach", "mask", "--frames", "3", "--raw", &raw]).status.success());
    assert_eq!(std::fs::metadata(&raw).expect("raw").len(), 3 * 64 * 36);

    let lines = run(&["attach", "view", "--frames", "5", "--json", "--verbose"]);
    let lines: Vec<Value> = String::from_utf8_lossy(&lines.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON on each line"))
        .collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0]["people"], json!([{"id": 7, "box": [1.0, 2.0, 3.0, 4.0], "confidence": 0.5}]));
    assert_eq!(lines[5]["frames"], 5);
}

#[test]
fn it_goes_on_when_the_ring_changes() {
    let Some(bus) = PrivateBus::start() else { return };
    let camera = FakeCamera::new("front-1");
    let changing = std::sync::Arc::clone(&camera);
    let changes = std::thread::spawn(move || {
        // Closes the rings twice, each time when a client is attached.
        for _ in 0..2 {
            while changing.clients() == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            changing.close_rings();
        }
    });
    let arguments = ["attach", "view", "--frames", "300", "--json"];
    let summary = json_of(&against_a_camera(&bus, &camera, on(&bus, &arguments)));
    changes.join().expect("changes");
    assert_eq!((&summary["frames"], &summary["reattached"]), (&json!(300), &json!(2)), "{summary}");
    assert_eq!(summary["generation"], 3);
}

#[test]
fn it_says_what_is_wrong_in_one_line() {
    let Some(bus) = PrivateBus::start() else { return };
    let camera = FakeCamera::new("front-1");
    let run = |arguments: &[&str]| error_of(&against_a_camera(&bus, &camera, on(&bus, arguments)));
    for (arguments, code, expected) in [
        (["attach", "source"].as_slice(), 1, "org.portraitd.Error.NoSuchStream: source is off"),
        (&["attach", "view", "--width", "641", "--height", "360"], 1, "option `width`: 641 is not an even number"),
        (
            &["set", "framing.max-zoom=9"],
            1,
            "org.portraitd.Error.InvalidArgument: MaxZoom: 9 is not a number from 1 to 4",
        ),
        (&["reframe"], 1, "org.portraitd.Error.NotSupported: the fake has no director"),
        (&["status", "--camera", "rear"], 1, "there is no camera named \"rear\""),
        (&["attach", "view", "--frames", "1", "--out", "x.jpeg"], 1, "must end with .png, .ppm or .pgm"),
        (&["attach", "everything"], 2, "is not one of mask, view, composite, source"),
        (&["set", "volume=11"], 2, "unknown key"),
        (&["frobnicate"], 2, "unrecognized subcommand"),
    ] {
        let (found, text) = run(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
        assert!(code == 2 || text.lines().count() == 1, "{text}");
    }
    let nowhere = Command::new(portraitctl()).args(["--bus", "unix:path=/nonexistent", "list"]).output().expect("run");
    assert_eq!(error_of(&nowhere).0, Some(1));
    // The service is not on the bus.
    let alone = on(&bus, &["list"]).output().expect("run");
    let (code, text) = error_of(&alone);
    assert_eq!((code, text.lines().count()), (Some(1), 1), "{text}");
}

#[test]
fn it_waits_until_the_service_is_ready() {
    let Some(bus) = PrivateBus::start() else { return };
    let camera = FakeCamera::new("front-1");
    camera.change(|state| {
        state.camera.state = CameraState::Failed;
        state.camera.last_error = "in use by another program".into();
    });
    // Nobody is there, and nobody is started.
    let (code, text) = error_of(&on(&bus, &["wait", "--timeout", "0.2"]).output().expect("run"));
    assert_eq!((code, text.as_str()), (Some(1), "portraitctl: not ready after 0.2 s: portraitd is not running\n"));
    let (code, text) = error_of(&against_a_camera(&bus, &camera, on(&bus, &["wait", "--timeout", "0.2"])));
    let wanted = "not ready after 0.2 s: camera front-1 is failed: in use by another program\n";
    assert!(code == Some(1) && text.ends_with(wanted), "{code:?} {text}");
    let (code, text) = error_of(&on(&bus, &["wait", "--timeout", "soon"]).output().expect("run"));
    assert!(code == Some(2) && text.contains("\"soon\" is not a number from 0 to 86400"), "{text}");

    let mut waiting = on(&bus, &["wait", "--json"]);
    let child = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run");
    let changing = std::sync::Arc::clone(&camera);
    let output = runtime().block_on(async {
        let _server = serve(&bus.bus, publication(&[&camera])).await.expect("serve");
        changing.change(|state| state.camera.state = CameraState::Idle);
        tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("thread").expect("the program")
    });
    let ready = json_of(&output);
    assert_eq!(ready["cameras"], json!([{"name": "front-1", "state": "idle"}]), "{ready}");
    let (code, text) =
        error_of(&against_a_camera(&bus, &camera, on(&bus, &["wait", "--timeout", "0.2", "--camera", "rear"])));
    assert!(code == Some(1) && text.contains("there is no camera named \"rear\""), "{text}");
}

#[test]
fn it_says_what_to_do_without_a_bus() {
    let folder = tempfile::tempdir().expect("folder");
    let mut session = Command::new(portraitctl());
    session
        .args(["--bus", "session", "list"])
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env("XDG_RUNTIME_DIR", folder.path());
    let (code, text) = error_of(&session.output().expect("run"));
    assert!(code == Some(1) && text.contains("dbus-run-session -- "), "{code:?} {text}");
    let mut system = Command::new(portraitctl());
    system.arg("list").env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}/none", folder.path().display()));
    let (code, text) = error_of(&system.output().expect("run"));
    assert!(code == Some(1) && text.contains("apt install dbus"), "{code:?} {text}");
}

#[test]
fn it_says_what_it_wrote_unless_it_is_told_to_be_quiet() {
    let Some(bus) = PrivateBus::start() else { return };
    let camera = FakeCamera::new("front-1");
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let run = |arguments: &[&str]| against_a_camera(&bus, &camera, on(&bus, arguments));
    let (mask, view) = (file("mask.png"), file("view.png"));
    for (arguments, said) in [
        (["snapshot", "mask", "--out", &mask].as_slice(), "mask.png: a PNG picture of the mask, 13 bytes"),
        (&["attach", "view", "--frames", "1", "--out", &view], "view.png: the last frame, 64x36"),
        (&["set", "framing.MaxZoom=1.5", "background.color=navy"], "set: framing.max_zoom, background.color"),
    ] {
        let output = run(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains(said), "{arguments:?}: {text}");
        for silent in ["--quiet", "--json"] {
            let output = run(&[arguments, &[silent]].concat());
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                output.status.success() && (silent == "--json" || text.is_empty()),
                "{silent} {arguments:?}: {text}"
            );
        }
    }
    let (code, text) = error_of(&run(&["snapshot", "mask", "--out", &file("mask.jpg")]));
    assert!(code == Some(1) && text.contains("must end with .png"), "{code:?} {text}");
    assert!(!folder.path().join("mask.jpg").exists());
}

/// `attach` reads until the service leaves the bus.
#[test]
fn it_ends_with_the_service_unless_it_is_told_to_wait() {
    let Some(bus) = PrivateBus::start() else { return };
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_portraitd"))
        .args(["run", "--bus", &bus.address, "--source", "scene:walk", "--log", "error"])
        .stdin(Stdio::null())
        .spawn()
        .expect("portraitd");
    let output = runtime().block_on(async {
        let client = bus.bus.connect().await.expect("client");
        let camera = wait_for_camera(&client, None).await.expect("camera");
        let mut command = on(&bus, &["attach", "view"]);
        let child = tokio::task::spawn_blocking(move || command.output());
        while camera.consumers().await.expect("its clients") == 0 {
            tokio::task::yield_now().await;
        }
        daemon.kill().expect("our own child");
        child.await.expect("thread").expect("run")
    });
    daemon.wait().expect("its end");
    let (code, text) = error_of(&output);
    assert!(code == Some(1) && text.contains("the service has stopped (with --wait"), "{code:?} {text}");
}

#[test]
fn it_watches() {
    let Some(bus) = PrivateBus::start() else { return };
    let camera = FakeCamera::new("front-1");
    let changing = std::sync::Arc::clone(&camera);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let changes = std::thread::spawn(move || {
        let mut turn = 0;
        while stopped
            .recv_timeout(Duration::from_millis(20))
            .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            turn += 1;
            changing.change(|state| state.camera.consumers = turn);
        }
    });
    let watched = against_a_camera(&bus, &camera, on(&bus, &["watch", "--changes", "3", "--json"]));
    drop(stop);
    changes.join().expect("changes");
    assert!(watched.status.success(), "{watched:?}");
    let lines: Vec<Value> = String::from_utf8_lossy(&watched.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["property"], "Consumers");
    assert!(lines[0]["value"].as_u64() < lines[2]["value"].as_u64());
}

/// What `watch` draws on a terminal until it has drawn twice.
fn watched_on_a_terminal(bus: &PrivateBus, camera: &std::sync::Arc<FakeCamera>, no_color: &str) -> String {
    let mut command = Command::new("script");
    let watch = format!("'{}' --bus '{}' watch", portraitctl().display(), bus.address);
    command.args(["-qefc", &watch, "/dev/null"]).env("TERM", "xterm").env("NO_COLOR", no_color);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("script");
    let mut stdout = child.stdout.take().expect("piped");
    let text = runtime().block_on(async {
        let _server = serve(&bus.bus, publication(&[camera])).await.expect("serve");
        let reading = tokio::task::spawn_blocking(move || {
            let (mut text, mut bytes) = (String::new(), [0; 1024]);
            while !text.contains("\x1b[J") {
                let count = std::io::Read::read(&mut stdout, &mut bytes).expect("a terminal");
                assert!(count > 0, "it has ended: {text}");
                text += &String::from_utf8_lossy(&bytes[..count]);
            }
            text
        });
        reading.await.expect("thread")
    });
    child.kill().expect("our own child");
    child.wait().expect("its end");
    text
}

#[test]
fn it_watches_in_a_table_on_a_terminal() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("SKIPPED, NOT TESTED: there is no `script`, which makes a terminal");
        return;
    }
    let Some(bus) = PrivateBus::start() else { return };
    let camera = FakeCamera::new("front-1");
    for (no_color, colored) in [("", true), ("1", false)] {
        let text = watched_on_a_terminal(&bus, &camera, no_color);
        for part in ["CAMERA", "front-1", "idle", "50x50 % at 25,25"] {
            assert!(text.contains(part), "{part}: {text:?}");
        }
        assert_eq!(text.contains("\x1b[2midle"), colored, "NO_COLOR={no_color:?}: {text:?}");
    }
}

#[test]
fn it_speaks_without_a_bus_over_a_socket_it_is_given() {
    let camera = FakeCamera::new("front-1");
    let output = runtime().block_on(async {
        let (ours, theirs) = UnixStream::pair().expect("sockets");
        let mut command = Command::new(portraitctl());
        command.args(["--bus", "fd:0", "--json", "attach", "mask", "--frames", "20"]);
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        let _publishing = camera.publish_for_ever(Duration::from_millis(2));
        let child = tokio::task::spawn_blocking(move || command.output());
        let _server = serve_peer(ours.into(), publication(&[&camera])).await.expect("peer");
        child.await.expect("thread").expect("run")
    });
    let summary = json_of(&output);
    assert_eq!((&summary["frames"], &summary["torn"]), (&json!(20), &json!(0)), "{summary}");
}
