//! Casts between all types, what functions and operators take of them, and values of several types in one place.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

const VALUES: &[&str] = &[
    "true",
    "1",
    "0::smallint",
    "7::bigint",
    "1.5",
    "2::real",
    "2.5::double precision",
    "'1'::text",
    "'t'::text",
    "'abc'::text",
    "'\\x41'::bytea",
    "date '2024-02-29'",
    "time '10:00:01'",
    "timestamp '2024-02-29 10:00:01'",
    "timestamptz '2024-02-29 10:00:01+00'",
    "timestamp 'infinity'",
    "date '-infinity'",
    "interval '1 day 02:00'",
    "array[1,2]",
    "array['1','2']",
    "array[true]",
];
const UNKNOWNS: &[&str] = &["'1'", "'t'", "'x'", "'2024-02-29'", "'\\x42'", "'\\x4'", "'a\\9'", "null"];
const TYPES: &[&str] = &[
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "text",
    "varchar(2)",
    "bytea",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "integer[]",
    "text[]",
];
const FUNCTIONS: &[&str] = &[
    "length(@)",
    "upper(@)",
    "lower(@)",
    "reverse(@)",
    "left(@, 2)",
    "right(@, 2)",
    "lpad(@, 5, '0')",
    "rpad('a', 3, @)",
    "repeat(@, 2)",
    "replace(@, '1', '2')",
    "strpos(@, '1')",
    "split_part(@, '1', 1)",
    "starts_with(@, '1')",
    "initcap(@)",
    "ascii(@)",
    "md5(@)",
    "btrim(@)",
    "translate(@, '1', '2')",
    "concat(@, 'x')",
    "encode(@, 'hex')",
    "string_agg(@, ',')",
    "bool_and(@)",
    "sum(@)",
    "max(@)",
];

/// An expression that casts, or would have to.
pub fn invent(chance: &mut StdRng) -> String {
    let one = |chance: &mut StdRng, from: &[&str]| from.choose(chance).expect("some").to_string();
    let (value, other) = (one(chance, VALUES), one(chance, VALUES));
    let unknown = one(chance, UNKNOWNS);
    let kind = one(chance, TYPES);
    match chance.random_range(0..8) {
        0..3 => format!("({value})::{kind}"),
        3 => format!("({unknown})::{kind}"),
        4 => one(chance, FUNCTIONS).replace('@', &value),
        5 => {
            let (first, second) = if chance.random_bool(0.5) { (&value, &unknown) } else { (&value, &other) };
            format!("coalesce(({first})::{kind}, {second})::text is null")
        }
        6 => format!("case when {} then {value} else {other} end is null", chance.random_bool(0.5)),
        _ => format!("({value}) || ({})", if chance.random_bool(0.5) { unknown } else { other }),
    }
}
