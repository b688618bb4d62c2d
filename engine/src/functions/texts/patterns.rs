//! What PostgreSQL's patterns are in the syntax that is matched here.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

use super::dialect::{self, Flags, Problem};
use super::{text_at, texts, told};
use crate::functions::no_such_arguments;

/// What a function translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Translated {
    Expression,
    Similar,
}

const ALL: [(&str, Translated); 2] =
    [("sluice_expression", Translated::Expression), ("sluice_similar_pattern", Translated::Similar)];

/// Every function of this file.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    ALL.map(|(_, kind)| function(kind)).to_vec()
}

fn function(kind: Translated) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Translation { kind, signature: Signature::user_defined(Volatility::Immutable) }))
}

/// True for a pattern that is in the syntax that is matched.
pub fn is_expression(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if ALL.iter().any(|(name, _)| *name == call.func.name()))
}

/// `pattern`, a regular expression, in the syntax that is matched.
pub fn expression(pattern: Expr) -> Result<Expr> {
    if let Expr::Literal(value, _) = &pattern
        && let Some(text) = value.try_as_str()
    {
        return Ok(match text {
            Some(text) => lit(dialect::translated(text, Flags::default()).map_err(told)?),
            None => pattern,
        });
    }
    let function = function(Translated::Expression);
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![pattern])))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Translation {
    kind: Translated,
    signature: Signature,
}

impl ScalarUDFImpl for Translation {
    fn name(&self) -> &str {
        ALL.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(name, _)| name)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let are_texts = types.iter().all(|kind| kind.is_string() || kind.is_null());
        if types.is_empty() || types.len() > 2 || !are_texts {
            return Err(no_such_arguments(self.name()));
        }
        Ok(vec![DataType::Utf8; types.len()])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let mut arrays = args.args.into_iter().map(|value| value.into_array(rows));
        let patterns = match arrays.next() {
            Some(patterns) => texts(&patterns?)?,
            None => return Err(DataFusionError::Plan(format!("{} takes a text", self.name()))),
        };
        let options = arrays.next().transpose()?.map(|options| texts(&options)).transpose()?;
        let mut last: Option<(String, Option<String>, String)> = None;
        let translated = (0..rows).map(|row| -> Result<Option<String>> {
            let Some(pattern) = text_at(&patterns, row) else { return Ok(None) };
            let option = match &options {
                Some(options) => match text_at(options, row) {
                    Some(option) => Some(option),
                    None => return Ok(None),
                },
                None => None,
            };
            if let Some((known, with, translated)) = &last
                && known == pattern
                && with.as_deref() == option
            {
                return Ok(Some(translated.clone()));
            }
            let translated = translate(self.kind, pattern, option).map_err(told)?;
            last = Some((pattern.to_owned(), option.map(str::to_owned), translated.clone()));
            Ok(Some(translated))
        });
        let translated: ArrayRef = Arc::new(translated.collect::<Result<StringArray>>()?);
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&translated, 0)?));
        }
        Ok(ColumnarValue::Array(translated))
    }
}

fn translate(kind: Translated, text: &str, option: Option<&str>) -> std::result::Result<String, Problem> {
    match kind {
        Translated::Expression => dialect::translated(text, Flags::read(option.unwrap_or_default())?),
        Translated::Similar => {
            let mut letters = option.unwrap_or("\\").chars();
            match (letters.next(), letters.next()) {
                (escape, None) => dialect::similar(text, escape),
                _ => Err(Problem::Escape),
            }
        }
    }
}
