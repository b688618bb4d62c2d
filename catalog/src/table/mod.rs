//! How a definition becomes something DataFusion can scan. One file per kind of table.

pub mod external;
pub mod file_statistics;
pub mod files;
mod footer;
mod footer_shape;
mod listed;
pub mod managed;
pub mod recorded;
pub mod trusted;
pub mod view;
pub mod widening;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// How string and binary columns are laid out in memory.
///
/// Views are the faster layout in one process. Between processes they are wrong: every IPC batch
/// carries whole view buffers (measured: 16.6 MB for 8,192 rows), so plans for the cluster are made
/// over tables that declare the plain layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StringLayout {
    /// `Utf8View` and `BinaryView`.
    View,
    /// `Utf8` and `Binary`.
    Plain,
}

impl StringLayout {
    /// The same columns with string and binary types in this layout, nested ones included, and with the elements of
    /// lists called as in lists that a query makes: files call them in several ways, and functions of two lists compare.
    pub fn apply(self, schema: &Schema) -> SchemaRef {
        let fields: Vec<_> = schema.fields().iter().map(|f| self.apply_to_field(f)).collect();
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }

    fn apply_to_field(self, field: &Arc<Field>) -> Arc<Field> {
        let data_type = self.apply_to_type(&with_usual_elements(field.data_type()));
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    }

    fn apply_to_type(self, data_type: &DataType) -> DataType {
        match (self, data_type) {
            (Self::View, DataType::Utf8 | DataType::LargeUtf8) => DataType::Utf8View,
            (Self::View, DataType::Binary | DataType::LargeBinary) => DataType::BinaryView,
            (Self::Plain, DataType::Utf8View) => DataType::Utf8,
            (Self::Plain, DataType::BinaryView) => DataType::Binary,
            (Self::Plain, DataType::List(item)) => DataType::List(self.apply_to_field(item)),
            (Self::Plain, DataType::LargeList(item)) => DataType::LargeList(self.apply_to_field(item)),
            (Self::Plain, DataType::Struct(fields)) => {
                DataType::Struct(fields.iter().map(|f| self.apply_to_field(f)).collect())
            }
            (_, other) => other.clone(),
        }
    }
}

fn with_usual_elements(data_type: &DataType) -> DataType {
    let within =
        |field: &Field| Arc::new(field.clone().with_data_type(with_usual_elements(field.data_type())));
    let usual = |element: &Field| Arc::new(Field::new_list_field(within(element).data_type().clone(), true));
    match data_type {
        DataType::List(element) => DataType::List(usual(element)),
        DataType::LargeList(element) => DataType::LargeList(usual(element)),
        DataType::FixedSizeList(element, length) => DataType::FixedSizeList(usual(element), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| within(field)).collect()),
        DataType::Map(entries, is_sorted) => DataType::Map(within(entries), *is_sorted),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_lists_have_one_name() {
        let inner = Arc::new(Field::new("element", DataType::Int64, true));
        let outer = Arc::new(Field::new("array", DataType::List(inner), true));
        let schema = Schema::new(vec![Field::new("lists", DataType::List(outer), true)]);
        let expected = DataType::new_list(DataType::new_list(DataType::Int64, true), true);
        let part = |of: &DataType| DataType::Struct(vec![Field::new("lists", of.clone(), true)].into());
        let within = Schema::new(vec![Field::new("part", part(schema.field(0).data_type()), true)]);
        for layout in [StringLayout::View, StringLayout::Plain] {
            assert_eq!(layout.apply(&schema).field(0).data_type(), &expected);
            assert_eq!(layout.apply(&within).field(0).data_type(), &part(&expected));
        }
    }

    #[test]
    fn plain_layout_reaches_nested_strings() {
        let item = Arc::new(Field::new("item", DataType::Utf8View, true));
        let schema = Schema::new(vec![Field::new("tags", DataType::List(item), true)]);
        let plain = StringLayout::Plain.apply(&schema);
        let expected = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
        assert_eq!(plain.field(0).data_type(), &expected);
    }

    #[test]
    fn view_layout_turns_strings_into_views() {
        let schema = Schema::new(vec![Field::new("name", DataType::Utf8, true)]);
        let view = StringLayout::View.apply(&schema);
        assert_eq!(view.field(0).data_type(), &DataType::Utf8View);
    }
}
