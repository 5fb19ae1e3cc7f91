//! ONNX import with tract, and tract as an engine. tract supports nearly every operator, so it runs
//! the nets that the fused plan does not support.

use std::path::Path;
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

use super::engine::{Engine, Prepared};
use super::error::{EngineError, ModelError, shape_text};
use super::manifest::{Manifest, TensorLayout, tensor_shape};
use super::trial::guarded;

/// The most nodes of a net. The built-in ones have about 200, and the time of the import grows faster
/// than their number.
const MAX_NODES: usize = 4096;

/// Imports an ONNX file as a typed graph with the manifest's input shape. tract has not optimized
/// this graph yet, so that [`Plan::from_typed`](super::plan::Plan::from_typed) can read it. `path`
/// is used in messages only.
///
/// # Errors
/// - [`ModelError::Import`] if the file is not a net with one input and at least one output.
/// - [`ModelError::Shape`] if its input has another shape.
/// - [`ModelError::Hostile`] if tract panics.
pub fn import_onnx(manifest: &Manifest, path: &Path, onnx: &[u8]) -> Result<TypedModel, ModelError> {
    guarded(path, || import(manifest, path, onnx))
}

fn import(manifest: &Manifest, path: &Path, onnx: &[u8]) -> Result<TypedModel, ModelError> {
    let net_error = |error: TractError| ModelError::Import { path: path.to_owned(), reason: one_line(&error) };
    let mut bytes = onnx;
    let not_whole = |error: TractError| ModelError::Import {
        path: path.to_owned(),
        reason: format!("not a whole ONNX file: {}", one_line(&error)),
    };
    let importer = tract_onnx::onnx();
    let file = importer.proto_model_for_read(&mut bytes).map_err(not_whole)?;
    let nodes = file.graph.as_ref().map_or(0, |graph| graph.node.len());
    if nodes > MAX_NODES {
        let reason = format!("the net has {nodes} nodes, and at most {MAX_NODES} are accepted");
        return Err(ModelError::Import { path: path.to_owned(), reason });
    }
    let mut model = importer.model_for_proto_model(&file).map_err(not_whole)?;
    drop(file);
    if model.input_outlets().map_err(net_error)?.len() != 1 {
        let reason = format!("the net has {} inputs instead of one", model.input_outlets().map_err(net_error)?.len());
        return Err(ModelError::Import { path: path.to_owned(), reason });
    }
    if model.output_outlets().map_err(net_error)?.is_empty() {
        return Err(ModelError::Import { path: path.to_owned(), reason: "the net has no output".into() });
    }
    let shape = tensor_shape(manifest.input.layout, 3, manifest.input.size());
    // The file must not contradict the manifest. Axes that the file leaves open get the length in
    // the manifest.
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

/// A net that tract has optimized.
pub(super) struct PreparedTract {
    runnable: Arc<TypedRunnableModel>,
    input_shape: [usize; 4],
    output_shape: [usize; 4],
    /// Layouts of the input and the output.
    layouts: [TensorLayout; 2],
}

impl PreparedTract {
    pub(super) fn new(typed: TypedModel, manifest: &Manifest, path: &Path) -> Result<Self, ModelError> {
        let net_error = |error: TractError| ModelError::Import { path: path.to_owned(), reason: one_line(&error) };
        let typed = with_float_output(typed).map_err(net_error)?;
        let optimized = typed.into_decluttered().and_then(TypedModel::into_optimized).map_err(net_error)?;
        let fact = optimized.output_fact(0).map_err(net_error)?;
        let output_shape = match fact.shape.as_concrete() {
            Some(&[batch, a, b, c]) => Some([batch, a, b, c]),
            // Classes often have no axis of channels.
            Some(&[batch, height, width]) => Some(match manifest.output.layout {
                TensorLayout::Nchw => [batch, 1, height, width],
                TensorLayout::Nhwc => [batch, height, width, 1],
            }),
            _ => None,
        };
        let Some(output_shape) = output_shape else {
            return Err(ModelError::Shape {
                path: path.to_owned(),
                what: "the output",
                expected: "of rank 4 or 3, with the length of all axes known".into(),
                actual: format!("{:?}", fact.shape),
            });
        };
        if fact.datum_type != f32::datum_type() {
            let reason = format!("the output is {:?}, not f32", fact.datum_type);
            return Err(ModelError::Import { path: path.to_owned(), reason });
        }
        let input_shape = tensor_shape(manifest.input.layout, 3, manifest.input.size());
        let runnable = optimized.into_runnable().map_err(net_error)?;
        Ok(Self { runnable, input_shape, output_shape, layouts: [manifest.input.layout, manifest.output.layout] })
    }
}

/// The graph with its first output as `f32`: the numbers of classes are integers.
fn with_float_output(mut typed: TypedModel) -> TractResult<TypedModel> {
    let output = typed.output_outlets()?[0];
    let kind = typed.outlet_fact(output)?.datum_type;
    if kind.is_integer() {
        let output = typed.wire_node("output-as-f32", cast(f32::datum_type()), &[output])?;
        typed.select_output_outlets(&output)?;
    }
    Ok(typed)
}

impl Prepared for PreparedTract {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn input_layout(&self) -> TensorLayout {
        self.layouts[0]
    }

    fn output_layout(&self) -> TensorLayout {
        self.layouts[1]
    }

    fn output_shape(&self) -> [usize; 4] {
        self.output_shape
    }

    fn engine(&self) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(TractEngine { runnable: Arc::clone(&self.runnable), input_shape: self.input_shape }))
    }
}

/// Runs a net with tract, which allocates what a run computes.
struct TractEngine {
    runnable: Arc<TypedRunnableModel>,
    input_shape: [usize; 4],
}

impl Engine for TractEngine {
    fn run(&mut self, input: &[f32], output: &mut [f32]) -> Result<(), EngineError> {
        let failed = |error: TractError| EngineError::Tract(one_line(&error));
        let input = Tensor::from_shape(&self.input_shape, input).map_err(failed)?;
        let outputs = self.runnable.run(tvec!(input.into())).map_err(failed)?;
        let plain = outputs[0].try_as_plain_ram().map_err(failed)?;
        let values = plain.as_slice::<f32>().map_err(failed)?;
        if values.len() != output.len() {
            return Err(EngineError::OutputLength { expected: output.len(), actual: values.len() });
        }
        output.copy_from_slice(values);
        Ok(())
    }
}

/// An error of tract and its causes in one line, cut after 400 characters.
pub fn one_line(error: &TractError) -> String {
    let text = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // tract prints whole nodes, of which the beginning is enough to find the cause.
    if text.chars().count() > 400 { text.chars().take(400).chain("...".chars()).collect() } else { text }
}
