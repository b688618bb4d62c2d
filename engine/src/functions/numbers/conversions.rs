//! Casts between `numeric`, floating-point numbers and text, as PostgreSQL casts: to the nearest value, rounded half away from
//! zero, and refused when it does not fit. DataFusion computes through doubles, and its optimizer takes a cast that
//! rounds for one that does not.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, Field, FieldRef, Float32Type, Float64Type, Int64Type,
};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::digits::{self, Digits, digits_of, rescaled};
use super::wide::{self, Number, decode};
use super::{fault, is_of};
use crate::casts;

/// What a function casts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Target {
    Double,
    Single,
    Exact,
    /// A `numeric` without precision.
    Bare,
}

const ALL: [(&str, Target); 4] = [
    ("sluice_double", Target::Double),
    ("sluice_single", Target::Single),
    (EXACT, Target::Exact),
    (BARE, Target::Bare),
];

const EXACT: &str = "sluice_numeric";
/// `sluice_bare_numeric(x)`: what a cast to `numeric` without precision is written as.
pub const BARE: &str = "sluice_bare_numeric";

/// Every function of this file.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    ALL.map(|(_, target)| function(target)).to_vec()
}

fn function(target: Target) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Conversion {
        target,
        signature: Signature::variadic_any(Volatility::Immutable),
    }))
}

/// The number that a text says, which is read when the plan gets its meaning.
pub fn bare_literal(text: &str) -> Expr {
    let text = Expr::Literal(ScalarValue::from(text), None);
    Expr::ScalarFunction(ScalarFunction::new_udf(bare(), vec![text]))
}

/// The function that makes decimals of a precision and a scale.
pub fn exact() -> Arc<ScalarUDF> {
    function(Target::Exact)
}

/// The function that makes doubles.
pub fn double_function() -> Arc<ScalarUDF> {
    function(Target::Double)
}

/// The function that makes singles.
pub fn single_function() -> Arc<ScalarUDF> {
    function(Target::Single)
}

/// The function that users' casts are written as.
pub fn bare() -> Arc<ScalarUDF> {
    function(Target::Bare)
}

/// True for what [`to_exact`] makes.
pub fn is_exact(function: &ScalarUDF) -> bool {
    function.name() == EXACT
}

/// `expr`, a number or a text, as a double.
pub fn to_double(expr: Expr) -> Expr {
    if let Some(ScalarValue::Decimal128(value, _, scale)) = literal(&expr) {
        let value = value.map(|value| digits::to_double(value, scale));
        return Expr::Literal(ScalarValue::Float64(value), None);
    }
    let expr = long_literal(&expr).unwrap_or(expr);
    Expr::ScalarFunction(ScalarFunction::new_udf(function(Target::Double), vec![expr]))
}

/// `expr`, a number or a text, as a single.
pub fn to_single(expr: Expr) -> Expr {
    if let Some(ScalarValue::Decimal128(value, _, scale)) = literal(&expr) {
        let value = value.map(|value| digits::to_single(value, scale));
        return Expr::Literal(ScalarValue::Float32(value), None);
    }
    let expr = long_literal(&expr).unwrap_or(expr);
    Expr::ScalarFunction(ScalarFunction::new_udf(function(Target::Single), vec![expr]))
}

/// `expr`, a number or a text, as a decimal of a precision and a scale.
pub fn to_exact(expr: Expr, precision: u8, scale: i8) -> Expr {
    if let Some(ScalarValue::Decimal128(Some(value), _, from)) = literal(&expr)
        && let Some(value) = rescaled(value, from, scale)
        && digits_of(value) <= usize::from(precision)
    {
        return Expr::Literal(ScalarValue::Decimal128(Some(value), precision, scale), None);
    }
    let of_type = Expr::Literal(ScalarValue::Decimal128(None, precision, scale), None);
    Expr::ScalarFunction(ScalarFunction::new_udf(function(Target::Exact), vec![expr, of_type]))
}

/// The number that a literal in quotes is, with the scale that it is written with.
///
/// # Errors
///
/// 22P02 for what is no number, 22003 for one that is too large.
pub fn read_literal(text: &str) -> Result<Expr> {
    let number = Number::read(text).map_err(wide::error)?;
    Ok(Expr::Literal(wide::literal(&number), None))
}

/// The type by which the planner knows a literal: a decimal, which it can compute with.
fn planned_type(text: &str) -> DataType {
    match Number::read(text).map(|number| wide::literal(&number).data_type()) {
        Ok(kind @ DataType::Decimal128(..)) => kind,
        _ => digits::BARE,
    }
}

