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
