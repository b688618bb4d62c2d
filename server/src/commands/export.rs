//! `COPY … TO 'location'`: rows go to files that no catalog knows, there whole or not at all.

use std::sync::Arc;

use catalog::TableDefinition;
use datafusion::common::ScalarValue;
use engine::Result;
use engine::operators::FileNames;

use crate::locations;
use crate::query::{self, FileSink, QueryContext, Sink, Written};
use crate::sql::{ExportTo, Query};
use crate::writes::Export;

/// Files that are written and that nobody sees yet.
pub struct Ready {
    export: Export,
    written: Written,
}

/// Writes the rows of `query`. Dropping the future stops the work and removes the files.
pub async fn prepare(
    context: &QueryContext,
    query: &Query,
    parameters: &[ScalarValue],
    to: &ExportTo,
) -> Result<Ready> {
    let coordinator = &context.coordinator;
    locations::must_be_superuser(context, "COPY to a location")?;
    let url = locations::resolve_new(&to.location, to.is_file)?;
    locations::check_allowed(&url, &coordinator.allowed_locations())?;
    locations::check_apart(&url, &coordinator.reserved_locations().await?)?;
    let tables = context.snapshot.tables();
    locations::check_holds_nothing(&url, &coordinator.allowed_locations(), tables)?;
    let kind = (to.is_file, to.overwrites);
    let stores = &coordinator.runtime.stores;
    let id = context.id.as_str();
    let export = Export::begin(&coordinator.writes, id, stores, url, &to.location, kind).await?;
    let sink = FileSink {
        folder: Arc::new(TableDefinition::of_folder(export.folder())),
        names: export.file_name().map_or(FileNames::OfPartitions, FileNames::One),
        format: to.format.clone(),
        partitions: to.partitions,
        partition_by: to.partition_by.clone(),
        // A file that was named is one.
        file_bytes_max: match to.is_file {
            true => u64::MAX,
            false => to.file_bytes_max.unwrap_or(context.file_bytes_max),
        },
        is_staged: export.is_staged(),
    };
    let written = query::write(context, query, parameters, &Sink::Files(Arc::new(sink))).await?;
    Ok(Ready { export, written })
}

/// Shows the files, and gives the statement's tag.
pub async fn commit(context: &QueryContext, ready: Ready) -> Result<String> {
    let Ready { export, written } = ready;
    let tag = format!("COPY {}", written.rows());
    if written.was_retried && !export.is_staged() {
        export.keep_only(&written.files).await?;
    }
    export.commit(written.files).await?;
    // Tables over the place would not know of it for a while.
    super::tables::forget_listings(&context.coordinator);
    Ok(tag)
}
