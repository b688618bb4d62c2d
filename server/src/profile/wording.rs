//! DataFusion's expressions in the words of the statement that they come from.
//!
//! It names columns that it computes by their expression, constants with their Arrow type: `count(Int64(1))`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Decimal128Type, DecimalType};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr, Literal};
use datafusion::physical_expr::split_conjunction;
use datafusion::physical_expr_common::physical_expr::fmt_sql;

/// Arrow's types of constants and casts, and SQL's; longer names before their beginnings.
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
    let quoted = Arc::clone(expr).transform_up(|part| {
        let Some(text) = part.downcast_ref::<Literal>().and_then(|literal| literal.value().try_as_str())
        else {
            return Ok(Transformed::no(part));
        };
        let Some(text) = text else { return Ok(Transformed::no(part)) };
        // A column is shown by its name alone: here, by the constant as it is written.
        let shown = format!("'{}'", text.replace('\'', "''"));
        Ok(Transformed::yes(Arc::new(Column::new(&shown, 0)) as Arc<dyn PhysicalExpr>))
    });
    let expr = quoted.map_or_else(|_| Arc::clone(expr), |quoted| quoted.data);
    plain(&fmt_sql(expr.as_ref()).to_string())
}

/// The condition of a statement as SQL, without what joins and sorts add to it while they run.
pub fn condition(expr: &Arc<dyn PhysicalExpr>) -> Option<String> {
    let own = split_conjunction(expr).into_iter().filter(|part| !is_dynamic(part));
    let parts: Vec<String> = own.map(sql).collect();
    (!parts.is_empty()).then(|| parts.join(" AND "))
}

/// True for a condition that a join or a sort makes while it runs.
pub fn is_dynamic(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<DynamicFilterPhysicalExpr>().is_some() || expr.children().into_iter().any(is_dynamic)
}

/// A name of DataFusion's without Arrow's types: `count(Int64(1))` is `count(*)`.
pub fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let begins_word = !plain.ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let typed = TYPES.iter().find(|(arrow, _)| begins_word && rest.starts_with(arrow));
        if let Some((arrow, sql)) = typed {
            let after = &rest[arrow.len()..];
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
    plain.replace("count(1)", "count(*)")
}

/// The constant in the brackets at the beginning of `text`, and what follows them.
fn constant(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('(')?;
    if let Some(quoted) = inner.strip_prefix('"') {
        let (value, after) = quoted.split_once("\")")?;
        return Some((format!("'{}'", value.replace('\'', "''")), after));
    }
    if let Some(decimal) = inner.strip_prefix("Some(") {
        let (value, after) = decimal.split_once("),")?;
        let (shape, after) = after.split_once(')')?;
        let (precision, scale) = shape.split_once(',')?;
        let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
        return Some((Decimal128Type::format_decimal(value.parse().ok()?, precision, scale), after));
    }
    let (value, after) = inner.split_once(')')?;
    let is_plain = value.chars().all(|of| of.is_ascii_alphanumeric() || ['-', '+', '.'].contains(&of));
    (is_plain && !value.is_empty()).then(|| (value.to_owned(), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_in_the_words_of_sql() {
        for (name, told) in [
            ("count(Int64(1))", "count(*)"),
            ("sum(l.price * Int64(1) - l.discount)", "sum(l.price * 1 - l.discount)"),
            ("round(x,Int64(-2))", "round(x,-2)"),
            ("max(Utf8(\"it's\"))", "max('it''s')"),
            ("sum(x > Decimal128(Some(150),4,2))", "sum(x > 1.50)"),
            ("CAST(x AS Decimal128(19, 6)) > y", "CAST(x AS numeric(19, 6)) > y"),
            ("CAST(x AS Utf8View)", "CAST(x AS text)"),
            ("myInt64(1)", "myInt64(1)"),
            ("Int64", "Int64"),
            ("Int64(", "Int64("),
            ("coalesce(Int64(NULL), é)", "coalesce(NULL, é)"),
        ] {
            assert_eq!(plain(name), told, "{name}");
        }
    }
}
