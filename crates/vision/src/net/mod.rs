//! Models: finding, loading and running segmentation nets.
//!
//! A model is an ONNX file and a [`Manifest`]. The manifest holds what the ONNX file does not say:
//! colour order, value range, how pictures are fitted to the input, the meaning of the outputs, and
//! the limits of the model's use. A [`Library`] finds models by name, [`Package`] is a model's
//! files, and [`Model`] runs a model.
//!
//! Two engines run nets: the fused [`plan`], and tract for every net that the plan does not
//! support. A model belongs to the thread that runs it. Models of one net share its weights.
//!
//! A net that is not built in is first tried in a child process ([`intercept`]).
//!
//! Files import in this order only: `plan`, `error`, `manifest`, `engine`, then `plan_engine`,
//! `tract` and `package`, then `loaded`, then `model`, then `trial`, then `library`. `loaded` and
//! `tract` also use `trial::guarded`.

mod engine;
mod error;
mod library;
mod loaded;
mod manifest;
mod model;
mod package;
pub mod plan;
mod plan_engine;
mod tract;
mod trial;

pub use engine::{EngineChoice, EngineOptions};
pub use error::{EngineError, ModelError, shape_text};
pub use library::{DEFAULT_MODEL, Entry, Library};
pub use manifest::{Activation, ColorOrder, Fit, Input, Manifest, Output, Scope, TensorLayout, tensor_shape};
pub use model::Model;
pub use package::Package;
pub use tract::{import_onnx, one_line};
pub use trial::intercept;
