//! What names of columns mean, once the columns of tables are known: the innermost query that has one counts, and there it is
//! one column or ambiguous. `USING` and `NATURAL` make one column of two, which the planner would know by either side's name.
//!
//! Where the columns of a table cannot be told (functions that give rows), names stay as they are written.

mod factors;
mod joins;
mod level;
mod names;
mod recursion;
mod stars;

use std::cell::Cell;
use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DataFusionStatement;
use engine::{Error, Result};
use sqlparser::ast::{
    Cte, Distinct, Expr, GroupByExpr, Ident, OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SetExpr, Value, With, visit_expressions,
};

use super::dialect::REPEATED;
use super::names::{column_name, folded};
use level::{Level, Meant, Named};

/// Tells the columns of a relation by its schema, where one is written, and its name: each with the name of its type, where that
/// is known.
pub type ColumnsOf<'a> = dyn Fn(Option<&str>, &str) -> Option<Vec<(String, Option<String>)>> + 'a;

/// Writes the names in `statement` as the planner finds what they mean.
///
/// Fails where PostgreSQL does: 42702 for names that mean several columns, 42712 and 42P10 for tables and their columns.
pub fn resolve(statement: &mut DataFusionStatement, columns_of: &ColumnsOf<'_>) -> Result<()> {
    let DataFusionStatement::Statement(statement) = statement else { return Ok(()) };
    Resolver { columns_of, common: Vec::new(), levels: Vec::new() }.names_in(statement)
}

fn broken(flow: ControlFlow<Error>) -> Result<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Where a query stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Its columns are shown, or are a value.
    Shown,
    /// It is a table, whose columns have names.
    Table,
}

/// A common table expression.
#[derive(Debug, Default)]
struct Common {
    name: String,
    /// None where they cannot be told.
    columns: Option<Vec<Named>>,
    /// It gives other rows each time that it is computed.
    changes: bool,
    /// How often it is read.
    times: Cell<usize>,
}

struct Resolver<'a> {
    columns_of: &'a ColumnsOf<'a>,
    /// The common table expressions that are seen, the nearest last.
    common: Vec<Common>,
    /// The tables of the queries around, the innermost last.
    levels: Vec<Level>,
}

