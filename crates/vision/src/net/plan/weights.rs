//! Converts weights and geometry of tract's operators to the form of a plan's program.

use portraitd_kernels::nn::Shape;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::PoolSpec;
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::error::OperatorError;
use super::import::Value;

/// The most groups of a dense convolution that are computed as one group. The weights between the
/// groups are then zero, so the work grows by the number of groups; with more, tract is faster.
const MAX_GROUPS: usize = 16;

/// Weights of `groups` groups, `[out][in / groups][tap]`, as those of one group, `[out][in][tap]`.
///
/// # Errors
/// [`OperatorError`] if the groups do not fit the channels or the number of weights, or if there
/// are more than [`MAX_GROUPS`].
pub(super) fn ungrouped(
    weights: Vec<f32>,
    groups: usize,
    [out, channels]: [usize; 2],
    taps: usize,
) -> Result<Vec<f32>, OperatorError> {
    if groups == 0 || !channels.is_multiple_of(groups) || !out.is_multiple_of(groups) {
        return Err(OperatorError::Attribute(format!("{groups} groups of {channels} and {out} channels")));
    }
    let inner = channels / groups;
    if weights.len() != out * inner * taps {
        return Err(OperatorError::WeightCount);
    }
    if groups == 1 {
        return Ok(weights);
    }
    if groups > MAX_GROUPS {
        return Err(OperatorError::Attribute(format!("{groups} groups, of which {MAX_GROUPS} are supported")));
    }
    let mut dense = vec![0.0; out * channels * taps];
    for (o, own) in weights.chunks_exact(inner * taps).enumerate() {
        let first = o / (out / groups) * inner;
        dense[(o * channels + first) * taps..][..inner * taps].copy_from_slice(own);
    }
    Ok(dense)
}

/// Kernel `[height, width]`, stride, and padding `[above, left]`.
pub(super) fn windows(spec: &PoolSpec, input: Shape) -> Result<([usize; 2], usize, [usize; 2]), OperatorError> {
    let strides = spec.strides();
    if spec.data_format != DataFormat::NCHW
        || spec.kernel_shape.len() != 2
        || spec.dilations().iter().any(|&dilation| dilation != 1)
        || strides[0] != strides[1]
    {
        let (kernel, dilations) = (&spec.kernel_shape, spec.dilations());
        return Err(OperatorError::Attribute(format!(
            "kernel {kernel:?} with strides {strides:?} and dilations {dilations:?}"
        )));
    }
    let padding = spec.computed_padding(&[input.height, input.width]);
    Ok(([spec.kernel_shape[0], spec.kernel_shape[1]], strides[0], [padding[0].pad_before, padding[1].pad_before]))
}

pub(super) fn constant(value: Option<&Value>) -> Result<Arc<Tensor>, OperatorError> {
    match value {
        Some(Value::Constant(tensor)) => Ok(Arc::clone(tensor)),
        _ => Err(OperatorError::NotConstant("weights")),
    }
}

/// The values of a tensor as `f32`.
pub(super) fn floats(tensor: &Tensor) -> Result<Vec<f32>, OperatorError> {
    let tensor = tensor.cast_to::<f32>()?;
    let view = tensor.to_plain_array_view::<f32>()?;
    Ok(view.iter().copied().collect())
}

/// The values of a constant, one per channel. Its shape is one number, `[c]`, `[c, 1, 1]` or
/// `[1, c, 1, 1]`.
pub(super) fn per_channel(tensor: &Tensor, channels: usize) -> Result<Vec<f32>, OperatorError> {
    let values = floats(tensor)?;
    let shape = tensor.shape();
    let along_channels = match shape {
        [count] => *count == channels,
        [1, count, 1, 1] | [count, 1, 1] => *count == channels,
        _ => false,
    };
    if values.len() == 1 {
        Ok(vec![values[0]; channels])
    } else if along_channels {
        Ok(values)
    } else {
        Err(OperatorError::Shape(format!("{shape:?} of a constant")))
    }
}

/// Reorders weights from `[out][in][tap]` to `[out][tap][in]`.
pub(super) fn channels_last(weights: &[f32], out: usize, channels: usize, taps: usize) -> Vec<f32> {
    let mut result = Vec::with_capacity(weights.len());
    for o in 0..out {
        for tap in 0..taps {
            result.extend((0..channels).map(|i| weights[(o * channels + i) * taps + tap]));
        }
    }
    result
}
