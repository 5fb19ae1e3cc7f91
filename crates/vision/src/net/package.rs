//! The files of a model.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use portraitd_media::bounded::read_regular;
use sha2::{Digest, Sha256};

use super::error::ModelError;
use super::manifest::Manifest;
use super::trial::try_package;

/// The largest manifest that is read, in bytes. Those of this project have less than 2 KiB.
const MAX_MANIFEST_BYTES: u64 = 64 << 10;
/// The largest ONNX file that is read, in bytes. Importing a net takes several times its size, and
/// the service has 256 MiB. The built-in nets have less than 0.5 MiB.
pub(super) const MAX_ONNX_BYTES: u64 = 32 << 20;

/// The files of a model. The checksum of the ONNX file has been compared with the manifest.
#[derive(Clone, Debug)]
pub struct Package {
    /// The manifest.
    pub manifest: Manifest,
    /// The text of the manifest.
    pub manifest_text: String,
    /// Path of the ONNX file; `built-in/...` for models that are part of the program.
    pub path: PathBuf,
    /// Contents of the ONNX file.
    pub onnx: Cow<'static, [u8]>,
}

impl Package {
    /// Checks that `onnx` is the file that `manifest` describes.
    pub(super) fn new(
        manifest: Manifest,
        manifest_text: String,
        manifest_path: &Path,
        onnx: Cow<'static, [u8]>,
    ) -> Result<Self, ModelError> {
        let path = manifest_path.with_file_name(&manifest.file);
        let actual: String = Sha256::digest(&onnx).iter().map(|byte| format!("{byte:02x}")).collect();
        if !actual.eq_ignore_ascii_case(&manifest.sha256) {
            return Err(ModelError::Checksum { path, expected: manifest.sha256, actual });
        }
        Ok(Self { manifest, manifest_text, path, onnx })
    }

    /// A model that is part of the program: the name of its manifest's file, the manifest, and the ONNX
    /// file. It is not tried: it is as trustworthy as the program.
    ///
    /// # Errors
    /// [`ModelError`]: the manifest is not valid, or its checksum is another one than the file's.
    pub fn built_in(file: &str, manifest: &str, onnx: &'static [u8]) -> Result<Self, ModelError> {
        let path = Path::new("built-in").join(file);
        Self::new(Manifest::parse(manifest, &path)?, manifest.to_owned(), &path, Cow::Borrowed(onnx))
    }

    /// Reads the manifest and the ONNX file beside it, and tries the net in a child process.
    pub(super) fn read(manifest_path: &Path) -> Result<Self, ModelError> {
        let text = manifest_text(manifest_path)?;
        let manifest = Manifest::parse(&text, manifest_path)?;
        let onnx = read(&manifest_path.with_file_name(&manifest.file), MAX_ONNX_BYTES)?;
        let package = Self::new(manifest, text, manifest_path, Cow::Owned(onnx))?;
        try_package(&package)?;
        Ok(package)
    }
}

/// Reads a regular file of at most `limit` bytes.
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ModelError> {
    read_regular(path, limit).map_err(|error| ModelError::Read { path: path.to_owned(), error })
}

fn manifest_text(path: &Path) -> Result<String, ModelError> {
    String::from_utf8(read(path, MAX_MANIFEST_BYTES)?).map_err(|_| ModelError::Manifest {
        path: path.to_owned(),
        position: None,
        reason: "the manifest is not UTF-8 text; it must be a TOML file (see models/README.md)".into(),
    })
}

/// Reads and checks a manifest.
pub(super) fn read_manifest(path: &Path) -> Result<Manifest, ModelError> {
    Manifest::parse(&manifest_text(path)?, path)
}
