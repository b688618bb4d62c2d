//! The relations that a statement names: those of this database alone, and new ones (`SELECT … INTO`) only where it may make one.

use std::ops::ControlFlow;

use engine::{Error, Result};
use sqlparser::ast::{
    GroupByExpr, Ident, ObjectName, ObjectNamePart, Query, Select, SetExpr, Statement, TableFactor,
    TableObject, Visit, Visitor,
};

use super::classify::folded;

/// Refuses names of other databases (0A000), names of too many parts (42601), and `INTO` out of its place.
pub fn check(statement: &Statement) -> Result<()> {
    for name in named(statement) {
        check_name(name)?;
    }
    match statement.visit(&mut Relations { statement, functions: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The names that the parser's visitor passes by.
fn named(statement: &Statement) -> Vec<&ObjectName> {
    match statement {
        Statement::CreateView(create) => vec![&create.name],
        Statement::Drop { names, .. } => names.iter().collect(),
        Statement::Insert(insert) => match &insert.table {
            TableObject::TableName(name) => vec![name],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn check_name(name: &ObjectName) -> Result<()> {
    let parts: Vec<&Ident> = name.0.iter().filter_map(ObjectNamePart::as_ident).collect();
    let shown = || parts.iter().map(|part| folded(part)).collect::<Vec<_>>().join(".");
    match parts.as_slice() {
        [database, _, _] if folded(database) != catalog::DATABASE => Err(Error::NotSupported {
            message: format!("cross-database references are not implemented: \"{}\"", shown()),
        }),
        [_, _, _, _, ..] => Err(Error::Syntax {
            message: format!("improper qualified name (too many dotted names): {}", shown()),
            position: None,
        }),
        _ => Ok(()),
    }
}

/// Refuses `FOR UPDATE` and its kin where a row of the query is none of a table's (0A000).
fn check_locks(query: &Query) -> Result<()> {
    let Some(lock) = query.locks.first() else { return Ok(()) };
    let with = match query.body.as_ref() {
        SetExpr::SetOperation { .. } => "UNION/INTERSECT/EXCEPT",
        SetExpr::Select(select) if select.distinct.is_some() => "DISTINCT clause",
        SetExpr::Select(select) => match &select.group_by {
            GroupByExpr::Expressions(keys, modifiers) if keys.is_empty() && modifiers.is_empty() => {
                match select.having {
                    Some(_) => "HAVING clause",
                    None => return Ok(()),
                }
            }
            _ => "GROUP BY clause",
        },
        _ => return Ok(()),
    };
    let message = format!("FOR {} is not allowed with {with}", lock.lock_type);
    Err(Error::NotSupported { message })
}

/// The first SELECT of a query, whose INTO counts for all.
fn leftmost(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => leftmost(&query.body),
        SetExpr::SetOperation { left, .. } => leftmost(left),
        _ => None,
    }
}

struct Relations<'a> {
    statement: &'a Statement,
    /// Names of functions that stand where a table may, still to be passed over.
    functions: usize,
}

impl Visitor for Relations<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Error> {
        self.functions += usize::from(matches!(factor, TableFactor::Table { args: Some(_), .. }));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Error> {
        if self.functions > 0 {
            self.functions -= 1;
            return ControlFlow::Continue(());
        }
        match check_name(relation) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Error> {
        match check_locks(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Error> {
        if select.distinct.is_some() && select.projection.is_empty() {
            let message = "syntax error: SELECT DISTINCT must name columns".to_owned();
            return ControlFlow::Break(Error::Syntax { message, position: None });
        }
        if select.into.is_none() {
            return ControlFlow::Continue(());
        }
        match self.statement {
            Statement::Query(query)
                if leftmost(&query.body).is_some_and(|first| std::ptr::eq(first, select)) =>
            {
                let message = "SELECT INTO is not supported: write CREATE TABLE … AS".to_owned();
                ControlFlow::Break(Error::NotSupported { message })
            }
            Statement::CreateView(_) => {
                let message = "views must not contain SELECT INTO".to_owned();
                ControlFlow::Break(Error::NotSupported { message })
            }
            Statement::Copy { .. } => {
                let message = "COPY (SELECT INTO) is not supported".to_owned();
                ControlFlow::Break(Error::NotSupported { message })
            }
            _ => {
                let message = "SELECT ... INTO is not allowed here".to_owned();
                ControlFlow::Break(Error::Syntax { message, position: None })
            }
        }
    }
}
