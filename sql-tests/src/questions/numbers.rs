//! Numbers of every type beside each other, biased to the edges of what they hold.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

const FLOATS: &[&str] = &[
    "0::float8",
    "'-0'::float8",
    "'NaN'::float8",
    "'Infinity'::float8",
    "'-Infinity'::float8",
    "1e-20::float8",
    "0.1::float8",
    "0.3::float8",
    "1e15::float8",
    "-2.5::float8",
    "1e308::float8",
    "9223372036854775807::float8",
    "0.1::float4",
    "16777217::float4",
    "2.5::float4",
    "null::float8",
];
const DECIMALS: &[&str] = &[
    "0.0",
    "0.1",
    "0.3",
    "-2.5",
    "2.5",
    "1.005",
    "12.345",
    "-12.345",
    "1234.567",
    "0.00000000000000000001",
    "99999999999999999999.99",
    "1.5::numeric(10,2)",
    "-0.005::numeric(5,3)",
    "'1e3'::numeric",
    "'1.25'::numeric",
    "null::numeric",
];
const WHOLES: &[&str] = &[
    "0",
    "1",
    "-1",
    "7",
    "-3",
    "2147483647",
    "(-2147483648)::int",
    "32767::smallint",
    "9223372036854775807",
    "(-9223372036854775808)::bigint",
    "null::int",
];
const COMPARED: &[&str] = &["=", "<>", "<", "<=", ">", ">=", "is distinct from", "is not distinct from"];
const COMPUTED: &[&str] = &["+", "-", "*", "/"];
const OF_ONE: &[&str] = &["abs", "ceil", "floor", "round", "trunc", "sign"];
const OF_DOUBLES: &[&str] = &["sqrt", "ln", "exp", "asin", "acos", "log"];

const AGGREGATES: &[&str] = &["var_pop", "var_samp", "stddev_pop", "stddev_samp", "variance", "stddev"];

/// An expression over numbers.
pub fn invent(chance: &mut StdRng) -> String {
    let any = |chance: &mut StdRng| {
        let values = [FLOATS, DECIMALS, WHOLES].choose(chance).copied().unwrap_or(FLOATS);
        values.choose(chance).copied().unwrap_or("0").to_owned()
    };
    let float = |chance: &mut StdRng| FLOATS.choose(chance).copied().unwrap_or("0").to_owned();
    let pick =
        |chance: &mut StdRng, values: &[&str]| values.choose(chance).copied().unwrap_or("=").to_owned();
    match chance.random_range(0..14) {
        0..3 => {
            let (left, op, right) = (any(chance), pick(chance, COMPARED), any(chance));
            format!("{left} {op} {right}")
        }
        3 => {
            let (left, op, right) = (float(chance), pick(chance, COMPUTED), any(chance));
            format!("{left} {op} {right}")
        }
        4 => {
            let (value, low, high) = (any(chance), any(chance), any(chance));
            format!("{value} between {low} and {high}")
        }
        5 => {
            let (value, one, other) = (float(chance), any(chance), any(chance));
            format!("{value} in ({one}, {other})")
        }
        6 => {
            let (value, one, other) = (float(chance), any(chance), any(chance));
            format!("case {value} when {one} then 'a' when {other} then 'b' else 'c' end")
        }
        7 => {
            let function = pick(chance, &["greatest", "least", "coalesce"]);
            let (one, other) = (float(chance), float(chance));
            format!("{function}({one}, {other})")
        }
        8 => {
            let (function, value) = (pick(chance, OF_ONE), any(chance));
            format!("{function}({value})")
        }
        9 => {
            let value = pick(chance, DECIMALS);
            let function = pick(chance, &["round", "trunc"]);
            format!("{function}({value}, {})", chance.random_range(-3..6))
        }
        10 => {
            // Their last digit is of the library that computes them.
            let (function, value) = (pick(chance, OF_DOUBLES), float(chance));
            format!("round({function}({value}::float8)::numeric, 9)::float8")
        }
        11 => {
            let (function, kind) = (pick(chance, AGGREGATES), pick(chance, &["float8", "float4", "int"]));
            let values = if kind == "int" { WHOLES } else { FLOATS };
            let rows: Vec<String> = (0..4).map(|_| format!("(({})::{kind})", pick(chance, values))).collect();
            // Of whole numbers they have other digits than PostgreSQL's.
            let shown = if kind == "int" { "round(x, 6)::float8" } else { "x" };
            format!(
                "(select {shown} from (select {function}(x) x from (values {}) t (x)) u)",
                rows.join(", ")
            )
        }
        12 => {
            let rows: Vec<String> =
                (0..5).map(|row| format!("({row}, ({})::float8)", float(chance))).collect();
            // PostgreSQL refuses averages of doubles whose squares overflow.
            let function = pick(chance, &["sum", "sum", "var_pop", "stddev_samp"]);
            let end = pick(chance, &["current row", "1 following", "unbounded following"]);
            format!(
                "(select string_agg(s::text, ',' order by n) from (select n, {function}(x) over (order by n rows between 1 \
                 preceding and {end}) s from (values {}) t (n, x)) u)",
                rows.join(", ")
            )
        }
        _ => {
            let value = any(chance);
            let kind = pick(chance, &["int", "bigint", "smallint", "float8", "float4", "numeric(20,2)"]);
            format!("({value})::{kind}")
        }
    }
}
