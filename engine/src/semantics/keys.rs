//! Groups by a key of one side of a join and by columns of the other. DataFusion takes a key of one side, as `SELECT DISTINCT`
//! makes one, for a key of the groups as well, and drops the other columns where nothing else asks for them: `count(DISTINCT y)
//! … GROUP BY key, x` gave one group for each key. So the columns of the key are hidden where they are computed.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    Aggregate, ColumnarValue, Distinct, Expr, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `plan` with the keys of its input hidden, where it groups by other columns, too.
pub fn hidden(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let grouped: Vec<Column> = aggregate.group_expr.iter().filter_map(column).collect();
            let known = known(&aggregate)?;
            let columns = partial_keys(&known, &grouped, aggregate.group_expr.len());
            if columns.is_empty() {
                return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
            }
            let Aggregate { input, group_expr, aggr_expr, .. } = aggregate;
            let input = Arc::new(without_keys(&input, &columns)?);
            let aggregate = Aggregate::try_new(input, group_expr, aggr_expr)?;
            Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let grouped = input.schema().columns();
            let columns = partial_keys(input.schema(), &grouped, grouped.len());
            if columns.is_empty() {
                return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
            }
            let input = Arc::new(without_keys(&input, &columns)?);
            Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::All(input))))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// The columns that `aggregate` groups, with all keys that they will have: those of `SELECT DISTINCT` are known to the planner once
/// it is a GROUP BY.
fn known(aggregate: &Aggregate) -> Result<DFSchemaRef> {
    let is_distinct = |plan: &LogicalPlan| Ok(matches!(plan, LogicalPlan::Distinct(Distinct::All(_))));
    if aggregate.group_expr.len() < 2 || !aggregate.input.exists(is_distinct)? {
        return Ok(Arc::clone(aggregate.input.schema()));
    }
    let grouped = aggregate.input.as_ref().clone().transform_up(|plan| match plan {
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let columns = input.schema().columns().into_iter().map(Expr::Column).collect();
            let grouped = Aggregate::try_new(input, columns, Vec::new())?;
            Ok(Transformed::yes(LogicalPlan::Aggregate(grouped)))
        }
        other => other.recompute_schema().map(Transformed::yes),
    });
    Ok(Arc::clone(grouped?.data.schema()))
}

fn column(expr: &Expr) -> Option<Column> {
    match expr {
        Expr::Column(column) => Some(column.clone()),
        Expr::Alias(alias) => column(&alias.expr),
        _ => None,
    }
}

/// The columns of keys that are all among `grouped`, which do not determine all of the `groups`.
fn partial_keys(schema: &DFSchema, grouped: &[Column], groups: usize) -> Vec<Column> {
    let places: Vec<usize> =
        grouped.iter().filter_map(|column| schema.maybe_index_of_column(column)).collect();
    let mut keys: Vec<usize> = Vec::new();
    for dependence in schema.functional_dependencies().iter() {
        let is_grouped = dependence.source_indices.iter().all(|at| places.contains(at));
        let determines_all = places.len() == groups
            && places
                .iter()
                .all(|at| dependence.source_indices.contains(at) || dependence.target_indices.contains(at));
        if is_grouped && !determines_all {
            keys.extend(&dependence.source_indices);
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().map(|at| Column::from(schema.qualified_field(at))).collect()
}

fn without_keys(input: &LogicalPlan, keys: &[Column]) -> Result<LogicalPlan> {
    let exprs: Vec<Expr> = input
        .schema()
        .columns()
        .into_iter()
        .map(|column| {
            if !keys.contains(&column) {
                return Expr::Column(column);
            }
            let Column { relation, name, .. } = column.clone();
            let same = ScalarFunction::new_udf(function(), vec![Expr::Column(column)]);
            Expr::ScalarFunction(same).alias_qualified(relation, name)
        })
        .collect();
    LogicalPlanBuilder::from(input.clone()).project(exprs)?.build()
}

pub(super) const NAME: &str = "sluice_same";

/// `sluice_same(x)`: `x`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Same {
    signature: Signature,
}

/// The function.
pub fn function() -> Arc<ScalarUDF> {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::from(Same { signature }))
}

impl ScalarUDFImpl for Same {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(one_argument)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        args.arg_fields.first().cloned().ok_or_else(one_argument)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        args.args.into_iter().next().ok_or_else(one_argument)
    }
}

fn one_argument() -> DataFusionError {
    DataFusionError::Plan(format!("{NAME} takes one argument"))
}
