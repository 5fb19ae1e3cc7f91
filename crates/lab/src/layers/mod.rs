//! Layer-by-layer parity: the tensors of one run, from the plan, from tract, and from another framework, side by side.
//!
//! The final mask only says *that* a conversion went wrong. The first tensor that differs says *where*. tract runs the
//! graph as the file has it, operator by operator; the plan fuses operators, so only some of the file's tensors exist
//! in it. A command-line tool's work: nothing here runs in the service.

mod golden;

pub use golden::{Golden, GoldenError, Tensor};

use std::collections::HashMap;
use std::path::PathBuf;

use portraitd_kernels::simd::Isa;
use tract_onnx::prelude::tract_itertools::Itertools;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::konst::Const;

use portraitd_vision::net::library::Package;
use portraitd_vision::net::manifest::Layout;
use portraitd_vision::net::plan::{Options, Plan, Unsupported};
use portraitd_vision::net::{ModelError, shape_text, tensor_shape, tract};

/// How many of 255 steps the net's input may differ from another framework's.
const INPUT_STEPS: f32 = 3.0;

/// How a tensor differs from what it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The largest absolute difference; infinite where a number is not finite on one side only.
    pub max: f32,
    /// The mean absolute difference.
    pub mean: f32,
    /// Where the largest is: an index an axis, in the file's order of axes.
    pub at: Vec<usize>,
    /// What is there.
    pub actual: f32,
    /// What should be there.
    pub expected: f32,
    /// Whether it is more than the tolerance allows.
    pub diverges: bool,
}

/// One tensor of the file.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The tensor's name in the ONNX file.
    pub name: String,
    /// The operator that makes it, in tract's words.
    pub op: String,
    /// Its shape, as the file has it.
    pub shape: Vec<usize>,
    /// The plan against tract; `None` where the plan has no such tensor.
    pub plan: Option<Difference>,
    /// tract against the golden file; `None` where that has no such tensor.
    pub golden: Option<Difference>,
    /// The golden file has it in another shape.
    pub golden_shape: Option<Vec<usize>>,
}

impl Layer {
    /// Whether anything differs by more than the tolerance.
    pub fn diverges(&self) -> bool {
        let more = |difference: &Option<Difference>| difference.as_ref().is_some_and(|found| found.diverges);
        self.golden_shape.is_some() || more(&self.golden) || more(&self.plan)
    }
}

/// All tensors, in the order in which they are made.
#[derive(Debug)]
pub struct Parity {
    /// The tensors; the first is the net's input.
    pub layers: Vec<Layer>,
    /// The plan's instruction set, or why the plan does not take the net.
    pub plan: Result<Isa, Unsupported>,
    /// Names in the golden file that the net has not.
    pub unknown: Vec<String>,
}

impl Parity {
    /// The first tensor that differs.
    pub fn first_divergence(&self) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.diverges())
    }
}

/// What is compared, and how strictly.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    /// The net's input in the manifest's layout; where the golden file has the input too, that one is used, so that the
    /// layers are compared and not the preparation of the picture (whose difference is the first layer's).
    pub input: &'a [f32],
    /// Tensors from elsewhere.
    pub golden: Option<&'a Golden>,
    /// The largest difference that is none, as a share of the tensor's largest number, or of 1 if that is less.
    pub tolerance: f32,
    /// The plan's instruction set.
    pub isa: Isa,
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum LayersError {
    /// The model cannot be loaded.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// tract or the plan failed in the run.
    #[error("{path}: {reason}")]
    Run {
        /// The ONNX file.
        path: PathBuf,
        /// In one line.
        reason: String,
    },
}

/// Every tensor that the file names, as tract computes it from `input` (in the manifest's layout).
///
/// # Errors
/// [`LayersError`]: the net cannot be read, or tract fails.
pub fn trace(package: &Package, input: &[f32]) -> Result<Golden, LayersError> {
    let typed = tract::import(&package.manifest, &package.path, &package.onnx)?;
    let tensors = tensors(&typed).and_then(|tensors| run_literally(&typed, tensors, package, input));
    let tensors = tensors.map_err(|error| failed(package, tract::one_line(&error)))?;
    Ok(Golden(tensors.into_iter().map(|(_, name, tensor)| (name, tensor)).collect()))
}

