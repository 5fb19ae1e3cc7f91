//! Runs the demo as a user does: the service in one process and the client in another.

use std::process::Command;

#[test]
fn the_demo_finds_the_person_and_another_process_reads_the_rings() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_portraitd-lab"))
        .args(["demo", "--seconds", "8", "--json", "--out"])
        .arg(folder.path())
        .output()
        .expect("portraitd-lab runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    let figures: serde_json::Value = serde_json::from_str(&text).expect("one JSON document");
    assert!(figures["iou_mean"].as_f64().is_some_and(|iou| iou >= 0.9), "{figures}");
    assert_eq!(figures["client"]["torn"], 0, "{figures}");
    assert!(figures["client"]["frames"].as_u64().is_some_and(|frames| frames > 0), "{figures}");
    let keys = ["frames", "first_mask_ms", "cpu_ms_per_frame", "rss_mb"];
    assert!(keys.iter().all(|key| figures[key].is_number()), "{figures}");
    let sheet = figures["contact_sheet"].as_str().expect("a path");
    assert!(std::fs::metadata(sheet).is_ok_and(|file| file.len() > 10_000), "{sheet}");
}

fn lab(arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_portraitd-lab"))
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("portraitd-lab runs");
    let texts = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {}", texts.1);
    (texts.0.into_owned(), texts.1.into_owned())
}

#[test]
fn commands_say_what_they_did() {
    let out = tempfile::tempdir().expect("a folder");
    let path = out.path().to_string_lossy().into_owned();
    let segment = ["segment", "tests/fixtures/models", "--out", &path, "--composite", "navy"];
    let (result, said) = lab(&segment);
    assert_eq!(result, "");
    assert!(
        said.contains("left out, only .png, .jpg and .jpeg files are read: ") && said.contains(".onnx, "),
        "{said}"
    );
    assert!(said.contains(": a mask, a composite of "), "{said}");
    assert_eq!(lab(&[&segment[..], &["--quiet"]].concat()).1, "");
    let (timed, _) = lab(&["bench", "look", "--iterations", "2"]);
    assert!(timed.starts_with("sampling a 1280x720 frame, and one inference, 2 times: selfie-landscape"), "{timed}");
    for command in ["demo", "eval"] {
        let (help, _) = lab(&[command, "--help"]);
        for scene in portraitd_scene::SceneName::ALL {
            assert!(help.contains(scene.name()), "{command}: {scene}");
        }
        assert!(help.contains("Examples:"), "{help}");
    }
}
