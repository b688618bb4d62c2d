//! Every function that every node knows, with a bound: on what the planner computes of it, and on what it takes where it
//! runs.
//!
//! DataFusion's functions compute a whole batch at once and ask nobody. What is small goes straight to them. Larger
//! batches are computed in slices (`slices`): between two the statement may end, and what came of them is asked of the
//! memory pool. What one value may come to is told before it is made (`growth`): past what no plan could hold it is 54000.
//! The planner computes small constants alone; others are left to the run. Everything else of each function is its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ExprSchema, Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, StructFieldMapping, TypeSignature,
};

use super::growth::{self, Arguments, Growth, held_bytes, is_flat, value_bytes};
use super::numbers::wide::is_wide;
use super::{matching, patterns, slices};
use crate::scope::Scope;
use crate::{ByteSize, Error};

/// What PostgreSQL lets one value have.
const VALUE_BYTES_MAX: usize = 1 << 30;
/// Share of the cap for one batch of results.
const BATCH_SHARE: u64 = 12;
/// A batch of arguments up to this size is computed at once.
const AT_ONCE: usize = 512 << 10;
/// The same for functions that may take long over little.
const AT_ONCE_SLOWLY: usize = 64 << 10;
/// Arguments and results of what the planner computes.
const FOLDED_ARGUMENTS_MAX: usize = 16 << 10;
pub(super) const FOLDED_RESULT_MAX: usize = 64 << 10;

static BATCH_BYTES_MAX: AtomicUsize = AtomicUsize::new(VALUE_BYTES_MAX);

/// Bounds a batch of results by the cap of this process.
pub fn bound_by(cap: ByteSize) {
    let bytes = (cap.0 / BATCH_SHARE).min(VALUE_BYTES_MAX as u64) as usize;
    BATCH_BYTES_MAX.store(bytes, Ordering::Relaxed);
}

/// The most bytes that a batch of results may have, and one value of it.
pub fn batch_bytes_max() -> usize {
    BATCH_BYTES_MAX.load(Ordering::Relaxed)
}

/// Refuses a value that comes to `bytes` and is still growing. It is copied when it is given, sent whole, decoded where it
/// arrives into buffers that double as they grow, and copied into a batch: so it may have a quarter of what a batch may.
pub fn check_growing(name: &str, bytes: usize) -> Result<()> {
    let most = batch_bytes_max() / 4;
    if bytes <= most {
        return Ok(());
    }
    Err(DataFusionError::ResourcesExhausted(format!(
        "{name} asked for {} for one value; the memory cap leaves it {}",
        ByteSize(bytes as u64),
        ByteSize(most as u64)
    )))
}

/// Refuses a value of `bytes` that holds for `rows`, when they had no room for it in each.
fn check_spread(name: &str, bytes: usize, rows: usize) -> Result<()> {
    let most = batch_bytes_max();
    if rows == 1 || bytes.saturating_mul(rows) <= most {
        return Ok(());
    }
    Err(DataFusionError::ResourcesExhausted(format!(
        "{name} asked for {} in each of {rows} rows; the memory cap leaves it {}",
        ByteSize(bytes as u64),
        ByteSize(most as u64)
    )))
}

/// `function` with a bound; `None` when it has one, or is one of a few that DataFusion knows by their type. Those give
/// no more than they are given, or numbers.
pub fn bounded(function: Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let is_known_by_type = matches!(
        function.name(),
        "get_field" | "input_file_name" | "file_row_index" | "power" | "log" | "date_part" | "sluice_extract"
    );
    if is_known_by_type || function.inner().is::<Bounded>() || super::arithmetic::is_ours(&function) {
        return None;
    }
    let growth = growth::of(function.name()).map(Measure);
    let is_slow = growth::is_slow(function.name());
    let signature = Signature { type_signature: TypeSignature::UserDefined, ..function.signature().clone() };
    Some(Arc::new(ScalarUDF::from(Bounded { function, signature, growth, is_slow })))
}

/// Whether the function within the bound takes arguments of such types as they are.
pub fn takes(function: &ScalarUDF, fields: &[FieldRef]) -> bool {
    match function.inner().downcast_ref::<Bounded>() {
        Some(bounded) => fields_with_udf(fields, bounded.function.as_ref()).is_ok(),
        None => fields_with_udf(fields, function).is_ok(),
    }
}

