//! DataFusion's expressions in the words of the statement that they come from.
//!
//! It names columns that it computes by their expression, constants with their Arrow type: `count(Int64(1))`.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr, Literal};
use datafusion::physical_expr::{PhysicalExpr, conjunction, split_conjunction};
use datafusion::physical_expr_common::physical_expr::fmt_sql;
use engine::functions::numbers::wide;

/// Arrow's types of constants and casts, and SQL's.
const TYPES: &[(&str, &str)] = &[
    ("Decimal128", "numeric"),
    ("Decimal256", "numeric"),
    ("LargeUtf8", "text"),
    ("Utf8View", "text"),
    ("Utf8", "text"),
    ("UInt16", "integer"),
    ("UInt32", "bigint"),
    ("UInt64", "numeric"),
    ("UInt8", "smallint"),
    ("Int16", "smallint"),
    ("Int32", "integer"),
    ("Int64", "bigint"),
    ("Int8", "smallint"),
    ("Float32", "real"),
    ("Float64", "double precision"),
    ("Boolean", "boolean"),
    ("Date32", "date"),
];

/// An expression as SQL.
pub fn sql(expr: &Arc<dyn PhysicalExpr>) -> String {
    let shown = Arc::clone(expr).transform_up(|part| {
        // A column is shown by its name alone: so is, here, a constant as it is written.
        let shown = if let Some(column) = part.downcast_ref::<Column>() {
            plain(column.name())
        } else if let Some(Some(text)) = part.downcast_ref::<Literal>().and_then(|of| of.value().try_as_str())
        {
            quoted(text)
        } else if let Some(number) = part.downcast_ref::<Literal>().and_then(|of| wide::shown(of.value())) {
            number
        } else {
            return Ok(Transformed::no(part));
        };
        Ok(Transformed::yes(Arc::new(Column::new(&shown, 0)) as Arc<dyn PhysicalExpr>))
    });
    let expr = shown.map_or_else(|_| Arc::clone(expr), |shown| shown.data);
    plain(&fmt_sql(expr.as_ref()).to_string())
}

/// The condition of a statement as SQL, without what joins and sorts add to it while they run.
pub fn condition(expr: &Arc<dyn PhysicalExpr>) -> Option<String> {
    let own: Vec<_> = split_conjunction(expr).into_iter().filter(|part| !is_dynamic(part)).cloned().collect();
    (!own.is_empty()).then(|| sql(&conjunction(own)))
}

