//! What of a Parquet footer's statistics may be believed. The format says when: bounds of a writer that did not say in
//! which order it compares are none, but for signed numbers; and where nulls were not counted, nobody knows of them.
//! Those of floating-point numbers are never believed: writers leave NaN out, which is greater than all numbers here, also
//! once it is negated, and both zeros are one number, which bounds and Bloom filters tell apart. Who prunes takes what is
//! told as it stands, so all of this is taken out before.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics as Known};
use datafusion::parquet::basic::{ColumnOrder, LogicalType, SortOrder, Type as PhysicalType};
use datafusion::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use datafusion::parquet::file::page_index::column_index::ColumnIndexMetaData;
use datafusion::parquet::file::statistics::Statistics;
use datafusion::parquet::schema::types::ColumnDescriptor;

/// What a column's bounds are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bounds {
    /// They hold.
    Hold,
    /// They hold where they lie in the newer of the two places for them.
    HoldIfNew,
    /// They are none.
    None,
}

/// The footer with what may be believed of it. The same one where that is all of it, as of good writers.
pub fn trusted(footer: Arc<ParquetMetaData>) -> Arc<ParquetMetaData> {
    let file = footer.file_metadata();
    let columns = file.schema_descr().columns();
    let bounds: Vec<Bounds> =
        columns.iter().enumerate().map(|(at, column)| bounds_of(column, order(&footer, at))).collect();
    let counts_zero = counts_no_zero(file.created_by());
    let is_fine = |(chunk, bounds): (&ColumnChunkMetaData, &Bounds)| is_fine(chunk, *bounds, counts_zero);
    let indexes = |at: usize| footer.column_index().and_then(|index| index.get(at));
    let all_fine = footer.row_groups().iter().enumerate().all(|(at, group)| {
        group.columns().iter().zip(&bounds).all(is_fine)
            && indexes(at).is_none_or(|of| of.iter().zip(&bounds).all(|(of, b)| is_index_fine(of, *b)))
    });
    if all_fine {
        return footer;
    }
    let group = |group: &RowGroupMetaData| {
        let chunks = group.columns().iter().zip(&bounds);
        let chunks = chunks.map(|(chunk, bounds)| mended(chunk, *bounds, counts_zero)).collect();
        group.clone().into_builder().set_column_metadata(chunks).build().ok()
    };
    let groups: Option<Vec<_>> = footer.row_groups().iter().map(group).collect();
    let Some(groups) = groups else { return footer };
    let index = footer.column_index().map(|groups| {
        let mended = |(of, bounds): (&ColumnIndexMetaData, &Bounds)| match is_index_fine(of, *bounds) {
            true => of.clone(),
            false => ColumnIndexMetaData::NONE,
        };
        groups.iter().map(|of| of.iter().zip(&bounds).map(mended).collect()).collect()
    });
    let builder = footer.as_ref().clone().into_builder();
    Arc::new(builder.set_row_groups(groups).set_column_index(index).build())
}

fn order(footer: &ParquetMetaData, at: usize) -> ColumnOrder {
    let orders = footer.file_metadata().column_orders();
    orders.and_then(|orders| orders.get(at)).copied().unwrap_or(ColumnOrder::UNDEFINED)
}

fn bounds_of(column: &ColumnDescriptor, order: ColumnOrder) -> Bounds {
    let physical = column.physical_type();
    let is_float = matches!(physical, PhysicalType::FLOAT | PhysicalType::DOUBLE);
    let logical = column.logical_type_ref();
    if is_float || matches!(logical, Some(LogicalType::Float16)) {
        return Bounds::None;
    }
    // Writers of old compared all as signed numbers, byte by byte where they are bytes.
    let sort = ColumnOrder::sort_order_for_type(logical, column.converted_type(), physical);
    let is_plain = sort == SortOrder::SIGNED
        && matches!(physical, PhysicalType::INT32 | PhysicalType::INT64 | PhysicalType::BOOLEAN);
    let is_bit = physical == PhysicalType::BOOLEAN;
    match order {
        _ if is_plain || is_bit => Bounds::Hold,
        ColumnOrder::TYPE_DEFINED_ORDER(SortOrder::SIGNED | SortOrder::UNSIGNED) => Bounds::HoldIfNew,
        _ => Bounds::None,
    }
}

/// Writers in Rust did not note that there are no nulls until 53.1.0.
fn counts_no_zero(writer: Option<&str>) -> bool {
    let version = writer.and_then(|writer| writer.strip_prefix("parquet-rs version "));
    let mut numbers = version.unwrap_or_default().split('.').map_while(|number| number.parse::<u32>().ok());
    numbers.next().is_some_and(|major| (major, numbers.next().unwrap_or(0)) < (53, 1))
}

