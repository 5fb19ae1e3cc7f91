//! The configuration: typed, in layers, with errors that name the exact place.
//!
//! Layers, lowest first: `/usr/lib/portraitd/portraitd.toml`, `/etc/portraitd/portraitd.toml`,
//! `/etc/portraitd/portraitd.toml.d/*.toml` (by name), `PORTRAITD_*` variables, flags. A later
//! layer replaces the keys that it sets and leaves the others. Cameras are matched by name, so a
//! drop-in can change one key of one camera. A file that is named with `--config F` replaces all
//! file layers.
//!
//! A mistake is refused with file, line and column ([`ConfigError`]). Each layer is checked by
//! itself, so a good value in a later layer does not hide a bad one. Values that must fit together
//! are checked last, and the error still names the place of the value.
//!
//! This runs on the main thread, at the start and on reload. Only the [`Config`] that
//! [`Config::load`] returns is kept. `docs/design/service.md` gives the reasons.

pub mod compare;
mod doubts;
mod error;
mod layers;
mod model;
mod renamed;
mod summary;
#[cfg(test)]
mod tests;
mod values;

pub use error::{ConfigError, Conflict, Place, ValueError, Warning};
pub use model::{
    BackgroundConfig, CameraConfig, Config, FramingConfig, MAX_CAMERAS, OutputConfig, SegmentationConfig, VERSION,
};
pub use values::BusConfig;

use layers::{Layer, Origin};
use portraitd_protocol::settings::CAMERA_NAME;
use portraitd_protocol::{BackgroundMode, StreamKind};
use renamed::RENAMED_KEYS;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The most drop-in files that are read.
const MAX_DROP_INS: usize = 64;
/// The most variables `PORTRAITD_*` that are read. Each one that is a setting is a layer.
const MAX_VARIABLES: usize = 256;

/// The settings of the command line. `None` sets nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--source S`: the device of the only camera.
    pub source: Option<String>,
    /// `--bus B`.
    pub bus: Option<String>,
    /// `--log L`.
    pub log: Option<String>,
    /// `--threads N`.
    pub threads: Option<String>,
    /// `--models-dir D`.
    pub models_dir: Option<String>,
    /// `--metrics-file F`.
    pub metrics_file: Option<String>,
}

/// The sources of a configuration.
#[derive(Clone, Debug, Default)]
pub struct ConfigSources {
    /// `--config F`: this file replaces all file layers. It must exist.
    pub file: Option<PathBuf>,
    /// The folder that is used instead of `/`, for images of boards and for tests. Empty means `/`.
    pub root: PathBuf,
    /// The environment, of which only `PORTRAITD_*` is used.
    pub environment: Vec<(OsString, OsString)>,
    /// The command line.
    pub flags: Flags,
}

impl ConfigSources {
    /// The files of this system, the environment of this process, and the given flags.
    #[must_use]
    pub fn system(file: Option<PathBuf>, flags: Flags) -> Self {
        Self { file, root: PathBuf::new(), environment: std::env::vars_os().collect(), flags }
    }

    fn path(&self, path: &str) -> PathBuf {
        if self.root.as_os_str().is_empty() { PathBuf::from("/").join(path) } else { self.root.join(path) }
    }

    /// The file layers that exist and are good, lowest first. The mistakes of the others are added
    /// to `mistakes`.
    fn files(&self, mistakes: &mut Vec<ConfigError>) -> Vec<(PathBuf, Layer)> {
        if let Some(path) = &self.file {
            match Layer::read(path) {
                Ok(Some(layer)) => return vec![(path.clone(), layer)],
                Ok(None) => {
                    let error = std::io::Error::other("no such file");
                    mistakes.push(ConfigError::Read { path: path.clone(), error });
                }
                Err(found) => mistakes.extend(found),
            }
            return Vec::new();
        }
        let mut paths = vec![self.path("usr/lib/portraitd/portraitd.toml"), self.path("etc/portraitd/portraitd.toml")];
        match drop_ins(&self.path("etc/portraitd/portraitd.toml.d")) {
            Ok(files) => paths.extend(files),
            Err(error) => mistakes.push(error),
        }
        let mut layers = Vec::new();
        for path in paths {
            match Layer::read(&path) {
                Ok(layer) => layers.extend(layer.map(|layer| (path, layer))),
                Err(found) => mistakes.extend(found),
            }
        }
        layers
    }
}

/// The `*.toml` files of a folder, ordered by name. A folder that does not exist has none.
fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |error| ConfigError::Read { path: folder.to_owned(), error };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension() == Some(OsStr::new("toml")) {
            paths.push(path);
        }
        if paths.len() > MAX_DROP_INS {
            let place = Place::All { name: folder.display().to_string() };
            return Err(ConfigError::TooMany { place, what: "files", limit: MAX_DROP_INS });
        }
    }
    paths.sort();
    Ok(paths)
}

