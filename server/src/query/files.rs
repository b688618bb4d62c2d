//! Lays a plan's rows out in files: which of them go to one file, in which order, and what it is called.

use std::collections::HashSet;
use std::sync::Arc;

use catalog::TableDefinition;
use catalog::lake::ManagedTable;
use catalog::lake::types::stored_as;
use catalog::stored_definition::schema_to_text;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_expr::{
    LexOrdering, Partitioning, PhysicalExpr, PhysicalSortExpr, ScalarFunctionExpr,
};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use engine::exchange;
use engine::functions::numbers::wide::is_wide;
use engine::functions::numbers::wide::stored::{holds_wide, stored};
use engine::functions::{self, partition};
use engine::operators::{
    FileFormat, FileNames, NumberRows, ParquetCompression, PartitionColumn, WriteFiles, WriteTarget,
};
use engine::session_state::Destination;
use engine::{ByteSize, Error, Result};

use super::QueryContext;
use super::estimate::Estimate;
use super::plan::{Plan, output_schema};
use crate::sql::Query;

/// Where the rows of a query go.
#[derive(Debug, Clone)]
pub enum Sink {
    /// Files of a managed table, whose columns they match by place: so many of about one size, where it is said.
    Table(Arc<TableDefinition>, Option<usize>),
    /// Files that no catalog knows.
    Files(Arc<FileSink>),
}

/// Files of a query's rows.
#[derive(Debug)]
pub struct FileSink {
    /// The folder they are written to, as a table without columns: whoever writes must reach it.
    pub folder: Arc<TableDefinition>,
    /// What they are called.
    pub names: FileNames,
    /// What they hold.
    pub format: FileFormat,
    /// So many of them, each with about as many rows, where it is said.
    pub partitions: Option<usize>,
    /// The columns whose values become folders, and are not in the files.
    pub partition_by: Vec<String>,
    /// A file that has grown to so many bytes is followed by another.
    pub file_bytes_max: u64,
    /// Objects are left for the commit to complete.
    pub is_staged: bool,
}

/// What the rows are computed of, and where.
#[derive(Debug, Clone, Copy)]
pub struct Input {
    /// What is read for them.
    pub estimate: Estimate,
    /// Who computes them.
    pub on: Destination,
}

impl Sink {
    /// What must be reached by whoever writes.
    pub fn place(&self) -> &Arc<TableDefinition> {
        match self {
            Self::Table(table, _) => table,
            Self::Files(files) => &files.folder,
        }
    }
}

/// `plan`, which is that of `query`, with its rows written to `sink`.
pub fn into_files(
    context: &QueryContext,
    plan: Plan,
    query: &Query,
    sink: &Sink,
    input: Input,
) -> Result<Plan> {
    match sink {
        Sink::Table(table, partitions) => into_table(context, plan, table, *partitions, input),
        Sink::Files(files) => {
            let Plan { physical, state, mut tables, .. } = plan;
            let physical = exported(physical, &state, query, files, input, false)?;
            tables.push(Arc::clone(&files.folder));
            Ok(Plan { physical, state, tables, is_small: false })
        }
    }
}

/// A plan that writes one file with the `columns` of `query` and no row, where files are all that tells the
/// columns.
pub fn without_rows(
    state: SessionState,
    columns: &SchemaRef,
    query: &Query,
    sink: &Sink,
) -> Result<Option<Plan>> {
    let Sink::Files(files) = sink else { return Ok(None) };
    if !files.partition_by.is_empty() {
        return Ok(None);
    }
    let input = Input { estimate: Estimate::default(), on: Destination::Local };
    let nothing = Arc::new(EmptyExec::new(Arc::clone(columns)));
    let physical = exported(nothing, &state, query, files, input, true)?;
    Ok(Some(Plan { physical, state, tables: Vec::new(), is_small: false }))
}

