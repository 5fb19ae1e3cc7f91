//! Compares the tensors of one run, layer by layer: the fused plan, tract, and another framework.
//!
//! A wrong mask shows only that a conversion failed. The first tensor that differs shows where.
//! tract runs the graph of the file operator by operator. The plan fuses operators, so it has only
//! some of the tensors of the file.

mod golden;

pub use golden::{Golden, GoldenError, GoldenTensor};

use std::collections::HashMap;
use std::path::PathBuf;

use portraitd_kernels::simd::Isa;
use tract_onnx::prelude::tract_itertools::Itertools;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::konst::Const;

use portraitd_vision::net::plan::{Plan, PlanOptions, Unsupported};
use portraitd_vision::net::{ModelError, Package, TensorLayout, import_onnx, one_line, shape_text, tensor_shape};

/// The allowed difference of the net's input from that of another framework, in steps of 1/255.
const INPUT_STEPS: f32 = 3.0;

/// The difference of a tensor from the expected one.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The largest absolute difference. It is infinite if a number is finite on one side only.
    pub max: f32,
    /// The mean absolute difference.
    pub mean: f32,
    /// The position of the largest difference: one index per axis, in the order of the file.
    pub at: Vec<usize>,
    /// The number at this position.
    pub actual: f32,
    /// The expected number.
    pub expected: f32,
    /// Whether the difference exceeds the tolerance.
    pub diverges: bool,
}

/// The comparison of one tensor of the ONNX file.
#[derive(Clone, Debug)]
pub struct LayerComparison {
    /// The tensor's name in the ONNX file.
    pub name: String,
    /// The operator that computes it, as tract names it.
    pub op: String,
    /// Its shape in the file.
    pub shape: Vec<usize>,
    /// The plan compared with tract. `None` if the plan does not have this tensor.
    pub plan: Option<Difference>,
    /// tract compared with the golden file. `None` if the golden file does not have this tensor.
    pub golden: Option<Difference>,
    /// The shape in the golden file, if it differs.
    pub golden_shape: Option<Vec<usize>>,
}

impl LayerComparison {
    /// Whether a difference exceeds the tolerance, or the shapes differ.
    pub fn diverges(&self) -> bool {
        let more = |difference: &Option<Difference>| difference.as_ref().is_some_and(|found| found.diverges);
        self.golden_shape.is_some() || more(&self.golden) || more(&self.plan)
    }
}

/// The comparison of all tensors, in the order of evaluation.
#[derive(Debug)]
pub struct Parity {
    /// The tensors. The first one is the net's input.
    pub layers: Vec<LayerComparison>,
    /// The plan's instruction set, or the reason why the plan does not support the net.
    pub plan: Result<Isa, Unsupported>,
    /// Names in the golden file that do not exist in the net.
    pub unknown: Vec<String>,
}

impl Parity {
    /// The first tensor that diverges.
    pub fn first_divergence(&self) -> Option<&LayerComparison> {
        self.layers.iter().find(|layer| layer.diverges())
    }
}

/// The input of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    /// The net's input in the manifest's layout. If the golden file contains the input as well, the
    /// nets run on that one, so that differences in the preparation of the picture appear in the
    /// first tensor only.
    pub input: &'a [f32],
    /// The tensors of another framework.
    pub golden: Option<&'a Golden>,
    /// The allowed difference, relative to the largest number of the tensor, or to 1 if that is
    /// larger.
    pub tolerance: f32,
    /// The plan's instruction set.
    pub isa: Isa,
}

/// The nets could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum LayersError {
    /// The model cannot be loaded.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// tract or the plan failed during the run.
    #[error("{path}: {reason}")]
    Run {
        /// The ONNX file.
        path: PathBuf,
        /// The error in one line.
        reason: String,
    },
}

