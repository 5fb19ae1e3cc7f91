//! Converts tract's typed graph to a program with one step per operator.
//!
//! tract's graph is channels-first with a batch of one. A program's maps are channels-last without
//! a batch. Constants are folded during the conversion with tract's own operators.

use std::collections::HashMap;

use portraitd_kernels::nn::{
    Activation, Arithmetic, Border, Convolution, Depthwise, Interpolation, MapId, Pooling, Program, Shape, Step,
};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::{Pad, PadMode, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv, KernelFormat, MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::identity::Identity;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::nn::{DataFormat, LeakyRelu, Reduce, Reducer, Softmax};
use tract_onnx::tract_core::ops::source::TypedSource;

use super::error::{OperatorError, Unsupported};
use super::weights::{channels_last, constant, floats, per_channel, ungrouped, windows};

/// What stands for a value of tract's graph.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A value that is known during the conversion.
    Constant(Arc<Tensor>),
    /// A feature map.
    Map(MapId),
    /// The comparison `0 > map`, which is part of a parametric ReLU.
    Negative(MapId),
}

/// A conversion in progress.
struct Import {
    values: HashMap<OutletId, Value>,
    program: Program,
}

/// Converts a typed graph with one input, one output, known shapes and a batch of one.
pub(super) fn import(model: &TypedModel) -> Result<Program, Unsupported> {
    let graph = |error: TractError| Unsupported::Graph(error.to_string());
    let (inputs, outputs) = (model.input_outlets(), model.output_outlets());
    let ([input], Some(output)) = (inputs.map_err(graph)?, outputs.ok().and_then(<[_]>::first)) else {
        return Err(Unsupported::InputsAndOutputs);
    };
    let (input, output) = (*input, *output);
    let program = Program { maps: Vec::new(), names: Vec::new(), steps: Vec::new(), input: 0, output: 0 };
    let mut import = Import { values: HashMap::new(), program };
    let order = model.eval_order().map_err(graph)?;
    // The input comes first, so that its map has the index 0.
    let order = std::iter::once(input.node).chain(order.into_iter().filter(|&node| node != input.node));
    for id in order {
        let node = model.node(id);
        import.node(node).map_err(|reason| Unsupported::Operator {
            op: node.op().name().to_string(),
            node: node.name.clone(),
            reason,
        })?;
    }
    match import.values.get(&output) {
        Some(&Value::Map(map)) if map != import.program.input => import.program.output = map,
        _ => return Err(Unsupported::Output),
    }
    Ok(import.program)
}

impl Import {
    fn node(&mut self, node: &TypedNode) -> Result<(), OperatorError> {
        let inputs: Vec<Value> = node
            .inputs
            .iter()
            .map(|input| self.values.get(input).cloned().ok_or(OperatorError::Input))
            .collect::<Result<_, _>>()?;
        let outlet = OutletId::new(node.id, 0);
        if let Some(constant) = node.op_as::<Const>() {
            self.values.insert(outlet, Value::Constant(Arc::clone(constant.val())));
            return Ok(());
        }
        if node.op_is::<TypedSource>() {
            let map = self.add_map(self.shape(node)?, &node.name);
            self.values.insert(outlet, Value::Map(map));
            return Ok(());
        }
        let constants: Option<TVec<TValue>> = inputs
            .iter()
            .map(|value| match value {
                Value::Constant(tensor) => Some(TValue::from_const(Arc::clone(tensor))),
                _ => None,
            })
            .collect();
        if let Some(constants) = constants {
            let folded = node.op().eval_out_of_plan(constants)?;
            let folded = folded.ok_or(OperatorError::Stateful)?;
            for (slot, tensor) in folded.into_iter().enumerate() {
                self.values.insert(OutletId::new(node.id, slot), Value::Constant(tensor.into_arc_tensor()));
            }
            return Ok(());
        }
        let value = self.operator(node, &inputs)?;
        self.values.insert(outlet, value);
        Ok(())
    }

