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