impl Resolver<'_> {
    /// Resolves `query`, and tells its columns.
    fn query(&mut self, query: &mut Query, place: Place) -> Result<Option<Vec<Named>>> {
        let seen = self.common.len();
        if let Some(with) = &mut query.with {
            self.with(with)?;
        }
        let columns = self.body(&mut query.body, query.order_by.as_mut(), place)?;
        if let Some(limit) = &mut query.limit_clause {
            self.names_in(limit)?;
        }
        for common in self.common.drain(seen..) {
            recursion::check_read_once(&common.name, common.changes, common.times.get())?;
        }
        Ok(columns)
    }

    fn with(&mut self, with: &mut With) -> Result<()> {
        let first = self.common.len();
        for table in &with.cte_tables {
            let name = folded(&table.alias.name);
            if with.cte_tables.iter().filter(|other| folded(&other.alias.name) == name).count() > 1 {
                let message = format!("WITH query name \"{name}\" specified more than once");
                return Err(Error::DuplicateAlias { message });
            }
        }
        if with.recursive {
            // They see each other, and themselves.
            let named = |table: &Cte| Common { name: folded(&table.alias.name), ..Common::default() };
            self.common.extend(with.cte_tables.iter().map(named));
        }
        for (at, table) in with.cte_tables.iter_mut().enumerate() {
            let changing: Vec<&str> = self
                .common
                .iter()
                .filter(|common| common.changes)
                .map(|common| common.name.as_str())
                .collect();
            let changes = recursion::changes(&table.query, &changing);
            if with.recursive {
                recursion::check(table)?;
                let first_columns = self.first_columns(table)?;
                self.common[first + at].columns = first_columns;
            }
            let columns = self.query(&mut table.query, Place::Table)?;
            let columns = factors::renamed("WITH query", columns, &mut table.alias)?;
            if !with.recursive {
                self.common.push(Common::default());
            }
            let name = folded(&table.alias.name);
            self.common[first + at] = Common { name, columns, changes, times: Cell::default() };
        }
        Ok(())
    }

    /// The columns by which a recursive query knows itself: those of what it begins with.
    fn first_columns(&mut self, table: &Cte) -> Result<Option<Vec<Named>>> {
        let SetExpr::SetOperation { left, .. } = table.query.body.as_ref() else { return Ok(None) };
        if table.query.with.is_some() {
            return Ok(None);
        }
        let times: Vec<usize> = self.common.iter().map(|common| common.times.get()).collect();
        let columns = self.body(&mut left.clone(), None, Place::Table)?;
        // It is read once more when all of the query is looked at.
        for (common, times) in self.common.iter().zip(times) {
            common.times.set(times);
        }
        factors::renamed("WITH query", columns, &mut table.alias.clone())
    }

    fn body(
        &mut self,
        body: &mut SetExpr,
        order: Option<&mut OrderBy>,
        place: Place,
    ) -> Result<Option<Vec<Named>>> {
        match body {
            SetExpr::Select(select) => self.select(select, order, place),
            SetExpr::Query(query) => self.query(query, place),
            SetExpr::SetOperation { left, right, .. } => {
                // Their columns are told by names.
                let columns = self.body(left, None, Place::Table)?;
                self.body(right, None, Place::Table)?;
                Ok(columns)
            }
            SetExpr::Values(values) => {
                let width = values.rows.first().map_or(0, |row| row.content.len());
                if values.rows.iter().any(|row| row.content.len() != width) {
                    let message = "VALUES lists must all be the same length".into();
                    return Err(Error::Syntax { message, position: None });
                }
                self.names_in(values)?;
                Ok(Some((1..=width).map(|at| Named::of(&format!("column{at}"))).collect()))
            }
            _ => Ok(None),
        }
    }

    fn select(
        &mut self,
        select: &mut Select,
        order: Option<&mut OrderBy>,
        place: Place,
    ) -> Result<Option<Vec<Named>>> {
        let level = self.from(&mut select.from)?;
        self.levels.push(level);
        let columns = self.select_of_level(select, order, place);
        self.levels.pop();
        columns
    }

    /// The parts of `select`, whose tables are the innermost level.
    fn select_of_level(
        &mut self,
        select: &mut Select,
        order: Option<&mut OrderBy>,
        place: Place,
    ) -> Result<Option<Vec<Named>>> {
        self.show_columns(select, place)?;
        let shown = stars::names_of(select);
        stars::with_kept_names(select, |select| {
            // Their tables were looked at.
            let from = std::mem::take(&mut select.from);
            let outcome = self.names_in(select);
            select.from = from;
            outcome
        })?;
        if let Some(OrderByKind::Expressions(items)) = order.as_ref().map(|order| &order.kind) {
            items
                .iter()
                .filter_map(|item| name_alone(&item.expr))
                .try_for_each(|name| check_one(select, &name))?;
        }
        if select.projection.len() > 1 {
            // A name alone may have turned out to be what another one says with its table.
            stars::name_each_once(&mut select.projection, place);
        }
        if let Some(OrderByKind::Expressions(items)) = order.map(|order| &mut order.kind) {
            for item in items.iter_mut() {
                // A name alone is that of a column that is shown.
                if !name_alone(&item.expr).is_some_and(|name| shown.contains(&name)) {
                    self.names_in(&mut item.expr)?;
                }
            }
            // Who reads this by its columns must be told of it.
            let is_told = place == Place::Shown || self.columns_of_select(select).is_some();
            if is_told && !matches!(select.distinct, Some(Distinct::On(_))) {
                self.hide_aliases(select, items);
            }
        }
        Ok(self.columns_of_select(select))
    }

    /// Gives output columns whose names stand in an expression of `keys` other names: PostgreSQL means columns of tables there,
    /// and the planner would take these.
    fn hide_aliases(&self, select: &mut Select, keys: &mut [OrderByExpr]) {
        let mut names = HashSet::new();
        for key in keys.iter().filter(|key| name_alone(&key.expr).is_none()) {
            let _: ControlFlow<()> = visit_expressions(&key.expr, |expr| {
                if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
                    names.insert(column_name(expr));
                }
                ControlFlow::Continue(())
            });
        }
        // A star is of as many columns as it is: numbers tell nothing then.
        let has_star = select.projection.iter().any(stars::is_star);
        for (at, item) in select.projection.iter_mut().enumerate() {
            let SelectItem::ExprWithAlias { alias, .. } = item else { continue };
            let name = folded(alias);
            if !names.contains(&name) {
                continue;
            }
            let alone = keys.iter_mut().filter(|key| name_alone(&key.expr).as_deref() == Some(&*name));
            if has_star && alone.count() > 0 {
                continue;
            }
            let number = Expr::value(Value::Number((at + 1).to_string(), false));
            for key in keys.iter_mut().filter(|key| name_alone(&key.expr).as_deref() == Some(&*name)) {
                key.expr = number.clone();
            }
            if let GroupByExpr::Expressions(groups, _) = &mut select.group_by {
                let is_columns =
                    self.levels.last().is_some_and(|level| !matches!(level.meaning(&name), Meant::None));
                for group in groups.iter_mut().filter(|group| name_alone(group).as_deref() == Some(&*name)) {
                    if !is_columns {
                        *group = number.clone();
                    }
                }
            }
            *alias = Ident::with_quote('"', format!("{name}{REPEATED}{at}"));
        }
    }
}

