//! ONNX import by tract, and tract as an engine: it knows nearly every operator, so any net runs.

use std::path::Path;
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

use super::manifest::{Layout, Manifest};
use super::model::Engine;
use super::{ModelError, shape_text, tensor_shape};

/// Reads an ONNX file into a typed graph with the manifest's input shape, as the plan takes it: tract's own rewriting
/// comes after ([`TractEngine::new`]).
///
/// # Errors
/// [`ModelError::Net`] for a file that is no net or has other than one input; [`ModelError::Shape`].
pub fn import(manifest: &Manifest, path: &Path, onnx: &[u8]) -> Result<TypedModel, ModelError> {
    let net_error = |error: TractError| ModelError::Net { path: path.to_owned(), reason: one_line(&error) };
    let mut bytes = onnx;
    let mut model = tract_onnx::onnx().model_for_read(&mut bytes).map_err(|error| ModelError::Net {
        path: path.to_owned(),
        reason: format!("not a whole ONNX file: {}", one_line(&error)),
    })?;
    if model.input_outlets().map_err(net_error)?.len() != 1 {
        let reason = format!("has {} inputs; one is needed", model.input_outlets().map_err(net_error)?.len());
        return Err(ModelError::Net { path: path.to_owned(), reason });
    }
    if model.output_outlets().map_err(net_error)?.is_empty() {
        return Err(ModelError::Net { path: path.to_owned(), reason: "has no output".into() });
    }
    let shape = tensor_shape(manifest.input.layout, 3, manifest.input.size());
    // What the file itself says must not contradict the manifest; axes that it leaves open are taken from the manifest.
    let declared = model.input_fact(0).map_err(net_error)?.shape.clone();
    let declared: Vec<Option<usize>> =
        declared.dims().map(|dim| dim.concretize().and_then(|dim| dim.to_usize().ok())).collect();
    let same = declared.len() == shape.len()
        && declared.iter().zip(&shape).all(|(declared, wanted)| declared.is_none_or(|declared| declared == *wanted));
    if !same {
        let text = |dim: &Option<usize>| dim.map_or_else(|| "?".to_owned(), |dim| dim.to_string());
        return Err(ModelError::Shape {
            path: path.to_owned(),
            what: "the input",
            expected: shape_text(&shape),
            actual: declared.iter().map(text).collect::<Vec<_>>().join("x"),
        });
    }
    model.set_input_fact(0, f32::fact(shape).into()).map_err(net_error)?;
    model.into_typed().map_err(net_error)
}

/// tract's own executor.
pub(super) struct TractEngine {
    runnable: Arc<TypedRunnableModel>,
    input_shape: [usize; 4],
    output_shape: [usize; 4],
    layouts: [Layout; 2],
}

impl TractEngine {
    pub(super) fn new(typed: TypedModel, manifest: &Manifest, path: &Path) -> Result<Self, ModelError> {
        let net_error = |error: TractError| ModelError::Net { path: path.to_owned(), reason: one_line(&error) };
        let optimized = typed.into_decluttered().and_then(TypedModel::into_optimized).map_err(net_error)?;
        let fact = optimized.output_fact(0).map_err(net_error)?;
        let output_shape = fact.shape.as_concrete().and_then(|shape| <[usize; 4]>::try_from(shape).ok());
        let Some(output_shape) = output_shape else {
            return Err(ModelError::Shape {
                path: path.to_owned(),
                what: "the output",
                expected: "of rank 4, with all axes known".into(),
                actual: format!("{:?}", fact.shape),
            });
        };
        if fact.datum_type != f32::datum_type() {
            let reason = format!("the output is {:?}, not f32", fact.datum_type);
            return Err(ModelError::Net { path: path.to_owned(), reason });
        }
        let input_shape = tensor_shape(manifest.input.layout, 3, manifest.input.size());
        let runnable = optimized.into_runnable().map_err(net_error)?;
        Ok(Self { runnable, input_shape, output_shape, layouts: [manifest.input.layout, manifest.output.layout] })
    }
}

impl Engine for TractEngine {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn input_layout(&self) -> Layout {
        self.layouts[0]
    }

    fn output_layout(&self) -> Layout {
        self.layouts[1]
    }

    fn output_shape(&self) -> [usize; 4] {
        self.output_shape
    }

    fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), String> {
        let input = Tensor::from_shape(&self.input_shape, input).map_err(|error| one_line(&error))?;
        let outputs = self.runnable.run(tvec!(input.into())).map_err(|error| one_line(&error))?;
        let plain = outputs[0].try_as_plain_ram().map_err(|error| one_line(&error))?;
        let values = plain.as_slice::<f32>().map_err(|error| one_line(&error))?;
        if values.len() != output.len() {
            return Err(format!("gave {} values instead of {}", values.len(), output.len()));
        }
        output.copy_from_slice(values);
        Ok(())
    }
}

/// An error and its causes in one line.
pub fn one_line(error: &TractError) -> String {
    let text = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // tract prints whole nodes; a person needs the beginning.
    if text.chars().count() > 400 { text.chars().take(400).chain("...".chars()).collect() } else { text }
}