    /// Converts an operator with at least one input that is not constant.
    fn operator(&mut self, node: &TypedNode, inputs: &[Value]) -> Result<Value, OperatorError> {
        let name = node.op().name();
        if node.op_is::<Identity>() {
            return Ok(inputs[0].clone());
        }
        if let Some(cast) = node.op_as::<Cast>() {
            return if cast.to == f32::datum_type() {
                Ok(inputs[0].clone())
            } else {
                Err(OperatorError::Attribute(format!("a cast to {:?}", cast.to)))
            };
        }
        if let Some(op) = node.op_as::<TypedBinOp>() {
            return self.binary(node, op.0.name(), inputs);
        }
        if node.op_is::<Iff>() {
            return self.parametric_relu(node, inputs);
        }
        if let Some(concat) = node.op_as::<TypedConcat>() {
            return self.concatenate(node, concat, inputs);
        }
        let Some(&Value::Map(input)) = inputs.first() else {
            return Err(OperatorError::Inputs("a feature map first"));
        };
        if let Some(op) = node.op_as::<ElementWiseOp>() {
            if let Some(leaky) = op.0.downcast_ref::<LeakyRelu>() {
                let slopes = vec![leaky.alpha; self.program.maps[input].channels];
                return self.push(node, |output| Step::LeakyRelu { input, output, slopes });
            }
            let activation = match op.0.name().as_str() {
                "Sigmoid" => Activation::Sigmoid,
                "HardSwish" => Activation::HardSwish,
                other => return Err(OperatorError::Function(other.to_owned())),
            };
            return self.push(node, |output| Step::Activate { input, output, activation });
        }
        if let Some(conv) = node.op_as::<Conv>() {
            return self.convolution(node, conv, input, inputs);
        }
        if let Some(deconv) = node.op_as::<Deconv>() {
            return self.transposed(node, deconv, input, inputs);
        }
        if let Some(pool) = node.op_as::<MaxPool>() {
            if pool.with_index_outputs.is_some() {
                return Err(OperatorError::Attribute("an output with the positions of the maxima".into()));
            }
            return self.pool(node, &pool.pool_spec, Pooling::Max, input);
        }
        if let Some(pool) = node.op_as::<SumPool>() {
            if !pool.normalize || pool.count_include_pad {
                return Err(OperatorError::Attribute("sums, and means that include the padding".into()));
            }
            return self.pool(node, &pool.pool_spec, Pooling::Average, input);
        }
        if let Some(reduce) = node.op_as::<Reduce>() {
            if reduce.reducer != Reducer::Sum || reduce.axes.as_slice() != [2, 3] {
                return Err(OperatorError::Attribute(format!("{:?} over the axes {:?}", reduce.reducer, reduce.axes)));
            }
            let shape = self.program.maps[input];
            // A sum is the mean times the number of pixels. Usually a division follows that cancels
            // the product.
            let mean = self.add_map(Shape::vector(shape.channels), "");
            self.program.steps.push(Step::Mean { input, output: mean });
            let pixels = (shape.height * shape.width) as f32;
            return self.affine(node, mean, vec![pixels; shape.channels], vec![0.0; shape.channels]);
        }
        if let Some(pad) = node.op_as::<Pad>() {
            return self.pad(node, pad, input);
        }
        if let Some(softmax) = node.op_as::<Softmax>() {
            if softmax.axes.as_slice() != [1] {
                return Err(OperatorError::Attribute(format!("the axes {:?}", softmax.axes)));
            }
            return self.push(node, |output| Step::Softmax { input, output });
        }
        if name == "Resize" {
            return self.resize(node, input, inputs);
        }
        Err(OperatorError::Unknown)
    }

    /// The shape of a node's output as a map.
    fn shape(&self, node: &TypedNode) -> Result<Shape, OperatorError> {
        let fact = &node.outputs[0].fact;
        if fact.datum_type != f32::datum_type() {
            return Err(OperatorError::DataType(format!("{:?}", fact.datum_type)));
        }
        match fact.shape.as_concrete() {
            Some(&[1, channels, height, width]) => Ok(Shape { height, width, channels }),
            _ => Err(OperatorError::Shape(format!("{:?}", fact.shape))),
        }
    }

    fn add_map(&mut self, shape: Shape, name: &str) -> MapId {
        self.program.maps.push(shape);
        self.program.names.push(name.to_owned());
        self.program.maps.len() - 1
    }

    /// Adds the step that computes a node's output.
    fn push(&mut self, node: &TypedNode, step: impl FnOnce(MapId) -> Step) -> Result<Value, OperatorError> {
        let output = self.add_map(self.shape(node)?, &node.name);
        self.program.steps.push(step(output));
        Ok(Value::Map(output))
    }

