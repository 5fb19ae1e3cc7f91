//! Finds models by name: in the directories of the configuration, then among the ones built into the program, so that
//! the daemon works from a bare binary.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ModelError;
use super::manifest::Manifest;
use super::model::{EngineOptions, Model};

/// (manifest file name, manifest, ONNX bytes) of the models that the program carries.
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

/// The model that is used where none is named.
pub const DEFAULT_MODEL: &str = "selfie-landscape";

/// Where models are looked for.
#[derive(Clone, Debug, Default)]
pub struct Library {
    directories: Vec<PathBuf>,
}

/// A model that could be loaded, or the reason why not.
#[derive(Debug)]
pub struct Entry {
    /// The manifest's path; `built-in/...` for those that the program carries.
    pub path: PathBuf,
    /// What it says.
    pub manifest: Result<Manifest, ModelError>,
}

impl Library {
    /// Looks in `directories`, first one first, then among the built-in models.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self { directories }
    }

    /// All manifests, those that hide others of the same name first.
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

    /// The names of all models whose manifest is good, each once.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for manifest in self.entries().into_iter().filter_map(|entry| entry.manifest.ok()) {
            if !names.contains(&manifest.name) {
                names.push(manifest.name);
            }
        }
        names
    }

    /// Loads the model `name`: a name, or the path of a manifest (with a `/` or ending in `.toml`).
    ///
    /// # Errors
    /// [`ModelError`], with the file and the reason.
    pub fn load(&self, name: &str, options: EngineOptions) -> Result<Model, ModelError> {
        Model::new(self.read(name)?, options)
    }

    /// Reads the files of the model `name`, as [`Library::load`] does, and makes nothing of them yet.
    ///
    /// # Errors
    /// [`ModelError`]: no such model, or its files cannot be read or do not belong together.
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
                let path = Path::new("built-in").join(file);
                return Package::new(Manifest::parse(text, &path)?, &path, Cow::Borrowed(onnx));
            }
        }
        Err(ModelError::Unknown { name: name.to_owned(), known: self.names().join(", ") })
    }
}

/// A model's files, which belong together: the ONNX file has the manifest's checksum.
#[derive(Clone, Debug)]
pub struct Package {
    /// What the manifest says.
    pub manifest: Manifest,
    /// Where the ONNX file was found; `built-in/...` for those that the program carries.
    pub path: PathBuf,
    /// The ONNX file.
    pub onnx: Cow<'static, [u8]>,
}

impl Package {
    fn new(manifest: Manifest, manifest_path: &Path, onnx: Cow<'static, [u8]>) -> Result<Self, ModelError> {
        let path = manifest_path.with_file_name(&manifest.file);
        let actual: String = Sha256::digest(&onnx).iter().map(|byte| format!("{byte:02x}")).collect();
        if !actual.eq_ignore_ascii_case(&manifest.sha256) {
            return Err(ModelError::Checksum { path, expected: manifest.sha256, actual });
        }
        Ok(Self { manifest, path, onnx })
    }

    fn read(manifest_path: &Path) -> Result<Self, ModelError> {
        let manifest = read_manifest(manifest_path)?;
        let onnx = read(&manifest_path.with_file_name(&manifest.file))?;
        Self::new(manifest, manifest_path, Cow::Owned(onnx))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|error| ModelError::Read { path: path.to_owned(), error })
}

fn read_manifest(path: &Path) -> Result<Manifest, ModelError> {
    let text = String::from_utf8(read(path)?).map_err(|_| ModelError::Manifest {
        path: path.to_owned(),
        place: None,
        reason: "not UTF-8 text; a manifest is a TOML file (models/README.md)".into(),
    })?;
    Manifest::parse(&text, path)
}