/// Fields in which numbers that are wide are doubles, as they become for functions that have no `numeric`.
fn with_doubles(fields: &[FieldRef]) -> Vec<FieldRef> {
    let double = |field: &FieldRef| match is_wide(field.data_type()) {
        true => Arc::new(field.as_ref().clone().with_data_type(DataType::Float64)),
        false => Arc::clone(field),
    };
    fields.iter().map(double).collect()
}

fn has_wide(fields: &[FieldRef]) -> bool {
    fields.iter().any(|field| is_wide(field.data_type()))
}

/// The function within the bound.
#[cfg(test)]
pub(super) fn unbounded(function: &Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match function.inner().downcast_ref::<Bounded>() {
        Some(bounded) => Arc::clone(&bounded.function),
        None => Arc::clone(function),
    }
}

/// `call` of a function with a bound, whoever made it.
pub fn bounded_call(call: ScalarFunction) -> Transformed<Expr> {
    match bounded(Arc::clone(&call.func)) {
        Some(func) => Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, ..call })),
        None => Transformed::no(Expr::ScalarFunction(call)),
    }
}

fn with_bounded_calls(expr: Expr) -> Result<Expr> {
    let bounded = expr.transform_up(|expr| match expr {
        Expr::ScalarFunction(call) => Ok(bounded_call(call)),
        Expr::BinaryExpr(binary) => Ok(match matching::of(binary) {
            Ok(matched) => Transformed::yes(matched),
            Err(binary) => Transformed::no(Expr::BinaryExpr(binary)),
        }),
        Expr::Like(like) => Ok(match patterns::checked(like) {
            Ok(like) => Transformed::yes(Expr::Like(like)),
            Err(like) => Transformed::no(Expr::Like(like)),
        }),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(bounded.data)
}

/// A function whose arguments and results are looked at.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    function: Arc<ScalarUDF>,
    signature: Signature,
    growth: Option<Measure>,
    is_slow: bool,
}

/// How the results of a function are measured: the name says it.
#[derive(Clone, Copy)]
struct Measure(Growth);

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("measured")
    }
}

impl PartialEq for Measure {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Measure {}

impl std::hash::Hash for Measure {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl Bounded {
    fn inner(&self) -> &dyn ScalarUDFImpl {
        self.function.inner().as_ref()
    }

    fn growth(&self) -> Option<Growth> {
        self.growth.map(|measure| measure.0)
    }

    /// What the planner may compute, or else an error, which makes it leave the call to the run.
    fn fold(&self, args: ScalarFunctionArgs, given: usize, scope: &Scope) -> Result<ColumnarValue> {
        scope.check()?;
        let rows = args.number_rows.max(1);
        if given > FOLDED_ARGUMENTS_MAX.saturating_mul(rows) || scope.is_spent() {
            return Err(self.left());
        }
        if let Some(growth) = self.growth() {
            let arguments = Arguments::new(&args.args)?;
            let at_most = (0..rows).map(|row| (growth.at_most)(&arguments, row)).max();
            if at_most.unwrap_or(0) > FOLDED_RESULT_MAX as i64 {
                return Err(self.left());
            }
        }
        let since = Instant::now();
        let result = self.inner().invoke_with_args(args);
        scope.spend(since.elapsed());
        let result = result?;
        if size(&result, 1) > FOLDED_RESULT_MAX.saturating_mul(rows) {
            return Err(self.left());
        }
        Ok(result)
    }

