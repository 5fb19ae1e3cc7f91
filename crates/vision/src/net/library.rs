//! Finds models by name: first in the directories of the configuration, then among the models that
//! are part of the program. The built-in models make the daemon work without any other files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::engine::EngineOptions;
use super::error::ModelError;
use super::manifest::Manifest;
use super::model::{LoadedNets, Model};
use super::package::{Package, read_manifest};

/// Manifest file name, manifest and ONNX bytes of the built-in models.
const BUILT_IN: [(&str, &str, &[u8]); 2] = [
    (
        "selfie-landscape.toml",
        include_str!("../../../../models/selfie-landscape.toml"),
        include_bytes!("../../../../models/selfie-landscape.onnx"),
    ),
    (
        "selfie-general.toml",
        include_str!("../../../../models/selfie-general.toml"),
        include_bytes!("../../../../models/selfie-general.onnx"),
    ),
];

/// The manifest of the face detector, in a directory of models. It makes no masks, so it is in a
/// folder of its own and not in the list of models.
const FACES: &str = "heads/faces.toml";

/// The name of the model that is used if none is configured. It is one of the built-in models.
pub const DEFAULT_MODEL: &str = portraitd_protocol::settings::MODEL;

/// Finds models in directories and among the built-in models. Copies of a library share what they
/// have loaded.
#[derive(Clone, Debug, Default)]
pub struct Library {
    directories: Vec<PathBuf>,
    nets: Arc<LoadedNets>,
}

/// A manifest that was found, valid or not.
#[derive(Debug)]
pub struct Entry {
    /// Path of the manifest; `built-in/...` for models that are part of the program.
    pub path: PathBuf,
    /// The manifest, or why it is not valid.
    pub manifest: Result<Manifest, ModelError>,
}

impl Library {
    /// Searches `directories` in this order, then the built-in models.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories, nets: Arc::default() }
    }

    /// All manifests, in the order of the search: if two have the same name, the first is used.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for directory in &self.directories {
            let Ok(files) = std::fs::read_dir(directory) else { continue };
            let mut paths: Vec<PathBuf> = files
                .filter_map(|file| file.ok().map(|file| file.path()))
                .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
                .collect();
            paths.sort();
            entries.extend(paths.into_iter().map(|path| Entry { manifest: read_manifest(&path), path }));
        }
        entries.extend(BUILT_IN.iter().map(|(file, text, _)| {
            let path = Path::new("built-in").join(file);
            Entry { manifest: Manifest::parse(text, &path), path }
        }));
        entries
    }

    /// The names of all models with a valid manifest, without repetitions.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for manifest in self.entries().into_iter().filter_map(|entry| entry.manifest.ok()) {
            if !names.contains(&manifest.name) {
                names.push(manifest.name);
            }
        }
        names
    }

    /// Loads the model `name`: the name of a model, or the path of a manifest (which contains `/`
    /// or ends in `.toml`). Its weights are in memory once for all models of the same files and the
    /// same options.
    ///
    /// # Errors
    /// [`ModelError`]: there is no such model, or its files cannot be read, imported or run.
    pub fn load(&self, name: &str, options: EngineOptions) -> Result<Model, ModelError> {
        self.nets.model(self.read(name)?, options)
    }

    /// Loads the net of the face detector ([`crate::HeadDetector`]), which is shared as well; `None`
    /// if no directory has it.
    ///
    /// # Errors
    /// [`ModelError`] as for [`Library::load`].
    pub fn load_heads(&self, options: EngineOptions) -> Result<Option<Model>, ModelError> {
        let mut paths = self.directories.iter().map(|directory| directory.join(FACES));
        let Some(path) = paths.find(|path| path.exists()) else { return Ok(None) };
        Ok(Some(self.nets.model(Package::read(&path)?, options)?))
    }

    /// Reads the files of the model `name`, as [`Library::load`] does, without importing the net.
    ///
    /// # Errors
    /// [`ModelError`]: there is no such model, or its files cannot be read, or the checksum is
    /// another one than the manifest says.
    pub fn read(&self, name: &str) -> Result<Package, ModelError> {
        if name.contains('/') || name.ends_with(".toml") {
            return Package::read(Path::new(name));
        }
        for directory in &self.directories {
            let path = directory.join(format!("{name}.toml"));
            if path.exists() {
                return Package::read(&path);
            }
        }
        for (file, text, onnx) in BUILT_IN {
            if file.strip_suffix(".toml") == Some(name) {
                return Package::built_in(file, text, onnx);
            }
        }
        Err(ModelError::Unknown { name: portraitd_protocol::settings::excerpt(name), known: self.names().join(", ") })
    }
}