fn failed(package: &Package, reason: String) -> LayersError {
    LayersError::Run { path: package.path.clone(), reason }
}

/// tract's answer for each of `tensors`, from the graph as the file has it: nothing rewritten, nothing fused.
fn run_literally(
    typed: &TypedModel,
    tensors: Vec<(OutletId, String)>,
    package: &Package,
    input: &[f32],
) -> TractResult<Vec<(OutletId, String, Tensor)>> {
    let mut literal = typed.clone();
    literal.select_output_outlets(&tensors.iter().map(|(outlet, _)| *outlet).collect::<Vec<_>>())?;
    let shape = tensor_shape(package.manifest.input.layout, 3, package.manifest.input.size());
    let input = tract_onnx::prelude::Tensor::from_shape(&shape, input)?;
    let values = literal.into_runnable()?.run(tvec!(input.into()))?;
    let named = tensors.into_iter().zip(values);
    named
        .map(|((outlet, name), value)| {
            let values = value.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
            Ok((outlet, name, Tensor { shape: value.shape().to_vec(), values }))
        })
        .collect()
}

/// Runs a net once on every engine, and compares what they compute.
///
/// # Errors
/// [`LayersError`]: the net cannot be read, or an engine fails. That tensors differ is no error.
pub fn compare(package: &Package, comparison: Comparison<'_>) -> Result<Parity, LayersError> {
    let Package { manifest, path, onnx } = package;
    let typed = tract::import(manifest, path, onnx)?;
    let tract_failed = |error: TractError| failed(package, tract::one_line(&error));
    let tensors = tensors(&typed).map_err(tract_failed)?;
    let golden = comparison.golden.map(|golden| &golden.0);
    let input_name = tensors[0].1.clone();
    let given =
        golden.and_then(|golden| golden.get(&input_name)).filter(|it| it.values.len() == comparison.input.len());
    let input = given.map_or(comparison.input, |tensor| &tensor.values);
    let tensors = run_literally(&typed, tensors, package, input).map_err(tract_failed)?;

    let options = Options { isa: comparison.isa, keep: true, literal: true, threads: 1 };
    let mut plan = match manifest.input.layout {
        Layout::Nchw => Plan::from_typed(&typed, options),
        Layout::Nhwc => Err(Unsupported {
            op: "channels-last input".into(),
            node: input_name.clone(),
            reason: "the plan's nets take their channels first".into(),
        }),
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
                planned.insert(layer.name, channels_first(layer.data.unwrap_or(&output), layer.shape.channels));
            }
        }
    }

    let mut layers = Vec::with_capacity(tensors.len());
    for (outlet, name, Tensor { shape, values }) in tensors {
        let node = typed.node(outlet.node);
        let is_input = name == input_name;
        // Another sampler rounds to other 8-bit values: a few steps are no error of the preparation.
        let least_std = manifest.input.std.into_iter().fold(f32::INFINITY, f32::min);
        let tolerance =
            if is_input { comparison.tolerance.max(INPUT_STEPS / 255.0 / least_std) } else { comparison.tolerance };
        let differ = |actual: &[f32], expected: &[f32]| difference(actual, expected, &shape, tolerance);
        let plan = planned.get(node.name.as_str()).filter(|it| it.len() == values.len()).map(|it| differ(it, &values));
        let other = golden.and_then(|golden| golden.get(&name));
        let fits = other.filter(|tensor| tensor.values.len() == values.len() && same_shape(&tensor.shape, &shape));
        // The input is what the sampler made of the picture.
        let actual = if is_input { comparison.input } else { &values };
        layers.push(Layer {
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

/// Every tensor of floats that the file names, in the order of evaluation; the net's input first.
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

/// Equal but for axes of one.
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