/// Every named tensor of the file, computed by tract from `input` (in the manifest's layout).
///
/// # Errors
/// [`LayersError`] if the net cannot be read, or tract fails.
pub fn tract_tensors(package: &Package, input: &[f32]) -> Result<Golden, LayersError> {
    let typed = import_onnx(&package.manifest, &package.path, &package.onnx)?;
    let tensors = tensors(&typed).and_then(|tensors| run_unoptimized(&typed, tensors, package, input));
    let tensors = tensors.map_err(|error| failed(package, one_line(&error)))?;
    Ok(Golden(tensors.into_iter().map(|(_, name, tensor)| (name, tensor)).collect()))
}

fn failed(package: &Package, reason: String) -> LayersError {
    LayersError::Run { path: package.path.clone(), reason }
}

/// Computes `tensors` with tract from the unoptimized graph of the file.
fn run_unoptimized(
    typed: &TypedModel,
    tensors: Vec<(OutletId, String)>,
    package: &Package,
    input: &[f32],
) -> TractResult<Vec<(OutletId, String, GoldenTensor)>> {
    let mut literal = typed.clone();
    literal.select_output_outlets(&tensors.iter().map(|(outlet, _)| *outlet).collect::<Vec<_>>())?;
    let shape = tensor_shape(package.manifest.input.layout, 3, package.manifest.input.size());
    let input = Tensor::from_shape(&shape, input)?;
    let values = literal.into_runnable()?.run(tvec!(input.into()))?;
    let named = tensors.into_iter().zip(values);
    named
        .map(|((outlet, name), value)| {
            let values = value.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
            Ok((outlet, name, GoldenTensor { shape: value.shape().to_vec(), values }))
        })
        .collect()
}

/// Runs a net once on every engine and compares the tensors. Tensors that differ are not an error.
///
/// # Errors
/// [`LayersError`] if the net cannot be read, or an engine fails.
pub fn compare(package: &Package, comparison: Comparison<'_>) -> Result<Parity, LayersError> {
    let Package { manifest, path, onnx, .. } = package;
    let typed = import_onnx(manifest, path, onnx)?;
    let tract_failed = |error: TractError| failed(package, one_line(&error));
    let tensors = tensors(&typed).map_err(tract_failed)?;
    let golden = comparison.golden.map(|golden| &golden.0);
    let input_name = tensors[0].1.clone();
    let given =
        golden.and_then(|golden| golden.get(&input_name)).filter(|it| it.values.len() == comparison.input.len());
    let input = given.map_or(comparison.input, |tensor| &tensor.values);
    let tensors = run_unoptimized(&typed, tensors, package, input).map_err(tract_failed)?;

    let options = PlanOptions { isa: comparison.isa, keep: true, literal: true, ..PlanOptions::default() };
    let mut plan = match manifest.input.layout {
        TensorLayout::Nchw => Plan::from_typed(&typed, options),
        TensorLayout::Nhwc => Err(Unsupported::ChannelsLast),
    };
    let mut planned: HashMap<&str, Vec<f32>> = HashMap::new();
    let mut output = Vec::new();
    if let Ok(plan) = &mut plan {
        output = vec![0.0; plan.output().len()];
        plan.run(input, &mut output).map_err(|error| failed(package, error.to_string()))?;
    }
    if let Ok(plan) = &plan {
        for layer in plan.layers() {
            if !layer.name.is_empty() {
                planned
                    .insert(layer.name, channels_first(layer.data.as_deref().unwrap_or(&output), layer.shape.channels));
            }
        }
    }

    let mut layers = Vec::with_capacity(tensors.len());
    for (outlet, name, GoldenTensor { shape, values }) in tensors {
        let node = typed.node(outlet.node);
        let is_input = name == input_name;
        // Other frameworks resample to 8-bit values with other rounding, so the input may differ by
        // a few steps.
        let least_std = manifest.input.std.into_iter().fold(f32::INFINITY, f32::min);
        let tolerance =
            if is_input { comparison.tolerance.max(INPUT_STEPS / 255.0 / least_std) } else { comparison.tolerance };
        let differ = |actual: &[f32], expected: &[f32]| difference(actual, expected, &shape, tolerance);
        let plan = planned.get(node.name.as_str()).filter(|it| it.len() == values.len()).map(|it| differ(it, &values));
        let other = golden.and_then(|golden| golden.get(&name));
        let fits = other.filter(|tensor| tensor.values.len() == values.len() && same_shape(&tensor.shape, &shape));
        // For the input, the tensor of the sampler is compared, even if the nets run on the golden
        // one.
        let actual = if is_input { comparison.input } else { &values };
        layers.push(LayerComparison {
            op: node.op().name().into_owned(),
            plan,
            golden: fits.map(|tensor| differ(actual, &tensor.values)),
            golden_shape: other.filter(|_| fits.is_none()).map(|tensor| tensor.shape.clone()),
            name,
            shape,
        });
    }
    let known: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    let unknown = golden.into_iter().flat_map(HashMap::keys);
    let unknown = unknown.filter(|name| !known.contains(&name.as_str())).cloned().sorted().collect();
    Ok(Parity { layers, plan: plan.map(|plan| plan.isa()), unknown })
}

