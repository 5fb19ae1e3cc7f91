//! The net: what a model is, how it is loaded, how it is run.
//!
//! A model is an ONNX file and a *manifest* that says what the file alone cannot: colour order, range, how the picture
//! is fitted, what the outputs mean, what the model is not made for. [`Library`] finds models, [`Model`] runs one.
//! Everything here runs on the vision thread (or in a command-line run) and is owned by it.

mod engine;
pub mod library;
pub mod manifest;
pub mod model;
pub mod plan;
pub mod tract;

pub use library::{Library, Package};
pub use manifest::{Activation, ColorOrder, Fit, Layout, Manifest};
pub use model::{Engine, EngineChoice, EngineOptions, Model};

use std::path::PathBuf;

use portraitd_media::Size;

/// Why a model cannot be used. Every message begins with the file it is about.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// No model of this name.
    #[error("no model named `{name}`; there are: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are, with commas.
        known: String,
    },
    /// The manifest is not what it should be.
    #[error("{path}{place}: {reason}", place = .place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Line and column, from 1, where they are known.
        place: Option<(usize, usize)>,
        /// What is wrong, in one line.
        reason: String,
    },
    /// The ONNX file is not the one that the manifest speaks of.
    #[error("{path}: sha256 is {actual}, its manifest says {expected}")]
    Checksum {
        /// The ONNX file.
        path: PathBuf,
        /// From the manifest.
        expected: String,
        /// Of the file's bytes.
        actual: String,
    },
    /// The ONNX file cannot be read as a net.
    #[error("{path}: {reason}")]
    Net {
        /// The ONNX file.
        path: PathBuf,
        /// What the importer said, in one line.
        reason: String,
    },
    /// The net takes or gives another shape than its manifest says.
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
    /// The instruction set asked for cannot be had.
    #[error("the net's kernels: {0}")]
    Isa(#[from] portraitd_kernels::simd::IsaError),
    /// A run failed.
    #[error("{name}: {reason}")]
    Run {
        /// The model.
        name: String,
        /// What the engine said.
        reason: String,
    },
}

/// A shape as people write it: `1x3x144x256`.
pub fn shape_text(shape: &[usize]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

/// `[1, channels, height, width]` or `[1, height, width, channels]`.
pub fn tensor_shape(layout: Layout, channels: usize, size: Size) -> [usize; 4] {
    let (width, height) = (size.width as usize, size.height as usize);
    match layout {
        Layout::Nchw => [1, channels, height, width],
        Layout::Nhwc => [1, height, width, channels],
    }
}
