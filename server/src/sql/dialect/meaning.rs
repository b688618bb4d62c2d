//! What the planner would read with another meaning than PostgreSQL's: it is written as what PostgreSQL means, or refused.

use std::ops::ControlFlow;

use engine::{Error, Result};
use sqlparser::ast::{
    Query, SetExpr, SetOperator, SetQuantifier, Statement, TableFactor, VisitMut, VisitorMut,
};

use super::{bags, using};

/// Gives every part of `statement` its meaning. Refuses (0A000) what cannot have it.
pub fn adapt(statement: &mut Statement) -> Result<()> {
    struct Meanings;
    impl VisitorMut for Meanings {
        type Break = Error;

        fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
            told(using::adapt(query).and_then(|()| bags::adapt(&mut query.body)))
        }

        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
            let sample = match factor {
                TableFactor::Table { sample, .. } | TableFactor::Derived { sample, .. } => sample,
                _ => return ControlFlow::Continue(()),
            };
            match sample {
                Some(_) => ControlFlow::Break(not_supported("TABLESAMPLE")),
                None => ControlFlow::Continue(()),
            }
        }
    }
    match statement.visit(&mut Meanings) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn told(outcome: Result<()>) -> ControlFlow<Error> {
    match outcome {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

pub(super) fn not_supported(what: &str) -> Error {
    Error::NotSupported { message: format!("{what} is not supported") }
}

/// True for an EXCEPT or INTERSECT that counts rows.
pub(super) fn counts_rows(body: &SetExpr) -> bool {
    matches!(
        body,
        SetExpr::SetOperation {
            op: SetOperator::Except | SetOperator::Intersect,
            set_quantifier: SetQuantifier::All,
            ..
        }
    )
}
