//! What matches of regular expressions are: `regexp_match`, `regexp_substr`, `regexp_split_to_array`, and `substring` by a pattern.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, ListBuilder, StringArray, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::unicode;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use regex::{Regex, RegexBuilder};

use super::dialect::{self, Flags};
use super::{fault, is_of, text_at, texts, told};
use crate::functions::no_such_arguments;

/// What a compiled expression may take.
const SIZE_MAX: usize = 10 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    Match,
    Substr,
    Split,
    /// `substr` of places or of a pattern.
    Substring,
}

const ALL: [(&str, &[&str], Function); 4] = [
    ("regexp_match", &[], Function::Match),
    ("regexp_substr", &[], Function::Substr),
    ("regexp_split_to_array", &[], Function::Split),
    ("substr", &["substring"], Function::Substring),
];

/// Every function of this file.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    ALL.map(|(name, aliases, function)| {
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Matches { name, aliases, function, signature }))
    })
    .to_vec()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Matches {
    name: &'static str,
    aliases: Vec<String>,
    function: Function,
    signature: Signature,
}

fn list() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

impl Matches {
    /// `substr(text, from[, length])`, which is DataFusion's.
    fn is_of_places(&self, types: &[DataType]) -> bool {
        self.function == Function::Substring && types.get(1).is_none_or(|kind| !kind.is_string())
    }
}

impl ScalarUDFImpl for Matches {
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
        let is_text = |kind: &DataType| kind.is_string() || kind.is_null();
        let is_place = |kind: &DataType| kind.is_integer() || kind.is_null();
        let none = || Err(no_such_arguments(self.name));
        if self.is_of_places(types) {
            return match types {
                [text, places @ ..]
                    if is_text(text) && matches!(places.len(), 1 | 2) && places.iter().all(is_place) =>
                {
                    let text = if text.is_null() { DataType::Utf8 } else { text.clone() };
                    Ok([text].into_iter().chain(places.iter().map(|_| DataType::Int64)).collect())
                }
                _ => none(),
            };
        }
        let most = match self.function {
            Function::Match | Function::Split => 3,
            Function::Substr | Function::Substring => 2,
        };
        if types.len() < 2 || types.len() > most || !types.iter().all(is_text) {
            return none();
        }
        Ok(vec![DataType::Utf8; types.len()])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if self.is_of_places(types) {
            return unicode::substr().inner().return_type(types);
        }
        Ok(match self.function {
            Function::Match | Function::Split => list(),
            Function::Substr | Function::Substring => DataType::Utf8,
        })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        if self.is_of_places(&types) {
            return unicode::substr().invoke_with_args(args);
        }
        let is_constant = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let columns: Vec<StringArray> =
            args.args.into_iter().map(|value| texts(&value.into_array(rows)?)).collect::<Result<_>>()?;
        let result = self.compute(&columns, rows)?;
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

impl Matches {
    fn compute(&self, columns: &[StringArray], rows: usize) -> Result<ArrayRef> {
        let mut expressions = Expressions::new();
        let mut lists = ListBuilder::new(StringBuilder::new());
        let mut one = StringBuilder::new();
        for row in 0..rows {
            let values: Option<Vec<&str>> = columns.iter().map(|column| text_at(column, row)).collect();
            let Some([text, pattern, flags @ ..]) = values.as_deref() else {
                lists.append_null();
                one.append_null();
                continue;
            };
            let flags = Flags::read(flags.first().copied().unwrap_or_default()).map_err(told)?;
            if flags.is_global {
                let message = format!("{}() does not support the \"global\" option", self.name);
                return Err(fault(is_of::INVALID_PARAMETER, message));
            }
            let expression = expressions.of(pattern, flags)?;
            match self.function {
                Function::Match => match expression.captures(text) {
                    Some(found) if found.len() == 1 => {
                        lists.values().append_option(found.get(0).map(|found| found.as_str()));
                        lists.append(true);
                    }
                    Some(found) => {
                        for group in found.iter().skip(1) {
                            lists.values().append_option(group.map(|group| group.as_str()));
                        }
                        lists.append(true);
                    }
                    None => lists.append_null(),
                },
                Function::Split => {
                    for part in split(text, expression) {
                        lists.values().append_value(part);
                    }
                    lists.append(true);
                }
                Function::Substr => one.append_option(expression.find(text).map(|found| found.as_str())),
                Function::Substring => {
                    let found = expression.captures(text);
                    let part = found.and_then(|found| found.get(usize::from(found.len() > 1)));
                    one.append_option(part.map(|part| part.as_str()));
                }
            }
        }
        Ok(match self.function {
            Function::Match | Function::Split => Arc::new(lists.finish()),
            Function::Substr | Function::Substring => Arc::new(one.finish()),
        })
    }
}

/// What stands between matches. One of no letters counts nowhere but between two letters.
fn split<'a>(text: &'a str, expression: &Regex) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut from = 0;
    for found in expression.find_iter(text) {
        let is_empty = found.start() == found.end();
        if is_empty && (found.start() == from || found.start() == text.len()) {
            continue;
        }
        parts.push(&text[from..found.start()]);
        from = found.end();
    }
    parts.push(&text[from..]);
    parts
}

/// Expressions that were compiled, of which a batch has most often one.
pub(super) struct Expressions {
    last: Option<(String, Flags, Regex)>,
}

impl Expressions {
    pub(super) fn new() -> Self {
        Self { last: None }
    }

    pub(super) fn of(&mut self, pattern: &str, flags: Flags) -> Result<&Regex> {
        let is_known = self.last.as_ref().is_some_and(|(known, with, _)| known == pattern && *with == flags);
        if !is_known {
            let translated = dialect::extracting(pattern, flags).map_err(told)?;
            let expression = RegexBuilder::new(&translated).size_limit(SIZE_MAX).build().map_err(|_| {
                fault(is_of::EXPRESSION, "invalid regular expression: it cannot be read".to_owned())
            })?;
            self.last = Some((pattern.to_owned(), flags, expression));
        }
        match &self.last {
            Some((_, _, expression)) => Ok(expression),
            None => Err(DataFusionError::Internal("an expression was compiled to none".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_split_as_in_postgres() {
        let parts = |text, pattern: &str| split(text, &Regex::new(pattern).expect("an expression")).join("|");
        assert_eq!(parts("a b  c", " "), "a|b||c");
        assert_eq!(parts("abc", ""), "a|b|c");
        assert_eq!(parts("", " "), "");
        assert_eq!(parts(" a ", " "), "|a|");
    }
}
