//! What the planner would read with another meaning than PostgreSQL's: it is written as what PostgreSQL means, or refused.

use std::ops::ControlFlow;

use engine::{Error, Result};
use sqlparser::ast::{Expr, Query, Select, Statement, TableFactor, VisitMut, VisitorMut};

use super::{
    bags, call, calls, collations, documents, frames, inner_names, instants, numbers, order_by, repeated,
    rows, set_returning, subscripts, texts, untyped, windows,
};

/// Gives every part of `statement` its meaning. Refuses (0A000) what cannot have it.
pub fn adapt(statement: &mut Statement) -> Result<()> {
    struct Meanings;
    impl VisitorMut for Meanings {
        type Break = Error;

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
            if !query.locks.is_empty() {
                // A change that meets another one fails when it is committed: nobody waits for anybody.
                let message = "SELECT … FOR UPDATE or SHARE is not supported: rows are not locked".to_owned();
                return ControlFlow::Break(Error::NotSupported { message });
            }
            inner_names::adapt_with(query);
            rows::adapt_order(query.order_by.as_mut());
            told(
                order_by::check_constants(query)
                    .and_then(|()| set_returning::check_query(query))
                    .and_then(|()| documents::check_order(query.order_by.as_ref())),
            )
        }

        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
            repeated::adapt_select(select);
            rows::adapt_select(select);
            frames::adapt_texts(frames::named_windows(select));
            told(subscripts::adapt_select(select))
        }

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
            frames::adapt_texts(frames::window_of(expr).into_iter());
            call_words(expr);
            told(
                collations::check(expr)
                    .and_then(|()| numbers::check_scale(expr))
                    .and_then(|()| texts::check_escape(expr))
                    .and_then(|()| set_returning::check_call(expr))
                    .and_then(|()| documents::check(expr))
                    .and_then(|()| rows::adapt(expr))
                    .and_then(|()| subscripts::adapt(expr)),
            )
        }

        fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
            untyped::in_query(query);
            told(windows::adapt(query).and_then(|()| bags::adapt(&mut query.body)))
        }

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
            untyped::in_expr(expr);
            told(instants::adapt(expr))
        }

        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
            inner_names::adapt_table(factor);
            untyped::in_table(factor);
            if let Err(error) = subscripts::check(factor) {
                return ControlFlow::Break(error);
            }
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
    calls::adapt(statement)?;
    match statement.visit(&mut Meanings) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Words of PostgreSQL's grammar that are calls without parentheses, which the parser takes for names of columns.
fn call_words(expr: &mut Expr) {
    const WORDS: [&str; 3] = ["current_catalog", "current_role", "current_schema"];
    if let Expr::Identifier(ident) = &*expr
        && ident.quote_style.is_none()
        && let Some(word) = WORDS.iter().find(|word| ident.value.eq_ignore_ascii_case(word))
    {
        *expr = call(word, Vec::new());
    }
}

fn told(outcome: Result<()>) -> ControlFlow<Error> {
    match outcome {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}
