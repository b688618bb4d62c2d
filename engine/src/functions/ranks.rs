//! `row_number`, `rank`, `dense_rank` and `ntile` with the types of PostgreSQL's: DataFusion's are unsigned, and a sum of one and
//! a `bigint` would be a `numeric`.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::common::arrow::compute::SortOptions;
use datafusion::error::Result;
use datafusion::functions_window::{ntile, rank, row_number};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::function::{ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::window_state::WindowAggState;
use datafusion::logical_expr::{
    Expr, LimitEffect, PartitionEvaluator, Signature, WindowFunctionDefinition, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;

/// The functions under PostgreSQL's names, which are DataFusion's.
pub fn functions() -> Vec<Arc<WindowUDF>> {
    vec![
        counted(row_number::row_number_udwf(), DataType::Int64),
        counted(rank::rank_udwf(), DataType::Int64),
        counted(rank::dense_rank_udwf(), DataType::Int64),
        counted(ntile::ntile_udwf(), DataType::Int32),
    ]
}

/// A call of `row_number`.
pub fn row_number() -> Expr {
    let function =
        WindowFunctionDefinition::WindowUDF(counted(row_number::row_number_udwf(), DataType::Int64));
    Expr::from(WindowFunction::new(function, Vec::new()))
}

fn counted(inner: Arc<WindowUDF>, result: DataType) -> Arc<WindowUDF> {
    let nullable = inner.name() == "ntile";
    Arc::new(WindowUDF::from(Counted { inner, result, nullable }))
}

/// A function of DataFusion's whose numbers are given as `result`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Counted {
    inner: Arc<WindowUDF>,
    result: DataType,
    nullable: bool,
}

impl WindowUDFImpl for Counted {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn expressions(&self, args: ExpressionArgs) -> Vec<Arc<dyn PhysicalExpr>> {
        self.inner.expressions(args)
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        let inner = self.inner.partition_evaluator_factory(args)?;
        Ok(Box::new(CountedEvaluator { inner, result: self.result.clone() }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), self.result.clone(), self.nullable)))
    }

    fn sort_options(&self) -> Option<SortOptions> {
        self.inner.sort_options()
    }

    fn limit_effect(&self, args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        self.inner.inner().limit_effect(args)
    }
}

#[derive(Debug)]
struct CountedEvaluator {
    inner: Box<dyn PartitionEvaluator>,
    result: DataType,
}

impl PartitionEvaluator for CountedEvaluator {
    fn memoize(&mut self, state: &mut WindowAggState) -> Result<()> {
        self.inner.memoize(state)
    }

    fn get_range(&self, at: usize, rows: usize) -> Result<Range<usize>> {
        self.inner.get_range(at, rows)
    }

    fn is_causal(&self) -> bool {
        self.inner.is_causal()
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        Ok(cast(&self.inner.evaluate_all(values, rows)?, &self.result)?)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        self.inner.evaluate(values, range)?.cast_to(&self.result)
    }

    fn evaluate_all_with_rank(&self, rows: usize, ranks: &[Range<usize>]) -> Result<ArrayRef> {
        Ok(cast(&self.inner.evaluate_all_with_rank(rows, ranks)?, &self.result)?)
    }

    fn supports_bounded_execution(&self) -> bool {
        self.inner.supports_bounded_execution()
    }

    fn uses_window_frame(&self) -> bool {
        self.inner.uses_window_frame()
    }

    fn include_rank(&self) -> bool {
        self.inner.include_rank()
    }
}
