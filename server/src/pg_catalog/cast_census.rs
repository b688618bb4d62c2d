//! Every pair of our types, as PostgreSQL casts it: the rules of `engine::casts` say what `pg_cast` and the rules of casts
//! through text (`find_coercion_pathway`) say.

use std::collections::HashMap;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use engine::casts::{Context, Kind, needed};

use super::shapes::static_rows;
use super::types::{self, PgType};

const TYPES: [(Kind, PgType); 14] = [
    (Kind::Bool, types::BOOL),
    (Kind::Int2, types::INT2),
    (Kind::Int4, types::INT4),
    (Kind::Int8, types::INT8),
    (Kind::Float4, types::FLOAT4),
    (Kind::Float8, types::FLOAT8),
    (Kind::Numeric, types::NUMERIC),
    (Kind::Text, types::TEXT),
    (Kind::Bytea, types::BYTEA),
    (Kind::Date, types::DATE),
    (Kind::Time, types::TIME),
    (Kind::Timestamp, types::TIMESTAMP),
    (Kind::Instant, types::TIMESTAMPTZ),
    (Kind::Span, types::INTERVAL),
];

/// The contexts of `pg_cast`, by source and target.
fn listed() -> HashMap<(i64, i64), Context> {
    let rows = static_rows("pg_cast").expect("the rows of pg_cast");
    let column = |name: &str| rows.column_by_name(name).expect("a column of pg_cast");
    let (from, to) = (column("castsource"), column("casttarget"));
    let (from, to) = (from.as_primitive::<Int64Type>(), to.as_primitive::<Int64Type>());
    let contexts = column("castcontext").as_string::<i32>();
    let context = |letter: &str| match letter {
        "i" => Context::Implicit,
        "a" => Context::Assignment,
        _ => Context::Explicit,
    };
    (0..rows.num_rows()).map(|row| ((from.value(row), to.value(row)), context(contexts.value(row)))).collect()
}

#[test]
fn casts_are_those_of_postgres() {
    let listed = listed();
    for (from, from_type) in TYPES {
        for (to, to_type) in TYPES {
            let through_text = match (from, to) {
                _ if from == to => Some(Context::Implicit),
                (_, Kind::Text) => Some(Context::Assignment),
                (Kind::Text, _) => Some(Context::Explicit),
                _ => None,
            };
            let known = listed.get(&(from_type.oid.into(), to_type.oid.into())).copied();
            // A type's cast to itself is about its modifier.
            let expected = if from == to { through_text } else { known.or(through_text) };
            assert_eq!(needed(from, to), expected, "{} to {}", from_type.sql_name, to_type.sql_name);
        }
    }
}
