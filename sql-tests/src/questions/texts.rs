//! Functions of texts and patterns, with places and lengths past both ends.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

const TEXTS: &[&str] = &[
    "''",
    "'abc'",
    "'foobarbaz'",
    "'a,b,,c'",
    "'  padded  '",
    "'straße'",
    "'日本語'",
    "E'line1\\nline2'",
    "E'foo\\n'",
    "'a%c_d'",
    "'a\\c'",
    "'ABC abc'",
    "null::text",
];
const PLACES: &[&str] = &["-3", "-1", "0", "1", "2", "3", "10", "2147483647", "null::int"];
const BYTES: &[&str] = &["''::bytea", "'abc'::bytea", "'\\x00ff5c'::bytea", "'\\xdeadbeef00'::bytea"];
const SIMILAR: &[&str] =
    &["abc", "a%", "%(b|d)%", "a_c", "a.c", "[a-c]+", "a{3}", "(foo|bar)%", "%o", "", "a\\%c%", "[^a]%"];
const EXPRESSIONS: &[&str] = &[
    "abc",
    "^a",
    "c$",
    "foo.",
    "o+",
    "[[:alpha:]]+",
    "\\d",
    "^\\w+$",
    "\\mabc\\M",
    "(",
    "a**",
    "a{",
    "[]a]",
    "b.z",
    "(b)(a)",
    "^$",
    "",
    "x|^f",
    "\\yb",
    "a{2,1}",
    "[a-c]{2}",
];

/// An expression over texts.
pub fn invent(chance: &mut StdRng) -> String {
    let pick =
        |chance: &mut StdRng, values: &[&str]| values.choose(chance).copied().unwrap_or("''").to_owned();
    let text = pick(chance, TEXTS);
    match chance.random_range(0..14) {
        0 => format!("substring({text} from {} for {})", pick(chance, PLACES), pick(chance, PLACES)),
        1 => format!("substr({text}, {})", pick(chance, PLACES)),
        2 => {
            let function = pick(chance, &["left", "right"]);
            format!("{function}({text}, {})", pick(chance, &["-3", "-1", "0", "1", "2", "10"]))
        }
        3 => format!(
            "split_part({text}, {}, {})",
            pick(chance, &["','", "''", "'b'"]),
            chance.random_range(-3..4)
        ),
        4 | 5 => {
            let negated = if chance.random_ratio(1, 4) { "not " } else { "" };
            format!("{text} {negated}similar to '{}'", pick(chance, SIMILAR))
        }
        6 | 7 => {
            let op = pick(chance, &["~", "~*", "!~"]);
            format!("{text} {op} '{}'", pick(chance, EXPRESSIONS))
        }
        8 => format!("regexp_match({text}, '{}')", pick(chance, EXPRESSIONS)),
        9 => {
            let flags = pick(chance, &["", ", 'g'", ", 'i'", ", 'gi'", ", 'z'"]);
            let to = pick(chance, &["X", "[\\&]", "$1", "<\\1>", ""]);
            format!(
                "regexp_replace({text}, '{}', '{to}'{flags})",
                pick(chance, &["b.", "[aeiou]", "o+", "(a)", "^f"])
            )
        }
        10 => {
            let kind = pick(chance, &["varchar(3)", "varchar(1)", "varchar(20)", "varchar"]);
            format!("{text}::{kind}")
        }
        11 => {
            let encoding = pick(chance, &["hex", "base64", "escape"]);
            format!("encode({}, '{encoding}')", pick(chance, BYTES))
        }
        12 => {
            let function = pick(chance, &["upper", "lower", "reverse", "length", "ascii", "md5"]);
            format!("{function}({text})")
        }
        _ => format!("{text} like '{}'", pick(chance, &["a%", "%b%", "a\\%c%", "_b_", "%", "", "a\\\\c"])),
    }
}