/// `plan` with its rows written to files of `table`, whose columns they match by place.
pub fn into_table(
    context: &QueryContext,
    plan: Plan,
    table: &Arc<TableDefinition>,
    partitions: Option<usize>,
    input: Input,
) -> Result<Plan> {
    let managed = table.managed.as_deref().ok_or_else(|| Error::internal("a table has no files of ours"))?;
    let Plan { physical, state, mut tables, .. } = plan;
    let columns = managed.current_columns().count();
    let width = physical.schema().fields().len();
    if width != columns {
        return Err(Error::internal(format!("{width} columns for a table of {columns}")));
    }
    let kinds: Vec<DataType> =
        managed.current_columns().map(|column| column.field.data_type().clone()).collect();
    let physical = without_wide(physical, &state, |at| kinds.get(at).cloned())?;
    let physical = declared(physical, &state, managed)?;
    let keys = table_keys(&physical, &state, managed)?;
    let partition_by = partition_columns(&keys);
    let physical = match (keys.is_empty(), partitions) {
        (true, None) => gathered(physical, input)?,
        (true, Some(partitions)) => spread(physical, partitions)?,
        (false, wanted) => {
            let partitions = wanted.unwrap_or_else(|| physical.output_partitioning().partition_count());
            cut(plain_columns(&physical.schema()), keys, physical, partitions)?
        }
    };
    let physical = sorted(physical, managed, columns);
    let target = WriteTarget {
        folder: table.location.clone(),
        schema: schema_to_text(&managed.write_schema())?,
        partition_by,
        file_bytes_max: context.file_bytes_max,
        names: FileNames::OfStatement(context.id.to_string()),
        format: FileFormat::Parquet {
            compression: ParquetCompression::default(),
            bloom_filters: bucketed_columns(managed),
        },
        is_staged: false,
        writes_empty: false,
    };
    tables.push(Arc::clone(table));
    Ok(Plan { physical: Arc::new(WriteFiles::new(physical, target)?), state, tables, is_small: false })
}

/// Who puts a table into buckets by a column looks for single values of it, which are anywhere within a file's bounds.
fn bucketed_columns(managed: &ManagedTable) -> Vec<String> {
    let keys = managed.partitioning.iter().flat_map(|partitioning| &partitioning.keys);
    let bucketed = keys.filter(|key| key.transform.starts_with("bucket("));
    let column = |id: i64| managed.current_columns().find(|column| column.id == id);
    let bucketed = bucketed.filter_map(|key| column(key.column)).map(|column| &column.field);
    bucketed.filter(|field| !field.data_type().is_floating()).map(|field| field.name().clone()).collect()
}

/// Refuses a filter of what is no column of the files, or has no single values.
fn check_bloom_filters(files: &FileSink, columns: &[Field]) -> Result<()> {
    let FileFormat::Parquet { bloom_filters, .. } = &files.format else { return Ok(()) };
    for name in bloom_filters {
        match columns.iter().find(|column| column.name() == name) {
            Some(column) if column.data_type().is_nested() => {
                let message =
                    format!("column \"{name}\" cannot have a Bloom filter: it holds several values");
                return Err(Error::NotSupported { message });
            }
            // Both zeros are one number, and have other bytes.
            Some(column) if column.data_type().is_floating() => {
                let message =
                    format!("column \"{name}\" cannot have a Bloom filter: it holds floating-point numbers");
                return Err(Error::NotSupported { message });
            }
            Some(_) => {}
            None if files.partition_by.contains(name) => {
                let message = format!("column \"{name}\" of PARTITION_BY is not in the files");
                return Err(Error::InvalidParameterValue { message });
            }
            None => {
                return Err(Error::UndefinedColumn {
                    column: name.clone(),
                    suggestion: None,
                    position: None,
                });
            }
        }
    }
    Ok(())
}

