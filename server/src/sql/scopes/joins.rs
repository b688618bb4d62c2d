//! `ON`, `USING` and `NATURAL`: the columns of joined tables. A column that both sides have is the left one's, the right one's
//! or either's, by whose rows the join keeps.

use engine::semantics::{MERGED, MERGED_EITHER};
use engine::{Error, Result};
use sqlparser::ast::{BinaryOperator, Expr, Ident, JoinConstraint, JoinOperator, ObjectNamePart, Value};

use super::Resolver;
use super::level::{Column, Joined, Level};
use crate::sql::dialect::call;
use crate::sql::names::folded;

/// Of which sides a join keeps rows without a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Neither,
    Left,
    Right,
    Both,
}

impl Kept {
    /// Whether rows of the right side are kept.
    fn is_right(self) -> bool {
        matches!(self, Self::Right | Self::Both)
    }
}

impl Resolver<'_> {
    /// The tables of both sides, joined; what joins them is written for the planner.
    pub(super) fn join(
        &mut self,
        left: Joined,
        right: Joined,
        operator: &mut JoinOperator,
    ) -> Result<Joined> {
        let keeps = kept(operator);
        let Some(constraint) = constraint(operator) else { return Ok(left.beside(right)) };
        let names: Vec<Ident> = match constraint {
            JoinConstraint::Using(columns) => {
                let ident = |column: &sqlparser::ast::ObjectName| match column.0.as_slice() {
                    [ObjectNamePart::Identifier(ident)] => Some(ident.clone()),
                    _ => None,
                };
                columns.iter().filter_map(ident).collect()
            }
            JoinConstraint::Natural => match common(&left, &right) {
                Some(names) => names,
                None if !keeps.is_right() => return Ok(unknown(left.beside(right))),
                None => return Err(unsupported("NATURAL JOIN of tables whose columns are not known")),
            },
            JoinConstraint::On(condition) => {
                self.levels.push(Level(left.beside(right)));
                let outcome = self.names_in(condition);
                let level = self.levels.pop().unwrap_or_default();
                return outcome.map(|()| level.0);
            }
            JoinConstraint::None => return Ok(left.beside(right)),
        };
        // Written as a condition, `*` would show both columns: it can be told to show one where all are known.
        let are_told = keeps.is_right() || (left.is_whole && right.is_whole);
        match merged(&left, &right, &names, keeps)? {
            Some((condition, columns)) if are_told => {
                *constraint = JoinConstraint::On(condition);
                let is_not_left = keeps.is_right();
                let beside = left.beside(right);
                Ok(Joined {
                    columns,
                    is_merged: true,
                    is_not_left: is_not_left || beside.is_not_left,
                    ..beside
                })
            }
            _ if !keeps.is_right() => Ok(unknown(left.beside(right))),
            _ => Err(unsupported("RIGHT or FULL JOIN … USING of tables whose columns are not known")),
        }
    }
}

/// Tables of which the planner knows more than can be told here.
fn unknown(joined: Joined) -> Joined {
    Joined { columns: Vec::new(), is_whole: false, ..joined }
}

fn unsupported(what: &str) -> Error {
    Error::NotSupported { message: format!("{what} is not supported") }
}

/// The names that both sides have, in the order of the left one.
fn common(left: &Joined, right: &Joined) -> Option<Vec<Ident>> {
    if !left.is_whole || !right.is_whole {
        return None;
    }
    let mut names: Vec<Ident> = Vec::new();
    for column in &left.columns {
        let is_new = names.iter().all(|known| known.value != column.name);
        if is_new && right.named(&column.name).next().is_some() {
            names.push(Ident::with_quote('"', &*column.name));
        }
    }
    Some(names)
}

/// What joins the sides by `names`, and the columns of both: those first. `None` where it cannot be told whose they are.
fn merged(
    left: &Joined,
    right: &Joined,
    names: &[Ident],
    keeps: Kept,
) -> Result<Option<(Expr, Vec<Column>)>> {
    let mut conditions = Vec::new();
    let mut columns: Vec<Column> = Vec::new();
    for ident in names {
        let name = folded(ident);
        if columns.iter().any(|column| column.name == name) {
            let message = format!("column name \"{name}\" appears more than once in USING clause");
            return Err(Error::DuplicateColumn { message });
        }
        let (Some((of_left, left_kind)), Some((of_right, right_kind))) =
            (side(left, ident, "left")?, side(right, ident, "right")?)
        else {
            return Ok(None);
        };
        conditions.push(binary(of_left.clone(), BinaryOperator::Eq, of_right.clone()));
        let kind = left_kind.filter(|kind| right_kind.as_ref() == Some(kind));
        // Of two types it has the one that holds both.
        let merged = |kept, name: &str, other| binary(kept, BinaryOperator::Custom(name.to_owned()), other);
        let expr = match keeps {
            Kept::Both => call("coalesce", vec![of_left, of_right]),
            Kept::Neither | Kept::Left if kind.is_some() => of_left,
            Kept::Neither => merged(of_left, MERGED_EITHER, of_right),
            Kept::Left => merged(of_left, MERGED, of_right),
            Kept::Right if kind.is_some() => of_right,
            Kept::Right => merged(of_right, MERGED, of_left),
        };
        columns.push(Column { name, expr, kind });
    }
    let is_other = |column: &&Column| names.iter().all(|name| folded(name) != column.name);
    columns.extend(left.columns.iter().filter(is_other).cloned());
    columns.extend(right.columns.iter().filter(is_other).cloned());
    let condition = conditions.into_iter().reduce(|before, next| binary(before, BinaryOperator::And, next));
    Ok(Some((condition.unwrap_or_else(|| Expr::value(Value::Boolean(true))), columns)))
}

/// The one column of that name of a side, and its type.
fn side(joined: &Joined, ident: &Ident, which: &str) -> Result<Option<(Expr, Option<String>)>> {
    let name = folded(ident);
    let mut found = joined.named(&name);
    match (found.next(), found.next(), joined.relations.as_slice()) {
        (Some(_), Some(_), _) => {
            let message = format!("common column name \"{name}\" appears more than once in {which} table");
            Err(Error::AmbiguousName { message })
        }
        (Some(column), None, _) => Ok(Some((column.expr.clone(), column.kind.clone()))),
        (None, _, _) if joined.is_whole => {
            let message =
                format!("column \"{name}\" specified in USING clause does not exist in {which} table");
            Err(Error::UndefinedName { message })
        }
        (None, _, [relation]) if !relation.name.is_empty() => Ok(Some((relation.column(ident), None))),
        // Whose column it is cannot be told.
        (None, _, _) => Ok(None),
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn kept(operator: &JoinOperator) -> Kept {
    match operator {
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => Kept::Right,
        JoinOperator::FullOuter(_) => Kept::Both,
        JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => Kept::Left,
        _ => Kept::Neither,
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
