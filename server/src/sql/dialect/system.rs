//! Rewrites for statements over system tables only: shapes that clients write and DataFusion cannot
//! plan.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, GroupByExpr, ObjectNamePart, OrderByKind, Query, Select, SelectItem, SetExpr,
    Subscript, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};

use super::{call, cast, has_aggregate, is_known_empty, take};
use crate::pg_catalog;

/// Before the parts of `expr` are visited.
pub fn adapt_before(expr: &mut Expr) {
    if let Expr::Function(function) = expr
        && is_called(function, "array")
        && let FunctionArguments::Subquery(query) = &mut function.args
    {
        if let SetExpr::Select(select) = query.body.as_ref()
            && is_known_empty(select)
        {
            *expr = no_texts();
        } else if gather(query) {
            // `ARRAY(SELECT x …)` is `(SELECT array_agg(x) …)`.
            *expr = Expr::Subquery(query.clone());
        }
    }
    match expr {
        Expr::Subquery(query) => {
            // Domains have base types, and no column here has a domain: what looks for them finds none.
            if query.with.as_ref().is_some_and(|with| with.recursive) {
                *expr = Expr::value(Value::Null);
            } else {
                correlate_by_equality(query);
            }
        }
        // Where a subquery stands for a value, only its count can be asked for.
        Expr::Exists { subquery, negated } => {
            if let SetExpr::Select(select) = subquery.body.as_mut()
                && !is_known_empty(select)
                && !has_groups(select)
            {
                let counted = Expr::value(Value::Number("1".into(), false));
                select.projection = vec![SelectItem::UnnamedExpr(call("count", vec![counted]))];
                subquery.order_by = None;
                subquery.limit_clause = None;
                let op = if *negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
                let left = Box::new(Expr::Subquery(subquery.clone()));
                *expr = Expr::BinaryOp { left, op, right: Box::new(zero()) };
            }
        }
        _ => {}
    }
    expand_composite(expr);
}

/// An array of text without items.
fn no_texts() -> Expr {
    let empty = Expr::Array(sqlparser::ast::Array { elem: Vec::new(), named: true });
    cast(empty, DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None)))
}

fn has_groups(select: &Select) -> bool {
    !matches!(&select.group_by, GroupByExpr::Expressions(expressions, _) if expressions.is_empty())
        || has_aggregate(&select.projection)
}

/// Columns of the outer query may only be compared for equality. Where one is compared otherwise, and is
/// also equal to a column of the subquery's own, that column says the same.
fn correlate_by_equality(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let own: Vec<String> = select.from.iter().flat_map(aliases).collect();
    let Some(condition) = &mut select.selection else { return };
    let qualifier = |expr: &Expr| match expr {
        Expr::CompoundIdentifier(parts) if parts.len() == 2 => Some(parts[0].value.to_ascii_lowercase()),
        _ => None,
    };
    let is_own = |expr: &Expr| qualifier(expr).map(|q| own.contains(&q));
    let mut equal: Vec<(Expr, Expr)> = Vec::new();
    for_each_conjunct(condition, &mut |conjunct| {
        let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = conjunct else { return };
        match (is_own(left), is_own(right)) {
            (Some(true), Some(false)) => equal.push((right.as_ref().clone(), left.as_ref().clone())),
            (Some(false), Some(true)) => equal.push((left.as_ref().clone(), right.as_ref().clone())),
            _ => {}
        }
    });
    for_each_conjunct(condition, &mut |conjunct| {
        let Expr::BinaryOp { left, op, right } = conjunct else { return };
        if *op == BinaryOperator::Eq {
            return;
        }
        for side in [left, right] {
            if let Some((_, own)) = equal.iter().find(|(outer, _)| outer == side.as_ref()) {
                **side = own.clone();
            }
        }
    });
}

/// Calls `each` on the parts that AND joins.
fn for_each_conjunct(expr: &mut Expr, each: &mut impl FnMut(&mut Expr)) {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            for_each_conjunct(left, each);
            for_each_conjunct(right, each);
        }
        Expr::Nested(inner) => for_each_conjunct(inner, each),
        other => each(other),
    }
}

/// The names that the relations of `source` go by.
fn aliases(source: &TableWithJoins) -> Vec<String> {
    let name = |factor: &TableFactor| match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.value.to_ascii_lowercase())
        }
        TableFactor::Table { name, .. } => {
            name.0.last().and_then(ObjectNamePart::as_ident).map(|ident| ident.value.to_ascii_lowercase())
        }
        _ => None,
    };
    std::iter::once(&source.relation)
        .chain(source.joins.iter().map(|join| &join.relation))
        .filter_map(name)
        .collect()
}

