//! Tables as they were: `t AT (SNAPSHOT => n)`. The lake of an earlier snapshot is read once and kept for the
//! next queries that ask for it.

use std::collections::VecDeque;
use std::sync::Arc;

use catalog::lake::values;
use catalog::{Metadata, TableDefinition, TableName};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use engine::{Error, Result};
use parking_lot::Mutex;

use super::QueryContext;
use crate::session::TEMPORARY_SCHEMA;
use crate::sql::{Moment, Query, input, moment_of, view_query};

/// Earlier lakes that were read.
#[derive(Debug, Default)]
pub struct History {
    lakes: Mutex<VecDeque<(u64, Arc<Metadata>)>>,
}

/// As many are kept.
const LAKES_MAX: usize = 8;

impl History {
    /// Forgets them: some may be there no more.
    pub fn clear(&self) {
        self.lakes.lock().clear();
    }

    async fn lake(&self, context: &QueryContext, snapshot: u64) -> Result<Arc<Metadata>> {
        if let Some((_, lake)) = self.lakes.lock().iter().find(|(known, _)| *known == snapshot) {
            return Ok(Arc::clone(lake));
        }
        let lake = Arc::new(context.coordinator.store.load_lake(snapshot).await?);
        let mut lakes = self.lakes.lock();
        lakes.push_back((snapshot, Arc::clone(&lake)));
        if lakes.len() > LAKES_MAX {
            lakes.pop_front();
        }
        Ok(lake)
    }
}

/// The context in which the relations of `query` are found that it reads as they were; `None` when it reads
/// none so.
pub async fn with_history(context: &QueryContext, query: &Query) -> Result<Option<QueryContext>> {
    let mut found: Option<QueryContext> = None;
    if asks_for_snapshots(context, query, VIEWS_MAX) {
        let all = context.coordinator.store.snapshots().await?;
        found.get_or_insert_with(|| context.clone()).snapshots = Arc::new(all);
    }
    for reference in &query.tables {
        let Some((table, moment)) = moment_of(&reference.table) else { continue };
        let missing = || Error::UndefinedTable { name: reference.shown(), position: reference.position };
        let path = || context.search_path.clone();
        let schemas = reference.schema.clone().map_or_else(path, |schema| vec![schema]);
        let mut names = schemas.into_iter().map(|schema| TableName::new(schema, table));
        let current = names.find_map(|name| context.snapshot.table(&name).cloned()).ok_or_else(missing)?;
        let is_own = current.name.schema == TEMPORARY_SCHEMA;
        let Some(managed) = current.managed.as_ref().filter(|_| !is_own) else {
            let message = format!("\"{table}\" has no snapshots: only tables that this server writes have");
            return Err(Error::NotSupported { message });
        };
        let snapshot = number(context, &moment).await?;
        let lake = context.coordinator.history.lake(context, snapshot).await?;
        let is_it = |then: &&Arc<TableDefinition>| {
            then.managed.as_ref().is_some_and(|then| then.id == managed.id && then.uuid == managed.uuid)
        };
        let then = lake.tables.values().find(is_it).ok_or_else(|| Error::UndefinedObject {
            message: format!("table \"{table}\" did not exist at snapshot {snapshot}"),
        })?;
        let then = TableDefinition {
            name: TableName::new(current.name.schema.as_str(), reference.table.as_str()),
            oid: current.oid,
            ..TableDefinition::clone(then)
        };
        let next = found.get_or_insert_with(|| context.clone());
        next.snapshot = Arc::new(next.snapshot.with_table(then));
    }
    Ok(found)
}

/// True when `query` reads `sys.snapshots`, or a view does that it reads.
fn asks_for_snapshots(context: &QueryContext, query: &Query, depth: usize) -> bool {
    query.tables.iter().any(|reference| {
        let path = || context.search_path.clone();
        let schemas = reference.schema.clone().map_or_else(path, |schema| vec![schema]);
        if reference.table == "snapshots" && schemas.iter().any(|schema| schema == "sys") {
            return true;
        }
        let mut names = schemas.into_iter().map(|schema| TableName::new(schema, reference.table.as_str()));
        let view = names.find_map(|name| context.snapshot.table(&name)?.view.clone());
        let inner = view.and_then(|view| view_query(&view.sql, &context.facts).ok());
        depth > 0 && inner.is_some_and(|inner| asks_for_snapshots(context, &inner, depth - 1))
    })
}

/// Views over views, as far as they are looked into.
const VIEWS_MAX: usize = 16;

/// The number of the snapshot that was the newest at `moment`.
async fn number(context: &QueryContext, moment: &Moment) -> Result<u64> {
    let written = match moment {
        Moment::Snapshot(number) => return Ok(*number),
        Moment::Time(written) => written,
    };
    let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let Some(ScalarValue::TimestampMicrosecond(Some(at), _)) =
        values::from_text(&input::instant(written), &kind)
    else {
        let message = format!("invalid input syntax for type timestamp with time zone: \"{written}\"");
        return Err(Error::InvalidDatetime { message });
    };
    let all = context.coordinator.store.snapshots().await?;
    let newest = all.iter().rev().find(|row| row.committed_at <= at);
    newest.map(|row| row.snapshot).ok_or_else(|| Error::UndefinedObject {
        message: format!("there is no snapshot of {written} or before"),
    })
}