/// The rows of `plan` in files that no catalog knows.
fn exported(
    plan: Arc<dyn ExecutionPlan>,
    state: &SessionState,
    query: &Query,
    files: &FileSink,
    input: Input,
    writes_empty: bool,
) -> Result<Arc<dyn ExecutionPlan>> {
    let columns = output_schema(&plan.schema(), query);
    let mut seen = HashSet::new();
    if let Some(twice) = columns.fields().iter().find(|field| !seen.insert(field.name())) {
        let message = format!("column \"{}\" specified more than once: name each column once", twice.name());
        return Err(Error::DuplicateColumn { message });
    }
    let mut keys = Vec::with_capacity(files.partition_by.len());
    for name in &files.partition_by {
        let missing = || Error::UndefinedColumn { column: name.clone(), suggestion: None, position: None };
        let at = columns.fields().iter().position(|field| field.name() == name).ok_or_else(missing)?;
        let kind = columns.field(at).data_type();
        if kind.is_nested() || kind.is_binary() || stored_as(kind).is_none() {
            let message = format!("values of column \"{name}\" cannot name folders: cast it");
            return Err(Error::NotSupported { message });
        }
        let column = Arc::new(Column::new(plan.schema().field(at).name(), at));
        keys.push(Key { place: at, name: name.clone(), value: column });
    }
    let is_key = |at: usize| keys.iter().any(|key: &Key| key.place == at);
    let in_files: Vec<usize> = (0..columns.fields().len()).filter(|at| !is_key(*at)).collect();
    if in_files.is_empty() {
        let message = if keys.is_empty() {
            "a file needs columns"
        } else {
            "PARTITION_BY must leave a column for the files"
        };
        return Err(Error::InvalidParameterValue { message: message.to_owned() });
    }
    let is_text = matches!(files.format, FileFormat::Csv { .. });
    let field = |at: &usize| {
        let column = columns.field(*at);
        // A text shows as many digits as there are.
        match is_text && is_wide(column.data_type()) {
            true => Ok(Field::new(column.name(), DataType::Utf8, true)),
            false => files.format.field(column),
        }
    };
    let fields: Vec<Field> = in_files.iter().map(field).collect::<Result<_>>()?;
    let plan = without_wide(plan, state, |at| {
        let place = in_files.iter().position(|known| *known == at);
        match place.and_then(|place| fields.get(place)) {
            Some(field) => Some(field.data_type().clone()),
            None => stored_as(columns.field(at).data_type()).map(|(_, stored)| stored),
        }
    })?;
    check_bloom_filters(files, &fields)?;
    let outputs: Vec<ProjectionExpr> = in_files
        .iter()
        .map(|at| ProjectionExpr {
            expr: Arc::new(Column::new(plan.schema().field(*at).name(), *at)),
            alias: columns.field(*at).name().clone(),
        })
        .collect();
    let partition_by = partition_columns(&keys);
    let width = in_files.len();
    let plan = match (keys.is_empty(), files.partitions, &files.names) {
        (false, wanted, _) => {
            let partitions = wanted.unwrap_or_else(|| plan.output_partitioning().partition_count());
            let plan = cut(outputs, keys, plan, partitions)?;
            let order = key_order(&plan, width);
            ordered(plan, order)
        }
        (true, _, FileNames::One(_)) => in_one(plan),
        (true, Some(partitions), _) => spread(plan, partitions)?,
        (true, None, _) => gathered(plan, input)?,
    };
    let target = WriteTarget {
        folder: files.folder.location.clone(),
        schema: schema_to_text(&Arc::new(Schema::new(fields)))?,
        partition_by,
        file_bytes_max: files.file_bytes_max,
        names: files.names.clone(),
        format: files.format.clone(),
        is_staged: files.is_staged,
        writes_empty,
    };
    Ok(Arc::new(WriteFiles::new(plan, target)?))
}

fn in_one(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    match plan.output_partitioning().partition_count() {
        1 => plan,
        _ => Arc::new(CoalescePartitionsExec::new(plan)),
    }
}

/// Rows in `partitions` of about one size. By the hash of a number, because executors exchange rows in no
/// other way.
fn spread(plan: Arc<dyn ExecutionPlan>, partitions: usize) -> Result<Arc<dyn ExecutionPlan>> {
    if partitions == 1 {
        return Ok(in_one(plan));
    }
    let columns = plain_columns(&plan.schema());
    let numbered: Arc<dyn ExecutionPlan> = Arc::new(NumberRows::new(plan));
    let number = key_column(&numbered, numbered.schema().fields().len() - 1);
    let exchange = RepartitionExec::try_new(numbered, Partitioning::Hash(vec![number], partitions))?;
    // What is behind the columns of the files is taken for values that cut them.
    Ok(Arc::new(ProjectionExec::try_new(columns, Arc::new(exchange))?))
}

