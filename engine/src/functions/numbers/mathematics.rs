//! Mathematical functions with PostgreSQL's results and errors: outside of their domain they are refused, where DataFusion's give
//! NaN and infinity.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int32Array, Int64Array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int32Type, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::conversions::{float_overflow, float_underflow, numeric_overflow};
use super::digits::{self, cut, digits_of, rescaled};
use super::wide::{self, Number};
use super::{fault, is_of};
use crate::functions::no_such_arguments;

const PRECISION: u8 = 38;

/// What a function computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Function {
    Sqrt,
    Cbrt,
    Exp,
    Ln,
    Log,
    Log10,
    Power,
    Sin,
    Cos,
    Tan,
    Cot,
    Asin,
    Acos,
    Acosh,
    Atanh,
    Degrees,
    Radians,
    Abs,
    Sign,
    Round,
    Trunc,
    Ceil,
    Floor,
    Mod,
    Div,
    Gcd,
    Lcm,
    Factorial,
    WidthBucket,
    Scale,
    MinScale,
    TrimScale,
    Not,
}

/// Names, with their other names.
const ALL: [(&str, &[&str], Function); 33] = [
    ("sqrt", &[], Function::Sqrt),
    ("cbrt", &[], Function::Cbrt),
    ("exp", &[], Function::Exp),
    ("ln", &[], Function::Ln),
    ("log", &[], Function::Log),
    ("log10", &[], Function::Log10),
    ("power", &["pow"], Function::Power),
    ("sin", &[], Function::Sin),
    ("cos", &[], Function::Cos),
    ("tan", &[], Function::Tan),
    ("cot", &[], Function::Cot),
    ("asin", &[], Function::Asin),
    ("acos", &[], Function::Acos),
    ("acosh", &[], Function::Acosh),
    ("atanh", &[], Function::Atanh),
    ("degrees", &[], Function::Degrees),
    ("radians", &[], Function::Radians),
    ("abs", &[], Function::Abs),
    ("sign", &[], Function::Sign),
    ("round", &[], Function::Round),
    ("trunc", &[], Function::Trunc),
    ("ceil", &["ceiling"], Function::Ceil),
    ("floor", &[], Function::Floor),
    ("mod", &[], Function::Mod),
    ("div", &[], Function::Div),
    ("gcd", &[], Function::Gcd),
    ("lcm", &[], Function::Lcm),
    ("factorial", &[], Function::Factorial),
    ("width_bucket", &[], Function::WidthBucket),
    ("scale", &[], Function::Scale),
    ("min_scale", &[], Function::MinScale),
    ("trim_scale", &[], Function::TrimScale),
    ("sluice_bitwise_not", &[], Function::Not),
];

/// Every function of this file.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    ALL.map(|(name, aliases, function)| {
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Mathematics { name, aliases, function, signature }))
    })
    .to_vec()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mathematics {
    name: &'static str,
    aliases: Vec<String>,
    function: Function,
    signature: Signature,
}

/// Types of arguments, by what PostgreSQL makes of them.
fn is_exact(kind: &DataType) -> bool {
    matches!(kind, DataType::Decimal128(..))
}

fn is_whole(kind: &DataType) -> bool {
    kind.is_integer() || kind.is_null()
}

/// A whole number as a decimal.
fn as_exact(kind: &DataType) -> Option<DataType> {
    match kind {
        DataType::Decimal128(..) => Some(kind.clone()),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            Some(DataType::Decimal128(*precision, *scale))
        }
        DataType::Decimal256(_, scale) => Some(DataType::Decimal128(PRECISION, *scale)),
        kind if is_whole(kind) => Some(DataType::Decimal128(20, 0)),
        _ => None,
    }
}

/// `integer` for what is no wider, else `bigint`.
fn as_whole(kinds: &[DataType]) -> Option<DataType> {
    if !kinds.iter().all(is_whole) {
        return None;
    }
    let is_wide =
        kinds.iter().any(|kind| matches!(kind, DataType::Int64 | DataType::UInt32 | DataType::UInt64));
    Some(if is_wide { DataType::Int64 } else { DataType::Int32 })
}

fn is_number(kind: &DataType) -> bool {
    kind.is_numeric() || kind.is_null()
}

