//! The tables in FROM.

use std::collections::BTreeSet;

use engine::{Error, Result};
use sqlparser::ast::{
    Ident, ObjectName, ObjectNamePart, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins,
};

use super::level::{Joined, Level, Named, Relation};
use super::stars;
use super::{Place, Resolver};
use crate::sql::names::folded;

impl Resolver<'_> {
    /// The tables of a query, with what they are joined by.
    pub(super) fn from(&mut self, from: &mut [TableWithJoins]) -> Result<Level> {
        let mut all = Joined { is_whole: true, ..Joined::default() };
        for source in from {
            let joined = self.source(source, &all)?;
            all = all.beside(joined);
        }
        check_names(&all.relations)?;
        Ok(Level(all))
    }

    fn source(&mut self, source: &mut TableWithJoins, before: &Joined) -> Result<Joined> {
        let mut joined = self.factor(&mut source.relation, before)?;
        for join in &mut source.joins {
            let right = match is_lateral(&join.relation) {
                true => self.factor(&mut join.relation, &before.clone().beside(joined.clone()))?,
                false => self.factor(&mut join.relation, before)?,
            };
            joined = self.join(joined, right, &mut join.join_operator)?;
        }
        Ok(joined)
    }

    /// One table. `before` are those that it sees if it is LATERAL.
    fn factor(&mut self, factor: &mut TableFactor, before: &Joined) -> Result<Joined> {
        if matches!(factor, TableFactor::NestedJoin { .. }) {
            return self.nested(factor, before);
        }
        let sees_others = is_lateral(factor);
        if sees_others {
            self.levels.push(Level(before.clone()));
        }
        let relation = self.relation(factor);
        if sees_others {
            self.levels.pop();
        }
        relation.map(Joined::of)
    }

    fn relation(&mut self, factor: &mut TableFactor) -> Result<Relation> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let columns = self.columns_of_table(name);
                let parts = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
                relation(parts, columns, alias.as_mut())
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let columns = self.query(subquery, Place::Table)?;
                relation(Vec::new(), columns, alias.as_mut())
            }
            TableFactor::Table { name, alias, args: Some(args), .. } => {
                self.names_in(&mut args.args)?;
                let parts = name.0.iter().filter_map(|part| part.as_ident().cloned()).collect();
                Ok(of_function(parts, alias.as_ref()))
            }
            TableFactor::UNNEST { alias, array_exprs, .. } => {
                self.names_in(array_exprs)?;
                Ok(of_function(Vec::new(), alias.as_ref()))
            }
            TableFactor::Function { alias, args, .. } => {
                self.names_in(args)?;
                Ok(of_function(Vec::new(), alias.as_ref()))
            }
            _ => Ok(of_function(Vec::new(), None)),
        }
    }

    /// Joins in parentheses, which with a name are one table.
    fn nested(&mut self, factor: &mut TableFactor, before: &Joined) -> Result<Joined> {
        let TableFactor::NestedJoin { table_with_joins, alias } = factor else {
            return Ok(Joined::default());
        };
        let joined = self.source(table_with_joins, before)?;
        check_names(&joined.relations)?;
        let Some(alias) = alias else { return Ok(joined) };
        if !joined.is_whole {
            return Ok(Joined::of(of_function(vec![alias.name.clone()], None)));
        }
        let (query, columns) = stars::query_over(table_with_joins.as_ref().clone(), &joined);
        let mut alias = alias.clone();
        let relation = relation(Vec::new(), Some(columns), Some(&mut alias))?;
        let subquery = Box::new(query);
        *factor = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
        Ok(Joined::of(relation))
    }

    fn columns_of_table(&self, name: &ObjectName) -> Option<Vec<Named>> {
        let parts: Vec<String> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(folded).collect();
        let (schema, table) = match parts.as_slice() {
            [table] => (None, table),
            [.., schema, table] => (Some(schema.as_str()), table),
            [] => return None,
        };
        let common = self.common.iter().rev().find(|known| schema.is_none() && known.name == *table);
        match common {
            Some(common) => {
                common.times.set(common.times.get() + 1);
                common.columns.clone()
            }
            None => {
                let columns = (self.columns_of)(schema, table)?;
                Some(columns.into_iter().map(|(name, kind)| Named::of(&name).with_kind(kind)).collect())
            }
        }
    }
}