    /// Adds a scale and a shift per channel, as a depthwise 1x1 convolution.
    fn affine(
        &mut self,
        node: &TypedNode,
        input: MapId,
        scale: Vec<f32>,
        shift: Vec<f32>,
    ) -> Result<Value, OperatorError> {
        let depthwise = Depthwise {
            kernel: 1,
            stride: 1,
            padding: [0, 0],
            weights: scale,
            bias: shift,
            activation: Activation::None,
            add_input: false,
        };
        self.push(node, |output| Step::Depthwise { input, output, expand: None, depthwise, mean: None })
    }

    fn binary(&mut self, node: &TypedNode, operation: &str, inputs: &[Value]) -> Result<Value, OperatorError> {
        match inputs {
            [Value::Map(a), Value::Map(b)] => {
                let operation = match operation {
                    "Add" => Arithmetic::Add,
                    "Mul" => Arithmetic::Multiply,
                    _ => return Err(OperatorError::Inputs("a map and a constant")),
                };
                let shape = self.shape(node)?;
                // The map comes first, the vector second.
                let (a, b) = if self.program.maps[*a] == shape { (*a, *b) } else { (*b, *a) };
                let b_shape = self.program.maps[b];
                if self.program.maps[a] != shape || (b_shape != shape && b_shape != Shape::vector(shape.channels)) {
                    return Err(OperatorError::Inputs("maps of the same shape, or a map and a vector"));
                }
                self.push(node, |output| Step::Arithmetic { operation, a, b, output, activation: Activation::None })
            }
            [Value::Map(map), Value::Constant(constant)] => self.with_constant(node, operation, *map, constant, false),
            [Value::Constant(constant), Value::Map(map)] => self.with_constant(node, operation, *map, constant, true),
            _ => Err(OperatorError::Inputs("maps or constants")),
        }
    }

    fn with_constant(
        &mut self,
        node: &TypedNode,
        operation: &str,
        map: MapId,
        constant: &Tensor,
        constant_first: bool,
    ) -> Result<Value, OperatorError> {
        let channels = self.program.maps[map].channels;
        let values = per_channel(constant, channels)?;
        let (ones, zeros) = (vec![1.0; channels], vec![0.0; channels]);
        match (operation, constant_first) {
            ("Max", _) if values.iter().all(|&value| value == 0.0) => {
                self.push(node, |output| Step::Activate { input: map, output, activation: Activation::Relu })
            }
            ("Max" | "Min", _) => {
                let value = values[0];
                if values.iter().any(|&other| other != value) || value.is_nan() {
                    return Err(OperatorError::Inputs("a map and a single number"));
                }
                let (low, high) = if operation == "Max" { (value, f32::INFINITY) } else { (f32::NEG_INFINITY, value) };
                self.push(node, |output| Step::Clamp { input: map, output, low, high })
            }
            ("GT", true) if values.iter().all(|&value| value == 0.0) => Ok(Value::Negative(map)),
            ("LT", false) if values.iter().all(|&value| value == 0.0) => Ok(Value::Negative(map)),
            ("Add", _) => self.affine(node, map, ones, values),
            ("Mul", _) => self.affine(node, map, values, zeros),
            ("Sub", false) => self.affine(node, map, ones, values.iter().map(|value| -value).collect()),
            ("Sub", true) => self.affine(node, map, vec![-1.0; channels], values),
            ("Div", false) => self.affine(node, map, values.iter().map(|value| 1.0 / value).collect(), zeros),
            _ => Err(OperatorError::Inputs("two maps")),
        }
    }

    /// Converts `0 > x ? x * slope : x`.
    fn parametric_relu(&mut self, node: &TypedNode, inputs: &[Value]) -> Result<Value, OperatorError> {
        let [Value::Negative(input), Value::Map(scaled), Value::Map(same)] = *inputs else {
            return Err(OperatorError::Inputs("a comparison with 0 and two maps"));
        };
        let scale = self.program.steps.iter().find_map(|step| match step {
            Step::Depthwise { input: from, output, expand: None, depthwise, .. }
                if *from == input && *output == scaled && depthwise.bias.iter().all(|&bias| bias == 0.0) =>
            {
                Some(depthwise.weights.clone())
            }
            _ => None,
        });
        match scale {
            Some(slopes) if same == input => self.push(node, |output| Step::LeakyRelu { input, output, slopes }),
            _ => Err(OperatorError::Inputs("those of a parametric ReLU")),
        }
    }

