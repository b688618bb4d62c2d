//! `RIGHT` and `FULL JOIN … USING`, whose column is that of the side that has it: the right one's, or either's. The planner
//! takes the left one's, which has none where only the right side has a row.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use engine::{Error, Result};
use sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName,
    ObjectNamePart, OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    TableFactor, TableWithJoins, VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use super::call;
use crate::sql::names::{UNNAMED, column_name, folded};

/// Rewrites the joins of `query`, and what names their columns.
pub fn adapt(query: &mut Query) -> Result<()> {
    let SetExpr::Select(select) = query.body.as_mut() else { return adapt_arms(&mut query.body) };
    let merged = merge(select)?;
    if merged.is_empty() {
        return Ok(());
    }
    let shown = shown_names(select);
    put_into(select, &merged);
    if let Some(OrderByKind::Expressions(items)) = query.order_by.as_mut().map(|order| &mut order.kind) {
        let mut names = Names { merged: &merged, depth: 0 };
        for item in items {
            // A name alone is that of a column that is shown.
            if column(&item.expr).is_none_or(|name| !shown.contains(&name)) {
                let _ = item.expr.visit(&mut names);
            }
        }
    }
    Ok(())
}

/// Rewrites the sides of set operations; what is in parentheses is a query of its own.
fn adapt_arms(body: &mut SetExpr) -> Result<()> {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            adapt_arms(left)?;
            adapt_arms(right)
        }
        SetExpr::Select(select) => {
            let merged = merge(select)?;
            put_into(select, &merged);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Puts what joined columns are in the place of their names, which the columns that are shown keep.
fn put_into(select: &mut Select, merged: &BTreeMap<String, Expr>) {
    if merged.is_empty() {
        return;
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item {
            let name = column_name(expr);
            if name != UNNAMED {
                let alias = Ident::with_quote('"', name);
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
        }
    }
    let from = std::mem::take(&mut select.from);
    let _ = select.visit(&mut Names { merged, depth: 0 });
    select.from = from;
}

/// Names that the query shows of itself.
fn shown_names(select: &Select) -> Vec<String> {
    let name = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(column_name(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    };
    select.projection.iter().filter_map(name).collect()
}

/// The folded name of a column without its table.
fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(folded(ident)),
        Expr::Nested(inner) => column(inner),
        _ => None,
    }
}

/// What is found out about the joins of a query.
#[derive(Default)]
struct Joined {
    /// What a joined column is, where the planner would take another.
    merged: BTreeMap<String, Expr>,
    /// The columns of all, in the order in which they are shown.
    first: Vec<Ident>,
    /// The tables, each with those of its columns that are shown among the first; `None` when that cannot be told from the
    /// text.
    tables: Option<Vec<(Vec<Ident>, Vec<Ident>)>>,
}

/// What each joined column is, where the planner would take another; and `*` with such columns first.
fn merge(select: &mut Select) -> Result<BTreeMap<String, Expr>> {
    let is_right_or_full = |join: &Join| {
        let mut operator = join.join_operator.clone();
        let is_by_name =
            matches!(constraint(&mut operator), Some(JoinConstraint::Using(_) | JoinConstraint::Natural));
        is_by_name && kept(&join.join_operator) != Kept::Left
    };
    if !select.from.iter().any(|source| source.joins.iter().any(is_right_or_full)) {
        return Ok(BTreeMap::new());
    }
    let is_star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
    let has_star = select.projection.iter().any(is_star);
    let is_alone = select.from.len() == 1;
    let mut joined = Joined::default();
    for source in &mut select.from {
        joined.tables = name_of(&source.relation).map(|name| vec![(name, Vec::new())]);
        join_columns(source, has_star, &mut joined)?;
    }
    if !has_star || joined.first.is_empty() {
        return Ok(joined.merged);
    }
    let Some(tables) = joined.tables.filter(|_| is_alone) else {
        return Err(Error::NotSupported {
            message: "SELECT * is not supported over these joins with USING: name the columns".into(),
        });
    };
    let mut projection = Vec::new();
    for item in std::mem::take(&mut select.projection) {
        if !is_star(&item) {
            projection.push(item);
            continue;
        }
        for name in &joined.first {
            let merged = joined.merged.get(&folded(name)).cloned();
            let expr = merged.unwrap_or_else(|| Expr::Identifier(name.clone()));
            let alias = Ident::with_quote('"', folded(name));
            projection.push(SelectItem::ExprWithAlias { expr, alias });
        }
        for (table, shown) in &tables {
            // By what the planner knows them as: it does not fold these.
            let excluded: Vec<_> =
                shown.iter().map(|name| ObjectName::from(vec![Ident::new(folded(name))])).collect();
            let options = WildcardAdditionalOptions {
                opt_exclude: (!excluded.is_empty()).then_some(ExcludeSelectItem::Multiple(excluded)),
                ..WildcardAdditionalOptions::default()
            };
            let table = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(table.clone()));
            projection.push(SelectItem::QualifiedWildcard(table, options));
        }
    }
    select.projection = projection;
    Ok(joined.merged)
}

