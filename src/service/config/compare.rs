//! Compares the settings in force with those of an older configuration, for
//! `check-config --against`.
//!
//! Settings are compared as they are in force, defaults included. A key that no file mentions
//! therefore counts as changed if its default has changed between two releases.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Context;
use portraitd_media::bounded::read_regular;
use serde::Serialize;
use serde_json::Value;

use super::layers::MAX_FILE_BYTES;
use super::{Config, ConfigSources, Warning};

/// A configuration to compare with.
#[derive(Debug)]
pub struct Old {
    /// Its settings in force, as `check-config --json` prints them.
    pub settings: Value,
    /// What this release says about its file: keys that have been renamed.
    pub warnings: Vec<Warning>,
}

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The path of the key, with the name of its camera: `camera.main.framing.max_zoom`.
    pub key: String,
    /// The value before; `None` if the key is new.
    pub old: Option<Value>,
    /// The value now; `None` if the key is gone.
    pub new: Option<Value>,
}

impl Difference {
    /// Whether the service does something else than before. A key that only this release knows does
    /// not count, unless it belongs to a camera that is new.
    #[must_use]
    pub fn changes_behaviour(&self) -> bool {
        self.old.is_some() || self.key.ends_with(".name")
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(out, "changed  {}: {old} -> {new}", self.key),
            (Some(old), None) => write!(out, "gone     {}: was {old}", self.key),
            (None, Some(new)) => write!(out, "new      {}: {new}", self.key),
            (None, None) => write!(out, "same     {}", self.key),
        }
    }
}

/// Reads a configuration to compare with: the output of `check-config --json` if the name ends in
/// `.json`, else a configuration file, which is read by the rules of this release.
///
/// # Errors
/// If it cannot be read, or if this release refuses it.
pub fn read(path: &Path) -> anyhow::Result<Old> {
    if path.extension().is_some_and(|extension| extension == "json") {
        let place = || path.display().to_string();
        let bytes = read_regular(path, MAX_FILE_BYTES).with_context(place)?;
        let settings: Value = serde_json::from_slice(&bytes).with_context(place)?;
        anyhow::ensure!(settings.is_object(), "{}: not the output of `portraitd check-config --json`", place());
        return Ok(Old { settings, warnings: Vec::new() });
    }
    let config = Config::load(&ConfigSources { file: Some(path.to_owned()), ..ConfigSources::default() })?;
    Ok(Old { settings: serde_json::to_value(&config)?, warnings: config.warnings })
}

/// The settings that differ, by key.
#[must_use]
pub fn differences(old: &Value, new: &Value) -> Vec<Difference> {
    let (mut before, mut now) = (BTreeMap::new(), BTreeMap::new());
    flatten(String::new(), old, &mut before);
    flatten(String::new(), new, &mut now);
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let difference = |key: &String| {
        let (old, new) = (before.get(key).cloned(), now.get(key).cloned());
        (old != new).then(|| Difference { key: key.clone(), old, new })
    };
    keys.into_iter().filter_map(difference).collect()
}

/// Collects the values with their paths. Cameras are known by their names, and other lists are
/// values.
fn flatten(path: String, value: &Value, values: &mut BTreeMap<String, Value>) {
    let under = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(table) => table.iter().for_each(|(key, value)| flatten(under(key), value, values)),
        Value::Array(cameras) if path == "camera" => {
            for camera in cameras {
                let name = camera.get("name").and_then(Value::as_str).unwrap_or_default();
                flatten(under(name), camera, values);
            }
        }
        value => {
            values.insert(path, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(old: &Value, new: &Value) -> Vec<String> {
        differences(old, new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn settings_are_compared_by_key_and_cameras_by_name() {
        let old = json!({"threads": 1, "gone": true, "camera": [
            {"name": "a", "fps": 30.0, "framing": {"zones": [[0.0, 0.0, 0.5, 1.0]]}},
            {"name": "b", "fps": 15.0},
        ]});
        let new = json!({"threads": 1, "added": "x", "camera": [
            {"name": "b", "fps": 15.0},
            {"name": "a", "fps": 25.0, "framing": {"zones": []}},
        ]});
        let found = [
            "new      added: \"x\"",
            "changed  camera.a.fps: 30.0 -> 25.0",
            "changed  camera.a.framing.zones: [[0.0,0.0,0.5,1.0]] -> []",
            "gone     gone: was true",
        ];
        assert_eq!(lines(&old, &new), found);
        assert_eq!(lines(&old, &old), [""; 0]);
    }

    #[test]
    fn new_keys_change_nothing_and_new_cameras_do() {
        let old = json!({"camera": [{"name": "a"}]});
        let key = differences(&old, &json!({"version": 1, "camera": [{"name": "a", "fresh": 0}]}));
        assert!(key.len() == 2 && key.iter().all(|difference| !difference.changes_behaviour()), "{key:?}");
        let camera = differences(&old, &json!({"camera": [{"name": "a"}, {"name": "b"}]}));
        assert!(camera.iter().any(Difference::changes_behaviour), "{camera:?}");
        assert!(differences(&json!({"x": 1}), &json!({})).iter().all(Difference::changes_behaviour));
    }

    #[test]
    fn an_old_configuration_is_a_file_or_what_an_older_release_printed() {
        let folder = tempfile::tempdir().expect("folder");
        let (toml, printed) = (folder.path().join("old.toml"), folder.path().join("old.json"));
        std::fs::write(&toml, "threads = 2\n").expect("written");
        let now = serde_json::to_value(Config::default()).expect("JSON");
        assert_eq!(lines(&read(&toml).expect("read").settings, &now), ["changed  threads: 2 -> 1"]);
        // An older release with another default.
        let mut older = now.clone();
        older["camera"][0]["framing"]["max_zoom"] = json!(3.5);
        std::fs::write(&printed, older.to_string()).expect("written");
        let found = lines(&read(&printed).expect("read").settings, &now);
        assert_eq!(found, ["changed  camera.main.framing.max_zoom: 3.5 -> 2.0"]);
        std::fs::write(&toml, "thread = 2\n").expect("written");
        assert!(read(&toml).expect_err("refused").to_string().contains("old.toml:1:1: unknown key `thread`"));
        std::fs::write(&printed, "[]").expect("written");
        assert!(read(&printed).expect_err("refused").to_string().contains("check-config --json"));
    }
}
