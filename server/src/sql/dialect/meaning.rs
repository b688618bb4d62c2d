//! What the planner would read with another meaning than PostgreSQL's: it is written as what PostgreSQL means, or refused.

use std::ops::ControlFlow;

use engine::{Error, Result};
use sqlparser::ast::{Query, Statement, TableFactor, VisitMut, VisitorMut};

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
                Some(_) => {
                    ControlFlow::Break(Error::NotSupported { message: "TABLESAMPLE is not supported".into() })
                }
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
