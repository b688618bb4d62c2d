//! Arrays without items, slices that leave a bound out, `count(t.*)`, and numbers of rows beside the items of a set.

use engine::{Error, Result, SqlState};
use sqlparser::ast::{
    AccessExpr, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Join,
    JoinOperator, Select, SelectItem, Subscript, TableFactor, Value, VisitMut, VisitorMut,
};

/// `a[:2]` begins with the first item, and `a[2:]` ends with the last; `ARRAY[]` has the type that it is cast to.
pub fn adapt(expr: &mut Expr) -> Result<()> {
    let is_empty = |expr: &Expr| matches!(expr, Expr::Array(array) if array.named && array.elem.is_empty());
    if let Expr::Cast { expr: inner, data_type: DataType::Array(_), .. } = expr
        && is_empty(inner)
    {
        **inner = Expr::value(Value::SingleQuotedString("{}".to_owned()));
    }
    if is_empty(expr) {
        return Err(Error::Stamped {
            sqlstate: SqlState::from_text("42P18"),
            message: "cannot determine type of empty array".to_owned(),
        });
    }
    let Expr::CompoundFieldAccess { access_chain, .. } = expr else { return Ok(()) };
    let is_several = access_chain.len() > 1;
    for access in access_chain {
        let AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) = access else {
            continue;
        };
        if stride.is_some() || is_several {
            return Err(Error::NotSupported {
                message: "a slice beside other subscripts is not supported".into(),
            });
        }
        let number = |digits: &str| Expr::value(Value::Number(digits.to_owned(), false));
        lower_bound.get_or_insert_with(|| number("1"));
        upper_bound.get_or_insert_with(|| number("2147483647"));
    }
    Ok(())
}

/// `count(t.*)` counts rows of `t` that are there, which every row is unless a join has put nulls in its place.
pub fn adapt_select(select: &mut Select) -> Result<()> {
    let keeps_others = |join: &Join| {
        matches!(
            join.join_operator,
            JoinOperator::Left(_)
                | JoinOperator::LeftOuter(_)
                | JoinOperator::Right(_)
                | JoinOperator::RightOuter(_)
                | JoinOperator::FullOuter(_)
                | JoinOperator::OuterApply
        )
    };
    let is_plain = |factor: &TableFactor| !matches!(factor, TableFactor::NestedJoin { .. });
    let has_outer_join = select.from.iter().any(|source| {
        !is_plain(&source.relation)
            || source.joins.iter().any(|join| keeps_others(join) || !is_plain(&join.relation))
    });
    let mut counts = Counts { depth: 0, has_outer_join };
    let visit = |expr: &mut Expr, counts: &mut Counts| match expr.visit(counts) {
        std::ops::ControlFlow::Continue(()) => Ok(()),
        std::ops::ControlFlow::Break(error) => Err(error),
    };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            visit(expr, &mut counts)?;
        }
    }
    select.having.iter_mut().try_for_each(|having| visit(having, &mut counts))
}

struct Counts {
    /// Queries within the one that is looked at: their tables are others.
    depth: usize,
    has_outer_join: bool,
}

impl VisitorMut for Counts {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &mut sqlparser::ast::Query) -> std::ops::ControlFlow<Error> {
        self.depth += 1;
        std::ops::ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut sqlparser::ast::Query) -> std::ops::ControlFlow<Error> {
        self.depth -= 1;
        std::ops::ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> std::ops::ControlFlow<Error> {
        let Expr::Function(function) = expr else { return std::ops::ControlFlow::Continue(()) };
        let Some(arg) = rows_of_table(function).filter(|_| self.depth == 0) else {
            return std::ops::ControlFlow::Continue(());
        };
        if self.has_outer_join {
            return std::ops::ControlFlow::Break(Error::NotSupported {
                message: "the rows of a table are not counted behind an outer join: count a column that has no nulls"
                    .into(),
            });
        }
        *arg = FunctionArg::Unnamed(FunctionArgExpr::Wildcard);
        std::ops::ControlFlow::Continue(())
    }
}

fn rows_of_table(function: &mut Function) -> Option<&mut FunctionArg> {
    let FunctionArguments::List(list) = &mut function.args else { return None };
    let [arg] = list.args.as_mut_slice() else { return None };
    matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(_))).then_some(arg)
}

/// Refuses WITH ORDINALITY, whose numbers the planner leaves out.
pub fn check(factor: &TableFactor) -> Result<()> {
    let is_numbered = matches!(
        factor,
        TableFactor::Table { with_ordinality: true, .. }
            | TableFactor::UNNEST { with_ordinality: true, .. }
            | TableFactor::Function { with_ordinality: true, .. }
    );
    if is_numbered {
        return Err(Error::NotSupported { message: "WITH ORDINALITY is not supported".into() });
    }
    Ok(())
}
