//! Mathematical functions of wide numbers.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, Int32Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};

use super::super::digits::bare_scale;
use super::super::mathematics::Function;
use super::super::value::width_bucket;
use super::columns::{of_rows, reader};
use super::{Fault, Number, error, is_wide};

/// True where a function of arguments of such types is one of wide numbers.
pub(in super::super) fn takes(function: Function, kinds: &[DataType]) -> bool {
    let is_exact = |kind: &DataType| kind.is_decimal() || is_wide(kind);
    if !kinds.iter().all(|kind| is_exact(kind) || kind.is_integer() || kind.is_null()) {
        return false;
    }
    let is_any = |is: fn(&DataType) -> bool| kinds.iter().any(is);
    // What has no scale of its own is computed by its digits.
    let is_open = |kind: &DataType| is_wide(kind) || bare_scale(kind).is_some();
    match (function, kinds.len()) {
        (Function::TrimScale, 1) => true,
        (Function::Abs | Function::Scale | Function::MinScale, 1)
        | (Function::Mod | Function::Gcd | Function::Lcm, 2) => is_any(is_open),
        (Function::Sqrt | Function::Exp | Function::Ln | Function::Log | Function::Log10, 1)
        | (Function::Log | Function::Power, 2) => kinds.iter().any(is_exact),
        (Function::Sign | Function::Round | Function::Trunc | Function::Ceil | Function::Floor, 1)
        | (Function::Div, 2)
        | (Function::WidthBucket, 4) => is_any(is_wide),
        (Function::Round | Function::Trunc, 2) => is_wide(&kinds[0]),
        _ => false,
    }
}

/// What a function gives that takes wide numbers.
pub(in super::super) fn returned(function: Function) -> DataType {
    match function {
        Function::Scale | Function::MinScale | Function::WidthBucket => DataType::Int32,
        _ => super::TYPE,
    }
}

/// Computes a function of numbers of any exact type.
pub(in super::super) fn compute(function: Function, args: &[ArrayRef]) -> Result<ArrayRef> {
    if returned(function) == DataType::Int32 {
        return whole(function, args);
    }
    let numbers = of_rows(args, |numbers| {
        let result = match numbers {
            [number] => of_one(function, number),
            [left, right] => of_two(function, left, right),
            _ => return Err(DataFusionError::Plan("a function takes other arguments".to_owned())),
        };
        result.map_err(error)
    })?;
    Ok(Arc::new(numbers))
}

fn of_one(function: Function, number: &Number) -> std::result::Result<Number, Fault> {
    match function {
        Function::Sqrt => number.sqrt(),
        Function::Exp => number.exp(),
        Function::Ln => number.ln(),
        Function::Log | Function::Log10 => number.log10(),
        Function::Abs => Ok(number.absolute()),
        Function::Sign => Ok(number.sign()),
        Function::Round => number.rounded(0),
        Function::Trunc => number.truncated(0),
        Function::Ceil => number.ceiling(),
        Function::Floor => number.floor(),
        _ => Ok(number.trim_scale()),
    }
}

fn of_two(function: Function, left: &Number, right: &Number) -> std::result::Result<Number, Fault> {
    match function {
        Function::Log => Number::log(left, right),
        Function::Power => left.power(right),
        Function::Round => left.rounded(right.to_i32()?),
        Function::Trunc => left.truncated(right.to_i32()?),
        Function::Mod => left.remainder(right),
        Function::Div => left.quotient(right),
        Function::Gcd => left.gcd(right),
        _ => left.lcm(right),
    }
}

fn whole(function: Function, args: &[ArrayRef]) -> Result<ArrayRef> {
    let readers = args.iter().map(reader).collect::<Result<Vec<_>>>()?;
    let nulls: Vec<_> = args.iter().map(|column| column.logical_nulls()).collect();
    let rows = args.first().map_or(0, |column| column.len());
    let row = |row: usize| -> Result<Option<i32>> {
        if nulls.iter().flatten().any(|nulls| nulls.is_null(row)) {
            return Ok(None);
        }
        let numbers = readers.iter().map(|read| read(row)).collect::<Result<Vec<_>>>()?;
        match (function, numbers.as_slice()) {
            (Function::Scale, [number]) => Ok(number.scale()),
            (Function::MinScale, [number]) => Ok(number.min_scale()),
            (_, [value, low, high, count]) => {
                let bucket = count.to_i32().and_then(|count| width_bucket(value, low, high, count));
                bucket.map(Some).map_err(error)
            }
            _ => Err(DataFusionError::Plan("a function takes other arguments".to_owned())),
        }
    };
    Ok(Arc::new((0..rows).map(row).collect::<Result<Int32Array>>()?))
}