/// Few rows in few files rather than in as many as there are partitions.
fn gathered(plan: Arc<dyn ExecutionPlan>, input: Input) -> Result<Arc<dyn ExecutionPlan>> {
    /// Decoded bytes read for each file written: on disk they are a quarter or less.
    const BYTES_PER_FILE: u64 = 4 * ByteSize::mib(128).0;
    if exchange::is_last(&plan) {
        return Ok(plan);
    }
    let partitions = plan.output_partitioning().partition_count();
    let wanted = input.estimate.input_bytes.div_ceil(BYTES_PER_FILE).clamp(1, partitions as u64) as usize;
    Ok(match (wanted, input.on) {
        (wanted, _) if wanted >= partitions => plan,
        (1, _) => in_one(plan),
        (wanted, Destination::Local) => {
            Arc::new(RepartitionExec::try_new(plan, Partitioning::RoundRobinBatch(wanted))?)
        }
        // Executors exchange by hash alone, which sends every row: files of half the size cost less.
        (wanted, Destination::Cluster) if partitions <= 2 * wanted => plan,
        (wanted, Destination::Cluster) => spread(plan, wanted)?,
    })
}

/// A value that cuts rows into files.
struct Key {
    /// The place of its column.
    place: usize,
    /// Names it in folders.
    name: String,
    value: Arc<dyn PhysicalExpr>,
}

fn partition_columns(keys: &[Key]) -> Vec<PartitionColumn> {
    let column = |(at, key): (usize, &Key)| PartitionColumn { key: at as i64, name: key.name.clone() };
    keys.iter().enumerate().map(column).collect()
}

fn plain_columns(schema: &Schema) -> Vec<ProjectionExpr> {
    let column = |(at, field): (usize, &Arc<Field>)| ProjectionExpr {
        expr: Arc::new(Column::new(field.name(), at)),
        alias: field.name().clone(),
    };
    schema.fields().iter().enumerate().map(column).collect()
}

/// The rows of `plan` with numbers as files take them, of the scales there; `to` gives the type that the file has at a place.
fn without_wide(
    plan: Arc<dyn ExecutionPlan>,
    state: &SessionState,
    to: impl Fn(usize) -> Option<DataType>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    let mut outputs = plain_columns(&schema);
    let mut is_changed = false;
    for (at, output) in outputs.iter_mut().enumerate() {
        let kind = schema.field(at).data_type();
        let is_rescaled = |to: &DataType| kind.is_decimal() && to.is_decimal() && to != kind;
        let Some(to) = to(at).filter(|to| holds_wide(kind) || is_rescaled(to)) else { continue };
        output.expr = stored(Arc::clone(&output.expr), &schema, &to, state.config_options())?;
        is_changed = true;
    }
    Ok(if is_changed { Arc::new(ProjectionExec::try_new(outputs, plan)?) } else { plan })
}

/// The rows of `plan` as the columns of a managed table take them, by the types that they were declared with.
fn declared(
    plan: Arc<dyn ExecutionPlan>,
    state: &SessionState,
    managed: &ManagedTable,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    let mut outputs = plain_columns(&schema);
    let mut is_changed = false;
    for ((at, output), column) in outputs.iter_mut().enumerate().zip(managed.current_columns()) {
        let Some(declared) = &column.declared else { continue };
        if !functions::declared::is_checked(&declared.name, declared.modifier) {
            continue;
        }
        let kind = schema.field(at).data_type();
        // Texts are looked at as they come; moments as they are stored.
        let value: Arc<dyn PhysicalExpr> = match kind.is_string() || kind.is_nested() {
            true => Arc::clone(&output.expr),
            false => {
                Arc::new(CastExpr::new(Arc::clone(&output.expr), column.field.data_type().clone(), None))
            }
        };
        let field = Arc::new(Field::new(output.alias.as_str(), value.data_type(&schema)?, true));
        let literal = |value: ScalarValue| Arc::new(Literal::new(value)) as Arc<dyn PhysicalExpr>;
        let (name, modifier) =
            (ScalarValue::from(declared.name.as_str()), ScalarValue::from(declared.modifier));
        let arguments = vec![value, literal(name), literal(modifier)];
        let function = functions::declared::function();
        let options = Arc::clone(state.config_options());
        let name = function.name().to_owned();
        output.expr = Arc::new(ScalarFunctionExpr::new(&name, function, arguments, field, options));
        is_changed = true;
    }
    Ok(if is_changed { Arc::new(ProjectionExec::try_new(outputs, plan)?) } else { plan })
}