    fn concatenate(
        &mut self,
        node: &TypedNode,
        concat: &TypedConcat,
        inputs: &[Value],
    ) -> Result<Value, OperatorError> {
        let maps: Option<Vec<MapId>> = inputs
            .iter()
            .map(|value| match value {
                Value::Map(map) => Some(*map),
                _ => None,
            })
            .collect();
        match maps {
            Some(inputs) if concat.axis == 1 => self.push(node, |output| Step::Concatenate { inputs, output }),
            _ => Err(OperatorError::Inputs("maps that are concatenated along the channels")),
        }
    }

    fn convolution(
        &mut self,
        node: &TypedNode,
        conv: &Conv,
        input: MapId,
        inputs: &[Value],
    ) -> Result<Value, OperatorError> {
        let (from, to) = (self.program.maps[input], self.shape(node)?);
        if conv.q_params.is_some() || conv.kernel_fmt != KernelFormat::OIHW {
            return Err(OperatorError::Attribute("quantised weights, and kernels that are not OIHW".into()));
        }
        let (kernel, stride, padding) = windows(&conv.pool_spec, from)?;
        let weights = constant(inputs.get(1))?;
        let bias = per_channel(&*constant(inputs.get(2))?, to.channels)?;
        let weights = floats(&weights)?;
        let taps = kernel[0] * kernel[1];
        let depthwise = conv.group == from.channels && to.channels == from.channels && kernel[0] == kernel[1];
        if conv.group == 1 || !depthwise {
            let dense = ungrouped(weights, conv.group, [to.channels, from.channels], taps)?;
            let weights = channels_last(&dense, to.channels, from.channels, taps);
            let convolution = Convolution {
                kernel,
                stride,
                padding,
                weights,
                bias,
                activation: Activation::None,
                gate: None,
                residual: None,
            };
            return self.push(node, |output| Step::Convolution { input, output, convolution, mean: None });
        }
        if weights.len() != to.channels * taps {
            return Err(OperatorError::WeightCount);
        }
        let depthwise = Depthwise {
            kernel: kernel[0],
            stride,
            padding,
            weights,
            bias,
            activation: Activation::None,
            add_input: false,
        };
        self.push(node, |output| Step::Depthwise { input, output, expand: None, depthwise, mean: None })
    }

    /// Converts a transposed convolution whose windows do not overlap. It becomes a 1x1 convolution
    /// to `kernel * kernel` times the channels, followed by a pixel shuffle.
    fn transposed(
        &mut self,
        node: &TypedNode,
        deconv: &Deconv,
        input: MapId,
        inputs: &[Value],
    ) -> Result<Value, OperatorError> {
        let (from, to) = (self.program.maps[input], self.shape(node)?);
        let spec = &deconv.pool_spec;
        let factor = spec.kernel_shape.first().copied().unwrap_or(0);
        let plain = spec.kernel_shape.as_slice() == [factor; 2]
            && spec.strides().as_ref() == [factor; 2]
            && spec.dilations().iter().all(|&dilation| dilation == 1)
            && deconv.adjustments.iter().all(|&adjustment| adjustment == 0)
            && spec.data_format == DataFormat::NCHW
            && deconv.kernel_format == KernelFormat::OIHW
            && (to.height, to.width) == (from.height * factor, from.width * factor);
        if !plain {
            return Err(OperatorError::Attribute("overlapping windows, and padding".into()));
        }
        let weights = floats(&*constant(inputs.get(1))?)?;
        let bias = per_channel(&*constant(inputs.get(2))?, to.channels)?;
        let taps = factor * factor;
        let weights = ungrouped(weights, deconv.group, [to.channels, from.channels], taps)?;
        // Reorder the weights from [out][in][tap] to [tap][out][in].
        let mut dense = Vec::with_capacity(weights.len());
        for tap in 0..taps {
            for o in 0..to.channels {
                dense.extend((0..from.channels).map(|i| weights[(o * from.channels + i) * taps + tap]));
            }
        }
        let convolution = Convolution {
            kernel: [1, 1],
            stride: 1,
            padding: [0, 0],
            weights: dense,
            bias: bias.repeat(taps),
            activation: Activation::None,
            gate: None,
            residual: None,
        };
        let middle = self.add_map(Shape { channels: taps * to.channels, ..from }, "");
        self.program.steps.push(Step::Convolution { input, output: middle, convolution, mean: None });
        let activation = Activation::None;
        self.push(node, |output| Step::PixelShuffle { input: middle, output, factor, activation })
    }

