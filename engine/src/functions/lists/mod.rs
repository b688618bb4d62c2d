//! Arrays with PostgreSQL's meaning: their text, their items, and what is asked of them where DataFusion's function of
//! the name answers otherwise.
//!
//! An array of several dimensions is a list of lists. The functions take what was written: a text in place of an array, or of
//! an item, is read by them.

mod compute;
mod dimensions;
mod float;
mod leaves;
mod order;
mod ordered_sets;
mod planner;
mod read;
mod scan;
mod search;
mod series;
mod shown;
mod text;
mod types;

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

pub use self::leaves::{depth, item_of, leaf_of, list_of, with_leaf};
pub use self::planner::ListPlanner;
pub use self::shown::text_of;
pub use self::text::put_item;
use crate::Error;
use crate::functions::style::Display;

/// What a function of this folder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// The text of an array.
    Text,
    /// A text, or an array, as an array of the type of the second argument.
    Array,
    /// `a[i]…`.
    Item,
    /// `a[from:to]`.
    Slice,
    /// Refuses arrays of arrays that have different lengths.
    Level,
    /// `left op right`; the operator is the first argument.
    Compare,
    /// `@>`.
    Contains,
    /// `&&`.
    Overlaps,
    /// `x op ANY (array)`; the operator is the first argument.
    Any,
    /// `x op ALL (array)`.
    All,
    /// `array_append`.
    Append,
    /// `array_prepend`.
    Prepend,
    /// `array_cat`.
    Cat,
    /// `array_remove`.
    Remove,
    /// `array_replace`.
    Replace,
    /// `array_position`.
    Position,
    /// `array_positions`.
    Positions,
    /// `array_length`.
    Length,
    /// `array_upper`.
    Upper,
    /// `array_lower`.
    Lower,
    /// `array_ndims`.
    Levels,
    /// `array_dims`.
    Dimensions,
    /// `cardinality`.
    Cardinality,
    /// `array_to_string`.
    Joined,
    /// `string_to_array`.
    Split,
    /// `trim_array`.
    Trim,
    /// `percentile_cont` of gathered values; what share, and whether the largest comes first.
    Continuous,
    /// `percentile_disc` of them.
    Discrete,
    /// `mode` of them; whether the largest comes first.
    Mode,
    /// Its first argument: hides from the planner that two expressions are the same.
    Same,
}

use Operation as Op;

/// Each with its name, and the least and the most arguments it takes.
const ALL: [(Operation, &str, usize, usize); 30] = [
    (Op::Text, "sluice_array_text", 1, 1),
    (Op::Array, "sluice_array", 2, 2),
    (Op::Item, "sluice_array_item", 2, 7),
    (Op::Slice, "sluice_array_slice", 3, 3),
    (Op::Level, "sluice_array_level", 1, 1),
    (Op::Compare, "sluice_array_compare", 3, 3),
    (Op::Contains, "sluice_array_contains", 2, 2),
    (Op::Overlaps, "sluice_array_overlaps", 2, 2),
    (Op::Any, "sluice_any", 3, 3),
    (Op::All, "sluice_all", 3, 3),
    (Op::Append, "array_append", 2, 2),
    (Op::Prepend, "array_prepend", 2, 2),
    (Op::Cat, "array_cat", 2, 2),
    (Op::Remove, "array_remove", 2, 2),
    (Op::Replace, "array_replace", 3, 3),
    (Op::Position, "array_position", 2, 3),
    (Op::Positions, "array_positions", 2, 2),
    (Op::Length, "array_length", 2, 2),
    (Op::Upper, "array_upper", 2, 2),
    (Op::Lower, "array_lower", 2, 2),
    (Op::Levels, "array_ndims", 1, 1),
    (Op::Dimensions, "array_dims", 1, 1),
    (Op::Cardinality, "cardinality", 1, 1),
    (Op::Joined, "array_to_string", 2, 3),
    (Op::Split, "string_to_array", 2, 3),
    (Op::Trim, "trim_array", 2, 2),
    (Op::Continuous, "sluice_percentile_cont", 3, 3),
    (Op::Discrete, "sluice_percentile_disc", 3, 3),
    (Op::Mode, "sluice_mode", 2, 2),
    (Op::Same, "sluice_same", 2, 2),
];