/// The values that cut the rows of a managed table.
fn table_keys(
    plan: &Arc<dyn ExecutionPlan>,
    state: &SessionState,
    managed: &ManagedTable,
) -> Result<Vec<Key>> {
    let schema = plan.schema();
    let mut keys: Vec<Key> = Vec::new();
    for key in managed.partitioning.iter().flat_map(|partitioning| &partitioning.keys) {
        let found = managed.current_columns().enumerate().find(|(_, column)| column.id == key.column);
        let (place, stored) = found.ok_or_else(|| Error::internal("a partition key has no column"))?;
        let stored = &stored.field;
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(place).name(), place));
        let word = key.transform.split('(').next().unwrap_or_default();
        let value = match key.transform.as_str() {
            "identity" => column,
            transform => {
                // The value as it is stored is what is hashed.
                let value = Arc::new(CastExpr::new(column, stored.data_type().clone(), None));
                applied(state, transform, value)
            }
        };
        let name = if word == "identity" { stored.name().clone() } else { word.to_owned() };
        let is_taken = keys.iter().any(|key| key.name == name);
        let name = if is_taken { format!("{name}_{}", stored.name()) } else { name };
        keys.push(Key { place, name, value });
    }
    Ok(keys)
}

/// The columns `outputs` of `plan` with the values of `keys` behind them, and all rows of one value in one of
/// `partitions`.
fn cut(
    mut outputs: Vec<ProjectionExpr>,
    keys: Vec<Key>,
    plan: Arc<dyn ExecutionPlan>,
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let columns = outputs.len();
    let key =
        |(at, key): (usize, Key)| ProjectionExpr { expr: key.value, alias: format!("partition key {at}") };
    outputs.extend(keys.into_iter().enumerate().map(key));
    let width = outputs.len();
    let plan: Arc<dyn ExecutionPlan> = Arc::new(ProjectionExec::try_new(outputs, plan)?);
    if partitions == 1 {
        return Ok(in_one(plan));
    }
    let values = (columns..width).map(|at| key_column(&plan, at)).collect();
    let hashed = Partitioning::Hash(values, partitions);
    Ok(Arc::new(RepartitionExec::try_new(plan, hashed)?))
}

/// The rows of each partition in `order`.
fn ordered(plan: Arc<dyn ExecutionPlan>, order: Vec<PhysicalSortExpr>) -> Arc<dyn ExecutionPlan> {
    match LexOrdering::new(order) {
        None => plan,
        Some(order) => Arc::new(SortExec::new(order, plan).with_preserve_partitioning(true)),
    }
}

/// The order that keeps rows of one value together: values lie behind the first `columns`.
fn key_order(plan: &Arc<dyn ExecutionPlan>, columns: usize) -> Vec<PhysicalSortExpr> {
    (columns..plan.schema().fields().len())
        .map(|at| PhysicalSortExpr { expr: key_column(plan, at), options: SortOptions::default() })
        .collect()
}

fn key_column(plan: &Arc<dyn ExecutionPlan>, at: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(plan.schema().field(at).name(), at))
}

/// A call of the transform.
fn applied(state: &SessionState, transform: &str, value: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
    let function = partition::function();
    let transform = Arc::new(Literal::new(ScalarValue::Utf8(Some(transform.to_owned()))));
    let field = Arc::new(Field::new(function.name(), DataType::Int64, true));
    let name = function.name().to_owned();
    let options = Arc::clone(state.config_options());
    Arc::new(ScalarFunctionExpr::new(&name, function, vec![transform, value], field, options))
}

/// The rows of each partition in the order of the table: by its partition keys, which cut them into files,
/// then as it says.
fn sorted(plan: Arc<dyn ExecutionPlan>, managed: &ManagedTable, columns: usize) -> Arc<dyn ExecutionPlan> {
    let mut order = key_order(&plan, columns);
    for sort in &managed.sort {
        let at = managed.current_columns().position(|column| *column.field.name() == sort.column);
        if let Some(at) = at {
            let options = SortOptions { descending: sort.is_descending, nulls_first: sort.nulls_first };
            order.push(PhysicalSortExpr { expr: key_column(&plan, at), options });
        }
    }
    ordered(plan, order)
}
