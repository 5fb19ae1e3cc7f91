//! Why the fused plan does not support a net.

use portraitd_kernels::nn::MachineError;
use tract_onnx::prelude::TractError;

/// Why the fused plan does not support a net.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// The net's input is channels-last.
    #[error("the fused plan supports only nets whose input is channels first")]
    ChannelsLast,
    /// The net has more than one input, or no input, or no output.
    #[error("the fused plan supports only nets with one input and one output")]
    InputsAndOutputs,
    /// The output does not depend on the input, or it is the input itself.
    #[error("the fused plan does not compute the output of this net")]
    Output,
    /// The nodes of the graph cannot be brought into an order. The text is tract's error.
    #[error("the nodes of the net cannot be ordered: {0}")]
    Graph(String),
    /// An operator is not supported.
    #[error("the fused plan does not support the operator {op} of node `{node}`: {reason}")]
    Operator {
        /// tract's name of the operator.
        op: String,
        /// The name of the node.
        node: String,
        /// Why the operator is not supported.
        reason: OperatorError,
    },
    /// The program of the net cannot be prepared.
    #[error("the fused plan cannot run this net: {0}")]
    Machine(#[from] MachineError),
}

/// Why the fused plan does not support one operator of a net.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// The plan has no such operator.
    #[error("the plan has no such operator")]
    Unknown,
    /// The plan has no such function of single values.
    #[error("the plan has no function {0}")]
    Function(String),
    /// The operator reads a value that the plan does not compute.
    #[error("an input is a value that the plan does not compute")]
    Input,
    /// The inputs are not the maps and constants that the plan expects.
    #[error("its inputs must be {0}")]
    Inputs(&'static str),
    /// An input must be a constant.
    #[error("the {0} must be constant")]
    NotConstant(&'static str),
    /// The operator has state, so that its result cannot be computed in advance.
    #[error("its result depends on more than its inputs")]
    Stateful,
    /// An attribute has a value that the plan does not support. The text names it.
    #[error("not supported: {0}")]
    Attribute(String),
    /// The values are not `f32`.
    #[error("its output has the type {0} instead of F32")]
    DataType(String),
    /// A shape is not known or is not supported.
    #[error("shape {0} is not supported")]
    Shape(String),
    /// The number of weights does not match the shapes.
    #[error("the number of weights does not match the shapes")]
    WeightCount,
    /// tract failed. The text is its error.
    #[error("tract: {0}")]
    Tract(String),
}

impl From<TractError> for OperatorError {
    fn from(error: TractError) -> Self {
        Self::Tract(error.to_string())
    }
}
