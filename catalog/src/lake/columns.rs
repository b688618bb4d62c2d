//! Columns and their versions: which name a column has in a file, and what stands for it where the file has
//! none.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};

use super::{DataFile, FIELD_ID, ManagedTable, field_id, types};

/// One version of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its identifier.
    pub id: i64,
    /// Name, type and whether it may be null; the identifiers are in its metadata.
    pub field: FieldRef,
    /// DuckLake's name of the type: `varchar`, `list`, …
    pub type_name: String,
    /// Its place among the columns.
    pub order: i64,
    /// What it holds in files that were written before it was added, in DuckLake's text.
    pub initial_default: Option<String>,
    /// What a row gets that names no value: a literal's text.
    pub default: Option<String>,
    /// The type that its statement named, where DuckLake's name does not say it.
    pub declared: Option<DeclaredType>,
    /// The snapshot it begins with.
    pub begin_snapshot: u64,
    /// The snapshot it is no more in.
    pub end_snapshot: Option<u64>,
}

/// A type that PostgreSQL has and DuckLake has not: `character(5)` is `bpchar` with the modifier 9.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredType {
    /// `pg_type.typname`; of an array that of its elements.
    pub name: String,
    /// `pg_attribute.atttypmod`; -1 for none.
    pub modifier: i32,
}

impl DeclaredType {
    /// The key of the tags of columns that hold them.
    pub const TAG: &str = "sluice.declared_type";

    /// Whether it says more of a column that DuckLake calls `type_name`, whose parts are `parts`: other engines may have
    /// changed the column since.
    pub fn fits(&self, type_name: &str, parts: &[ColumnRow]) -> bool {
        let is_of = |name: &str| match self.name.as_str() {
            "time" => name == "time",
            "timestamp" => name == "timestamp",
            "timestamptz" => name == "timestamptz",
            _ => name == "varchar" || name == "json",
        };
        is_of(type_name) || type_name == "list" && parts.iter().any(|part| is_of(&part.type_name))
    }

    /// `pg_type.typname` of a column that is kept as `kind`.
    pub fn told_name(&self, kind: &DataType) -> String {
        let is_array = matches!(kind, DataType::List(_));
        format!("{}{}", if is_array { "_" } else { "" }, self.name)
    }

    /// The text that the catalog keeps: `bpchar 9`.
    pub fn to_text(&self) -> String {
        format!("{} {}", self.name, self.modifier)
    }

    /// What [`Self::to_text`] gave. `None` for any other text.
    pub fn from_text(text: &str) -> Option<Self> {
        let (name, modifier) = text.split_once(' ')?;
        Some(Self { name: name.to_owned(), modifier: modifier.parse().ok()? })
    }
}

/// One row of `ducklake_column`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnRow {
    /// `column_id`.
    pub id: i64,
    /// `parent_column`.
    pub parent: Option<i64>,
    /// `column_name`.
    pub name: String,
    /// `column_type`.
    pub type_name: String,
    /// `nulls_allowed`.
    pub is_nullable: bool,
}

/// How the columns of now lie in a file: the name of each there, or none.
pub type FileLayout = Vec<Option<String>>;

impl ManagedTable {
    /// Where the current columns are in `file`.
    pub fn layout_of(&self, file: &DataFile) -> FileLayout {
        let version = |id: i64| {
            self.columns.iter().find(|column| {
                column.id == id
                    && column.begin_snapshot <= file.begin_snapshot
                    && column.end_snapshot.is_none_or(|end| file.begin_snapshot < end)
            })
        };
        self.current_columns().map(|column| version(column.id).map(|v| v.field.name().clone())).collect()
    }

    /// The identifier for the next column, or part of one.
    pub fn next_column_id(&self) -> i64 {
        self.columns.iter().map(|column| largest_id(&column.field)).max().unwrap_or(0) + 1
    }
}

fn largest_id(field: &Field) -> i64 {
    let inner = inner_fields(field.data_type()).iter().map(|field| largest_id(field)).max();
    field_id(field).unwrap_or(0).max(inner.unwrap_or(0))
}

fn inner_fields(data_type: &DataType) -> Vec<FieldRef> {
    match data_type {
        DataType::List(item) => vec![Arc::clone(item)],
        DataType::Struct(fields) => fields.iter().cloned().collect(),
        DataType::Map(entries, _) => inner_fields(entries.data_type()),
        _ => Vec::new(),
    }
}