impl Config {
    /// Reads and checks all layers. It reads files and lists `/dev/v4l`, and changes nothing, so
    /// that `check-config` and reload can use it too: on an error the caller keeps its old
    /// configuration.
    ///
    /// # Errors
    /// The first mistake, lowest layer first, with its place.
    pub fn load(sources: &ConfigSources) -> Result<Self, ConfigError> {
        Self::check(sources).map_err(|mistakes| {
            let mut mistakes = mistakes.into_iter();
            let first = mistakes.next().unwrap_or(ConfigError::Merge { message: "no reason".to_owned() });
            match mistakes.len() {
                0 => first,
                more => ConfigError::First { first: Box::new(first), more },
            }
        })
    }

    /// As [`Config::load`], but it does not stop at the first mistake.
    ///
    /// # Errors
    /// The mistakes, at least one: by layer, lowest first, and in the order of each file. Values
    /// that must fit together are checked only if each is good by itself.
    pub fn check(sources: &ConfigSources) -> Result<Self, Vec<ConfigError>> {
        let (mut warnings, mut mistakes) = (Vec::new(), Vec::new());
        let (files, mut layers): (Vec<PathBuf>, Vec<Layer>) = sources.files(&mut mistakes).into_iter().unzip();
        let files_are_good = mistakes.is_empty();
        if let Err(found) = environment(&sources.environment, &mut layers, &mut warnings) {
            mistakes.extend(found);
        }
        // Which camera `--source` means follows from the files.
        if files_are_good && let Err(found) = flags(&sources.flags, &mut layers) {
            mistakes.extend(found);
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        warnings.extend(layers.iter_mut().flat_map(|layer| std::mem::take(&mut layer.warnings)));
        let mut config = layers::merge(&layers).map_err(|error| vec![error])?;
        let places = Places::of_layers(layers);
        let conflicts = check_together(&config, &places);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        doubts::of_node_numbers(&config, &places, &sources.path("dev/v4l"), &mut warnings);
        doubts::of_zoom(&config, &places, &mut warnings);
        config.hidden = doubts::of_hidden_paths(&config, &places);
        config.warnings = warnings;
        config.files = files;
        Ok(config)
    }
}

/// The names of the cameras of these layers, in order.
fn camera_names(layers: &[Layer]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in layers.iter().flat_map(|layer| &layer.cameras) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Adds a layer for each `PORTRAITD_*` variable that is a setting: `PORTRAITD_THREADS`, or
/// `PORTRAITD_CAMERA__NAME__FRAMING__MAX_ZOOM`. Two underscores stand for a dot; in a name, one
/// stands for a hyphen.
fn environment(
    variables: &[(OsString, OsString)],
    layers: &mut Vec<Layer>,
    warnings: &mut Vec<Warning>,
) -> Result<(), Vec<ConfigError>> {
    let names = camera_names(layers);
    let mut ours: Vec<(&str, &OsString)> = variables
        .iter()
        .filter_map(|(variable, value)| Some((variable.to_str()?, value)))
        .filter(|(variable, _)| variable.starts_with("PORTRAITD_"))
        .collect();
    if ours.len() > MAX_VARIABLES {
        let place = Place::All { name: "the environment".to_owned() };
        return Err(vec![ConfigError::TooMany { place, what: "variables PORTRAITD_*", limit: MAX_VARIABLES }]);
    }
    let mut mistakes = Vec::new();
    ours.sort_unstable();
    for (variable, value) in ours {
        let place = || Place::Environment { variable: variable.to_owned() };
        let lower = variable["PORTRAITD_".len()..].to_ascii_lowercase();
        let mut path: Vec<&str> = lower.split("__").collect();
        let is_camera = path.len() >= 3 && path[0] == "camera";
        let is_old_name = RENAMED_KEYS.iter().any(|key| key.table.is_empty() && key.old == lower);
        let is_key = matches!(lower.as_str(), "bus" | "models_dir" | "threads" | "metrics_file" | "log");
        if !is_camera && !is_key && !is_old_name {
            // It is only a warning, because other programs of this project have variables of their
            // own.
            if lower != "isa" {
                let message = "not a setting: ignored".to_owned();
                warnings.push(Warning { place: place(), message });
            }
            continue;
        }
        let Some(value) = value.to_str() else {
            mistakes.push(ConfigError::NotText { place: place() });
            continue;
        };
        if is_camera {
            match names.iter().find(|name| name.replace('-', "_") == path[1]) {
                Some(name) => path[1] = name,
                None if !names.is_empty() => {
                    let names = names.join("`, `");
                    let message = format!("makes another camera, `{}`, beside `{names}` of the files", path[1]);
                    warnings.push(Warning { place: place(), message });
                }
                None => {}
            }
        }
        match Layer::setting(&path, value, &Origin::Environment(variable.to_owned())) {
            Ok(layer) => layers.push(layer),
            Err(found) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

/// Adds a layer for each flag.
fn flags(flags: &Flags, layers: &mut Vec<Layer>) -> Result<(), Vec<ConfigError>> {
    let plain = [
        ("--bus", "bus", &flags.bus),
        ("--log", "log", &flags.log),
        ("--threads", "threads", &flags.threads),
        ("--models-dir", "models_dir", &flags.models_dir),
        ("--metrics-file", "metrics_file", &flags.metrics_file),
    ];
    for (flag, key, value) in plain {
        if let Some(value) = value {
            layers.push(Layer::setting(&[key], value, &Origin::Flag(flag))?);
        }
    }
    if let Some(source) = &flags.source {
        let names = camera_names(layers);
        let name = match names.as_slice() {
            [] => CAMERA_NAME,
            [name] => name,
            several => {
                return Err(vec![ConfigError::Conflict {
                    place: Place::Flag { flag: "--source" },
                    key: "device".to_owned(),
                    conflict: Conflict::SeveralCameras { names: several.to_vec() },
                }]);
            }
        };
        layers.push(Layer::setting(&["camera", name, "device"], source, &Origin::Flag("--source"))?);
    }
    Ok(())
}

/// The places of the keys in force, after all layers are merged.
struct Places(BTreeMap<String, Place>);

impl Places {
    fn of_layers(layers: Vec<Layer>) -> Self {
        let mut places = BTreeMap::new();
        for layer in layers {
            // A list replaces the list of a lower layer, so the places of the items of that list
            // are removed.
            let replaced = |old: &str| {
                let list = old.match_indices('[').map(|(at, _)| &old[..at]);
                list.into_iter().any(|list| layer.places.contains_key(list))
            };
            places.retain(|old: &String, _| !replaced(old));
            places.extend(layer.places);
        }
        Self(places)
    }

    fn of(&self, key: &str) -> Place {
        self.0.get(key).cloned().unwrap_or(Place::Default)
    }

    /// The first of these keys that a layer sets.
    fn first(&self, keys: &[&str]) -> (String, Place) {
        let set = keys.iter().find_map(|key| Some(((*key).to_owned(), self.0.get(*key)?.clone())));
        set.unwrap_or_else(|| (keys[0].to_owned(), Place::Default))
    }
}

/// Checks values that must fit together.
fn check_together(config: &Config, places: &Places) -> Vec<ConfigError> {
    let mut found = Vec::new();
    let mut refuse =
        |(key, place): (String, Place), conflict: Conflict| found.push(ConfigError::Conflict { place, key, conflict });
    // Every device or file that is in use, with the key that uses it.
    let mut used: BTreeMap<&str, String> = BTreeMap::new();
    if let Some(surplus) = config.cameras.get(MAX_CAMERAS) {
        let (_, place) = places.first(&[&format!("camera.{}", surplus.name)]);
        return vec![ConfigError::TooMany { place, what: "cameras", limit: MAX_CAMERAS }];
    }
    for camera in &config.cameras {
        let at = format!("camera.{}", camera.name);
        if (camera.width == 0) != (camera.height == 0) {
            let keys = [format!("{at}.width"), format!("{at}.height")];
            let written = places.first(&[&keys[usize::from(camera.width != 0)], &keys[0], &keys[1]]);
            refuse(written, Conflict::FrameSize);
        }
        let framing = &camera.framing;
        if (framing.output_width == 0) != (framing.output_height == 0) {
            let keys = [format!("{at}.framing.output_width"), format!("{at}.framing.output_height")];
            refuse(places.first(&[&keys[0], &keys[1]]), Conflict::ViewSize);
        }
        if framing.min_zoom > framing.max_zoom {
            let keys = [format!("{at}.framing.min_zoom"), format!("{at}.framing.max_zoom")];
            let conflict =
                Conflict::LeastZoom { min_zoom: framing.min_zoom.to_string(), max_zoom: framing.max_zoom.to_string() };
            refuse(places.first(&[&keys[0], &keys[1]]), conflict);
        }
        if camera.background.mode == BackgroundMode::Image && camera.background.image.is_none() {
            let key = format!("{at}.background.mode");
            refuse(places.first(&[&key]), Conflict::NoImage);
        }
        let key = format!("{at}.device");
        if camera.device.starts_with('/')
            && let Some(other) = used.insert(&camera.device, key.clone())
        {
            let place = places.of(&key);
            refuse((key, place), Conflict::DeviceInUse { device: camera.device.clone(), other });
        }
    }
    for camera in &config.cameras {
        for (index, output) in camera.outputs.iter().enumerate() {
            let at = format!("camera.{}.output[{index}]", camera.name);
            if output.stream == StreamKind::Source && !camera.allow_source {
                let key = format!("{at}.stream");
                let place = places.of(&key);
                refuse((key, place), Conflict::SourceNotAllowed);
            }
            let key = format!("{at}.device");
            if let Some(other) = used.insert(&output.device, key.clone()) {
                let place = places.of(&key);
                refuse((key, place), Conflict::DeviceInUse { device: output.device.clone(), other });
            }
        }
    }
    found
}
