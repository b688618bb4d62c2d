//! Functions that stand where a table may.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::{MemTable, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::session_state::SessionState;

use super::super::columns::Columns;
use super::super::shapes::{KEYWORDS, cells};

type Maker = fn() -> RecordBatch;

static FUNCTIONS: &[(&str, Maker)] = &[
    ("pg_get_keywords", keywords),
    ("pg_partition_tree", partition_tree),
    ("pg_partition_ancestors", partition_ancestors),
    ("pg_options_to_table", options),
    ("pg_available_extensions", extensions),
];

/// True for the functions of this family.
pub fn is_table_function(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, _)| *known == name)
}

/// Registers those of `names` for one statement.
pub fn register(state: &mut SessionState, names: &BTreeSet<String>) {
    for (name, make) in FUNCTIONS.iter().filter(|(name, _)| names.contains(*name)) {
        state.register_udtf(name, Arc::new(Rows { make: *make }));
    }
}

#[derive(Debug)]
struct Rows {
    make: Maker,
}

impl TableFunctionImpl for Rows {
    fn call_with_args(&self, _: TableFunctionArgs) -> DataFusionResult<Arc<dyn TableProvider>> {
        let batch = (self.make)();
        Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))
    }
}

fn keywords() -> RecordBatch {
    let rows: Vec<Vec<Option<String>>> = KEYWORDS.lines().map(cells).collect();
    let column = |at: usize| rows.iter().map(move |row| row.get(at).cloned().flatten());
    Columns::new()
        .optional_text("word", column(0))
        .letter("catcode", column(1).map(Option::unwrap_or_default))
        .bool("barelabel", column(2).map(|flag| flag.as_deref() == Some("t")))
        .optional_text("catdesc", column(3))
        .optional_text("baredesc", column(4))
        .finish()
}

fn partition_tree() -> RecordBatch {
    Columns::new().oid("relid", []).oid("parentrelid", []).bool("isleaf", []).int4("level", []).finish()
}

fn partition_ancestors() -> RecordBatch {
    Columns::new().oid("relid", []).finish()
}

fn options() -> RecordBatch {
    Columns::new().text::<&str>("option_name", []).text::<&str>("option_value", []).finish()
}

fn extensions() -> RecordBatch {
    Columns::new().name::<&str>("name", []).text::<&str>("default_version", []).finish()
}