/// A field of `data_type` as it is stored, with identifiers from `next_id` on. `None` for types that cannot
/// be.
pub fn numbered(name: &str, data_type: &DataType, is_nullable: bool, next_id: &mut i64) -> Option<FieldRef> {
    let id = *next_id;
    *next_id += 1;
    let inner = |field: &FieldRef, next_id: &mut i64| {
        numbered(field.name(), field.data_type(), field.is_nullable(), next_id)
    };
    let kind = match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(numbered("element", item.data_type(), true, next_id)?)
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| inner(field, next_id)).collect::<Option<Fields>>()?)
        }
        DataType::Map(entries, is_sorted) => {
            let DataType::Struct(pair) = entries.data_type() else { return None };
            let pair = pair.iter().map(|field| inner(field, next_id)).collect::<Option<Fields>>()?;
            let entries = Field::new(entries.name(), DataType::Struct(pair), false);
            DataType::Map(Arc::new(entries), *is_sorted)
        }
        other => types::stored_as(other)?.1,
    };
    Some(with_id(Field::new(name, kind, is_nullable), id))
}

fn with_id(field: Field, id: i64) -> FieldRef {
    Arc::new(field.with_metadata(HashMap::from([(FIELD_ID.to_owned(), id.to_string())])))
}

/// DuckLake's name of a field's type.
pub fn type_name(field: &Field) -> String {
    match field.data_type() {
        DataType::List(_) => "list".to_owned(),
        DataType::Struct(_) => "struct".to_owned(),
        DataType::Map(..) => "map".to_owned(),
        DataType::FixedSizeBinary(16) => "uuid".to_owned(),
        DataType::Timestamp(unit, None) => {
            use datafusion::arrow::datatypes::TimeUnit;
            match unit {
                TimeUnit::Second => "timestamp_s",
                TimeUnit::Millisecond => "timestamp_ms",
                TimeUnit::Microsecond => "timestamp",
                TimeUnit::Nanosecond => "timestamp_ns",
            }
            .to_owned()
        }
        other => types::stored_as(other).map_or_else(String::new, |(name, _)| name),
    }
}

/// The rows of `ducklake_column` that stand for `column`, the column itself first.
pub fn rows(column: &Column) -> Vec<ColumnRow> {
    let mut rows = Vec::new();
    push_rows(&column.field, None, &mut rows);
    rows[0].type_name.clone_from(&column.type_name);
    rows
}

fn push_rows(field: &Field, parent: Option<i64>, rows: &mut Vec<ColumnRow>) {
    let id = field_id(field).unwrap_or_default();
    rows.push(ColumnRow {
        id,
        parent,
        name: field.name().clone(),
        type_name: type_name(field),
        is_nullable: field.is_nullable(),
    });
    for inner in inner_fields(field.data_type()) {
        push_rows(&inner, Some(id), rows);
    }
}

/// The field that `row` and the `parts` below it stand for; or the name of the type that is not read here.
pub fn field_of(row: &ColumnRow, parts: &[ColumnRow]) -> std::result::Result<FieldRef, String> {
    let inner = || {
        parts
            .iter()
            .filter(|part| part.parent == Some(row.id))
            .map(|part| field_of(part, parts))
            .collect::<std::result::Result<Vec<FieldRef>, String>>()
    };
    let kind = match row.type_name.as_str() {
        "list" => DataType::List(inner()?.pop().ok_or("list of nothing")?),
        "struct" => DataType::Struct(inner()?.into()),
        "map" => {
            let mut pair = inner()?;
            if let Some(key) = pair.first_mut() {
                *key = Arc::new(key.as_ref().clone().with_nullable(false));
            }
            let entries = Field::new("entries", DataType::Struct(pair.into()), false);
            DataType::Map(Arc::new(entries), false)
        }
        name => types::arrow_type(name).ok_or_else(|| name.to_owned())?,
    };
    Ok(with_id(Field::new(&row.name, kind, row.is_nullable), row.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_columns_become_rows_and_come_back() {
        let item = Arc::new(Field::new("item", DataType::Utf8View, true));
        let parts =
            vec![Field::new("a", DataType::Int32, true), Field::new("tags", DataType::List(item), true)];
        let mut next = 7;
        let field = numbered("x", &DataType::Struct(parts.into()), false, &mut next).expect("can be stored");
        assert_eq!(next, 11);
        let column = Column {
            id: 7,
            type_name: type_name(&field),
            field: Arc::clone(&field),
            order: 1,
            initial_default: None,
            default: None,
            declared: None,
            begin_snapshot: 1,
            end_snapshot: None,
        };
        let rows = rows(&column);
        let told: Vec<_> = rows.iter().map(|row| (row.id, row.parent, row.type_name.as_str())).collect();
        assert_eq!(
            told,
            [(7, None, "struct"), (8, Some(7), "int32"), (9, Some(7), "list"), (10, Some(9), "varchar")]
        );
        assert_eq!(field_of(&rows[0], &rows[1..]), Ok(field));
    }
}