fn join_columns(
    source: &mut TableWithJoins,
    has_star: bool,
    Joined { merged, first, tables }: &mut Joined,
) -> Result<()> {
    let left = name_of(&source.relation);
    for (before, join) in source.joins.iter_mut().enumerate() {
        match (tables.as_mut(), name_of(&join.relation)) {
            (Some(tables), Some(name)) => tables.push((name, Vec::new())),
            _ => *tables = None,
        }
        let keeps = kept(&join.join_operator);
        let Some(constraint) = constraint(&mut join.join_operator) else { continue };
        let columns = match constraint {
            JoinConstraint::Natural if has_star || keeps != Kept::Left => {
                return Err(Error::NotSupported {
                    message: "NATURAL JOIN is not supported with SELECT *, RIGHT and FULL: use JOIN … USING"
                        .into(),
                });
            }
            JoinConstraint::Using(columns) => columns,
            _ => continue,
        };
        let mut idents = Vec::new();
        for column in &*columns {
            let [ObjectNamePart::Identifier(ident)] = column.0.as_slice() else { continue };
            idents.push(ident.clone());
        }
        let is_plain = keeps == Kept::Left && idents.iter().all(|ident| !merged.contains_key(&folded(ident)));
        if !is_plain {
            let right = name_of(&join.relation)
                .ok_or_else(|| not_supported("USING with a table that has no name"))?;
            let mut condition: Option<Expr> = None;
            for ident in &idents {
                let of_right = of_table(&right, ident);
                let of_left = match (merged.get(&folded(ident)), &left) {
                    (Some(expr), _) => expr.clone(),
                    (None, Some(left)) if before == 0 => of_table(left, ident),
                    // Whose column it is cannot be told from the text.
                    (None, _) => return Err(not_supported("RIGHT or FULL JOIN … USING behind other joins")),
                };
                let equal = Expr::BinaryOp {
                    left: Box::new(of_left.clone()),
                    op: BinaryOperator::Eq,
                    right: Box::new(of_right.clone()),
                };
                condition = Some(match condition {
                    None => equal,
                    Some(before) => Expr::BinaryOp {
                        left: Box::new(before),
                        op: BinaryOperator::And,
                        right: Box::new(equal),
                    },
                });
                let column = match keeps {
                    Kept::Left => of_left,
                    Kept::Right => of_right,
                    Kept::Both => call("coalesce", vec![of_left, of_right]),
                };
                merged.insert(folded(ident), column);
            }
            if let Some(condition) = condition {
                *constraint = JoinConstraint::On(condition);
            }
        }
        for ident in &idents {
            let is_new = !first.iter().any(|known| folded(known) == folded(ident));
            let Some(told) = tables else { continue };
            if let Some((_, shown)) = told.last_mut() {
                shown.push(ident.clone());
            }
            match told.first_mut() {
                Some((_, shown)) if is_new && before == 0 => shown.push(ident.clone()),
                // It may be of any of the tables on the left.
                _ if is_new => *tables = None,
                _ => {}
            }
        }
        // Those of the last join come first.
        first.retain(|known| !idents.iter().any(|ident| folded(ident) == folded(known)));
        first.splice(0..0, idents);
    }
    Ok(())
}

fn not_supported(what: &str) -> Error {
    Error::NotSupported { message: format!("{what} is not supported") }
}

