//! The rows of a running query, pulled batch by batch by whoever sends them on.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use engine::Result;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use super::Permit;
use super::admission::Turn;
use super::declared::Declared;
use super::log::RecordHandle;
use super::plan::{Source, output_schema, with_sources};
use crate::sql::Query;

/// A stream of batches. Dropping it stops the work.
pub struct Rows {
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch>>,
    record: Option<RecordHandle>,
    turn: Option<Turn>,
    sources: Vec<Source>,
    declared: Vec<Declared>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Rows {
    /// Rows of `schema` from `batches`, which owns whatever the work needs.
    pub fn new(schema: SchemaRef, batches: impl Stream<Item = Result<RecordBatch>> + Send + 'static) -> Self {
        Self {
            schema,
            batches: batches.boxed(),
            record: None,
            turn: None,
            sources: Vec::new(),
            declared: Vec::new(),
        }
    }

    /// Rows that are already there.
    pub fn of_batch(batch: RecordBatch) -> Self {
        Self::new(batch.schema(), futures::stream::iter([Ok(batch)]))
    }

    /// The same rows, which return `permit` when they are dropped.
    pub fn holding(mut self, permit: Permit) -> Self {
        self.batches = self
            .batches
            .map(move |batch| {
                let _held = &permit;
                batch
            })
            .boxed();
        self
    }

    pub(super) fn recorded_in(mut self, record: RecordHandle) -> Self {
        self.record = Some(record);
        self
    }

    /// The same rows, which lend that slot to others while nobody reads them.
    pub(super) fn lending(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self
    }

    /// Nobody reads them for now.
    pub fn rest(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.rest();
        }
    }

    /// Somebody reads on: waits until that may be.
    pub async fn go_on(&mut self) {
        if let Some(turn) = &mut self.turn {
            turn.go_on().await;
        }
    }

    /// The same rows, whose columns come from `sources`, and were `declared` there.
    pub fn told_sources(mut self, sources: Vec<Source>, declared: Vec<Declared>) -> Self {
        self.sources = sources;
        self.declared = declared;
        self
    }

    /// The columns as the client of `query` is told them.
    pub fn described(&self, query: &Query) -> SchemaRef {
        with_sources(&output_schema(&self.schema, query), &self.sources, &self.declared)
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next batch; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        let next = self.batches.next().await;
        if let Some(record) = &self.record {
            match &next {
                Some(Ok(batch)) => record.sent(batch.num_rows()),
                Some(Err(error)) => record.fail(error),
                None => record.finish(),
            }
        }
        next
    }
}