fn is_fine(chunk: &ColumnChunkMetaData, bounds: Bounds, counts_no_zero: bool) -> bool {
    let Some(told) = chunk.statistics() else { return bounds != Bounds::None || is_bare(chunk) };
    let knows_nulls =
        told.null_count_opt().is_some() || counts_no_zero || chunk.column_descr().max_def_level() == 0;
    let has_bounds = told.min_bytes_opt().is_some() || told.max_bytes_opt().is_some();
    knows_nulls
        && match bounds {
            Bounds::Hold => true,
            Bounds::HoldIfNew => !told.is_min_max_deprecated() || !has_bounds,
            Bounds::None => !has_bounds && is_bare(chunk),
        }
}

/// Nothing is told of pages, or looked up.
fn is_bare(chunk: &ColumnChunkMetaData) -> bool {
    chunk.column_index_offset().is_none() && chunk.bloom_filter_offset().is_none()
}

fn is_index_fine(index: &ColumnIndexMetaData, bounds: Bounds) -> bool {
    match index {
        ColumnIndexMetaData::NONE => true,
        _ => bounds != Bounds::None,
    }
}

fn mended(chunk: &ColumnChunkMetaData, bounds: Bounds, counts_no_zero: bool) -> ColumnChunkMetaData {
    if is_fine(chunk, bounds, counts_no_zero) {
        return chunk.clone();
    }
    let mut builder = chunk.clone().into_builder();
    if bounds == Bounds::None {
        builder = builder.set_column_index_offset(None).set_column_index_length(None);
        builder = builder.set_bloom_filter_offset(None).set_bloom_filter_length(None);
    }
    let told = chunk.statistics().and_then(|told| {
        let is_unknown = told.null_count_opt().is_none() && chunk.column_descr().max_def_level() > 0;
        // A count that is missing would be read as none.
        if is_unknown && !counts_no_zero { None } else { Some(believed(told, bounds)) }
    });
    builder = match told {
        Some(told) => builder.set_statistics(told),
        None => builder.clear_statistics(),
    };
    builder.build().unwrap_or_else(|_| chunk.clone())
}

fn believed(told: &Statistics, bounds: Bounds) -> Statistics {
    match bounds {
        Bounds::Hold => told.clone(),
        Bounds::HoldIfNew if !told.is_min_max_deprecated() => told.clone(),
        Bounds::HoldIfNew | Bounds::None => without_bounds(told),
    }
}

fn without_bounds(told: &Statistics) -> Statistics {
    let (distinct, nulls) = (told.distinct_count_opt(), told.null_count_opt());
    match told {
        Statistics::Boolean(_) => Statistics::boolean(None, None, distinct, nulls, false),
        Statistics::Int32(_) => Statistics::int32(None, None, distinct, nulls, false),
        Statistics::Int64(_) => Statistics::int64(None, None, distinct, nulls, false),
        Statistics::Int96(_) => Statistics::int96(None, None, distinct, nulls, false),
        Statistics::Float(_) => Statistics::float(None, None, distinct, nulls, false),
        Statistics::Double(_) => Statistics::double(None, None, distinct, nulls, false),
        Statistics::ByteArray(_) => Statistics::byte_array(None, None, distinct, nulls, false),
        Statistics::FixedLenByteArray(_) => {
            Statistics::fixed_len_byte_array(None, None, distinct, nulls, false)
        }
    }
}

/// True for a file whose column `at` has values, and bounds that are null: DataFusion says so of a file in which the column
/// has another type than the table's, and takes the other files' bounds for those of all.
pub fn has_other_type(known: &Known, at: usize) -> bool {
    let Some(column) = known.column_statistics.get(at) else { return false };
    let is_null = |bound: &Precision<ScalarValue>| bound.get_value().is_some_and(|value| value.is_null());
    let has_values = column.null_count != known.num_rows;
    has_values && (is_null(&column.min_value) || is_null(&column.max_value))
}

/// `known`, which was summed up from the row groups of `footer`, without the sums of which a part is missing.
pub fn whole(mut known: Known, footer: &ParquetMetaData, columns: &Schema) -> Known {
    let leaves = footer.file_metadata().schema_descr();
    for (column, field) in known.column_statistics.iter_mut().zip(columns.fields()) {
        let is_it = |leaf: &Arc<ColumnDescriptor>| leaf.path().parts() == [field.name().as_str()];
        let Some(at) = leaves.columns().iter().position(is_it) else { continue };
        let chunks =
            || footer.row_groups().iter().filter(|group| group.num_rows() > 0).map(|g| (g, g.column(at)));
        let nulls = |chunk: &ColumnChunkMetaData| chunk.statistics().and_then(Statistics::null_count_opt);
        let has_bounds = |(group, chunk): (&RowGroupMetaData, &ColumnChunkMetaData)| {
            nulls(chunk) == u64::try_from(group.num_rows()).ok()
                || chunk
                    .statistics()
                    .is_some_and(|told| told.min_bytes_opt().is_some() && told.max_bytes_opt().is_some())
        };
        if !chunks().all(has_bounds) {
            (column.min_value, column.max_value) = (Precision::Absent, Precision::Absent);
        }
        if chunks().any(|(_, chunk)| chunk.statistics().is_none()) {
            column.null_count = Precision::Absent;
        }
    }
    known
}
