//! Bad input, given to the daemon's program: one clear line on standard error that names the place,
//! exit status 1, and no panic.

use std::process::{Command, Output};

fn portraitd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portraitd")).args(arguments).output().expect("portraitd runs")
}

/// Runs and expects a failure whose one line holds each of `parts`.
fn refused(arguments: &[&str], parts: &[&str]) {
    let output = portraitd(arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    assert!(text.starts_with("portraitd: "), "{text}");
    for part in parts {
        assert!(text.contains(part), "{arguments:?}: no {part:?} in {text}");
    }
}

#[test]
fn configurations_and_sources() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("portraitd.toml");
    std::fs::write(&file, b"threads = 1\n[[camera]]\nname = \"front\"\nwdith = 640\n").expect("written");
    let path = file.to_string_lossy().into_owned();
    refused(&["check-config", "--config", &path], &[&format!("{path}:4:1"), "wdith"]);
    refused(&["run", "--config", &path, "--bus", "none"], &[&format!("{path}:4:1"), "wdith"]);
    refused(&["run", "--bus", "none", "--source", "scene:nowhere"], &["nowhere"]);
}

/// Files that never end, or whose opening waits, in every place where the configuration names one.
#[test]
fn files_that_are_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RUSR).expect("a FIFO");
    for (path, kind) in [(at("fifo"), "a FIFO"), ("/dev/zero".into(), "a device")] {
        let name = path.to_string_lossy();
        refused(&["check-config", "--config", &name], &[&name, kind]);
        refused(&["run", "--bus", "none", "--config", &name], &[&name, kind]);
        let configured = |text: String, commands: &[&[&str]], named: &str| {
            std::fs::write(at("portraitd.toml"), text).expect("written");
            for command in commands {
                let file = at("portraitd.toml").to_string_lossy().into_owned();
                refused(&[command, &["--config", &file][..]].concat(), &[named, kind]);
            }
        };
        let check: &[&str] = &["check-config"];
        let image = format!("[[camera]]\n[camera.background]\nmode = \"image\"\nimage = {path:?}\n");
        configured(image, &[check], &name);
        // A manifest, and the net beside a good manifest.
        let models = tempfile::tempdir().expect("a folder");
        let text = format!("models_dir = {:?}\n[[camera]]\nsegmentation.model = \"endless\"\n", models.path());
        let commands: &[&[&str]] = &[check, &["run", "--bus", "none"]];
        let manifest = models.path().join("endless.toml");
        std::os::unix::fs::symlink(&path, &manifest).expect("a link");
        configured(text.clone(), commands, "endless.toml");
        std::fs::remove_file(&manifest).expect("removed");
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/models/selfie-landscape.toml");
        let shipped = std::fs::read_to_string(shipped).expect("a manifest");
        std::fs::write(&manifest, shipped.replace("selfie-landscape.onnx", "endless.onnx")).expect("written");
        std::os::unix::fs::symlink(&path, models.path().join("endless.onnx")).expect("a link");
        configured(text, commands, "endless.onnx");
    }
}

/// Every mistake has a line, in the order of the file, and then what the configuration refers to.
#[test]
fn all_mistakes_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("portraitd.toml").to_string_lossy().into_owned();
    let lines = |text: &str| {
        std::fs::write(&file, text).expect("written");
        let output = portraitd(&["check-config", "--config", &file]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let said = lines("threads = 9\n[[camera]]\nwdith = 640\nfps = 999\n");
    assert_eq!(said.len(), 3, "{said:?}");
    for (line, place) in said.iter().zip([":1:11: ", ":3:1: ", ":4:7: "]) {
        assert!(line.starts_with(&format!("portraitd: {file}{place}")), "{place}: {line}");
    }
    let said = lines("[[camera]]\nsegmentation.model = \"none\"\nbackground.image = \"/none.png\"\n");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("segmentation.model") && said[1].contains("background.image"), "{said:?}");
}

#[test]
fn the_help_has_examples_and_the_names_of_scenes() {
    for arguments in [&["--help"][..], &["run", "--help"]] {
        let help = String::from_utf8_lossy(&portraitd(arguments).stdout).into_owned();
        assert!(help.contains("Examples:"), "{help}");
    }
    let help = String::from_utf8_lossy(&portraitd(&["run", "--help"]).stdout).into_owned();
    for scene in portraitd_scene::SceneName::ALL {
        assert!(help.contains(scene.name()), "{scene}: {help}");
    }
}

#[test]
fn buses_that_are_not_there_have_advice() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |bus: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_portraitd"))
            .args(["run", "--log", "error", "--source", "scene:walk", "--bus", bus])
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .env("XDG_RUNTIME_DIR", folder.path())
            .env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}/none", folder.path().display()))
            .output()
            .expect("portraitd runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = run("session");
    assert!(text.contains("dbus-run-session -- "), "{text}");
    let text = run("system");
    assert!(text.contains("apt install dbus"), "{text}");
}

#[test]
fn a_command_that_has_moved_names_its_new_program() {
    for name in ["demo", "segment", "direct", "eval", "bench", "layers"] {
        let output = portraitd(&[name, "--json"]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(&format!("`portraitd-lab {name}`")), "{text}");
    }
}

#[test]
fn a_wrong_command_line_is_another_exit_status() {
    for arguments in [&["run", "--no-such-flag"][..], &["no-such-command"]] {
        assert_eq!(portraitd(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
