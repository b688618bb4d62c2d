//! `ANALYZE`: how many different values columns have, which tells the planner which join comes first. Rows,
//! bytes, bounds and nulls of each file are known since it was written; those of external tables are looked at
//! again.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{Change, TableDefinition};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::error::DataFusionError;
use engine::{Error, Result};
use url::Url;

use super::tables;
use super::write::{self, Ready};
use crate::query::{self, QueryContext};
use crate::session::{Notice, TEMPORARY_SCHEMA};
use crate::sql::{self, FilesAt};

const TAG: &str = "ANALYZE";

/// Looks at the tables in `names`; at all that the role owns when there is none.
pub async fn prepare(context: &QueryContext, names: &[(Option<String>, String)]) -> Result<Ready> {
    let metadata = context.snapshot.metadata();
    let is_own = |table: &TableDefinition| {
        table.name.schema == TEMPORARY_SCHEMA
            || metadata.role_by_oid(context.role_oid).is_some_and(|role| role.is_superuser)
            || metadata.roles_of(context.role_oid).contains(&metadata.owner(&table.name))
    };
    let mut notices = Vec::new();
    let tables: Vec<Arc<TableDefinition>> = if names.is_empty() {
        metadata.tables.values().filter(|table| table.view.is_none() && is_own(table)).cloned().collect()
    } else {
        let mut found = Vec::new();
        for (schema, table) in names {
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
        changes.push(match &table.managed {
            Some(managed) if managed.problem.is_some() => continue,
            Some(_) => distinct_counts(context, table).await?,
            None => looked_at_again(context, table).await?,
        });
    }
    let ready = Ready::changes(changes, TAG.to_owned());
    Ok(notices.into_iter().fold(ready, Ready::with_notice))
}

async fn distinct_counts(context: &QueryContext, table: &TableDefinition) -> Result<Change> {
    let columns: Vec<Field> =
        table.fields().into_iter().filter(|field| is_counted(field.data_type())).collect();
    let names: Vec<&str> = columns.iter().map(|field| field.name().as_str()).collect();
    let mut counts = BTreeMap::new();
    if !names.is_empty() {
        let query = sql::distinct_counts_of(&table.name, &names, &context.facts)?;
        let mut rows = query::run(context, &query, &[]).await?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            for (name, column) in names.iter().zip(batch.columns()) {
                let column = cast(column, &DataType::Int64).map_err(DataFusionError::from)?;
                if let Some(count) = column.as_primitive::<Int64Type>().iter().flatten().next() {
                    counts.insert((*name).to_owned(), count.max(0) as u64);
                }
            }
        }
    }
    Ok(Change::DistinctCounts { table: table.name.clone(), counts: Arc::new(counts) })
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

async fn looked_at_again(context: &QueryContext, table: &TableDefinition) -> Result<Change> {
    let url = Url::parse(&table.location).map_err(|error| Error::internal(error.to_string()))?;
    let (files, declared) = tables::as_it_was_made(table);
    let files = FilesAt { location: table.location.clone(), files, is_header_told: true };
    tables::forget_listings(&context.coordinator);
    let mut definition =
        tables::open(&context.coordinator, table.name.clone(), &url, &files, &declared).await?;
    definition.oid = table.oid;
    Ok(Change::PutTable(Arc::new(definition)))
}