/// The text of a literal of more digits than a decimal has, which is written as a cast of its text.
fn long_literal(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == BARE => match call.args.as_slice() {
            [text @ Expr::Literal(ScalarValue::Utf8(Some(_)), _)] => Some(text.clone()),
            _ => None,
        },
        Expr::Negative(inner) => match long_literal(inner)? {
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => {
                Some(Expr::Literal(ScalarValue::Utf8(Some(format!("-{text}"))), None))
            }
            _ => None,
        },
        Expr::Alias(alias) => long_literal(&alias.expr),
        _ => None,
    }
}

/// The decimal that `expr` is, with its sign.
pub fn literal(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value @ ScalarValue::Decimal128(..), _) => Some(value.clone()),
        // What the planner takes whole numbers past `bigint` for.
        Expr::Literal(ScalarValue::UInt64(Some(value)), _) => {
            Some(ScalarValue::Decimal128(Some(i128::from(*value)), 20, 0))
        }
        Expr::Cast(cast) => match (literal(&cast.expr)?, cast.field.data_type()) {
            (ScalarValue::Decimal128(Some(value), _, from), DataType::Decimal128(precision, scale)) => {
                let value = rescaled(value, from, *scale)?;
                let fits = digits_of(value) <= usize::from(*precision);
                fits.then_some(ScalarValue::Decimal128(Some(value), *precision, *scale))
            }
            _ => None,
        },
        Expr::Negative(inner) => match literal(inner)? {
            ScalarValue::Decimal128(value, precision, scale) => {
                Some(ScalarValue::Decimal128(value.map(|value| -value), precision, scale))
            }
            _ => None,
        },
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Conversion {
    target: Target,
    signature: Signature,
}