/// What a select needs besides its expressions: `x.tableoid` is the identifier of the catalog that `x`
/// is.
pub fn adapt_select(select: &mut Select) {
    let mut classes: Vec<(String, i64)> = Vec::new();
    for source in &select.from {
        for factor in std::iter::once(&source.relation).chain(source.joins.iter().map(|join| &join.relation))
        {
            let TableFactor::Table { name, alias, .. } = factor else { continue };
            let Some(table) = name.0.last().and_then(ObjectNamePart::as_ident) else { continue };
            let Some(oid) = pg_catalog::class_oid(&table.value.to_ascii_lowercase()) else { continue };
            let known_as = alias.as_ref().map_or(&table.value, |alias| &alias.name.value);
            classes.push((known_as.to_ascii_lowercase(), oid));
        }
    }
    struct TableOids(Vec<(String, i64)>);
    impl VisitorMut for TableOids {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::CompoundIdentifier(parts) = expr
                && let [relation, column] = parts.as_slice()
                && column.value.eq_ignore_ascii_case("tableoid")
                && let Some((_, oid)) =
                    self.0.iter().find(|(name, _)| relation.value.eq_ignore_ascii_case(name))
            {
                *expr = Expr::value(Value::Number(oid.to_string(), false));
            }
            ControlFlow::Continue(())
        }
    }
    if !classes.is_empty() {
        let _ = select.visit(&mut TableOids(classes));
    }
}

/// Functions of the system that stand where a table may and never have rows: their arguments, which may
/// be columns of other tables, say nothing.
pub fn adapt_table(factor: &mut TableFactor) {
    if let TableFactor::Table { name, args: Some(args), .. } = factor
        && let Some(last) = name.0.last().and_then(ObjectNamePart::as_ident)
        && pg_catalog::is_catalog_function(&last.value.to_ascii_lowercase())
    {
        args.args.clear();
    }
}

/// After the parts of `expr` were visited.
pub fn adapt_after(expr: &mut Expr) {
    match expr {
        Expr::Collate { expr: inner, .. } => {
            *expr = take(inner);
        }
        Expr::Function(function) => adapt_function(function),
        Expr::CompoundFieldAccess { root, access_chain } => {
            // Vectors count from 0, arrays from 1.
            let is_vector = matches!(root.as_ref(), Expr::Identifier(ident) if pg_catalog::is_vector_column(&ident.value));
            let last_is_vector = access_chain.iter().any(|access| {
                matches!(access, AccessExpr::Dot(Expr::Identifier(ident)) if pg_catalog::is_vector_column(&ident.value))
            });
            if is_vector || last_is_vector {
                for access in access_chain {
                    if let AccessExpr::Subscript(Subscript::Index { index }) = access {
                        let one = Expr::value(Value::Number("1".into(), false));
                        let left = Box::new(take(index));
                        *index = Expr::BinaryOp { left, op: BinaryOperator::Plus, right: Box::new(one) };
                    }
                }
            }
        }
        Expr::Identifier(ident)
            if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("xmin") =>
        {
            *expr = zero();
        }
        Expr::CompoundIdentifier(parts)
            if parts.last().is_some_and(|ident| ident.value.eq_ignore_ascii_case("xmin")) =>
        {
            *expr = zero();
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq, right } => {
            adapt_truth(left, right);
            adapt_truth(right, left);
        }
        _ => {}
    }
}

/// Rows here have no transaction that wrote them.
fn zero() -> Expr {
    Expr::value(Value::Number("0".into(), false))
}

fn is_called(function: &Function, name: &str) -> bool {
    function
        .name
        .0
        .last()
        .and_then(ObjectNamePart::as_ident)
        .is_some_and(|last| last.quote_style.is_none() && last.value.eq_ignore_ascii_case(name))
}

/// The unnamed arguments of a call.
fn arguments(function: &Function) -> Vec<Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let argument = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().filter_map(argument).collect()
}

/// `indisprimary = 't'`: the text of a truth value beside a column of them.
fn adapt_truth(column: &Expr, text: &mut Expr) {
    let name = match column {
        Expr::Identifier(ident) => &ident.value,
        Expr::CompoundIdentifier(parts) => match parts.last() {
            Some(ident) => &ident.value,
            None => return,
        },
        _ => return,
    };
    let Expr::Value(value) = text else { return };
    let Value::SingleQuotedString(written) = &value.value else { return };
    if pg_catalog::is_bool_column(name) {
        *text = Expr::value(Value::Boolean(["t", "true", "1", "on", "y"].contains(&written.as_str())));
    }
}

/// `generate_subscripts(a, 1)` gives 1 to the length of `a`, a row each.
fn subscripts(array: Expr) -> Expr {
    call("unnest", vec![positions(array)])
}

/// The positions in an array, as an array.
fn positions(array: Expr) -> Expr {
    let one = Expr::value(Value::Number("1".into(), false));
    let length = call("array_length", vec![array, one.clone()]);
    call("generate_series", vec![one, length])
}

