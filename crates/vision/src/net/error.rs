//! Why a model cannot be loaded or run.

use std::path::PathBuf;

use portraitd_kernels::nn::MachineError;
use portraitd_kernels::simd::IsaError;

use super::plan::Unsupported;

/// Why a model cannot be loaded or run. A message about a file begins with the path of the file.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The manifest or ONNX file.
        path: PathBuf,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// There is no model with this name.
    #[error("no model named `{name}`; there are: {known}")]
    Unknown {
        /// The name that was asked for, see [`portraitd_protocol::settings::excerpt`].
        name: String,
        /// The names of all models, separated by commas.
        known: String,
    },
    /// The manifest is not valid.
    #[error("{path}{position}: {reason}", position = .position.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Line and column, counted from 1, where they are known.
        position: Option<(usize, usize)>,
        /// What is wrong, in one line.
        reason: String,
    },
    /// The ONNX file is not the one that the manifest describes.
    #[error("{path}: sha256 is {actual}, its manifest says {expected}")]
    Checksum {
        /// The ONNX file.
        path: PathBuf,
        /// The checksum in the manifest, in hexadecimal.
        expected: String,
        /// The checksum of the file, in hexadecimal.
        actual: String,
    },
    /// The ONNX file cannot be imported as a net.
    #[error("{path}: {reason}")]
    Import {
        /// The ONNX file.
        path: PathBuf,
        /// The importer's message, in one line.
        reason: String,
    },
    /// The importer panics on the net, or needs more memory or time than is allowed. See
    /// `net/trial.rs`.
    #[error("{path}: {reason}")]
    Hostile {
        /// The ONNX file.
        path: PathBuf,
        /// What the importer did, in one line.
        reason: String,
    },
    /// The fused plan was required, but it does not support the net.
    #[error("{path}: {error}")]
    Unsupported {
        /// The ONNX file.
        path: PathBuf,
        /// What the plan does not support.
        error: Unsupported,
    },
    /// The net has another input or output shape than its manifest says.
    #[error("{path}: {what} is {actual}, its manifest says {expected}")]
    Shape {
        /// The ONNX file.
        path: PathBuf,
        /// `the input` or `the output`.
        what: &'static str,
        /// The manifest's shape.
        expected: String,
        /// The net's shape.
        actual: String,
    },
    /// The requested instruction set does not exist or does not run on this CPU.
    #[error("cannot choose the instruction set of the net: {0}")]
    Isa(#[from] IsaError),
    /// An inference pass failed.
    #[error("model `{name}`: inference failed: {error}")]
    Run {
        /// The name of the model.
        name: String,
        /// The error of the engine.
        error: EngineError,
    },
}

/// Why an engine could not run a net.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The fused plan failed.
    #[error("fused plan: {0}")]
    Plan(#[from] MachineError),
    /// tract failed. The text is its error with all causes, in one line.
    #[error("tract: {0}")]
    Tract(String),
    /// A net that runs elsewhere failed ([`super::Model::from_fn`]).
    #[error("{0}")]
    Elsewhere(String),
    /// The output has another length than the shape that was known when the model was loaded.
    #[error("the output has {actual} values instead of {expected}")]
    OutputLength {
        /// The number of values in the shape.
        expected: usize,
        /// The number of values that the net returned.
        actual: usize,
    },
}

/// A shape as text: `1x3x144x256`.
pub fn shape_text(shape: &[usize]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}
