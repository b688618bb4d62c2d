//! Arrays with and without nulls, rows of values, and texts of arrays, JSON and identifiers.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

const NUMBERS: &[&str] = &[
    "array[1,2,3]",
    "array[1,null,3]",
    "array[2,1,2]",
    "array[null,null]::int[]",
    "array[2147483647,-2147483648]",
    "array[3]",
    "'{}'::int[]",
    "'{1,2,3}'::int[]",
    "'{NULL,2}'::int[]",
    "null::int[]",
];
const TEXTS: &[&str] = &[
    "array['a','b']",
    "array['a',null,'B']",
    "array['','NULL','null',' ']",
    r#"array['a,b','"','\','{}']"#,
    "'{}'::text[]",
    r#"'{a,"b c",NULL,"null",""}'::text[]"#,
    r"'{ a , b\ ,\\}'::text[]",
    "null::text[]",
    "array['é']",
];
const FLOATS: &[&str] = &[
    "array[1.5,'NaN',null]::float8[]",
    "array['-0','0']::float8[]",
    "array['Infinity']::float8[]",
    "'{1e20,1e-5,0.1}'::float8[]",
    "array[0]::float8[]",
];
const OTHERS: &[&str] = &[
    "array[array[1,2],array[3,4]]",
    "'{{1,2},{3,NULL}}'::int[]",
    "array[true,false,null]",
    "array[date '2024-02-29',null]",
    "array[timestamp '2024-02-29 12:00:00.5',timestamp '1999-12-31 00:00:00']",
];
const ITEMS: &[&str] = &["1", "2", "3", "0", "null::int", "2147483647"];
const WORDS: &[&str] = &["'a'", "'b'", "''", "'NULL'", "null::text", "'B'"];
const DOUBLES: &[&str] = &["'NaN'::float8", "0::float8", "'-0'::float8", "1.5::float8", "null::float8"];
const SUBSCRIPTS: &[&str] = &["-1", "0", "1", "2", "3", "4", "null::int"];
const COMPARISONS: &[&str] = &["=", "<>", "<", "<=", ">", ">="];
const TOKENS: &[&str] =
    &["{", "}", ",", "\"", "\\", " ", "a", "b c", "NULL", "null", "1", "{a}", "\"x y\"", "é"];
const DOCUMENTS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"a\"",
    "\"bb\"",
    " ",
    "1",
    "-0.0",
    "1.50",
    "1e3",
    "true",
    "null",
    "\"a\":1",
    "{\"b\":1,\"a\":[]}",
    "\\u00e9",
    "\"\\u00e9\\n\"",
    "nul",
    "01",
];
const IDENTIFIERS: &[&str] = &["a0eebc99", "9C0B", "4ef8", "-", "{", "}", "bb6d", "6bb9bd380a11", "g"];

/// An expression over arrays, rows, or texts of them.
pub fn invent(chance: &mut StdRng) -> String {
    let one = |chance: &mut StdRng, from: &[&str]| from.choose(chance).expect("some").to_string();
    let (lists, items) = match chance.random_range(0..8) {
        0..4 => (NUMBERS, ITEMS),
        4..6 => (TEXTS, WORDS),
        _ => (FLOATS, DOUBLES),
    };
    let (list, other, item) = (one(chance, lists), one(chance, lists), one(chance, items));
    let any = match chance.random_ratio(1, 3) {
        true => one(chance, OTHERS),
        false => list.clone(),
    };
    let comparison = one(chance, COMPARISONS);
    match chance.random_range(0..26) {
        0 => format!("{any}::text"),
        1 => format!("({any})[{}]", one(chance, SUBSCRIPTS)),
        2 => format!("({list})[{}:{}]", one(chance, SUBSCRIPTS), one(chance, SUBSCRIPTS)),
        3 => format!("({list})[{}:]", one(chance, &SUBSCRIPTS[..6])),
        4 | 5 => format!("{item} {comparison} any({list})"),
        6 | 7 => format!("{item} {comparison} all({list})"),
        8 => format!("{list} {comparison} {other}"),
        9 => format!("{list} {} {other}", one(chance, &["@>", "<@", "&&"])),
        10 => format!("({list} || {other})::text"),
        11 => format!("({list} || {item})::text, ({item} || {list})::text"),
        12 => format!("array_remove({list}, {item}), array_replace({list}, {item}, {})", one(chance, items)),
        13 => format!("array_position({list}, {item}), array_positions({list}, {item})"),
        14 => format!("array_append({list}, {item}), array_prepend({item}, {list})"),
        15 => format!("array_cat({list}, {other})"),
        16 => format!(
            "array_length({any}, {0}), array_upper({any}, {0}), array_lower({any}, {0})",
            one(chance, &["0", "1", "2", "-1", "null"])
        ),
        17 => format!("array_dims({any}), array_ndims({any}), cardinality({any})"),
        18 => {
            format!("array_to_string({any}, {}, {})", one(chance, &["','", "''", "null"]), one(chance, WORDS))
        }
        19 => format!(
            "string_to_array({}, {}, {})",
            one(chance, &["'a,b,,c'", "''", "null", "'a'", "'é,b'"]),
            one(chance, &["','", "''", "null", "'b'"]),
            one(chance, WORDS)
        ),
        20 => format!("{}::text[]", quoted(&written(chance, TOKENS, "{", "}"))),
        21 => format!(
            "{}::int[]",
            quoted(&written(chance, &["1", ",", " ", "NULL", "-2", "x", "99999999999"], "{", "}"))
        ),
        22 => format!("{}::jsonb", quoted(&written(chance, DOCUMENTS, "", ""))),
        23 => format!("{}::json", quoted(&written(chance, DOCUMENTS, "[", "]"))),
        24 => format!("{}::uuid", quoted(&written(chance, IDENTIFIERS, "", ""))),
        _ => {
            let row = |chance: &mut StdRng| format!("({}, {})", one(chance, ITEMS), one(chance, ITEMS));
            let (left, right) = (row(chance), row(chance));
            match chance.random_range(0..5) {
                0 => format!("row{left} is null, row{right} is not null"),
                1 => format!("{left} in ({right}, {})", row(chance)),
                2 => format!("{left} not in ({right}, {})", row(chance)),
                3 => format!("row{left} is distinct from row{right}"),
                _ => format!("row{left} {comparison} row{right}"),
            }
        }
    }
}

fn written(chance: &mut StdRng, tokens: &[&str], open: &str, close: &str) -> String {
    let mut text = String::from(open);
    for _ in 0..chance.random_range(0..7) {
        text.push_str(tokens.choose(chance).expect("some"));
    }
    text.push_str(close);
    text
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