fn adapt_function(function: &mut Function) {
    if is_called(function, "generate_subscripts")
        && let Some(array) = arguments(function).into_iter().next()
        && let Expr::Function(unnested) = subscripts(array)
    {
        *function = unnested;
    } else if is_called(function, "_pg_expandarray")
        && let Some(array) = arguments(function).into_iter().next()
        && let Expr::Function(unnested) =
            call("unnest", vec![call("arrays_zip", vec![array.clone(), positions(array)])])
    {
        *function = unnested;
    } else if (is_called(function, "json_agg") || is_called(function, "jsonb_agg"))
        && let Some(last) = function.name.0.last_mut()
    {
        // The items are gathered as an array, and that is written as JSON.
        *last = ObjectNamePart::Identifier("array_agg".into());
        let gathered = Expr::Function(function.clone());
        if let Expr::Function(written) = call("sluice_json_items", vec![gathered]) {
            *function = written;
        }
    }
}

/// `(_pg_expandarray(a)).x` and `.n`: the items of `a`, and their positions.
fn expand_composite(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else { return };
    let mut inner = root.as_ref();
    while let Expr::Nested(nested) = inner {
        inner = nested;
    }
    let Expr::Function(function) = inner else {
        // A field of such a composite, by the position it has in `arrays_zip`.
        if let (
            Expr::CompoundIdentifier(_) | Expr::Identifier(_),
            [AccessExpr::Dot(Expr::Identifier(field))],
        ) = (inner, access_chain.as_slice())
        {
            let position = if field.value.eq_ignore_ascii_case("n") { "2" } else { "1" };
            let name = Expr::value(Value::SingleQuotedString(position.to_owned()));
            *expr = cast(call("get_field", vec![inner.clone(), name]), DataType::Int(None));
        }
        return;
    };
    if !is_called(function, "_pg_expandarray") {
        return;
    }
    let (Some(array), [AccessExpr::Dot(Expr::Identifier(field))]) =
        (arguments(function).into_iter().next(), access_chain.as_slice())
    else {
        return;
    };
    *expr = match field.value.to_ascii_lowercase().as_str() {
        "n" => cast(subscripts(array), DataType::Int(None)),
        _ => call("unnest", vec![array]),
    };
}

/// Makes `query` give its one column as an array. False when it is of a shape that cannot.
fn gather(query: &mut Query) -> bool {
    let order = match query.order_by.take().map(|order| order.kind) {
        Some(OrderByKind::Expressions(order)) => order,
        _ => Vec::new(),
    };
    let SetExpr::Select(select) = query.body.as_mut() else { return false };
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] =
        select.projection.as_mut_slice()
    else {
        return false;
    };
    let mut gathered = call("array_agg", vec![take(value)]);
    if let Expr::Function(function) = &mut gathered
        && let FunctionArguments::List(list) = &mut function.args
        && !order.is_empty()
    {
        // A position in the select list is the value itself.
        let by_position = |item: &sqlparser::ast::OrderByExpr| matches!(&item.expr, Expr::Value(value) if matches!(value.value, Value::Number(..)));
        let by: Vec<_> = order.into_iter().filter(|item| !by_position(item)).collect();
        if !by.is_empty() {
            list.clauses.push(sqlparser::ast::FunctionArgumentClause::OrderBy(by));
        }
    }
    *value = gathered;
    true
}

/// The text of literals that `||` joins.
fn joined_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } => {
            Some(joined_text(left)? + &joined_text(right)?)
        }
        Expr::Nested(inner) => joined_text(inner),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// A pattern with an escape of its own, written with the backslash that DataFusion knows.
pub fn adapt_escape(pattern: &mut Expr, escape: &mut Option<sqlparser::ast::ValueWithSpan>) {
    if let Some(joined) = joined_text(pattern) {
        *pattern = Expr::value(Value::SingleQuotedString(joined));
    }
    let letter = match escape.as_ref().map(|escape| &escape.value) {
        Some(Value::SingleQuotedString(text)) => text.chars().next(),
        _ => return,
    };
    if letter == Some('\\') {
        return;
    }
    let is_literal =
        matches!(pattern, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)));
    if !is_literal {
        // Made when it runs; an escaped escape is then a backslash, which patterns hardly ever hold.
        let literal = |text: String| Expr::value(Value::SingleQuotedString(text));
        let Some(letter) = letter else { return };
        let doubled = call("replace", vec![take(pattern), literal("\\".into()), literal("\\\\".into())]);
        *pattern = call("replace", vec![doubled, literal(letter.into()), literal("\\".into())]);
        *escape = None;
        return;
    }
    let Expr::Value(value) = pattern else { return };
    let Value::SingleQuotedString(text) = &mut value.value else { return };
    let mut written = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(next) = letters.next() {
        match next {
            '\\' => written.push_str("\\\\"),
            next if Some(next) == letter => {
                written.push('\\');
                written.extend(letters.next());
            }
            next => written.push(next),
        }
    }
    *text = written;
    *escape = None;
}
