//! What is known of columns: bounds, different values, widths.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::Operator;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::{Cardinality, Known, footers};

/// Rows of a leaf that tells nothing of them.
const ROWS_UNKNOWN: f64 = 1000.0;
/// Bytes of a text that nothing is known of, with its offset.
const TEXT_WIDTH: f64 = 24.0;
/// Different texts in a column that nothing is known of, at most.
const TEXTS: f64 = 200.0;
/// The same of what a function makes of texts.
const TEXTS_MADE: f64 = 40.0;

/// What is expected of one column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnFacts {
    /// Different values that are still there, at most.
    pub distinct: f64,
    /// The same of the whole table that they come from.
    pub whole: f64,
    /// The smallest and the largest, where they are numbers, dates or times.
    pub bounds: Option<(f64, f64)>,
    /// Its values are those of a table's column.
    pub is_stored: bool,
    /// Share of nulls.
    pub nulls: f64,
    /// Bytes of one value in memory, as Arrow holds it.
    pub width: f64,
    /// Rows of the table that its values come from.
    pub base_rows: f64,
    /// Of those rows, how many are still there: what a filter left of them.
    pub kept: f64,
    /// Bytes of one value once a shuffle file has compressed it, in values that differ.
    pub stored_width: f64,
}

/// What a table is like besides what each scan of it tells.
#[derive(Debug, Clone, Default)]
pub struct TableFacts {
    /// By column name: bytes of one value in memory.
    pub widths: HashMap<String, f64>,
}

impl ColumnFacts {
    /// Of a column of that type in `rows` rows, of which nothing else is known.
    fn by_type(data_type: &DataType, rows: f64) -> Self {
        let width = data_type.primitive_width().map_or(TEXT_WIDTH, |width| width as f64);
        let (distinct, width) = match data_type {
            DataType::Boolean => (2.0, 0.125),
            DataType::Null => (1.0, 0.0),
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => (TEXTS.min(rows), width),
            _ => (rows, width),
        };
        Self {
            distinct: distinct.max(1.0),
            whole: distinct.max(1.0),
            bounds: None,
            is_stored: false,
            nulls: 0.0,
            width,
            base_rows: rows,
            kept: 1.0,
            stored_width: stored(data_type, width),
        }
    }

    /// A boolean for each of `rows`.
    pub(super) fn flag(rows: f64) -> Self {
        Self::by_type(&DataType::Boolean, rows)
    }

    /// Different values in the whole table that they come from.
    pub(super) fn whole_distinct(&self) -> f64 {
        self.whole.max(1.0)
    }

    /// Bytes of `rows` of them in a shuffle file: LZ4 makes little of what repeats.
    pub fn stored_bytes(&self, rows: f64) -> f64 {
        rows * self.stored_width
    }

    /// The same, of which `share` of the rows are left.
    pub fn after(&self, share: f64, rows: f64) -> Self {
        let kept = (self.kept * share).min(1.0);
        Self { kept, distinct: drawn(self.distinct, rows).max(1.0), ..self.clone() }
    }
}

/// What LZ4 leaves of a value: numbers of 16 bytes are mostly zeros, numbers and times have their high bytes in common,
/// texts their words. Measured over the shuffle files of TPC-H (docs/tuning.md).
fn stored(data_type: &DataType, width: f64) -> f64 {
    match data_type {
        DataType::Decimal128(..) => 6.0,
        DataType::Decimal256(..) => 8.0,
        DataType::Int64 | DataType::UInt64 => 5.0,
        DataType::Date64 | DataType::Timestamp(..) => 5.5,
        DataType::Int32 | DataType::UInt32 | DataType::Date32 => 3.5,
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => width * 0.7,
        _ => width,
    }
}

/// Of so many different values those that are among `rows` drawn of them.
pub(super) fn drawn(distinct: f64, rows: f64) -> f64 {
    if distinct <= 1.0 || rows <= 0.0 {
        return distinct.min(rows.max(0.0));
    }
    // Cardenas (1975); 1 - (1 - 1/d)^r for large d.
    distinct * -(-rows / distinct).exp_m1()
}

/// Different combinations of the values of columns, in `rows` rows.
pub(super) fn distinct_together(columns: &[ColumnFacts], rows: f64) -> f64 {
    let product = columns
        .iter()
        .fold(1.0_f64, |product, column| (product * column.distinct.max(1.0)).min(f64::MAX / 1e12));
    // Columns of one table have no more combinations than it has rows.
    let base = columns.iter().map(|column| column.base_rows * column.kept).fold(0.0_f64, f64::max);
    let of_one_table = columns.windows(2).all(|pair| pair[0].base_rows == pair[1].base_rows);
    let most = if of_one_table && base > 0.0 { product.min(base.max(1.0)) } else { product };
    most.min(rows.max(1.0))
}