impl Mathematics {
    fn taken(&self, kinds: &[DataType]) -> Option<Vec<DataType>> {
        if wide::mathematics::takes(self.function, kinds) {
            return Some(kinds.to_vec());
        }
        let double = DataType::Float64;
        // A decimal if it is one, else a double.
        let number = |kind: &DataType| match kind {
            DataType::Decimal32(..) | DataType::Decimal64(..) => as_exact(kind),
            DataType::Decimal128(..) | DataType::Decimal256(..) => as_exact(kind),
            kind if is_number(kind) => Some(DataType::Float64),
            _ => None,
        };
        let exact = |kinds: &[DataType]| kinds.iter().map(as_exact).collect::<Option<Vec<_>>>();
        match (self.function, kinds) {
            (
                Function::Sqrt
                | Function::Cbrt
                | Function::Exp
                | Function::Ln
                | Function::Log
                | Function::Log10
                | Function::Sin
                | Function::Cos
                | Function::Tan
                | Function::Cot
                | Function::Asin
                | Function::Acos
                | Function::Acosh
                | Function::Atanh
                | Function::Degrees
                | Function::Radians,
                [kind],
            ) if is_number(kind) => Some(vec![double]),
            (Function::Log | Function::Power, [left, right]) if is_number(left) && is_number(right) => {
                Some(vec![double.clone(), double])
            }
            (Function::Abs, [kind]) if is_whole(kind) => match kind {
                DataType::Int8 | DataType::UInt8 | DataType::Int16 => Some(vec![DataType::Int16]),
                kind => Some(vec![as_whole(std::slice::from_ref(kind))?]),
            },
            (Function::Abs, [kind @ DataType::Float32]) => Some(vec![kind.clone()]),
            (
                Function::Abs
                | Function::Sign
                | Function::Round
                | Function::Trunc
                | Function::Ceil
                | Function::Floor,
                [kind],
            ) => Some(vec![number(kind)?]),
            (Function::Round | Function::Trunc, [kind, places]) if is_whole(places) => {
                // PostgreSQL has none for floating-point numbers.
                Some(vec![as_exact(kind)?, DataType::Int32])
            }
            (Function::Mod | Function::Gcd | Function::Lcm, [left, right]) => {
                match as_whole(&[left.clone(), right.clone()]) {
                    Some(whole) => Some(vec![whole.clone(), whole]),
                    None => exact(kinds),
                }
            }
            (Function::Div, [_, _]) | (Function::Scale | Function::MinScale, [_]) => exact(kinds),
            (Function::Factorial, [kind]) if is_whole(kind) => Some(vec![DataType::Int64]),
            (Function::WidthBucket, [value, low, high, count]) if is_whole(count) => {
                let mut bounds = exact(&[value.clone(), low.clone(), high.clone()]).or_else(|| {
                    let are_numbers = [value, low, high].iter().all(|kind| is_number(kind));
                    are_numbers.then(|| vec![DataType::Float64; 3])
                })?;
                bounds.push(DataType::Int32);
                Some(bounds)
            }
            (Function::Not, [kind]) if is_whole(kind) => match kind {
                DataType::Int8 | DataType::UInt8 | DataType::Int16 => Some(vec![DataType::Int16]),
                kind => Some(vec![as_whole(std::slice::from_ref(kind))?]),
            },
            _ => None,
        }
    }
}

/// As wide as there is one, but for those that are taken for a `numeric` without precision.
fn decimal(scale: i8) -> DataType {
    let kind = DataType::Decimal128(PRECISION, scale);
    if digits::bare_scale(&kind).is_some() { DataType::Decimal128(PRECISION - 1, scale) } else { kind }
}

