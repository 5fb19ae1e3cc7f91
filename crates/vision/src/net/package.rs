//! The files of a model.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::ModelError;
use super::manifest::Manifest;

/// The files of a model. The checksum of the ONNX file has been compared with the manifest.
#[derive(Clone, Debug)]
pub struct Package {
    /// The manifest.
    pub manifest: Manifest,
    /// Path of the ONNX file; `built-in/...` for models that are part of the program.
    pub path: PathBuf,
    /// Contents of the ONNX file.
    pub onnx: Cow<'static, [u8]>,
}

impl Package {
    /// Checks that `onnx` is the file that `manifest` describes.
    pub(super) fn new(manifest: Manifest, manifest_path: &Path, onnx: Cow<'static, [u8]>) -> Result<Self, ModelError> {
        let path = manifest_path.with_file_name(&manifest.file);
        let actual: String = Sha256::digest(&onnx).iter().map(|byte| format!("{byte:02x}")).collect();
        if !actual.eq_ignore_ascii_case(&manifest.sha256) {
            return Err(ModelError::Checksum { path, expected: manifest.sha256, actual });
        }
        Ok(Self { manifest, path, onnx })
    }

    /// Reads the manifest and the ONNX file beside it.
    pub(super) fn read(manifest_path: &Path) -> Result<Self, ModelError> {
        let manifest = read_manifest(manifest_path)?;
        let onnx = read(&manifest_path.with_file_name(&manifest.file))?;
        Self::new(manifest, manifest_path, Cow::Owned(onnx))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|error| ModelError::Read { path: path.to_owned(), error })
}

/// Reads and checks a manifest.
pub(super) fn read_manifest(path: &Path) -> Result<Manifest, ModelError> {
    let text = String::from_utf8(read(path)?).map_err(|_| ModelError::Manifest {
        path: path.to_owned(),
        position: None,
        reason: "the manifest is not UTF-8 text; it must be a TOML file (see models/README.md)".into(),
    })?;
    Manifest::parse(&text, path)
}