/// True for a condition that a join or a sort makes while it runs.
pub fn is_dynamic(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<DynamicFilterPhysicalExpr>().is_some() || expr.children().into_iter().any(is_dynamic)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name of DataFusion's without Arrow's types: `count(Int64(1))` is `count(*)`. What stands in quotes is left as it is.
pub fn plain(name: &str) -> String {
    const COUNT_OF_ROWS: &str = "count(Int64(1))";
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let is_word = |of: char| of.is_alphanumeric() || of == '_';
        let begins_word = !plain.ends_with(is_word);
        if first == '\'' {
            // Quotes within are doubled: each half ends and begins a text anew.
            let end = rest[1..].find('\'').map_or(rest.len(), |end| end + 2);
            plain.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        if let Some(after) = rest.strip_prefix(COUNT_OF_ROWS).filter(|_| begins_word) {
            plain.push_str("count(*)");
            rest = after;
            continue;
        }
        let typed = TYPES.iter().find_map(|(arrow, sql)| {
            let after = rest.strip_prefix(arrow).filter(|_| begins_word)?;
            (!after.starts_with(is_word)).then_some((sql, after))
        });
        if let Some((sql, after)) = typed {
            if plain.ends_with(" AS ") {
                plain.push_str(sql);
                rest = after;
                continue;
            }
            if let Some((constant, after)) = constant(after) {
                plain.push_str(&constant);
                rest = after;
                continue;
            }
        }
        plain.push(first);
        rest = &rest[first.len_utf8()..];
    }
    for name in PREFIXED {
        plain = plain.replace(&format!("sluice_{name}"), name);
    }
    with_operators(&plain)
}

/// Functions that stand for operators of numbers, dates and intervals.
const OPERATORS: &[(&str, &str)] = &[
    ("sluice_later(", "+"),
    ("sluice_earlier(", "-"),
    ("sluice_between(", "-"),
    ("sluice_day_plus(", "+"),
    ("sluice_day_minus(", "-"),
    ("sluice_day_and_time(", "+"),
    ("sluice_interval_plus(", "+"),
    ("sluice_interval_minus(", "-"),
    ("sluice_interval_times(", "*"),
    ("sluice_interval_divide(", "/"),
    ("sluice_interval_length(", ""),
    ("sluice_finite(", ""),
    ("sluice_nullable(", ""),
    ("sluice_wide_sum(", "+"),
    ("sluice_wide_difference(", "-"),
    ("sluice_wide_product(", "*"),
    ("sluice_quotient(", "/"),
    ("sluice_wide_remainder(", "%"),
    ("sluice_wide_negated(", "-"),
    // What only says in which form a number is.
    ("sluice_wide_letters(", ""),
    ("sluice_wide_key(", ""),
    ("sluice_wide(", ""),
];

/// Functions whose names are PostgreSQL's behind the prefix.
const PREFIXED: [&str; 7] = ["date(", "time(", "timestamp(", "timestamptz(", "interval(", "extract(", "age("];

/// `text` with operators of numbers in the place of the functions that compute them.
fn with_operators(text: &str) -> String {
    let found = OPERATORS.iter().filter_map(|(name, op)| Some((text.find(name)?, name, op)));
    let Some((at, name, op)) = found.min_by_key(|(at, ..)| *at) else { return text.to_owned() };
    let after = &text[at + name.len()..];
    let Some((arguments, rest)) = arguments(after) else { return text.to_owned() };
    let operand = |argument: &&str| {
        let argument = with_operators(argument.trim());
        if argument.contains(" + ") || argument.contains(" - ") { format!("({argument})") } else { argument }
    };
    let shown = match arguments.as_slice() {
        [only] if op.is_empty() => with_operators(only),
        [only] => format!("{op}{}", operand(only)),
        all => all.iter().map(operand).collect::<Vec<_>>().join(&format!(" {op} ")),
    };
    format!("{}{shown}{}", &text[..at], with_operators(rest))
}

/// The arguments at the beginning of `text`, which the bracket before them opens, and what follows.
fn arguments(text: &str) -> Option<(Vec<&str>, &str)> {
    let (mut depth, mut begun, mut is_quoted) = (0, 0, false);
    let mut found = Vec::new();
    for (at, letter) in text.char_indices() {
        match letter {
            '\'' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '(' => depth += 1,
            ')' if depth == 0 => {
                found.push(&text[begun..at]);
                return Some((found, &text[at + 1..]));
            }
            ')' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&text[begun..at]);
                begun = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// The constant in the brackets at the beginning of `text`, and what follows them. Of a decimal, its digits come first.
fn constant(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('(')?;
    if let Some(value) = inner.strip_prefix('"') {
        let (value, after) = value.split_once("\")")?;
        return Some((quoted(value), after));
    }
    let (value, after) = inner.split_once(')')?;
    let value = value.split(',').next()?;
    let is_plain = value.chars().all(|of| of.is_ascii_alphanumeric() || ['-', '+', '.'].contains(&of));
    (is_plain && !value.is_empty()).then(|| (value.to_owned(), after))
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{BinaryExpr, lit};

    use super::*;

    #[test]
    fn names_are_told_in_the_words_of_sql() {
        let decimal = format!("sum(x > {:?})", ScalarValue::Decimal128(Some(150), 4, 2));
        let text = format!("max({:?})", ScalarValue::from("it's"));
        for (name, told) in [
            ("count(Int64(1))", "count(*)"),
            ("my_count(Int64(1))", "my_count(1)"),
            ("sum(l.price * Int64(1) - l.discount)", "sum(l.price * 1 - l.discount)"),
            ("round(x,Int64(-2))", "round(x,-2)"),
            (&text, "max('it''s')"),
            (&decimal, "sum(x > 1.50)"),
            ("CAST(x AS Decimal128(19, 6)) > y", "CAST(x AS numeric(19, 6)) > y"),
            (
                "sluice_wide_key(sluice_wide(a)) < sluice_wide_key(sluice_wide_product(0.2,avg(a)))",
                "a < 0.2 * avg(a)",
            ),
            ("sluice_later(d, '1 day') < sluice_timestamptz(e)", "d + '1 day' < timestamptz(e)"),
            ("sluice_quotient(sum(a), sluice_wide_sum(b, 1)) > 0", "sum(a) / (b + 1) > 0"),
            ("CAST(x AS Utf8View)", "CAST(x AS text)"),
            ("x AS Utf8s", "x AS Utf8s"),
            ("myInt64(1)", "myInt64(1)"),
            ("Int64", "Int64"),
            ("Int64(", "Int64("),
            ("coalesce(Int64(NULL), é)", "coalesce(NULL, é)"),
            ("x = 'Int64(1)' or y = 'count(Int64(1))'", "x = 'Int64(1)' or y = 'count(Int64(1))'"),
            ("x = 'it''s Int64(1)' and Int64(2)", "x = 'it''s Int64(1)' and 2"),
            ("'", "'"),
            ("é'Int64(1)", "é'Int64(1)"),
            ("Decimal128(Some(12345),1,3)", "Decimal128(Some(12345),1,3)"),
        ] {
            assert_eq!(plain(name), told, "{name}");
        }
    }

    #[test]
    fn conditions_keep_their_brackets() {
        let column = |name| Arc::new(Column::new(name, 0)) as Arc<dyn PhysicalExpr>;
        let both = |left, of, right| Arc::new(BinaryExpr::new(left, of, right)) as Arc<dyn PhysicalExpr>;
        let is = |name, value| both(column(name), Operator::Eq, lit(value));
        let either = both(is("a", "x"), Operator::Or, is("b", "Int64(1)"));
        let all = both(is("c", "z"), Operator::And, either);
        assert_eq!(condition(&all).as_deref(), Some("c = 'z' AND (a = 'x' OR b = 'Int64(1)')"));
    }
}