/// Of which sides a join keeps rows without a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Of none, or of the left.
    Left,
    Right,
    Both,
}

fn kept(operator: &JoinOperator) -> Kept {
    match operator {
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => Kept::Right,
        JoinOperator::FullOuter(_) => Kept::Both,
        _ => Kept::Left,
    }
}

fn constraint(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}

/// A column of a table.
fn of_table(table: &[Ident], column: &Ident) -> Expr {
    Expr::CompoundIdentifier(table.iter().chain([column]).cloned().collect())
}

/// The name by which a table's columns are called, with its schema where it is written.
fn name_of(factor: &TableFactor) -> Option<Vec<Ident>> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(vec![alias.name.clone()])
        }
        TableFactor::Table { name, args: None, .. } => {
            name.0.iter().map(|part| part.as_ident().cloned()).collect()
        }
        _ => None,
    }
}

/// Puts what joined columns are in the place of their names, subqueries aside: a name there is of their own tables first.
struct Names<'a> {
    merged: &'a BTreeMap<String, Expr>,
    depth: usize,
}

impl VisitorMut for Names<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if self.depth == 0
            && let Expr::Identifier(ident) = expr
            && let Some(merged) = self.merged.get(&folded(ident))
        {
            *expr = merged.clone();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::ast::Statement;

    use super::*;

    fn adapted(sql: &str) -> String {
        let dialect = sqlparser::dialect::PostgreSqlDialect {};
        let mut statements = sqlparser::parser::Parser::parse_sql(&dialect, sql).expect("parsed");
        let Statement::Query(query) = &mut statements[0] else { panic!("a query") };
        adapt(query).expect("adapted");
        query.to_string()
    }

    #[test]
    fn the_column_is_of_the_side_that_has_it() {
        assert_eq!(
            adapted("SELECT k FROM a RIGHT JOIN b USING (k)"),
            r#"SELECT b.k AS "k" FROM a RIGHT JOIN b ON a.k = b.k"#
        );
        assert_eq!(
            adapted("SELECT k, count(*) FROM a FULL JOIN b USING (k) GROUP BY k ORDER BY k"),
            r#"SELECT coalesce(a.k, b.k) AS "k", count(*) AS "count" FROM a FULL JOIN b ON a.k = b.k GROUP BY coalesce(a.k, b.k) ORDER BY k"#
        );
        assert_eq!(
            adapted("SELECT k FROM a FULL JOIN b USING (k) FULL JOIN c USING (k)"),
            r#"SELECT coalesce(coalesce(a.k, b.k), c.k) AS "k" FROM a FULL JOIN b ON a.k = b.k FULL JOIN c ON coalesce(a.k, b.k) = c.k"#
        );
    }

    #[test]
    fn other_joins_stay_as_they_are() {
        for sql in [
            "SELECT * FROM a JOIN b USING(k)",
            "SELECT a.x, k FROM s.a LEFT JOIN s.b USING(k)",
            "SELECT * FROM a NATURAL JOIN b",
        ] {
            assert_eq!(adapted(sql), sql);
        }
    }

    #[test]
    fn all_columns_begin_with_those_of_the_last_join() {
        assert_eq!(
            adapted("SELECT * FROM s.a FULL JOIN s.b USING (k, L) LEFT JOIN c USING (l)"),
            r#"SELECT coalesce(s.a.L, s.b.L) AS "l", coalesce(s.a.k, s.b.k) AS "k", s.a.* EXCLUDE (k, l), s.b.* EXCLUDE (k, l), c.* EXCLUDE (l) FROM s.a FULL JOIN s.b ON s.a.k = s.b.k AND s.a.L = s.b.L LEFT JOIN c ON coalesce(s.a.L, s.b.L) = c.l"#
        );
        assert_eq!(
            adapted(
                "SELECT k::text FROM a RIGHT JOIN b USING (k) UNION SELECT k FROM a RIGHT JOIN b USING (k)"
            ),
            r#"SELECT b.k::TEXT AS "k" FROM a RIGHT JOIN b ON a.k = b.k UNION SELECT b.k AS "k" FROM a RIGHT JOIN b ON a.k = b.k"#
        );
    }
}