/// By type alone.
pub(super) fn by_type(schema: &Schema, rows: f64) -> Vec<ColumnFacts> {
    schema.fields().iter().map(|field| ColumnFacts::by_type(field.data_type(), rows)).collect()
}

/// Of a union's inputs, with their rows.
pub(super) fn united<'a>(of: impl Iterator<Item = (&'a ColumnFacts, f64)>) -> ColumnFacts {
    let all: Vec<(&ColumnFacts, f64)> = of.collect();
    let rows: f64 = all.iter().map(|(_, rows)| rows).sum();
    let mean = |value: fn(&ColumnFacts) -> f64| {
        all.iter().map(|(column, of)| value(column) * of).sum::<f64>() / rows.max(1.0)
    };
    let bounds = all.iter().map(|(column, _)| column.bounds).reduce(|a, b| {
        let (a, b) = (a?, b?);
        Some((a.0.min(b.0), a.1.max(b.1)))
    });
    ColumnFacts {
        distinct: all.iter().map(|(column, _)| column.distinct).sum::<f64>().max(1.0),
        whole: all.iter().map(|(column, _)| column.whole).sum::<f64>().max(1.0),
        bounds: bounds.flatten(),
        is_stored: all.iter().all(|(column, _)| column.is_stored),
        nulls: mean(|column| column.nulls),
        width: mean(|column| column.width),
        base_rows: all.iter().map(|(column, _)| column.base_rows).sum(),
        kept: mean(|column| column.kept),
        stored_width: mean(|column| column.stored_width),
    }
}

/// What a scan, or another leaf, gives.
pub(super) fn of_leaf(plan: &Arc<dyn ExecutionPlan>, known: &dyn Known) -> Cardinality {
    let schema = plan.schema();
    let statistics = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok();
    let rows = statistics.as_ref().and_then(|of| of.num_rows.get_value().copied());
    let rows = rows.map_or(ROWS_UNKNOWN, |rows| rows as f64);
    let scan = plan.downcast_ref::<DataSourceExec>();
    let files = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
    let file = files.and_then(|files| files.file_groups.iter().flat_map(|group| group.iter()).next());
    let location = files
        .zip(file)
        .map(|(files, file)| format!("{}{}", files.object_store_url.as_str(), file.object_meta.location));
    let table = location.and_then(|location| known.table(&location));
    let footers = files.map_or_else(Vec::new, |files| footers_of(files, known));
    let columns = schema.fields().iter().enumerate().map(|(at, field)| {
        let mut facts = ColumnFacts { is_stored: true, ..ColumnFacts::by_type(field.data_type(), rows) };
        let told = footers.iter().find_map(|footer| footers::told(footer, field.name()));
        let noted = table.and_then(|table| table.widths.get(field.name()).copied());
        let by_footer =
            told.and_then(|told| told.value_bytes).map(|bytes| text_width(field.data_type(), bytes));
        if let Some(width) = by_footer.or(noted).filter(|_| field.data_type().primitive_width().is_none()) {
            facts.width = width;
            facts.stored_width = stored(field.data_type(), width);
        }
        let by_dictionary = told.and_then(|told| told.distinct);
        if let Some(told) = statistics.as_ref().and_then(|of| of.column_statistics.get(at)) {
            let number = |bound: Option<&ScalarValue>| bound.and_then(number);
            let bounds = number(told.min_value.get_value()).zip(number(told.max_value.get_value()));
            facts.bounds = bounds;
            facts.nulls = told.null_count.get_value().map_or(0.0, |nulls| *nulls as f64 / rows.max(1.0));
            let steps =
                bounds.filter(|_| counts_in_steps(field.data_type())).map(|(low, high)| high - low + 1.0);
            let counted = told.distinct_count.get_value().map(|count| *count as f64);
            let most = steps.unwrap_or(f64::MAX).min(rows);
            facts.distinct = counted.or(by_dictionary).unwrap_or(facts.distinct).min(most).max(1.0);
            facts.whole = facts.distinct;
        }
        facts
    });
    let columns: Vec<ColumnFacts> = columns.collect();
    Cardinality { rows, columns, schema }
}

/// Files whose footers are looked at for what their columns are like.
const FOOTERS_MAX: usize = 2;

fn footers_of(files: &FileScanConfig, known: &dyn Known) -> Vec<Arc<ParquetMetaData>> {
    let mut all: Vec<_> = files.file_groups.iter().flat_map(|group| group.iter()).collect();
    all.sort_by_key(|file| std::cmp::Reverse(file.object_meta.size));
    all.iter().take(FOOTERS_MAX).filter_map(|file| known.footer(&file.object_meta.location)).collect()
}

