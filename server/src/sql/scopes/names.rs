//! Names of columns in expressions.

use std::ops::ControlFlow;

use engine::{Error, Result};
use sqlparser::ast::{Expr, Ident, Query, VisitMut, VisitorMut};
use sqlparser::tokenizer::Span;

use super::level::{Level, Meant};
use super::{Place, Resolver, broken};
use crate::sql::names::folded;

impl Resolver<'_> {
    /// Writes the names in `part` as what they mean, and resolves the queries in it.
    pub(super) fn names_in(&mut self, part: &mut impl VisitMut) -> Result<()> {
        broken(part.visit(&mut Names { resolver: self, depth: 0 }))
    }

    /// What the planner is to be told in the place of `ident`.
    fn meant(&self, ident: &Ident) -> Result<Option<Expr>> {
        let name = folded(ident);
        for (at, level) in self.levels.iter().enumerate().rev() {
            match level.meaning(&name) {
                Meant::None => {}
                Meant::Unknown | Meant::Plain => return Ok(None),
                Meant::Ambiguous => return Err(Error::AmbiguousColumn { column: name }),
                Meant::Other(expr) => {
                    check_seen(&expr, &self.levels[at + 1..])?;
                    return Ok(Some(*expr));
                }
            }
        }
        Ok(None)
    }

    /// The same for a name that says its table.
    fn meant_of_table(&self, parts: &[Ident]) -> Result<Option<Expr>> {
        let [table @ .., column] = parts else { return Ok(None) };
        let table: Vec<String> = table.iter().map(folded).collect();
        let Some(relation) = self.levels.iter().rev().find_map(|level| level.table(&table)) else {
            return Ok(None);
        };
        let name = folded(column);
        let mut found = relation.columns.iter().filter(|known| known.name == name);
        match (found.next(), found.next()) {
            // Where `*` is written out, the first of them is meant.
            (Some(_), Some(_)) if column.span == Span::empty() => Ok(None),
            (Some(_), Some(_)) => Err(Error::AmbiguousColumn { column: name }),
            (Some(known), None) if folded(&known.ident) != name => {
                let table = &parts[..parts.len() - 1];
                Ok(Some(Expr::CompoundIdentifier(table.iter().chain([&known.ident]).cloned().collect())))
            }
            _ => Ok(None),
        }
    }
}

/// Refuses a column of an outer query whose table cannot be called from here: one further in has its name.
fn check_seen(expr: &Expr, inner: &[Level]) -> Result<()> {
    struct Tables<'a>(&'a [Level]);
    impl sqlparser::ast::Visitor for Tables<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let Expr::CompoundIdentifier(parts) = expr else { return ControlFlow::Continue(()) };
            let table = parts.iter().rev().nth(1).map(folded);
            match table.is_some_and(|table| self.0.iter().any(|level| level.has_table(&table))) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    match sqlparser::ast::Visit::visit(expr, &mut Tables(inner)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::NotSupported {
            message:
                "a joined column of an outer query is not supported here: a table has the name of its table"
                    .into(),
        }),
    }
}

struct Names<'a, 'b> {
    resolver: &'a mut Resolver<'b>,
    depth: usize,
}

impl VisitorMut for Names<'_, '_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        if self.depth == 1
            && let Err(error) = self.resolver.query(query, Place::Shown)
        {
            return ControlFlow::Break(error);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let meant = match expr {
            Expr::Identifier(ident) => self.resolver.meant(ident),
            Expr::CompoundIdentifier(parts) => self.resolver.meant_of_table(parts),
            _ => Ok(None),
        };
        match meant {
            Ok(Some(meant)) => *expr = meant,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }
}