fn relation(
    name: Vec<Ident>,
    columns: Option<Vec<Named>>,
    mut alias: Option<&mut TableAlias>,
) -> Result<Relation> {
    let columns = match alias.as_deref_mut() {
        Some(alias) => renamed("table", columns, alias)?,
        None => columns,
    };
    Ok(Relation {
        has_alias: alias.is_some(),
        name: alias.map_or(name, |alias| vec![alias.name.clone()]),
        is_whole: columns.is_some(),
        columns: columns.unwrap_or_default(),
    })
}

/// What gives rows and tells nothing of its columns, beyond the names that are written for them.
fn of_function(name: Vec<Ident>, alias: Option<&TableAlias>) -> Relation {
    let written = alias.map(|alias| alias.columns.as_slice()).unwrap_or_default();
    Relation {
        has_alias: alias.is_some(),
        name: alias.map_or(name, |alias| vec![alias.name.clone()]),
        columns: written.iter().map(|column| Named::of(&folded(&column.name))).collect(),
        is_whole: !written.is_empty(),
    }
}

/// Columns under the names that an alias gives the first of them. The planner wants names for all or none.
pub fn renamed(
    what: &str,
    columns: Option<Vec<Named>>,
    alias: &mut TableAlias,
) -> Result<Option<Vec<Named>>> {
    if alias.columns.is_empty() {
        return Ok(columns);
    }
    let Some(mut columns) = columns else {
        return Ok(Some(alias.columns.iter().map(|column| Named::of(&folded(&column.name))).collect()));
    };
    if alias.columns.len() > columns.len() {
        let (name, has, given) = (folded(&alias.name), columns.len(), alias.columns.len());
        let message = format!("{what} \"{name}\" has {has} columns available but {given} columns specified");
        return Err(Error::InvalidColumnReference { message });
    }
    for (column, given) in columns.iter_mut().zip(&alias.columns) {
        *column = Named::of(&folded(&given.name)).with_kind(column.kind.take());
    }
    stars::tell_apart(&mut columns);
    let name = |column: &Named| TableAliasColumnDef { name: column.ident.clone(), data_type: None };
    alias.columns = columns.iter().map(name).collect();
    Ok(Some(columns))
}

/// Fails when two tables of a query are called by one name.
fn check_names(relations: &[Relation]) -> Result<()> {
    let mut seen: BTreeSet<(Option<String>, String)> = BTreeSet::new();
    for relation in relations {
        let Some(name) = relation.called() else { continue };
        let schema = match relation.name.as_slice() {
            [schema, _] if !relation.has_alias => Some(folded(schema)),
            _ => None,
        };
        if !seen.insert((schema, name.clone())) {
            let message = format!("table name \"{name}\" specified more than once");
            return Err(Error::DuplicateAlias { message });
        }
    }
    Ok(())
}

/// Whether `factor` may name the columns of tables before it.
fn is_lateral(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Derived { lateral, .. } => *lateral,
        TableFactor::Table { args, .. } => args.is_some(),
        TableFactor::UNNEST { .. } | TableFactor::Function { .. } => true,
        TableFactor::NestedJoin { table_with_joins, .. } => {
            is_lateral(&table_with_joins.relation)
                || table_with_joins.joins.iter().any(|join| is_lateral(&join.relation))
        }
        _ => false,
    }
}

/// A query of `body` alone.
pub fn query_of(body: SetExpr) -> sqlparser::ast::Query {
    sqlparser::ast::Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}
