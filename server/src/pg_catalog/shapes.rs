//! The columns of every relation in PostgreSQL 15's `pg_catalog` and `information_schema`, and the rows
//! of those that are the same in every database. Both are data, written by `data/generate`.

use std::collections::HashMap;
use std::sync::LazyLock;

use datafusion::arrow::array::RecordBatch;

use super::columns::Column;

/// `pg_catalog`.
pub const PG_CATALOG: &str = "pg_catalog";
/// `information_schema`.
pub const INFORMATION_SCHEMA: &str = "information_schema";

/// A relation's columns: name and type, in order.
pub type Shape = Vec<(&'static str, &'static str)>;

/// Shapes by schema and relation.
static SHAPES: LazyLock<HashMap<&'static str, HashMap<&'static str, Shape>>> = LazyLock::new(|| {
    let mut shapes: HashMap<&'static str, HashMap<&'static str, Shape>> = HashMap::new();
    for line in include_str!("data/relations.tsv").lines() {
        let mut parts = line.split('\t');
        if let (Some(schema), Some(relation), Some(columns)) = (parts.next(), parts.next(), parts.next()) {
            let columns = columns.split(' ').filter_map(|column| column.split_once(':')).collect();
            shapes.entry(schema).or_default().insert(relation, columns);
        }
    }
    shapes
});

/// The columns of a relation, when PostgreSQL has it.
pub fn shape(schema: &str, relation: &str) -> Option<&'static Shape> {
    SHAPES.get(schema)?.get(relation)
}

/// The names of a schema's relations.
pub fn relations(schema: &str) -> Vec<String> {
    SHAPES.get(schema).iter().flat_map(|of| of.keys()).map(|relation| (*relation).to_owned()).collect()
}

/// The names of `pg_catalog`'s columns of type `regproc`: those and no others.
pub fn is_regproc_column(name: &str) -> bool {
    static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| columns_of_type(&["regproc"]));
    NAMES.contains(&name)
}

/// The names of `pg_catalog`'s columns of type `regtype[]`: those and no others.
pub fn is_regtypes_column(name: &str) -> bool {
    static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| columns_of_type(&["_regtype"]));
    NAMES.contains(&name)
}

/// The names of columns that are vectors, which count from 0 where arrays count from 1.
pub fn is_vector_column(name: &str) -> bool {
    static NAMES: LazyLock<Vec<&'static str>> =
        LazyLock::new(|| columns_of_type(&["int2vector", "oidvector"]));
    NAMES.contains(&name)
}

/// The names of `pg_catalog`'s columns of truth values.
pub fn is_bool_column(name: &str) -> bool {
    static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| columns_of_type(&["bool"]));
    NAMES.contains(&name)
}

fn columns_of_type(types: &[&str]) -> Vec<&'static str> {
    let all = SHAPES.values().flat_map(HashMap::values).flatten();
    all.filter(|(_, kind)| types.contains(kind)).map(|(name, _)| *name).collect()
}

macro_rules! data_files {
    ($($name:literal),* $(,)?) => {
        const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("data/", $name, ".tsv")))),*];
    };
}

data_files![
    "pg_aggregate",
    "pg_am",
    "pg_amop",
    "pg_amproc",
    "pg_attribute",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_conversion",
    "pg_description",
    "pg_language",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_proc",
    "pg_range",
    "pg_ts_config",
    "pg_ts_config_map",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_type",
];

/// The keywords of `pg_get_keywords()`: word, category, whether it may be a bare label, descriptions.
pub const KEYWORDS: &str = include_str!("data/pg_get_keywords.tsv");

/// The rows of a relation of `pg_catalog` that every database has; made once.
pub fn static_rows(relation: &str) -> Option<&'static RecordBatch> {
    type Made = LazyLock<RecordBatch, Box<dyn FnOnce() -> RecordBatch + Send>>;
    static BATCHES: LazyLock<HashMap<&'static str, Made>> = LazyLock::new(|| {
        let made = |name: &'static str, text: &'static str| {
            let make: Box<dyn FnOnce() -> RecordBatch + Send> = Box::new(move || read(name, text));
            (name, LazyLock::new(make))
        };
        FILES.iter().map(|(name, text)| made(name, text)).collect()
    });
    BATCHES.get(relation).map(|batch| &**batch)
}

fn read(relation: &str, text: &'static str) -> RecordBatch {
    let shape = shape(PG_CATALOG, relation).expect("data files are named after relations");
    let rows: Vec<Vec<Option<String>>> = text.lines().map(cells).collect();
    let columns = shape.iter().enumerate().map(|(index, (name, kind))| {
        let cells = rows.iter().map(|row| row.get(index).and_then(Option::as_deref));
        Column::of_text(name, kind, cells)
    });
    Column::batch(columns.collect())
}

/// The cells of a line in COPY's text format.
pub fn cells(line: &str) -> Vec<Option<String>> {
    let cell = |cell: &str| {
        if cell == "\\N" {
            return None;
        }
        if !cell.contains('\\') {
            return Some(cell.to_owned());
        }
        let mut text = String::with_capacity(cell.len());
        let mut letters = cell.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => match letters.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(other) => text.push(other),
                    None => {}
                },
                other => text.push(other),
            }
        }
        Some(text)
    };
    line.split('\t').map(cell).collect()
}

/// PostgreSQL's functions by object identifier and by name.
pub struct Functions {
    by_oid: HashMap<i64, &'static str>,
    by_name: HashMap<&'static str, i64>,
}

/// The functions of `pg_proc`.
pub fn functions() -> &'static Functions {
    static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
        let pairs = || {
            let lines =
                FILES.iter().find(|(name, _)| *name == "pg_proc").map_or("", |(_, text)| *text).lines();
            lines.filter_map(|line| {
                let mut cells = line.split('\t');
                Some((cells.next()?.parse::<i64>().ok()?, cells.next()?))
            })
        };
        let mut by_name = HashMap::new();
        for (oid, name) in pairs() {
            by_name.entry(name).or_insert(oid);
        }
        Functions { by_oid: pairs().collect(), by_name }
    });
    &FUNCTIONS
}

impl Functions {
    /// The name `regprocout` prints: `-` for 0.
    pub fn name(&self, oid: i64) -> String {
        match (oid, self.by_oid.get(&oid)) {
            (0, _) => "-".to_owned(),
            (_, Some(name)) => (*name).to_owned(),
            (other, None) => other.to_string(),
        }
    }

    /// What `regprocin` reads.
    pub fn oid(&self, name: &str) -> Option<i64> {
        if name == "-" {
            return Some(0);
        }
        let bare = name.strip_prefix("pg_catalog.").unwrap_or(name);
        name.parse().ok().or_else(|| self.by_name.get(bare).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_data_file_fits_its_relation() {
        for (name, text) in FILES {
            let rows = static_rows(name).expect("rows").num_rows();
            assert_eq!(rows, text.lines().count(), "{name}");
        }
        assert_eq!(functions().name(1244), "byteain");
        assert_eq!(functions().oid("pg_catalog.array_in"), Some(750));
    }

    #[test]
    fn cells_are_unescaped() {
        assert_eq!(cells("a\\tb\t\\N\t\\\\"), [Some("a\tb".into()), None, Some("\\".into())]);
    }
}