fn scale_of(kind: &DataType) -> i8 {
    match kind {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

impl ScalarUDFImpl for Mathematics {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.taken(types).ok_or_else(|| no_such_arguments(self.name))
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if wide::mathematics::takes(self.function, types) {
            return Ok(wide::mathematics::returned(self.function));
        }
        let first = types.first().cloned().unwrap_or(DataType::Null);
        let widest = types.iter().map(scale_of).max().unwrap_or(0);
        Ok(match self.function {
            Function::Abs | Function::Not => first,
            Function::Sign | Function::Round | Function::Trunc | Function::Ceil | Function::Floor
                if is_exact(&first) =>
            {
                if types.len() == 2 {
                    decimal(scale_of(&first).max(0))
                } else {
                    decimal(0)
                }
            }
            Function::Mod | Function::Gcd | Function::Lcm if is_exact(&first) => decimal(widest),
            Function::Mod | Function::Gcd | Function::Lcm => first,
            Function::Div => DataType::Decimal128(PRECISION, 0),
            Function::Factorial => wide::TYPE,
            Function::WidthBucket | Function::Scale | Function::MinScale => DataType::Int32,
            _ => DataType::Float64,
        })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let arrays: Vec<ArrayRef> =
            args.args.into_iter().map(|value| value.into_array(rows)).collect::<Result<_>>()?;
        let result = self.compute(&arrays, args.return_field.data_type())?;
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

impl Mathematics {
    fn compute(&self, args: &[ArrayRef], kind: &DataType) -> Result<ArrayRef> {
        let first = args.first().ok_or_else(|| DataFusionError::Plan(format!("{} takes more", self.name)))?;
        let kinds: Vec<DataType> = args.iter().map(|arg| arg.data_type().clone()).collect();
        if wide::mathematics::takes(self.function, &kinds) {
            return wide::mathematics::compute(self.function, args);
        }
        match (self.function, first.data_type(), args) {
            (Function::Abs | Function::Not, DataType::Int16 | DataType::Int32 | DataType::Int64, _) => {
                whole(self.function, first)
            }
            (Function::Abs, DataType::Float32, _) => {
                let values = first.as_primitive::<datafusion::arrow::datatypes::Float32Type>();
                Ok(Arc::new(values.unary::<_, datafusion::arrow::datatypes::Float32Type>(f32::abs)))
            }
            (Function::Scale | Function::MinScale, DataType::Decimal128(_, scale), _) => {
                let values = first.as_primitive::<Decimal128Type>();
                let least = self.function == Function::MinScale;
                let scales = values.iter().map(|value| {
                    value.map(|value| {
                        let scale = i32::from((*scale).max(0));
                        if least { least_scale(value, scale) } else { scale }
                    })
                });
                Ok(Arc::new(scales.collect::<Int32Array>()))
            }
            (Function::Factorial, DataType::Int64, _) => {
                let numbers = first.as_primitive::<Int64Type>();
                let mut results = wide::columns::Builder::new(numbers.len());
                for number in numbers {
                    let result = number.map(Number::factorial).transpose().map_err(wide::error)?;
                    results.push(result.as_ref());
                }
                Ok(Arc::new(results.finish()))
            }
            (Function::WidthBucket, _, [value, low, high, count]) => buckets(value, low, high, count),
            (
                Function::Mod | Function::Gcd | Function::Lcm,
                DataType::Int32 | DataType::Int64,
                [left, right],
            ) => whole_pairs(self.function, left, right),
            (_, DataType::Decimal128(..), _) => self.decimals(args, kind),
            (_, DataType::Float64, [values]) => {
                let values = values.as_primitive::<Float64Type>();
                let result: Float64Array = values
                    .iter()
                    .map(|value| value.map(|value| of_one(self.function, value)).transpose())
                    .collect::<Result<_>>()?;
                Ok(Arc::new(result))
            }
            (_, DataType::Float64, [left, right]) => {
                let left = left.as_primitive::<Float64Type>().iter();
                let right = right.as_primitive::<Float64Type>().iter();
                let rows = left.zip(right).map(|row| match row {
                    (Some(left), Some(right)) => of_two(self.function, left, right).map(Some),
                    _ => Ok(None),
                });
                Ok(Arc::new(rows.collect::<Result<Float64Array>>()?))
            }
            _ => Err(DataFusionError::Plan(format!("{} takes other arguments", self.name))),
        }
    }

    /// The functions of decimals.
    fn decimals(&self, args: &[ArrayRef], kind: &DataType) -> Result<ArrayRef> {
        let DataType::Decimal128(precision, to) = *kind else {
            return Err(DataFusionError::Plan(format!("{} takes other arguments", self.name)));
        };
        let first = &args[0];
        let from = scale_of(first.data_type());
        let values = first.as_primitive::<Decimal128Type>();
        let result: Decimal128Array = match (self.function, args) {
            (Function::Round | Function::Trunc, [_, places, ..]) => {
                let places = places.as_primitive::<Int32Type>();
                let is_cut = self.function == Function::Trunc;
                let rows = values.iter().zip(places.iter()).map(|row| match row {
                    (Some(value), Some(places)) => at_places(value, from, places, to, is_cut).map(Some),
                    _ => Ok(None),
                });
                rows.collect::<Result<_>>()?
            }
            (Function::Mod | Function::Gcd | Function::Lcm | Function::Div, [_, right]) => {
                let right_scale = scale_of(right.data_type());
                let scale = from.max(right_scale);
                let right = right.as_primitive::<Decimal128Type>();
                let rows = values.iter().zip(right.iter()).map(|row| {
                    let (Some(left), Some(right)) = row else { return Ok(None) };
                    let left = rescaled(left, from, scale).ok_or_else(numeric_overflow)?;
                    let right = rescaled(right, right_scale, scale).ok_or_else(numeric_overflow)?;
                    of_decimals(self.function, left, right).map(Some)
                });
                rows.collect::<Result<_>>()?
            }
            (function, [_]) => values
                .try_unary::<_, Decimal128Type, DataFusionError>(|value| of_decimal(function, value, from))?,
            _ => return Err(DataFusionError::Plan(format!("{} takes other arguments", self.name))),
        };
        Ok(Arc::new(result.with_precision_and_scale(precision, to)?))
    }
}

const RADIANS_PER_DEGREE: f64 = 0.017_453_292_519_943_295;

fn logarithm(value: f64) -> Result<f64> {
    if value == 0.0 {
        return Err(fault(is_of::LOGARITHM, "cannot take logarithm of zero".to_owned()));
    }
    if value < 0.0 {
        return Err(fault(is_of::LOGARITHM, "cannot take logarithm of a negative number".to_owned()));
    }
    Ok(value)
}

fn outside() -> DataFusionError {
    fault(is_of::OUT_OF_RANGE, "input is out of range".to_owned())
}

fn of_one(function: Function, value: f64) -> Result<f64> {
    let finite = |value: f64| if value.is_infinite() { Err(outside()) } else { Ok(value) };
    Ok(match function {
        Function::Sqrt if value < 0.0 => {
            return Err(fault(is_of::POWER, "cannot take square root of a negative number".to_owned()));
        }
        Function::Sqrt => value.sqrt(),
        Function::Cbrt => value.cbrt(),
        Function::Exp => {
            let result = value.exp();
            if result.is_infinite() && value.is_finite() {
                return Err(float_overflow());
            }
            if result == 0.0 && value.is_finite() {
                return Err(float_underflow());
            }
            result
        }
        Function::Ln => logarithm(value)?.ln(),
        Function::Log | Function::Log10 => logarithm(value)?.log10(),
        Function::Sin => finite(value)?.sin(),
        Function::Cos => finite(value)?.cos(),
        Function::Tan => finite(value)?.tan(),
        Function::Cot => 1.0 / finite(value)?.tan(),
        Function::Asin | Function::Acos | Function::Atanh if value.abs() > 1.0 => return Err(outside()),
        Function::Asin => value.asin(),
        Function::Acos => value.acos(),
        Function::Atanh => value.atanh(),
        Function::Acosh if value < 1.0 => return Err(outside()),
        Function::Acosh => value.acosh(),
        // As PostgreSQL rounds them (`ddegrees` and `dradians` of float.c).
        Function::Degrees => match value / RADIANS_PER_DEGREE {
            result if result.is_infinite() && value.is_finite() => return Err(float_overflow()),
            result => result,
        },
        Function::Radians => match value * RADIANS_PER_DEGREE {
            result if result == 0.0 && value != 0.0 => return Err(float_underflow()),
            result => result,
        },
        Function::Abs => value.abs(),
        Function::Sign if value.is_nan() => 0.0,
        Function::Sign if value == 0.0 => 0.0,
        Function::Sign => value.signum(),
        Function::Round => value.round_ties_even(),
        Function::Trunc => value.trunc(),
        Function::Ceil => value.ceil(),
        Function::Floor => value.floor(),
        _ => return Err(outside()),
    })
}

fn of_two(function: Function, left: f64, right: f64) -> Result<f64> {
    if function == Function::Log {
        let base = logarithm(left)?.ln();
        let value = logarithm(right)?;
        if base == 0.0 {
            return Err(fault(is_of::DIVISION_BY_ZERO, "division by zero".to_owned()));
        }
        // The bases that are exact.
        return Ok(match left {
            2.0 => value.log2(),
            10.0 => value.log10(),
            _ => value.ln() / base,
        });
    }
    if left == 0.0 && right < 0.0 {
        return Err(fault(is_of::POWER, "zero raised to a negative power is undefined".to_owned()));
    }
    if left < 0.0 && right.floor() != right && !right.is_nan() {
        let message = "a negative number raised to a non-integer power yields a complex result";
        return Err(fault(is_of::POWER, message.to_owned()));
    }
    let result = left.powf(right);
    if left.is_finite() && right.is_finite() {
        if result.is_infinite() {
            return Err(float_overflow());
        }
        if result == 0.0 && left != 0.0 {
            return Err(float_underflow());
        }
    }
    Ok(result)
}

fn at_places(value: i128, from: i8, places: i32, to: i8, is_cut: bool) -> Result<i128> {
    let change = if is_cut { cut } else { rescaled };
    // Past its own scale nothing is rounded away.
    let places = i8::try_from(places.clamp(-100, 100)).unwrap_or(0).min(from.max(to));
    let rounded = change(value, from, places).ok_or_else(numeric_overflow)?;
    rescaled(rounded, places, to).ok_or_else(numeric_overflow)
}

fn of_decimal(function: Function, value: i128, from: i8) -> Result<i128> {
    let whole = match function {
        Function::Abs => return Ok(value.abs()),
        Function::Sign => return Ok(value.signum()),
        Function::Round => rescaled(value, from, 0),
        Function::Trunc => cut(value, from, 0),
        Function::Ceil | Function::Floor => cut(value, from, 0).map(|whole| {
            let is_whole = rescaled(whole, 0, from) == Some(value);
            match function {
                _ if is_whole || from <= 0 => whole,
                Function::Ceil if value > 0 => whole + 1,
                Function::Floor if value < 0 => whole - 1,
                _ => whole,
            }
        }),
        _ => None,
    };
    whole.filter(|whole| digits_of(*whole) <= digits::DIGITS_MAX).ok_or_else(numeric_overflow)
}

fn by_zero() -> DataFusionError {
    fault(is_of::DIVISION_BY_ZERO, "division by zero".to_owned())
}

fn of_decimals(function: Function, left: i128, right: i128) -> Result<i128> {
    match function {
        Function::Mod if right == 0 => Err(by_zero()),
        Function::Mod => Ok(left % right),
        Function::Div if right == 0 => Err(by_zero()),
        Function::Div => Ok(left / right),
        Function::Gcd => Ok(divisor(left, right)),
        _ => multiple(left, right)
            .filter(|value| digits_of(*value) <= digits::DIGITS_MAX)
            .ok_or_else(numeric_overflow),
    }
}

fn divisor(left: i128, right: i128) -> i128 {
    let (mut left, mut right) = (left.abs(), right.abs());
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

fn multiple(left: i128, right: i128) -> Option<i128> {
    if left == 0 || right == 0 {
        return Some(0);
    }
    (left / divisor(left, right)).checked_mul(right).map(i128::abs)
}

fn least_scale(mut value: i128, mut scale: i32) -> i32 {
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    scale
}

fn out_of(kind: &DataType) -> DataFusionError {
    let name = match kind {
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        _ => "bigint",
    };
    fault(is_of::OUT_OF_RANGE, format!("{name} out of range"))
}

/// What `change` makes of whole numbers, in their own type.
fn whole(function: Function, values: &ArrayRef) -> Result<ArrayRef> {
    let kind = values.data_type();
    let wide = cast(values, &DataType::Int64)?;
    let wide = wide.as_primitive::<Int64Type>();
    let least = match kind {
        DataType::Int16 => i64::from(i16::MIN),
        DataType::Int32 => i64::from(i32::MIN),
        _ => i64::MIN,
    };
    let changed = wide.try_unary::<_, Int64Type, DataFusionError>(|value| match function {
        Function::Not => Ok(!value),
        _ if value == least => Err(out_of(kind)),
        _ => Ok(value.abs()),
    })?;
    Ok(cast(&changed, kind)?)
}

fn whole_pairs(function: Function, left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    let kind = left.data_type();
    let (left, right) = (cast(left, &DataType::Int64)?, cast(right, &DataType::Int64)?);
    let most = if *kind == DataType::Int32 { i128::from(i32::MAX) } else { i128::from(i64::MAX) };
    let rows = left.as_primitive::<Int64Type>().iter().zip(right.as_primitive::<Int64Type>().iter());
    let results = rows.map(|row| {
        let (Some(left), Some(right)) = row else { return Ok(None) };
        let value = of_decimals(function, i128::from(left), i128::from(right))?;
        if value > most {
            return Err(out_of(kind));
        }
        i64::try_from(value).map(Some).map_err(|_| out_of(kind))
    });
    let results: Int64Array = results.collect::<Result<_>>()?;
    Ok(cast(&results, kind)?)
}

fn buckets(value: &ArrayRef, low: &ArrayRef, high: &ArrayRef, count: &ArrayRef) -> Result<ArrayRef> {
    let wrong = |message: &str| fault(is_of::BUCKET, message.to_owned());
    let counts = count.as_primitive::<Int32Type>();
    let row = |at: usize| -> Result<Option<i32>> {
        if [value, low, high, count].iter().any(|array| array.is_null(at)) {
            return Ok(None);
        }
        let count = counts.value(at);
        if count <= 0 {
            return Err(wrong("count must be greater than zero"));
        }
        let bucket = if let DataType::Float64 = value.data_type() {
            let of = |array: &ArrayRef| array.as_primitive::<Float64Type>().value(at);
            float_bucket(of(value), of(low), of(high), count)
        } else {
            let scale = [value, low, high].iter().map(|array| scale_of(array.data_type())).max().unwrap_or(0);
            let of = |array: &ArrayRef| {
                let unscaled = array.as_primitive::<Decimal128Type>().value(at);
                rescaled(unscaled, scale_of(array.data_type()), scale).ok_or_else(numeric_overflow)
            };
            exact_bucket(of(value)?, of(low)?, of(high)?, count)
        };
        match bucket {
            Ok(Some(bucket)) => Ok(Some(bucket)),
            Ok(None) => Err(fault(is_of::OUT_OF_RANGE, "integer out of range".to_owned())),
            Err(message) => Err(wrong(message)),
        }
    };
    let buckets = (0..value.len()).map(row).collect::<Result<Int32Array>>()?;
    Ok(Arc::new(buckets))
}

type Bucket = std::result::Result<Option<i32>, &'static str>;

fn float_bucket(value: f64, low: f64, high: f64, count: i32) -> Bucket {
    if value.is_nan() || low.is_nan() || high.is_nan() {
        return Err("operand, lower bound, and upper bound cannot be NaN");
    }
    if low.is_infinite() || high.is_infinite() {
        return Err("lower and upper bounds must be finite");
    }
    let position = |from: f64, to: f64| f64::from(count) * (from / to);
    Ok(if low == high {
        return Err("lower bound cannot equal upper bound");
    } else if (low < high && value < low) || (low > high && value > low) {
        Some(0)
    } else if (low < high && value >= high) || (low > high && value <= high) {
        count.checked_add(1)
    } else {
        Some((position((value - low).abs(), (high - low).abs()) as i32).saturating_add(1).min(count))
    })
}

fn exact_bucket(value: i128, low: i128, high: i128, count: i32) -> Bucket {
    Ok(if low == high {
        return Err("lower bound cannot equal upper bound");
    } else if (low < high && value < low) || (low > high && value > low) {
        Some(0)
    } else if (low < high && value >= high) || (low > high && value <= high) {
        count.checked_add(1)
    } else {
        let (from, to) = ((value - low).unsigned_abs(), (high - low).unsigned_abs());
        let position = from.checked_mul(u128::from(count.unsigned_abs())).map(|position| position / to);
        position
            .and_then(|position| i32::try_from(position).ok())
            .and_then(|position| position.checked_add(1))
    })
}
