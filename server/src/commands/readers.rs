//! The views that read a table which `ALTER TABLE` changes: afterwards they give what they gave before, or the table is not
//! changed. A view is kept as text, so each is planned again on top of the change.

use std::sync::Arc;

use catalog::{Change, Materialized, Metadata, NewView, TableName};
use datafusion::arrow::datatypes::{Field, Schema};
use engine::{Error, Result};

use super::views;
use crate::coordinator::Coordinator;
use crate::query::{self, QueryContext};
use crate::session::{Notice, Session};
use crate::sql::{self, AlterStep, Reads};

/// What reads one table, as its text.
pub struct Readers {
    context: QueryContext,
    table: TableName,
    direct: Vec<(TableName, String)>,
    dropped: Vec<TableName>,
}

impl Readers {
    /// The views and materialized views whose queries name `table`.
    pub fn of(coordinator: &Arc<Coordinator>, session: &Session, table: &TableName) -> Result<Self> {
        let context = QueryContext::new(coordinator, session, Arc::from("ALTER TABLE"), Default::default());
        let direct = views::readers(context.snapshot.metadata(), &context.facts, table);
        Ok(Self { context, table: table.clone(), direct, dropped: Vec::new() })
    }

    /// The changes that let each view read the table, or view, `from` under its new name.
    pub fn renamed(&self, metadata: &Metadata, from: &TableName, to: &TableName) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for (name, text) in &self.direct {
            let Some(sql) = sql::view_of_renamed(text, (&from.schema, &from.table), &to.table)? else {
                return Err(Error::NotSupported {
                    message: format!(
                        "view \"{}\" names the columns of \"{}\" by the schema: drop it, and make it again afterwards",
                        name.table, from.table
                    ),
                });
            };
            changes.extend(written_again(metadata, name, sql));
        }
        Ok(changes)
    }

    /// The views that go with a column, where it is dropped with CASCADE. Fails when a view would give something else after
    /// `change`, which `step` asks for.
    pub async fn kept(
        &mut self,
        before: &Metadata,
        change: &Change,
        step: &AlterStep,
    ) -> Result<Vec<Change>> {
        if self.direct.is_empty()
            || matches!(step, AlterStep::SetDefault { .. } | AlterStep::SetNullable { .. })
        {
            return Ok(Vec::new());
        }
        let mut after = before.clone();
        after.apply(change);
        let mut lost = Vec::new();
        for (name, text) in &self.direct {
            if !self.dropped.contains(name)
                && !self.means_the_same(name, text, [before, &after], step).await?
            {
                lost.push(name.clone());
            }
        }
        let Some(first) = lost.first() else { return Ok(Vec::new()) };
        match step {
            AlterStep::DropColumn { is_cascade: true, .. } => {
                let facts = &self.context.facts;
                let over = views::dependents(before, facts, &lost);
                let gone: Vec<TableName> =
                    over.into_iter().chain(lost).filter(|name| !self.dropped.contains(name)).collect();
                self.dropped.extend(gone.iter().cloned());
                Ok(gone.into_iter().map(Change::DropTable).collect())
            }
            AlterStep::RenameColumn { name, to } => {
                let mut changes = Vec::new();
                for view in &lost {
                    let change = self.with_column(view, [before, &after], (name, to)).await?;
                    changes.push(change.ok_or_else(|| self.refusal(view, step))?);
                }
                Ok(changes)
            }
            step => Err(self.refusal(first, step)),
        }
    }

    /// The view with the column under its new name, where it then gives what it gave.
    async fn with_column(
        &self,
        view: &TableName,
        [before, after]: [&Metadata; 2],
        (name, to): (&str, &str),
    ) -> Result<Option<Change>> {
        let Some((_, text)) = self.direct.iter().find(|(known, _)| known == view) else { return Ok(None) };
        let Some(sql) = sql::view_of_renamed_column(text, name, to)? else { return Ok(None) };
        let was = self.columns(view, text, before).await;
        let is = self.columns(view, &sql, after).await;
        match (was, is) {
            (Some(was), Some(is)) if are_alike(&was, &is) => Ok(written_again(before, view, sql)),
            _ => Ok(None),
        }
    }

    fn refusal(&self, view: &TableName, step: &AlterStep) -> Error {
        let table = &self.table.table;
        match step {
            AlterStep::DropColumn { name, .. } => Error::DependentObjects {
                message: format!(
                    "cannot drop column {name} of table {table} because other objects depend on it"
                ),
                detail: format!(
                    "view {} depends on column {name} of table {table}: DROP COLUMN … CASCADE drops both",
                    view.table
                ),
            },
            AlterStep::SetType { .. } => Error::NotSupported {
                message: "cannot alter type of a column used by a view or rule".to_owned(),
            },
            _ => Error::NotSupported {
                message: format!(
                    "view \"{}\" reads table \"{table}\" by the names of its columns: drop it, and make it again afterwards",
                    view.table
                ),
            },
        }
    }

    /// True when the view gives the same columns of both versions of the catalog, and no name in it could mean another column.
    /// One that could not be read before need not be after.
    async fn means_the_same(
        &self,
        name: &TableName,
        text: &str,
        [before, after]: [&Metadata; 2],
        step: &AlterStep,
    ) -> Result<bool> {
        let Some(was) = self.columns(name, text, before).await else { return Ok(true) };
        let Some(is) = self.columns(name, text, after).await else { return Ok(false) };
        let names: Vec<&str> = match step {
            AlterStep::AddColumn { column, .. } => vec![&column.name],
            AlterStep::DropColumn { name, .. } => vec![name],
            AlterStep::RenameColumn { name, to } => vec![name, to],
            _ => Vec::new(),
        };
        let reads = Reads::of(text)?;
        let is_unclear = !names.is_empty()
            && (reads.has_natural_joins
                || reads.has_subqueries && names.iter().any(|name| reads.mentions(name)));
        Ok(are_alike(&was, &is) && !is_unclear)
    }

    /// What the view gives of `metadata`, when it can be read.
    async fn columns(&self, name: &TableName, text: &str, metadata: &Metadata) -> Option<Arc<Schema>> {
        let mut context = self.context.clone();
        context.snapshot = Arc::new(context.snapshot.with_metadata(metadata.clone()));
        let context = context.as_owner(metadata.owner(name)).ok()?;
        let query = sql::view_query(text, &context.facts).ok()?;
        query::describe(&context, &query, &[]).await.ok().map(|description| description.columns)
    }

    /// Tells of the views that went.
    pub fn notice(&self) -> Option<Notice> {
        let names: Vec<&str> = self.dropped.iter().map(|view| view.table.as_str()).collect();
        let text = || format!("drop cascades to view {}", names.join(", "));
        (!names.is_empty()).then(|| Notice::info("00000", text()))
    }
}

/// The change that gives a view or a materialized view another text.
fn written_again(metadata: &Metadata, name: &TableName, sql: String) -> Option<Change> {
    if let Some(of) = metadata.materialized.get(name) {
        let of = Materialized { sql, ..Materialized::clone(of) };
        return Some(Change::PutMaterialized { table: name.clone(), of: Arc::new(of) });
    }
    let columns = Arc::clone(&metadata.tables.get(name)?.file_schema);
    let uuid = engine::new_uuid();
    Some(Change::PutView(Arc::new(NewView { name: name.clone(), uuid, sql, columns })))
}

fn are_alike(one: &Schema, other: &Schema) -> bool {
    let alike = |(one, other): (&Arc<Field>, &Arc<Field>)| {
        one.name() == other.name() && one.data_type() == other.data_type()
    };
    one.fields().len() == other.fields().len() && one.fields().iter().zip(other.fields()).all(alike)
}