/// The folded name of a column without its table.
fn name_alone(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(_) => Some(column_name(expr)),
        Expr::Nested(inner) => name_alone(inner),
        _ => None,
    }
}

/// Fails when the output columns of a name are not all the same.
fn check_one(select: &Select, name: &str) -> Result<()> {
    let known = select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) if column_name(expr) == name => Some(expr),
        SelectItem::ExprWithAlias { expr, alias } if folded(alias) == name => Some(expr),
        _ => None,
    });
    // Whether columns of one name are one is asked where tables are known.
    let key = |expr: &Expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => Err(column_name(expr)),
        other => Ok(other.clone()),
    };
    let mut keys = known.map(key);
    let first = keys.next();
    if keys.any(|other| Some(&other) != first.as_ref()) {
        return Err(Error::AmbiguousName { message: format!("ORDER BY \"{name}\" is ambiguous") });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(sql: &str) -> Result<String> {
        let mut statements =
            sqlparser::parser::Parser::parse_sql(&crate::sql::grammar::Grammar, sql).expect("it can be read");
        let mut statement = DataFusionStatement::Statement(Box::new(statements.remove(0)));
        let columns = |_: Option<&str>, table: &str| {
            let names: &[&str] = match table {
                "a" => &["k", "x"],
                "b" => &["k", "y"],
                "c" => &["z", "k"],
                _ => return None,
            };
            Some(names.iter().map(|name| ((*name).to_owned(), Some("int4".to_owned()))).collect())
        };
        resolve(&mut statement, &columns)?;
        Ok(statement.to_string())
    }

    #[test]
    fn a_joined_column_is_of_the_side_that_has_it() {
        assert_eq!(
            resolved("SELECT k FROM a RIGHT JOIN b USING (k)").expect("it means something"),
            r#"SELECT b."k" FROM a RIGHT JOIN b ON a."k" = b."k""#
        );
        assert_eq!(
            resolved("SELECT k FROM a NATURAL FULL JOIN b GROUP BY k ORDER BY k")
                .expect("it means something"),
            r#"SELECT coalesce(a."k", b."k") AS "k" FROM a FULL JOIN b ON a."k" = b."k" GROUP BY coalesce(a."k", b."k") ORDER BY k"#
        );
    }

    #[test]
    fn all_columns_begin_with_the_joined_ones() {
        assert_eq!(
            resolved("SELECT * FROM a JOIN c USING (k)").expect("it means something"),
            r#"SELECT a."k", a."x", c."z" FROM a JOIN c ON a."k" = c."k""#
        );
    }

    #[test]
    fn names_are_of_the_innermost_query_that_has_them() {
        let within = "SELECT x FROM a WHERE k IN (SELECT k FROM b JOIN c USING (k))";
        assert_eq!(
            resolved(within).expect("it means something"),
            r#"SELECT x FROM a WHERE k IN (SELECT b."k" FROM b JOIN c ON b."k" = c."k")"#
        );
        let error = resolved("SELECT x FROM a WHERE k IN (SELECT k FROM b, c)").expect_err("it is ambiguous");
        assert_eq!(error.sqlstate().as_str(), "42702");
    }

    #[test]
    fn what_is_not_known_stays() {
        for sql in ["SELECT * FROM d JOIN e USING(k)", "SELECT k FROM a, f(1)", "SELECT x, y FROM a, b"] {
            assert_eq!(resolved(sql).expect("it stays"), sql);
        }
    }
}
