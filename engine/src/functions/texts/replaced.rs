//! `regexp_replace`, `regexp_count` and `regexp_like`: after a match PostgreSQL looks on where it ends, and takes one of no
//! letters there.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use regex::Regex;

use super::dialect::{self, Flags, Piece};
use super::matches::Expressions;
use super::{fault, is_of, text_at, texts, told};
use crate::functions::bounded::batch_bytes_max;
use crate::functions::no_such_arguments;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Function {
    Replace,
    Count,
    Like,
}

const ALL: [(&str, Function); 3] = [
    ("regexp_replace", Function::Replace),
    ("regexp_count", Function::Count),
    ("regexp_like", Function::Like),
];

/// Every function of this file.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    ALL.map(|(name, function)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Matched { name, function, signature }))
    })
    .to_vec()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Matched {
    name: &'static str,
    function: Function,
    signature: Signature,
}

impl ScalarUDFImpl for Matched {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let is_text = |kind: &DataType| kind.is_string() || kind.is_null();
        let is_number = |kind: &DataType| kind.is_integer();
        // Texts come first, then numbers, and then the letters of options.
        let (texts_first, numbers_max) = match self.function {
            Function::Replace => (3, 2),
            Function::Count => (2, 1),
            Function::Like => (2, 0),
        };
        let numbers = types.iter().skip(texts_first).take_while(|kind| is_number(kind)).count();
        let are_texts = types.iter().take(texts_first).all(is_text);
        let options = types.iter().skip(texts_first + numbers).collect::<Vec<_>>();
        let may_have_options = (numbers == 0 && numbers_max != 1) || numbers == numbers_max;
        let is_known = types.len() >= texts_first
            && are_texts
            && numbers <= numbers_max
            && match options.as_slice() {
                [] => true,
                [option] => is_text(option) && may_have_options,
                _ => false,
            };
        if !is_known {
            return Err(no_such_arguments(self.name));
        }
        let number = |kind: &DataType| if is_number(kind) { DataType::Int64 } else { DataType::Utf8 };
        Ok(types.iter().map(number).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.function {
            Function::Replace => DataType::Utf8,
            Function::Count => DataType::Int32,
            Function::Like => DataType::Boolean,
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
        let result = self.compute(&arrays, rows)?;
        if is_constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

/// What a row says beside its text and its pattern.
struct Options {
    flags: Flags,
    start: usize,
    /// Which of the matches; 0 for all of them.
    which: usize,
}

impl Matched {
    fn compute(&self, arrays: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let texts_first = if self.function == Function::Replace { 3 } else { 2 };
        let plain: Vec<StringArray> = arrays.iter().take(texts_first).map(texts).collect::<Result<_>>()?;
        let mut expressions = Expressions::new();
        let mut replaced: Vec<Option<String>> = Vec::new();
        let mut counts: Vec<Option<i32>> = Vec::new();
        let mut likes: Vec<Option<bool>> = Vec::new();
        for row in 0..rows {
            let values: Option<Vec<&str>> = plain.iter().map(|column| text_at(column, row)).collect();
            let is_null = arrays.iter().any(|array| array.is_null(row));
            let (Some([text, pattern, to @ ..]), false) = (values.as_deref(), is_null) else {
                replaced.push(None);
                counts.push(None);
                likes.push(None);
                continue;
            };
            let options = self.options(arrays.get(texts_first..).unwrap_or_default(), row)?;
            let expression = expressions.of(pattern, options.flags)?;
            match self.function {
                Function::Replace => {
                    let pieces = dialect::replacement(to.first().copied().unwrap_or_default());
                    replaced.push(Some(replace(text, expression, &pieces, &options)?));
                }
                Function::Count => {
                    let mut count = 0i32;
                    each_match(text, expression, options.start, |_| {
                        count = count.saturating_add(1);
                        true
                    });
                    counts.push(Some(count));
                }
                Function::Like => likes.push(Some(expression.is_match(text))),
            }
        }
        Ok(match self.function {
            Function::Replace => Arc::new(StringArray::from(replaced)),
            Function::Count => Arc::new(Int32Array::from(counts)),
            Function::Like => Arc::new(BooleanArray::from(likes)),
        })
    }

    fn options(&self, arrays: &[ArrayRef], row: usize) -> Result<Options> {
        let mut numbers = Vec::new();
        let mut letters = String::new();
        for array in arrays {
            match array.as_primitive_opt::<Int64Type>() {
                Some(array) => numbers.push(array.value(row)),
                None => letters = text_at(&texts(array)?, row).unwrap_or_default().to_owned(),
            }
        }
        let mut flags = Flags::read(&letters).map_err(told)?;
        let wrong = |name: &str, value: i64| {
            let message = format!("invalid value for parameter \"{name}\": {value}");
            fault(is_of::INVALID_PARAMETER, message)
        };
        let start = numbers.first().copied().unwrap_or(1);
        if start <= 0 {
            return Err(wrong("start", start));
        }
        // Where it is said which match, `g` says nothing.
        let which = match numbers.get(1) {
            Some(which) => usize::try_from(*which).map_err(|_| wrong("n", *which))?,
            None if flags.is_global => 0,
            None => 1,
        };
        if flags.is_global && self.function != Function::Replace {
            let message = format!("{}() does not support the \"global\" option", self.name);
            return Err(fault(is_of::INVALID_PARAMETER, message));
        }
        flags.is_global = false;
        Ok(Options { flags, start: usize::try_from(start - 1).unwrap_or(usize::MAX), which })
    }
}

/// Where the letter of a number begins; past the end for numbers that no letter has.
fn place_of(text: &str, letter: usize) -> Option<usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(letter)
}

/// Tells `tell` each match from the letter `start` on, until it says no.
fn each_match<'a>(
    text: &'a str,
    expression: &Regex,
    start: usize,
    mut tell: impl FnMut(regex::Captures<'a>) -> bool,
) {
    let Some(mut at) = place_of(text, start) else { return };
    while at <= text.len() {
        let Some(found) = expression.captures_at(text, at) else { return };
        let Some((from, to)) = found.get(0).map(|all| (all.start(), all.end())) else { return };
        if !tell(found) {
            return;
        }
        at = to;
        if from == to {
            // On with the letter behind.
            at += text[to..].chars().next().map_or(1, char::len_utf8);
        }
    }
}

fn replace(text: &str, expression: &Regex, pieces: &[Piece], options: &Options) -> Result<String> {
    let most = batch_bytes_max();
    let mut out = String::with_capacity(text.len());
    let (mut copied, mut number, mut is_large) = (0, 0, false);
    each_match(text, expression, options.start, |found| {
        number += 1;
        if options.which > 0 && number != options.which {
            return true;
        }
        let Some(all) = found.get(0) else { return false };
        out.push_str(&text[copied..all.start()]);
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Group(group) => out.push_str(found.get(*group).map_or("", |group| group.as_str())),
            }
        }
        copied = all.end();
        is_large = out.len() > most;
        options.which == 0 && !is_large
    });
    if is_large {
        return Err(DataFusionError::ResourcesExhausted(format!(
            "regexp_replace came to more than {most} bytes for one value"
        )));
    }
    out.push_str(&text[copied..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_of_no_letters_are_taken_behind_others() {
        let all = |text: &str, pattern: &str, to: &str| {
            let options = Options { flags: Flags::default(), start: 0, which: 0 };
            let expression = Regex::new(pattern).expect("an expression");
            replace(text, &expression, &dialect::replacement(to), &options).expect("short")
        };
        assert_eq!(all("abc", "b*", "-"), "-a--c-");
        assert_eq!(all("abc", "", "-"), "-a-b-c-");
        assert_eq!(all("foobarbaz", "b(..)", r"[\&]$1\1"), "foo[bar]$1ar[baz]$1az");
        assert_eq!(all("é", "x*", "-"), "-é-");
    }
}