impl ScalarUDFImpl for Conversion {
    fn name(&self) -> &str {
        ALL.iter().find(|(_, target)| *target == self.target).map_or("", |(name, _)| name)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match (self.target, types) {
            (Target::Double, [_]) => Ok(DataType::Float64),
            (Target::Single, [_]) => Ok(DataType::Float32),
            (Target::Exact, [_, kind @ DataType::Decimal128(..)]) => Ok(kind.clone()),
            // What is exact stays as it is.
            (Target::Bare, [kind @ DataType::Decimal128(..)]) => Ok(kind.clone()),
            (Target::Bare, [kind]) if kind.is_integer() => Ok(DataType::Decimal128(20, 0)),
            (Target::Bare, [kind])
                if kind.is_numeric() || kind.is_string() || kind.is_null() || wide::is_wide(kind) =>
            {
                Ok(wide::TYPE)
            }
            (Target::Bare, [kind]) => {
                let message = format!("cannot cast type {} to numeric", casts::name(kind));
                Err(fault("42846", message))
            }
            _ => Err(DataFusionError::Plan(format!("{} takes other arguments", self.name()))),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let is_nullable = args.arg_fields.first().is_none_or(|field| field.is_nullable());
        let literal = args.scalar_arguments.first().copied().flatten().and_then(|value| value.try_as_str());
        let kind = match literal.flatten() {
            // It has become a literal of its own type before it is computed.
            Some(text) if self.target == Target::Bare => planned_type(text),
            _ => self.return_type(&types)?,
        };
        Ok(Arc::new(Field::new(self.name(), kind, is_nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let wrong = || DataFusionError::Plan(format!("{} takes other arguments", self.name()));
        let value = args.args.into_iter().next().ok_or_else(wrong)?;
        let is_constant = matches!(value, ColumnarValue::Scalar(_));
        let values = value.into_array(if is_constant { 1 } else { args.number_rows })?;
        let result: ArrayRef = match (self.target, args.return_field.data_type()) {
            (Target::Double, _) => Arc::new(doubles(&values)?),
            (Target::Single, _) => Arc::new(singles(&values)?),
            (Target::Exact | Target::Bare, DataType::Decimal128(precision, scale)) => {
                Arc::new(decimals(&values, *precision, *scale)?)
            }
            (Target::Bare, kind) if wide::is_wide(kind) => {
                Arc::new(wide::columns::of_rows(&[values], |numbers| Ok(numbers[0].clone()))?)
            }
            _ => return Err(wrong()),
        };
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// Numbers of any type, or texts, as numbers of the type `to`, one of which is wide.
///
/// # Errors
///
/// 22P02 for a text that is no number, 22003 for one that has no room in the type.
pub fn converted(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    Ok(match to {
        kind if wide::is_wide(kind) => {
            Arc::new(wide::columns::of_rows(&[Arc::clone(values)], |numbers| Ok(numbers[0].clone()))?)
        }
        DataType::Float64 => Arc::new(doubles(values)?),
        DataType::Float32 => Arc::new(singles(values)?),
        DataType::Decimal128(precision, scale) => Arc::new(decimals(values, *precision, *scale)?),
        kind if kind.is_integer() => {
            let read = wide::columns::reader(values)?;
            let whole = (0..values.len()).map(|row| {
                if values.is_null(row) {
                    return Ok(None);
                }
                let number = read(row)?;
                let whole = match kind {
                    DataType::Int16 => number.to_i16().map(i64::from),
                    DataType::Int32 => number.to_i32().map(i64::from),
                    _ => number.to_i64(),
                };
                whole.map(Some).map_err(wide::error)
            });
            let whole = whole.collect::<Result<datafusion::arrow::array::Int64Array>>()?;
            cast(&whole, kind)?
        }
        other => return Err(DataFusionError::Plan(format!("numbers do not become {other}"))),
    })
}

fn doubles(values: &ArrayRef) -> Result<Float64Array> {
    Ok(match values.data_type() {
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            values.as_primitive::<Decimal128Type>().unary(|value| digits::to_double(value, scale))
        }
        DataType::Decimal256(..) => {
            let values = values.as_primitive::<Decimal256Type>();
            (0..values.len())
                .map(|at| values.is_valid(at).then(|| values.value_as_string(at).parse().unwrap_or(f64::NAN)))
                .collect()
        }
        DataType::LargeBinary => {
            let numbers = values.as_binary::<i64>().iter();
            let read = |bytes: &[u8]| decode(bytes).to_double().map_err(wide::error);
            numbers.map(|bytes| bytes.map(read).transpose()).collect::<Result<_>>()?
        }
        kind if kind.is_string() => {
            let texts = cast(values, &DataType::Utf8)?;
            texts
                .as_string::<i32>()
                .iter()
                .map(|text| text.map(read_double).transpose())
                .collect::<Result<_>>()?
        }
        _ => cast(values, &DataType::Float64)?.as_primitive::<Float64Type>().clone(),
    })
}

fn singles(values: &ArrayRef) -> Result<Float32Array> {
    Ok(match values.data_type() {
        DataType::LargeBinary => {
            let numbers = values.as_binary::<i64>().iter();
            let read = |bytes: &[u8]| decode(bytes).to_single().map_err(wide::error);
            numbers.map(|bytes| bytes.map(read).transpose()).collect::<Result<_>>()?
        }
        DataType::Decimal128(_, scale) => {
            let scale = *scale;
            values.as_primitive::<Decimal128Type>().unary(|value| digits::to_single(value, scale))
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            values
                .iter()
                .map(|value| {
                    let Some(value) = value else { return Ok(None) };
                    let single = value as f32;
                    if single.is_infinite() && value.is_finite() {
                        return Err(float_overflow());
                    }
                    if single == 0.0 && value != 0.0 {
                        return Err(float_underflow());
                    }
                    Ok(Some(single))
                })
                .collect::<Result<_>>()?
        }
        kind if kind.is_string() => {
            let texts = cast(values, &DataType::Utf8)?;
            texts
                .as_string::<i32>()
                .iter()
                .map(|text| text.map(read_single).transpose())
                .collect::<Result<_>>()?
        }
        _ => cast(values, &DataType::Float32)?.as_primitive::<Float32Type>().clone(),
    })
}

/// What PostgreSQL says of a result that no floating-point number can hold.
pub fn float_overflow() -> DataFusionError {
    fault(is_of::OUT_OF_RANGE, "value out of range: overflow".to_owned())
}

/// The same of one that is too near to zero.
pub fn float_underflow() -> DataFusionError {
    fault(is_of::OUT_OF_RANGE, "value out of range: underflow".to_owned())
}

/// The number that `float8in` reads.
///
/// # Errors
///
/// 22P02 for what is no number, 22003 for one that a double cannot hold.
pub fn read_double(text: &str) -> Result<f64> {
    let trimmed = text.trim_matches(|letter: char| letter.is_ascii_whitespace() || letter == '\x0b');
    let value: f64 = trimmed.parse().map_err(|_| not_a_number("double precision", text))?;
    check_range(value.is_infinite(), value == 0.0, trimmed, "double precision")?;
    Ok(value)
}

/// The number that `float4in` reads, with the errors of [`read_double`].
pub fn read_single(text: &str) -> Result<f32> {
    let trimmed = text.trim_matches(|letter: char| letter.is_ascii_whitespace() || letter == '\x0b');
    let value: f32 = trimmed.parse().map_err(|_| not_a_number("real", text))?;
    check_range(value.is_infinite(), value == 0.0, trimmed, "real")?;
    Ok(value)
}

/// Digits that are read as infinite, or as zero where they are not, are out of range.
fn check_range(is_infinite: bool, is_zero: bool, text: &str, name: &str) -> Result<()> {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let has_digits = mantissa.bytes().any(|byte| byte.is_ascii_digit());
    let is_lost = (is_infinite && has_digits)
        || (is_zero && mantissa.bytes().any(|byte| (b'1'..=b'9').contains(&byte)));
    if is_lost {
        return Err(fault(is_of::OUT_OF_RANGE, format!("\"{text}\" is out of range for type {name}")));
    }
    Ok(())
}

fn not_a_number(name: &str, text: &str) -> DataFusionError {
    fault(is_of::INVALID_TEXT, format!("invalid input syntax for type {name}: \"{text}\""))
}

/// What PostgreSQL says of a number that has no room in its type.
pub fn numeric_overflow() -> DataFusionError {
    fault(is_of::OUT_OF_RANGE, "numeric field overflow".to_owned())
}

fn decimals(values: &ArrayRef, precision: u8, scale: i8) -> Result<Decimal128Array> {
    let fits = |value: i128| digits_of(value) <= usize::from(precision);
    let held = |value: Option<i128>| value.filter(|value| fits(*value)).ok_or_else(numeric_overflow);
    let of_float = |value: f64, digits: usize| match Digits::of_float(value, digits) {
        Some(digits) => held(digits.at_scale(scale)),
        None => Err(not_finite()),
    };
    let decimals: Decimal128Array = match values.data_type() {
        DataType::Decimal128(_, from) => {
            let values = values.as_primitive::<Decimal128Type>();
            values.try_unary::<_, Decimal128Type, DataFusionError>(|value| {
                held(rescaled(value, *from, scale))
            })?
        }
        DataType::LargeBinary => {
            let numbers = values.as_binary::<i64>().iter();
            let read = |bytes: &[u8]| decode(bytes).to_decimal(precision, scale).map_err(wide::error);
            numbers.map(|bytes| bytes.map(read).transpose()).collect::<Result<_>>()?
        }
        DataType::Decimal256(..) => {
            let values = values.as_primitive::<Decimal256Type>();
            (0..values.len())
                .map(|at| {
                    if values.is_null(at) {
                        return Ok(None);
                    }
                    let digits = Digits::read(&values.value_as_string(at));
                    held(digits.and_then(|digits| digits.at_scale(scale))).map(Some)
                })
                .collect::<Result<_>>()?
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>();
            values
                .iter()
                .map(|value| value.map(|value| of_float(value, 15)).transpose())
                .collect::<Result<_>>()?
        }
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>();
            values
                .iter()
                .map(|value| value.map(|value| of_float(f64::from(value), 6)).transpose())
                .collect::<Result<_>>()?
        }
        kind if kind.is_string() => {
            let texts = cast(values, &DataType::Utf8)?;
            let read = |text: &str| match Digits::read(text) {
                Some(digits) => held(digits.at_scale(scale)),
                None if is_special(text) => Err(not_finite()),
                None => Err(not_a_number("numeric", text)),
            };
            texts.as_string::<i32>().iter().map(|text| text.map(read).transpose()).collect::<Result<_>>()?
        }
        kind if kind.is_integer() && *kind != DataType::UInt64 => {
            let whole = cast(values, &DataType::Int64)?;
            let whole = whole.as_primitive::<Int64Type>().iter();
            whole
                .map(|value| value.map(|value| held(rescaled(i128::from(value), 0, scale))).transpose())
                .collect::<Result<_>>()?
        }
        _ => cast(values, &DataType::Decimal128(precision, scale))?.as_primitive::<Decimal128Type>().clone(),
    };
    Ok(decimals.with_precision_and_scale(precision, scale)?)
}

fn is_special(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    matches!(text.trim_start_matches(['+', '-']), "nan" | "inf" | "infinity")
}

fn not_finite() -> DataFusionError {
    fault(is_of::NOT_SUPPORTED, "numeric values that are not finite are not supported".to_owned())
}