/// Bytes of a text of so many letters in memory.
fn text_width(data_type: &DataType, bytes: f64) -> f64 {
    match data_type {
        // Short ones lie within the view.
        DataType::Utf8View | DataType::BinaryView => 16.0 + if bytes > 12.0 { bytes } else { 0.0 },
        DataType::LargeUtf8 | DataType::LargeBinary => bytes + 8.0,
        _ => bytes + 4.0,
    }
}

fn counts_in_steps(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Date32)
}

/// A value on a line, where it has a place there.
pub(super) fn number(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::Int8(v) => v.map(f64::from),
        ScalarValue::Int16(v) => v.map(f64::from),
        ScalarValue::Int32(v) | ScalarValue::Date32(v) => v.map(f64::from),
        ScalarValue::Int64(v) | ScalarValue::Date64(v) => v.map(|v| v as f64),
        ScalarValue::UInt8(v) => v.map(f64::from),
        ScalarValue::UInt16(v) => v.map(f64::from),
        ScalarValue::UInt32(v) => v.map(f64::from),
        ScalarValue::UInt64(v) => v.map(|v| v as f64),
        ScalarValue::Float32(v) => v.map(f64::from),
        ScalarValue::Float64(v) => *v,
        ScalarValue::Decimal128(v, _, scale) => v.map(|v| v as f64 / 10_f64.powi(i32::from(*scale))),
        ScalarValue::TimestampSecond(v, _) => v.map(|v| v as f64 * 1e6),
        ScalarValue::TimestampMillisecond(v, _) => v.map(|v| v as f64 * 1e3),
        ScalarValue::TimestampMicrosecond(v, _) => v.map(|v| v as f64),
        ScalarValue::TimestampNanosecond(v, _) => v.map(|v| v as f64 / 1e3),
        _ => None,
    }
    .filter(|number| number.is_finite())
}

/// What an expression over `input` gives.
pub(super) fn of_expression(expr: &Arc<dyn PhysicalExpr>, input: &Cardinality) -> ColumnFacts {
    if let Some(column) = expr.downcast_ref::<Column>()
        && let Some(facts) = input.columns.get(column.index())
    {
        return facts.clone();
    }
    let data_type = expr.data_type(&input.schema).unwrap_or(DataType::Int64);
    let mut facts = ColumnFacts::by_type(&data_type, input.rows);
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let inner = of_expression(cast.expr(), input);
        return ColumnFacts { width: facts.width.max(0.125), stored_width: facts.stored_width, ..inner };
    }
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        (facts.distinct, facts.whole) = (1.0, 1.0);
        facts.bounds = number(literal.value()).map(|value| (value, value));
        facts.stored_width = 0.1;
        return facts;
    }
    let inputs: Vec<ColumnFacts> = expr.children().iter().map(|child| of_expression(child, input)).collect();
    if inputs.is_empty() {
        return facts;
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>()
        && matches!(binary.op(), Operator::And | Operator::Or)
    {
        return facts;
    }
    // A function of columns has no more values than they have combinations, and a text that is cut out of others far
    // fewer.
    let most = if facts.width == TEXT_WIDTH { TEXTS_MADE } else { f64::INFINITY };
    facts.distinct = facts.distinct.min(distinct_together(&inputs, input.rows)).min(most).max(1.0);
    facts.base_rows = inputs.iter().map(|of| of.base_rows).fold(0.0, f64::max);
    facts.kept = inputs.iter().map(|of| of.kept).fold(1.0, f64::min);
    if name_of(expr) == Some("date_part") {
        // Of years there are tens, of months, days and hours no more.
        facts.distinct = facts.distinct.min(years(&inputs).unwrap_or(31.0));
    }
    facts.whole = facts.distinct;
    facts
}

fn name_of(expr: &Arc<dyn PhysicalExpr>) -> Option<&str> {
    use datafusion::physical_expr::ScalarFunctionExpr;
    let name = expr.downcast_ref::<ScalarFunctionExpr>()?.fun().name();
    Some(if name.contains("date_part") || name == "sluice_extract" { "date_part" } else { name })
}

fn years(inputs: &[ColumnFacts]) -> Option<f64> {
    let (low, high) = inputs.iter().find_map(|of| of.bounds.filter(|(low, high)| low != high))?;
    // Days since 1970, or microseconds.
    let year = if high.abs() > 1e9 { 365.25 * 86_400e6 } else { 365.25 };
    Some(((high - low) / year).ceil().max(1.0) + 1.0)
}