    fn pool(
        &mut self,
        node: &TypedNode,
        spec: &PoolSpec,
        pooling: Pooling,
        input: MapId,
    ) -> Result<Value, OperatorError> {
        let (kernel, stride, padding) = windows(spec, self.program.maps[input])?;
        if kernel[0] != kernel[1] {
            return Err(OperatorError::Attribute(format!("a window of {kernel:?}")));
        }
        let kernel = kernel[0];
        self.push(node, |output| Step::Pool { input, output, pooling, kernel, stride, padding })
    }

    fn pad(&mut self, node: &TypedNode, pad: &Pad, input: MapId) -> Result<Value, OperatorError> {
        let border = match &pad.mode {
            PadMode::Edge => Border::Replicate,
            PadMode::Constant(value) if floats(value)? == [0.0] => Border::Zero,
            other => return Err(OperatorError::Attribute(format!("the border {other:?}"))),
        };
        let [(0, 0), (0, 0), (above, _), (left, _)] = pad.pads[..] else {
            return Err(OperatorError::Attribute(format!("padding by {:?}", pad.pads)));
        };
        self.push(node, |output| Step::Pad { input, output, border, padding: [above, left] })
    }

    /// Converts a resize. The operator has a dozen attributes, some of which change with its
    /// version, so they are not read. Instead tract runs the operator on random numbers, and the
    /// result must equal that of our own step.
    fn resize(&mut self, node: &TypedNode, input: MapId, inputs: &[Value]) -> Result<Value, OperatorError> {
        let (from, to) = (self.program.maps[input], self.shape(node)?);
        let factor = to.height / from.height;
        if (to.height, to.width) != (from.height * factor, from.width * factor) || factor == 0 {
            return Err(OperatorError::Attribute(format!("resizing {from:?} to {to:?}")));
        }
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        // Scale factors allow a test with a small map. Sizes are valid only for the net's own map.
        let scaled = inputs[1..].iter().all(|value| matches!(value, Value::Constant(it) if it.datum_type().is_float()));
        let from = if scaled {
            Shape { height: from.height.min(5), width: from.width.min(7), channels: from.channels.min(2) }
        } else {
            from
        };
        let shape = [1, from.channels, from.height, from.width];
        let probe = tract_ndarray::Array4::from_shape_fn(shape, |_| noise());
        let mut arguments: TVec<TValue> = tvec!(Tensor::from(probe.clone()).into());
        for value in &inputs[1..] {
            let Value::Constant(tensor) = value else { return Err(OperatorError::NotConstant("sizes")) };
            arguments.push(TValue::from_const(Arc::clone(tensor)));
        }
        let result = node.op().eval_out_of_plan(arguments)?;
        let result = result.and_then(|mut result| result.pop()).ok_or(OperatorError::Stateful)?;
        let result = result.to_plain_array_view::<f32>()?;
        if result.shape() != [1, from.channels, from.height * factor, from.width * factor] {
            return Err(OperatorError::Shape(format!("{:?} of a resized {from:?}", result.shape())));
        }
        for (interpolation, known) in [(Interpolation::Bilinear, factor == 2), (Interpolation::Nearest, true)] {
            let same = known
                && result.indexed_iter().all(|(at, &value)| {
                    let (c, y, x) = (at[1], at[2], at[3]);
                    let expected = match interpolation {
                        Interpolation::Nearest => probe[[0, c, y / factor, x / factor]],
                        Interpolation::Bilinear => {
                            let taps = |at: usize, side: usize| {
                                let near = at / 2;
                                let far = if at.is_multiple_of(2) {
                                    near.saturating_sub(1)
                                } else {
                                    (near + 1).min(side - 1)
                                };
                                [(near, 0.75), (far, 0.25)]
                            };
                            let mut sum = 0.0;
                            for (row, wy) in taps(y, from.height) {
                                for (column, wx) in taps(x, from.width) {
                                    sum += wy * wx * probe[[0, c, row, column]];
                                }
                            }
                            sum
                        }
                    };
                    (value - expected).abs() < 1e-5
                });
            if same {
                return self.push(node, |output| Step::Resize { input, output, interpolation, factor });
            }
        }
        Err(OperatorError::Attribute(
            "an interpolation other than nearest, or bilinear by two with half-pixel centres".into(),
        ))
    }
}
