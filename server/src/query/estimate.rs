//! How many bytes a query will read: after partition and file pruning, counting only the columns it
//! needs, decoded.
//!
//! Each scan is planned by itself, which lists files and prunes by their statistics, all from caches
//! when the table was read before. Row groups are pruned later, so the figure is an upper bound.

use std::sync::Arc;

use catalog::{Snapshot, TableDefinition, TableName};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::source_as_provider;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr_rewriter::unnormalize_cols;
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_plan::ExecutionPlan;
use engine::Result;

/// What a plan will read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Decoded bytes of the needed columns in all files that remain after pruning.
    pub input_bytes: u64,
    /// Files that remain.
    pub files: usize,
    /// Bytes that it is expected to hold at its peak in this process, where that was asked to choose a route.
    pub held_bytes: Option<u64>,
}

impl Estimate {
    /// What is set aside of this process's pool of `capacity` bytes for a query that was asked what it holds: twice as much,
    /// since most hold less than that (bench/RESULTS.md, "Estimates"), and a little for scans, which no estimate counts.
    pub fn set_aside(&self, capacity: u64) -> Option<u64> {
        const FACTOR: u64 = 2;
        const SCAN_SHARE: u64 = 16;
        let for_scans = self.input_bytes.min(capacity / SCAN_SHARE);
        self.held_bytes.map(|held| held.saturating_mul(FACTOR).max(for_scans))
    }
}

/// Estimates the optimised `plan`.
pub async fn estimate(snapshot: &Snapshot, state: &SessionState, plan: &LogicalPlan) -> Result<Estimate> {
    let mut total = Estimate::default();
    for scan in scans(plan)? {
        let Some(definition) = snapshot.table(&name_of(&scan)) else { continue };
        let provider: Arc<dyn TableProvider> = source_as_provider(&scan.source)?;
        // Providers know their columns without the table's name.
        let filters = unnormalize_cols(scan.filters.iter().cloned());
        let leaf = provider.scan(state, scan.projection.as_ref(), &filters, scan.fetch).await?;
        let (files, file_bytes) = remaining_files(&leaf);
        let all_columns: Vec<usize> = (0..provider.schema().fields().len()).collect();
        let columns = scan.projection.as_deref().unwrap_or(&all_columns);
        total.input_bytes += definition.decoded_bytes(file_bytes, columns);
        total.files += files;
    }
    Ok(total)
}

/// The users' tables that `plan` scans, whatever names stood in the statement.
pub fn tables(snapshot: &Snapshot, plan: &LogicalPlan) -> Result<Vec<Arc<TableDefinition>>> {
    tables_beside(None, snapshot, plan)
}

/// The same without the table that the statement changes, where it stands for itself.
pub fn tables_beside(
    target: Option<&TableName>,
    snapshot: &Snapshot,
    plan: &LogicalPlan,
) -> Result<Vec<Arc<TableDefinition>>> {
    let is_target = |scan: &TableScan| {
        let schema = scan.table_name.schema().unwrap_or_default();
        catalog::own_schema(schema) != schema && Some(&name_of(scan)) == target
    };
    let scans = scans(plan)?;
    let beside = scans.iter().filter(|scan| !is_target(scan));
    Ok(beside.filter_map(|scan| snapshot.table(&name_of(scan)).cloned()).collect())
}

/// The table that `scan` names.
pub fn name_of(scan: &TableScan) -> TableName {
    let schema = scan.table_name.schema().unwrap_or(catalog::DEFAULT_SCHEMA);
    TableName::new(catalog::own_schema(schema), scan.table_name.table())
}

fn scans(plan: &LogicalPlan) -> Result<Vec<TableScan>> {
    let mut scans = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            scans.push(scan.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(scans)
}

fn remaining_files(leaf: &Arc<dyn ExecutionPlan>) -> (usize, u64) {
    let (mut files, mut bytes) = (0, 0);
    let _ = leaf.apply(|node| {
        if let Some(source) = node.downcast_ref::<DataSourceExec>()
            && let Some(config) = source.data_source().downcast_ref::<FileScanConfig>()
        {
            for file in config.file_groups.iter().flat_map(|group| group.iter()) {
                files += 1;
                bytes += file.object_meta.size;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    (files, bytes)
}
