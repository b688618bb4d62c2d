//! `ANALYZE`: how many different values columns have, which tells the planner which join comes first. Rows,
//! bytes, bounds and nulls of each file are known since it was written; those of external tables are noted now,
//! so that plans after a restart open no file for them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use catalog::lake::ManagedTable;
use catalog::{Change, GrantObject, TableDefinition};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::error::DataFusionError;
use engine::{Error, Result};

use super::tables;
use super::write::{self, Ready};
use crate::query::{self, QueryContext};
use crate::session::{Notice, TEMPORARY_SCHEMA};
use crate::sql::{self, NamedColumns};

const TAG: &str = "ANALYZE";

/// Refuses tables and columns that are not there.
pub fn check_names(context: &QueryContext, names: &[NamedColumns]) -> Result<()> {
    for NamedColumns { schema, table, columns } in names {
        let found = write::find(context, schema.as_deref(), table)?;
        let mut seen = HashSet::new();
        for column in columns {
            if found.position(column).is_none() {
                let column = column.clone();
                return Err(Error::UndefinedColumn { column, suggestion: None, position: None });
            }
            if !seen.insert(column) {
                let message = format!("column \"{column}\" of relation \"{table}\" appears more than once");
                return Err(Error::DuplicateColumn { message });
            }
        }
    }
    Ok(())
}

/// Looks at the tables in `names`; at all that the role owns when there is none.
pub async fn prepare(context: &QueryContext, names: &[NamedColumns]) -> Result<Ready> {
    check_names(context, names)?;
    let metadata = context.snapshot.metadata();
    let is_own = |table: &TableDefinition| {
        table.name.schema == TEMPORARY_SCHEMA
            || metadata.owns(context.role_oid, &GrantObject::Table(table.name.clone()))
    };
    let mut notices = Vec::new();
    let tables: Vec<Arc<TableDefinition>> = if names.is_empty() {
        metadata.tables.values().filter(|table| table.view.is_none() && is_own(table)).cloned().collect()
    } else {
        let mut found = Vec::new();
        for NamedColumns { schema, table, .. } in names {
            let table = write::find(context, schema.as_deref(), table)?;
            let name = &table.name.table;
            let is_kept = table.name.schema == TEMPORARY_SCHEMA || metadata.tables.contains_key(&table.name);
            let skipped = match (&table.view, is_kept) {
                (Some(_), _) => Some("it is a view"),
                (None, false) => Some("its files are looked at whenever it is read"),
                _ if !is_own(&table) => Some("only its owner can analyze it"),
                _ => None,
            };
            match skipped {
                Some(why) => notices.push(Notice::warning("01000", format!("skipping \"{name}\": {why}"))),
                None => found.push(table),
            }
        }
        found
    };
    let mut changes = Vec::new();
    for table in &tables {
        let is_unreadable =
            |managed: &Arc<ManagedTable>| managed.problem.is_some() || managed.damage.is_some();
        let is_empty = metadata.materialized.get(&table.name).is_some_and(|of| of.is_unpopulated);
        if is_empty || table.managed.as_ref().is_some_and(is_unreadable) {
            continue;
        }
        let Counts { rows, different } = counts(context, table).await?;
        if table.managed.is_none() {
            let definition = looked_at_again(context, table, rows).await?;
            changes.push(Change::PutTable(Arc::new(definition)));
        }
        changes.push(Change::DistinctCounts { table: table.name.clone(), counts: Arc::new(different) });
    }
    let ready = Ready::changes(changes, TAG.to_owned());
    Ok(notices.into_iter().fold(ready, Ready::with_notice))
}

/// What the rows of a table tell.
struct Counts {
    rows: u64,
    /// How many different values columns have, about.
    different: BTreeMap<String, u64>,
}

async fn counts(context: &QueryContext, table: &TableDefinition) -> Result<Counts> {
    let columns: Vec<Field> =
        table.fields().into_iter().filter(|field| is_counted(field.data_type())).collect();
    let names: Vec<&str> = columns.iter().map(|field| field.name().as_str()).collect();
    let query = sql::distinct_counts_of(&table.name, &names, &context.facts)?;
    let mut result = query::run(context, &query, &[]).await?;
    let mut counts = Counts { rows: 0, different: BTreeMap::new() };
    while let Some(batch) = result.next().await {
        let batch = batch?;
        let count = |place: usize| -> Result<Option<u64>> {
            let column = cast(batch.column(place), &DataType::Int64).map_err(DataFusionError::from)?;
            let count = column.as_primitive::<Int64Type>().iter().flatten().next();
            Ok(count.map(|count| count.max(0) as u64))
        };
        counts.rows += count(0)?.unwrap_or(0);
        for (at, name) in names.iter().enumerate() {
            if let Some(count) = count(at + 1)? {
                counts.different.insert((*name).to_owned(), count);
            }
        }
    }
    Ok(counts)
}

/// The types that DataFusion counts different values of.
fn is_counted(kind: &DataType) -> bool {
    kind.is_integer()
        || matches!(
            kind,
            DataType::Utf8
                | DataType::Utf8View
                | DataType::Binary
                | DataType::BinaryView
                | DataType::Date32
                | DataType::Timestamp(..)
                | DataType::Time64(_)
        )
}

/// The table with what its `rows` rows and its files tell now.
async fn looked_at_again(
    context: &QueryContext,
    table: &TableDefinition,
    rows: u64,
) -> Result<TableDefinition> {
    let coordinator = &context.coordinator;
    let mut definition = tables::opened_again(coordinator, table).await?;
    definition.statistics.rows = rows;
    definition.analyzed = Arc::new(tables::analyzed(coordinator, &definition).await?);
    Ok(definition)
}
