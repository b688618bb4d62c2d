//! `~` and its kin over what is not a plain column and a plain pattern: patterns that rows have of their own, that repeat
//! counted times, or texts that a statement computes.
//!
//! A compiled pattern may take ten megabytes, and a batch keeps those of all its rows; matching one that repeats may take
//! long. As a function, with a bound like others', they are computed a few at a time.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::functions::regex;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, lit,
};

use super::bounded::bounded_call;

/// Of the function.
pub const NAME: &str = "sluice_matches";
/// A pattern that is longer may be slow whatever is in it.
const PLAIN_BYTES: usize = 1000;

/// `sluice_matches(text, pattern[, flags])`: what `text ~ pattern` is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Matches {
    signature: Signature,
}

/// The function.
pub fn function() -> Arc<ScalarUDF> {
    let signature = Signature::variadic_any(Volatility::Immutable);
    Arc::new(ScalarUDF::from(Matches { signature }))
}

/// The function in the place of `binary`, when that is a match which may be slow or large.
pub fn of(binary: BinaryExpr) -> std::result::Result<Expr, BinaryExpr> {
    let (is_negated, flags) = match binary.op {
        Operator::RegexMatch => (false, ""),
        Operator::RegexIMatch => (false, "i"),
        Operator::RegexNotMatch => (true, ""),
        Operator::RegexNotIMatch => (true, "i"),
        _ => return Err(binary),
    };
    let is_plain = |pattern: &str| pattern.len() <= PLAIN_BYTES && !pattern.contains('{');
    let pattern = match binary.right.as_ref() {
        Expr::Literal(value, _) => value.try_as_str(),
        _ => None,
    };
    let reads_columns = !binary.left.column_refs().is_empty();
    if reads_columns && pattern.is_some_and(|pattern| pattern.is_none_or(is_plain)) {
        return Err(binary);
    }
    let mut args = vec![*binary.left, *binary.right];
    if !flags.is_empty() {
        args.push(lit(flags));
    }
    let call = bounded_call(ScalarFunction::new_udf(function(), args)).data;
    Ok(if is_negated { Expr::Not(Box::new(call)) } else { call })
}

impl ScalarUDFImpl for Matches {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let is_nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(NAME, DataType::Boolean, is_nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // The flags have the type of the text there.
        if let (Some(text), Some(flags)) =
            (args.args.first().map(ColumnarValue::data_type), args.args.get_mut(2))
        {
            *flags = flags.cast_to(&text, None)?;
        }
        regex::regexp_like().invoke_with_args(args)
    }
}