    fn left(&self) -> DataFusionError {
        DataFusionError::External(Box::new(Error::TooLarge {
            message: format!(
                "{} of constants is too large to be computed before the statement runs",
                self.name()
            ),
            hint: "Compute it from a column, or in a subquery of FROM.".into(),
        }))
    }
}

fn size(value: &ColumnarValue, rows: usize) -> usize {
    match value {
        ColumnarValue::Array(array) => held_bytes(array),
        ColumnarValue::Scalar(scalar) => value_bytes(scalar).saturating_mul(rows),
    }
}

/// What a function is given: a value that holds for every row is given with each.
fn given_bytes(args: &ScalarFunctionArgs) -> usize {
    let bytes = |arg: &ColumnarValue| {
        if is_flat(&arg.data_type()) { 8 * args.number_rows } else { size(arg, args.number_rows) }
    };
    args.args.iter().map(bytes).fold(0, usize::saturating_add)
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner().schema_name(args)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let fields: Vec<FieldRef> =
            types.iter().map(|kind| Arc::new(Field::new("value", kind.clone(), true))).collect();
        let kinds =
            |fields: Vec<FieldRef>| fields.iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
        match fields_with_udf(&fields, self.function.as_ref()) {
            Ok(coerced) => Ok(kinds(coerced)),
            Err(_) if has_wide(&fields) => {
                let coerced = kinds(fields_with_udf(&with_doubles(&fields), self.function.as_ref())?);
                // They are made doubles once the types of columns are known.
                let kept = |(given, taken): (&DataType, DataType)| {
                    if is_wide(given) { given.clone() } else { taken }
                };
                Ok(types.iter().zip(coerced).map(kept).collect())
            }
            Err(error) => match self.function.signature().type_signature {
                TypeSignature::UserDefined => Err(error),
                _ => Err(super::no_such_arguments(self.name())),
            },
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner().return_type(types)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let function = Arc::new(self.inner().with_updated_config(config)?);
        let signature = self.signature.clone();
        Some(ScalarUDF::from(Self { function, signature, growth: self.growth, is_slow: self.is_slow }))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        if has_wide(args.arg_fields) && fields_with_udf(args.arg_fields, self.function.as_ref()).is_err() {
            let doubles = with_doubles(args.arg_fields);
            let coerced = fields_with_udf(&doubles, self.function.as_ref())?;
            let args = ReturnFieldArgs { arg_fields: &coerced, scalar_arguments: args.scalar_arguments };
            return self.inner().return_field_from_args(args);
        }
        self.inner().return_field_from_args(args)
    }

    #[allow(deprecated)]
    fn is_nullable(&self, args: &[Expr], schema: &dyn ExprSchema) -> bool {
        self.inner().is_nullable(args, schema)
    }

    fn is_strict(&self) -> bool {
        self.inner().is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_flat =
            is_flat(args.return_field.data_type()) && args.args.iter().all(|arg| is_flat(&arg.data_type()));
        if is_flat || args.number_rows == 0 {
            return self.inner().invoke_with_args(args);
        }
        if growth::takes_pattern(self.name())
            && let Some(pattern) = args.args.get(1)
        {
            patterns::check(pattern)?;
        }
        let given = given_bytes(&args);
        let scope = Scope::current();
        if let Some(scope) = scope.as_ref().filter(|scope| scope.is_planning()) {
            return self.fold(args, given, scope);
        }
        let at_once = if self.is_slow { AT_ONCE_SLOWLY } else { AT_ONCE };
        let patterns_max = if self.is_slow { slices::patterns_max(self.name(), &args) } else { None };
        let is_short = patterns_max.is_none_or(|most| args.number_rows <= most);
        if self.growth.is_none() && given <= at_once && is_short {
            return self.inner().invoke_with_args(args);
        }
        let rows = args.number_rows;
        let limits = slices::Limits { at_once, result_max: batch_bytes_max() };
        let result = slices::compute(self.inner(), self.growth(), args, given, scope.as_ref(), limits)?;
        // Who asked for it may put it into each of its rows.
        match &result {
            ColumnarValue::Scalar(value) => check_spread(self.name(), value_bytes(value), rows)?,
            ColumnarValue::Array(one) if one.len() < rows => {
                check_spread(self.name(), held_bytes(one), rows)?
            }
            ColumnarValue::Array(_) => {}
        }
        Ok(result)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        match self.inner().simplify(args, info)? {
            ExprSimplifyResult::Simplified(expr) => {
                Ok(ExprSimplifyResult::Simplified(with_bounded_calls(expr)?))
            }
            original => Ok(original),
        }
    }

    fn preimage(&self, args: &[Expr], value: &Expr, info: &SimplifyContext) -> Result<PreimageResult> {
        self.inner().preimage(args, value, info)
    }

    fn short_circuits(&self) -> bool {
        self.inner().short_circuits()
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner().conditional_arguments(args)
    }

    fn evaluate_bounds(&self, input: &[&Interval]) -> Result<Interval> {
        self.inner().evaluate_bounds(input)
    }

    fn propagate_constraints(
        &self,
        interval: &Interval,
        inputs: &[&Interval],
    ) -> Result<Option<Vec<Interval>>> {
        self.inner().propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner().output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner().preserves_lex_ordering(inputs)
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> Result<bool> {
        self.inner().strictly_order_preserving(inputs)
    }

    fn struct_field_mapping(&self, literals: &[Option<ScalarValue>]) -> Option<StructFieldMapping> {
        self.inner().struct_field_mapping(literals)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner().documentation()
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner().placement(args)
    }
}
