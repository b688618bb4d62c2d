//! Tables that live as long as their session. The catalog's store never hears of them: they are a small catalog
//! of the session's own, over files in a folder of its own below the warehouse, where executors reach them.

use std::sync::Arc;

use catalog::lake::LakeSchema;
use catalog::{Change, Metadata, TableDefinition};
use engine::Result;

use crate::writes::{TemporaryFiles, Writes};

/// The schema that a session's own tables are in, as in PostgreSQL.
pub const TEMPORARY_SCHEMA: &str = "pg_temp";

/// One session's own tables.
#[derive(Debug)]
pub struct Temporary {
    metadata: Arc<Metadata>,
    /// As they were when the transaction block first changed one.
    before: Option<Arc<Metadata>>,
    files: TemporaryFiles,
}

impl Temporary {
    /// No table yet, with a folder for their files below `data_folder`.
    pub fn open(writes: &Writes, data_folder: &str) -> Result<Self> {
        let folder = format!("{data_folder}.temporary/{}/", engine::new_uuid());
        let files = writes.begin_temporary(&folder)?;
        let schema = LakeSchema { id: 0, folder: folder.clone() };
        let schemas = [(TEMPORARY_SCHEMA.to_owned(), schema)].into();
        let metadata = Metadata { schemas, data_folder: folder, ..Metadata::default() };
        Ok(Self { metadata: Arc::new(metadata), before: None, files })
    }

    /// The catalog of these tables alone.
    pub fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

    /// The tables.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableDefinition>> {
        self.metadata.tables.values()
    }

    /// True when a table of that folder is among them.
    pub fn holds(&self, table_folder: &str) -> bool {
        table_folder.starts_with(self.files.folder())
    }

    /// Carries out a change; a block that fails takes it back.
    pub fn apply(&mut self, change: &Change, in_block: bool) {
        if in_block {
            self.before.get_or_insert_with(|| Arc::clone(&self.metadata));
        }
        Arc::make_mut(&mut self.metadata).apply(change);
    }

    /// The tables are again what they were at a savepoint of the block; without one, at its start.
    pub fn return_to(&mut self, savepoint: Option<&Arc<Metadata>>) {
        if let Some(metadata) = savepoint.or(self.before.as_ref()) {
            self.metadata = Arc::clone(metadata);
        }
    }

    /// The block ends.
    pub fn end_block(&mut self, is_commit: bool) {
        if let (Some(before), false) = (self.before.take(), is_commit) {
            self.metadata = before;
        }
    }
}

/// True for what changes a table of the session's own.
pub fn is_temporary(change: &Change) -> bool {
    let name = match change {
        Change::CreateTable(table) => &table.name,
        Change::DropTable(table)
        | Change::SetOwner { table, .. }
        | Change::Files { table, .. }
        | Change::Columns { table, .. }
        | Change::DistinctCounts { table, .. }
        | Change::PrimaryKey { table, .. } => table,
        _ => return false,
    };
    name.schema == TEMPORARY_SCHEMA
}
