//! `FROM t CROSS JOIN unnest(t.items) AS item`: a row for each item, beside the row it stands in.
//!
//! The planner does not run a join whose right side depends on the left; it does unnest in a select list.
//! So the table becomes `(SELECT *, unnest(items) AS item FROM t) AS t`.

use sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectNamePart, Select, SelectItem, TableAlias,
    TableFactor, TableWithJoins, Value,
};

use super::call;

/// Adapts the tables of one SELECT.
pub fn adapt(select: &mut Select) {
    // `t.*` would show the items as columns of the table.
    let shows_tables = |item: &SelectItem| matches!(item, SelectItem::QualifiedWildcard(..));
    if select.projection.iter().any(shows_tables) {
        return;
    }
    let mut from = std::mem::take(&mut select.from).into_iter().peekable();
    while let Some(mut source) = from.next() {
        // `FROM t, unnest(…)` is a cross join too.
        while source.joins.is_empty() && from.peek().is_some_and(|next| item_of(&next.relation).is_some()) {
            let Some(next) = from.next() else { break };
            let cross = Join {
                relation: next.relation,
                global: false,
                join_operator: JoinOperator::CrossJoin(JoinConstraint::None),
            };
            source.joins.push(cross);
            source.joins.extend(next.joins);
        }
        adapt_source(&mut source);
        select.from.push(source);
    }
}

fn adapt_source(source: &mut TableWithJoins) {
    while let Some(join) = source.joins.first() {
        let Some(name) = name_of(&source.relation) else { return };
        let Some((column, item)) = is_cross(join).then(|| item_of(&join.relation)).flatten() else { return };
        let column = match column {
            [column] => column,
            [table, column] if table.value.eq_ignore_ascii_case(&name.value) => column,
            _ => return,
        };
        let Some(inner) = with_items(&source.relation, column, &item, &name) else { return };
        source.relation = inner;
        source.joins.remove(0);
    }
}

fn is_cross(join: &Join) -> bool {
    match &join.join_operator {
        JoinOperator::CrossJoin(_) => true,
        JoinOperator::Join(JoinConstraint::On(on)) | JoinOperator::Inner(JoinConstraint::On(on)) => {
            matches!(on, Expr::Value(value) if value.value == Value::Boolean(true))
        }
        _ => false,
    }
}

/// The column that is unnested, and the name of its items.
fn item_of(factor: &TableFactor) -> Option<(&[Ident], Ident)> {
    let TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_ordinality: false, .. } = factor
    else {
        return None;
    };
    let [array] = array_exprs.as_slice() else { return None };
    let column = match array {
        Expr::Identifier(column) => std::slice::from_ref(column),
        Expr::CompoundIdentifier(parts) => parts.as_slice(),
        _ => return None,
    };
    let item = match alias {
        None => Ident::new("unnest"),
        Some(TableAlias { name, columns, .. }) => match columns.as_slice() {
            [] => name.clone(),
            [column] => column.name.clone(),
            _ => return None,
        },
    };
    Some((column, item))
}

/// The name that the columns of a plain table, or of one adapted here, go by.
fn name_of(factor: &TableFactor) -> Option<Ident> {
    match factor {
        TableFactor::Table { name, alias: None, args: None, .. } => {
            name.0.last().and_then(ObjectNamePart::as_ident).cloned()
        }
        TableFactor::Table { alias: Some(alias), args: None, .. }
        | TableFactor::Derived { lateral: false, alias: Some(alias), .. } => Some(alias.name.clone()),
        _ => None,
    }
}

/// `(SELECT *, unnest(column) AS item FROM table) AS name`.
fn with_items(table: &TableFactor, column: &Ident, item: &Ident, name: &Ident) -> Option<TableFactor> {
    let items = call("unnest", vec![Expr::Identifier(column.clone())]);
    let text = format!("SELECT * FROM (SELECT *, {items} AS {item} FROM {table}) AS {name}");
    let dialect = crate::sql::grammar::Grammar;
    let mut parser = sqlparser::parser::Parser::new(&dialect).try_with_sql(&text).ok()?;
    let query = parser.parse_query().ok()?;
    let mut select = query.body.as_select().cloned()?;
    Some(select.from.pop()?.relation)
}

#[cfg(test)]
mod tests {
    use sqlparser::ast::{SetExpr, Statement};

    use super::*;

    fn adapted(sql: &str) -> String {
        let dialect = crate::sql::grammar::Grammar;
        let mut statements = sqlparser::parser::Parser::parse_sql(&dialect, sql).expect("parsed");
        let Statement::Query(query) = &mut statements[0] else { panic!("a query") };
        let SetExpr::Select(select) = query.body.as_mut() else { panic!("a select") };
        adapt(select);
        statements[0].to_string()
    }

    #[test]
    fn items_of_a_column_come_with_their_row() {
        let right = "SELECT tag FROM (SELECT *, unnest(tags) AS tag FROM t) AS t";
        assert_eq!(adapted("SELECT tag FROM t, UNNEST(t.tags) AS tag"), right);
        assert_eq!(adapted("SELECT tag FROM t CROSS JOIN UNNEST(tags) AS tag"), right);
        assert_eq!(
            adapted("SELECT k FROM s.t AS a CROSS JOIN UNNEST(a.b) AS x (k) JOIN u ON u.k = k"),
            "SELECT k FROM (SELECT *, unnest(b) AS k FROM s.t AS a) AS a JOIN u ON u.k = k"
        );
        for same in ["SELECT 1 FROM t, UNNEST(u.tags) AS tag", "SELECT 1 FROM UNNEST(ARRAY[1, 2]) AS k"] {
            assert_eq!(adapted(same).replace(" CROSS JOIN", ","), same);
        }
    }
}
