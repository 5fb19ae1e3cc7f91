//! Each metric and each figure of `stats` is moved by something.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::service::metrics::Report;

/// What nothing can move, because its value is always 1.
const CONSTANT: &str = "portraitd_build_info";

/// The samples of the metrics file, by name and labels.
fn samples(rig: &Rig, uptime_s: f64, safe_mode: bool) -> BTreeMap<String, String> {
    let cameras = vec![rig.camera.report(uptime_s)];
    let text = Report { version: "0.1.0".into(), uptime_s, safe_mode, cameras }.to_text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name.into(), value.into())).collect()
}

/// The families of the metrics file, with the name of the type of each.
fn families(rig: &Rig) -> BTreeMap<String, String> {
    let cameras = vec![rig.camera.report(1.0)];
    let text = Report { version: "0.1.0".into(), uptime_s: 1.0, safe_mode: false, cameras }.to_text();
    let of = |line: &str, kind: &str| {
        line.strip_prefix(kind)?.split_once(' ').map(|(name, rest)| (name.to_owned(), rest.to_owned()))
    };
    let types: BTreeMap<String, String> = text.lines().filter_map(|line| of(line, "# TYPE ")).collect();
    let help: BTreeMap<String, String> = text.lines().filter_map(|line| of(line, "# HELP ")).collect();
    assert_eq!(types.keys().collect::<Vec<_>>(), help.keys().collect::<Vec<_>>(), "each has HELP and TYPE");
    assert!(help.values().all(|help| help.len() > 5), "{help:?}");
    types
}

/// The family of a sample.
fn family_of<'a>(sample: &str, families: &'a BTreeMap<String, String>) -> &'a str {
    let name = sample.split('{').next().expect("a name");
    let family = families.iter().find(|(family, kind)| {
        let rest = name.strip_prefix(family.as_str());
        rest.is_some_and(|rest| {
            rest.is_empty() || (*kind == "histogram" && ["_bucket", "_sum", "_count"].contains(&rest))
        })
    });
    family.unwrap_or_else(|| panic!("{sample} has no TYPE")).0
}

/// Sends frames until one has been observed.
fn until_inference(rig: &Rig, steps: &Sender<Step>) {
    let (shared, mut seen) = (rig.camera.shared(), 0);
    for _ in 0..10_000 {
        steps.send(Step::News).expect("streams");
        if let WaitOutcome::New(_, count) = shared.observations.wait_newer(seen, Duration::from_millis(5)) {
            seen = count;
        }
        if seen > 0 {
            return;
        }
    }
    panic!("no inference");
}

#[tokio::test]
async fn each_metric_is_moved_by_something() {
    let model = Library::default().load("selfie-landscape", EngineOptions::default()).expect("built in");
    let mut rig =
        Rig::with_net(config::CameraConfig { idle_close_s: 60.0, ..config::CameraConfig::default() }, Some(model));
    let families = families(&rig);
    let mut all = vec![samples(&rig, 1.0, false)];
    let steps = rig.will_open();
    let _ring = rig.attach_to(StreamKind::Mask).await.expect("there");
    until_inference(&rig, &steps);
    let reopened = rig.camera.report(1.0).reopened;
    steps.send(Step::Lost(StreamCounters { dropped: 3, corrupt: 2, starved: 1 })).expect("streams");
    steps.send(Step::Fail(gone())).expect("streams");
    rig.until(CameraState::Absent).await;
    all.push(samples(&rig, 2.0, true));
    let steps = rig.will_open();
    rig.camera.retry_now();
    steps.send(Step::Frame).expect("will stream");
    rig.until(CameraState::Running).await;
    assert!(rig.camera.report(1.0).reopened > reopened);
    all.push(samples(&rig, 3.0, true));

    let mut moved = BTreeSet::new();
    for pair in all.windows(2) {
        for name in pair[0].keys().chain(pair[1].keys()) {
            if pair[0].get(name) != pair[1].get(name) {
                moved.insert(family_of(name, &families).to_owned());
            }
        }
    }
    let still: Vec<&String> = families.keys().filter(|name| !moved.contains(*name)).collect();
    assert_eq!(still, [CONSTANT], "nothing moves these");
    let last = all.last().expect("samples");
    let value = |name: &str| last[&format!("portraitd_{name}_total{{camera=\"main\"}}")].as_str();
    assert_eq!((value("frames_dropped"), value("frames_corrupt")), ("3", "2"), "{last:?}");
}

/// docs/fleet.md: keys are only added to this list, and no type changes.
const STATS: [(&str, &str); 12] = [
    ("frames", "u64"),
    ("frames_corrupt", "u64"),
    ("frames_dropped", "u64"),
    ("frames_published", "u64"),
    ("frames_starved", "u64"),
    ("framing_moves", "u64"),
    ("inference_ms", "f64"),
    ("latency_ms", "f64"),
    ("mask_age_ms", "f64"),
    ("masks", "u64"),
    ("reopened", "u64"),
    ("rings", "u64"),
];

#[tokio::test]
async fn stats_have_the_keys_and_types_that_are_documented() {
    let model = Library::default().load("selfie-landscape", EngineOptions::default()).expect("built in");
    let rig = Rig::with_net(config::CameraConfig::default(), Some(model));
    let keys = |rig: &Rig| rig.camera.stats().into_keys().collect::<Vec<String>>();
    assert!(!keys(&rig).contains(&"mask_age_ms".to_owned()), "there is no mask yet");
    let steps = rig.will_open();
    let _ring = rig.attach_to(StreamKind::Mask).await.expect("there");
    until_inference(&rig, &steps);
    let stats = rig.camera.stats();
    let kind = |value: &DictionaryValue| match value {
        DictionaryValue::U64(_) => "u64",
        DictionaryValue::F64(_) => "f64",
    };
    let found: Vec<(&str, &str)> = stats.iter().map(|(key, value)| (key.as_str(), kind(value))).collect();
    assert_eq!(found, STATS);
    let page = include_str!("../../../docs/fleet.md");
    for (key, _) in STATS {
        assert!(page.contains(&format!("\n| `{key}` |")), "{key} is not in docs/fleet.md");
    }
}