/// Every named `f32` tensor of the file: first the net's input, then the others in the order of
/// evaluation.
fn tensors(typed: &TypedModel) -> TractResult<Vec<(OutletId, String)>> {
    let input = typed.input_outlets()?[0];
    let mut found = vec![(input, typed.node(input.node).name.clone())];
    for id in typed.eval_order()? {
        let node = typed.node(id);
        for (slot, output) in node.outputs.iter().enumerate() {
            let outlet = OutletId::new(id, slot);
            let floats = output.fact.datum_type == f32::datum_type();
            if let Some(label) = typed.outlet_label(outlet)
                && floats
                && outlet != input
                && !node.op_is::<Const>()
            {
                found.push((outlet, label.to_owned()));
            }
        }
    }
    Ok(found)
}

/// Whether the shapes are equal when axes of length 1 are ignored.
fn same_shape(a: &[usize], b: &[usize]) -> bool {
    let long = |axes: &[usize]| axes.iter().copied().filter(|axis| *axis != 1).collect::<Vec<_>>();
    long(a) == long(b)
}

fn channels_first(interleaved: &[f32], channels: usize) -> Vec<f32> {
    (0..channels).flat_map(|channel| interleaved[channel..].iter().step_by(channels).copied()).collect()
}

fn difference(actual: &[f32], expected: &[f32], shape: &[usize], tolerance: f32) -> Difference {
    let (mut max, mut index, mut sum, mut largest) = (0.0_f32, 0, 0.0_f64, 0.0_f32);
    for (at, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let same = actual == expected || (actual.is_nan() && expected.is_nan());
        let by = (actual - expected).abs();
        let by = match (same, by.is_finite()) {
            (true, _) => 0.0,
            (false, true) => by,
            (false, false) => f32::INFINITY,
        };
        if expected.is_finite() {
            largest = largest.max(expected.abs());
        }
        sum += f64::from(by);
        if by > max {
            (max, index) = (by, at);
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "a mean of f32 values")]
    let mean = (sum / actual.len().max(1) as f64) as f32;
    let mut at = vec![0; shape.len()];
    let mut rest = index;
    for (index, length) in at.iter_mut().zip(shape).rev() {
        *index = rest % length.max(&1);
        rest /= length.max(&1);
    }
    let element = |values: &[f32]| values.get(index).copied().unwrap_or(0.0);
    let diverges = max > tolerance * largest.max(1.0);
    Difference { max, mean, at, actual: element(actual), expected: element(expected), diverges }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = shape_text(&self.at).replace('x', ",");
        write!(
            f,
            "{:.1e} at [{at}], where {} should be {}; mean {:.1e}",
            self.max, self.actual, self.expected, self.mean
        )
    }
}
