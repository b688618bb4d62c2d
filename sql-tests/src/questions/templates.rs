//! Templates of dates and numbers: fields in any order, with and without what fills, parts and quotes them.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

const FIELDS: &[&str] = &[
    "HH", "HH12", "HH24", "MI", "SS", "MS", "US", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "SSSS", "SSSSS",
    "AM", "PM", "a.m.", "p.m.", "A.M.", "am", "Y,YYY", "YYYY", "YYY", "YY", "Y", "IYYY", "IYY", "IY", "I",
    "BC", "AD", "b.c.", "A.D.", "MONTH", "Month", "month", "MON", "Mon", "mon", "MM", "DAY", "Day", "day",
    "DY", "Dy", "dy", "DDD", "IDDD", "DD", "D", "ID", "W", "WW", "IW", "CC", "J", "Q", "RM", "rm", "TZ",
    "tz", "TZH", "TZM", "OF", "yyyy", "mm", "dd", "hh24", "mi", "ss", "FX",
];
const BETWEEN: &[&str] = &["-", "/", ":", " ", "", ", ", ".", "\"T\"", "\" of \"", "x", "  ", "\\\"", "ü"];
const READ: &[&str] = &[
    "HH12", "HH24", "MI", "SS", "MS", "US", "FF3", "SSSS", "AM", "Y,YYY", "YYYY", "YYY", "YY", "BC", "Month",
    "MON", "MM", "Day", "Dy", "DDD", "DD", "D", "W", "WW", "CC", "J", "Q", "RM", "TZH", "TZM", "FX",
];
const READ_WEEKS: &[&str] = &["IYYY", "IW", "ID", "IDDD", "IYY", "HH24", "MI"];
const MOMENTS: &[&str] = &[
    "timestamp '2024-03-01 12:34:56.789012'",
    "timestamp '1999-12-31 23:59:59.999999'",
    "timestamp '2000-01-01 00:00:00'",
    "timestamp '2024-02-29 01:02:03'",
    "timestamp '1582-10-14 12:00:00.5'",
    "timestamp '0099-07-04 06:07:08.09'",
    "timestamp '9999-12-30 13:00:00.000001'",
    "timestamptz '2024-07-01 00:30:00+00'",
    "timestamptz '2024-01-01 04:59:59.123+00'",
    "timestamptz '1969-12-31 23:59:59.999999+00'",
    "date '2024-12-30'",
    "date '2021-01-03'",
    "date '1900-06-15'",
    "timestamp 'infinity'",
    "date '-infinity'",
    "null::timestamp",
];
const INTERVALS: &[&str] = &[
    "interval '1 day 02:03:04.5'",
    "interval '14 months 3 days 26:00:00'",
    "interval '-1 year -2 days -03:04:05.6'",
    "interval '100 hours'",
    "interval '0'",
];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "12",
    "485",
    "-485",
    "3000",
    "148500",
    "2147483647",
    "-2147483648",
    "0.1::numeric",
    "-0.1",
    "485.8",
    "0.0",
    "12.4567",
    "-12.4567",
    "1234567.891",
    "0.00123",
    "99999999999::bigint",
    "485::float8",
    "1e10::float8",
    "123456.789::float8",
    "-0.5::float8",
    "0.1::float4",
    "1.5::float4",
    "3.14159::float8",
    "1e-5::float8",
    "999.995",
    "0.5",
    "null::int",
    "4",
    "1999",
    "5000",
];

/// An expression over one of the four functions.
pub fn invent(chance: &mut StdRng) -> String {
    match chance.random_range(0..10) {
        0..4 => {
            let value = if chance.random_ratio(1, 5) { INTERVALS } else { MOMENTS };
            let value = value.choose(chance).expect("some");
            format!("to_char({value}, '{}')", moments(chance, FIELDS))
        }
        4..7 => {
            let template = numbers(chance);
            let number = NUMBERS.choose(chance).expect("some");
            // PostgreSQL's own answer is none where V takes a whole number past its type.
            let number = if template.contains('V') && number.len() > 8 { "485" } else { number };
            format!("to_char({number}, '{template}')")
        }
        7 => {
            let text = NUMBERS.choose(chance).expect("some").split("::").next().unwrap_or_default();
            let text = match chance.random_range(0..4) {
                0 => format!("<{text}>"),
                1 => format!("{text}-"),
                2 => text.replace("4", ",4"),
                _ => text.to_owned(),
            };
            // Without trailing zeros: the scale of a number is of its column here.
            format!("to_number('{text}', '{}')::float8", numbers(chance))
        }
        kind => {
            let fields = if chance.random_ratio(1, 6) { READ_WEEKS } else { READ };
            let template = moments(chance, fields);
            let function = if kind == 8 { "to_date" } else { "to_timestamp" };
            let moment = MOMENTS.choose(chance).expect("some");
            let text = match chance.random_range(0..5) {
                // As it is shown by another template, which may not fit.
                0 => format!("to_char({moment}, '{}')", moments(chance, fields)),
                1 => "'2024-03-15 10:11:12'".to_owned(),
                _ => format!("to_char({moment}, '{}')", template.replace("FX", "")),
            };
            format!("{function}({text}, '{template}')")
        }
    }
}

fn moments(chance: &mut StdRng, fields: &[&str]) -> String {
    let mut template = String::new();
    for _ in 0..chance.random_range(1..6) {
        if chance.random_ratio(1, 5) {
            template.push_str(["FM", "fm", "TM"].choose(chance).expect("some"));
        }
        template.push_str(fields.choose(chance).expect("some"));
        if chance.random_ratio(1, 8) {
            template.push_str(["TH", "th", "SP"].choose(chance).expect("some"));
        }
        template.push_str(BETWEEN.choose(chance).expect("some"));
    }
    template
}

fn numbers(chance: &mut StdRng) -> String {
    const PLACES: &[&str] = &["9", "9", "9", "0", ",", "G", "99", "999"];
    let mut template = String::new();
    if chance.random_ratio(1, 3) {
        template.push_str(["FM", "S", "MI", "PL", "SG", "L", "B", "fm", "FMS"].choose(chance).expect("some"));
    }
    for _ in 0..chance.random_range(1..6) {
        template.push_str(PLACES.choose(chance).expect("some"));
    }
    if chance.random_ratio(1, 2) {
        template.push_str([".", "D", "V", ".0", "D9"].choose(chance).expect("some"));
        for _ in 0..chance.random_range(0..4) {
            template.push_str(["9", "0", "9"].choose(chance).expect("some"));
        }
    }
    if chance.random_ratio(1, 3) {
        let ends = ["S", "MI", "PR", "TH", "th", "EEEE", "%", " kg", "\"x\"", "SG", "PL", "RN", "FM"];
        template.push_str(ends.choose(chance).expect("some"));
    }
    if chance.random_ratio(1, 20) {
        return ["RN", "FMRN", "rn", "", "9.99EEEE", "FM9.9", "0.99", "V99"]
            .choose(chance)
            .expect("some")
            .to_string();
    }
    template
}