#[derive(Debug, PartialEq, Eq, Hash)]
struct ListFunction {
    operation: Operation,
    signature: Signature,
}

/// Every function of this folder.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    ALL.map(|(operation, ..)| function(operation)).into_iter().chain([series::function()]).collect()
}

/// The function that does `operation`.
pub fn cast_function() -> Arc<ScalarUDF> {
    function(Operation::Array)
}

/// The function of `operation`.
pub fn function(operation: Operation) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::from(ListFunction { operation, signature }))
}

/// A call of the function that does `operation`.
pub fn call(operation: Operation, arguments: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function(operation), arguments))
}

/// What `function` does, when it is one of this folder.
pub fn operation(function: &ScalarUDF) -> Option<Operation> {
    ALL.iter().find(|(_, name, ..)| *name == function.name()).map(|(operation, ..)| *operation)
}

/// The type of the array that `literal` is the text of, where one of `kind` is wanted.
pub fn type_of_literal(literal: Option<&str>, kind: &DataType) -> DataType {
    read::type_of_literal(literal, kind)
}

/// The items of an array whose text is `literal`, read as `leaf`; `None` where they cannot be.
pub fn constants(literal: &str, leaf: &DataType) -> Option<Vec<ScalarValue>> {
    read::constants(literal, leaf)
}

impl ListFunction {
    fn known(&self) -> &'static (Operation, &'static str, usize, usize) {
        ALL.iter().find(|(operation, ..)| *operation == self.operation).unwrap_or(&ALL[0])
    }
}

impl ScalarUDFImpl for ListFunction {
    fn name(&self) -> &str {
        self.known().1
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let (_, name, least, most) = *self.known();
        if !(least..=most).contains(&types.len()) {
            return Err(no_such_function(name, types));
        }
        types::result(self.operation, types)?;
        Ok(types.to_vec())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types::result(self.operation, types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let display = Display::of_options(&args.config_options);
        let is_constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let values: Vec<ArrayRef> =
            args.args.into_iter().map(|value| value.into_array(rows)).collect::<Result<_>>()?;
        let result = compute::run(self.operation, &values, args.return_field.data_type(), &display)?;
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// There is no function of `name` for arguments of `types`.
fn no_such_function(name: &str, types: &[DataType]) -> DataFusionError {
    let names: Vec<String> = types.iter().map(type_name).collect();
    stamped(&Error::UndefinedFunction {
        message: format!("function {name}({}) does not exist", names.join(", ")),
    })
}

/// There is no operator `op` between operands of these types.
pub fn no_such_operator(op: &str, left: &DataType, right: &DataType) -> DataFusionError {
    stamped(&Error::UndefinedFunction {
        message: format!("operator does not exist: {} {op} {}", type_name(left), type_name(right)),
    })
}

/// PostgreSQL's name of a type.
pub fn type_name(kind: &DataType) -> String {
    if item_of(kind).is_some() {
        return format!("{}[]", type_name(leaf_of(kind)));
    }
    match kind {
        DataType::Null => "unknown",
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::LargeBinary
        | DataType::UInt64 => "numeric",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone",
        DataType::Timestamp(_, None) => "timestamp without time zone",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Interval(_) => "interval",
        DataType::Binary | DataType::BinaryView => "bytea",
        DataType::Struct(_) => "record",
        kind if kind.is_string() => "text",
        kind => return kind.to_string(),
    }
    .to_owned()
}

/// 0A000.
pub fn unsupported(message: String) -> DataFusionError {
    stamped(&Error::NotSupported { message })
}

fn stamped(error: &Error) -> DataFusionError {
    DataFusionError::Execution(error.to_stamp())
}
