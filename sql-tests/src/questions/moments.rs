//! Dates, times, zones and intervals: read, cast, compared, moved and taken apart.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

const DATES: &[&str] = &[
    "2024-03-10",
    "2024-02-29",
    "2023-12-31",
    "2000-01-01",
    "1999-12-31",
    "1970-01-01",
    "0001-01-01",
    "9999-12-31",
    "1900-02-28",
    "2101-07-04",
    "0044-03-15 BC",
    "05 Jan 2024",
    "2024/01/05",
    "20240310",
    "2024-1-5",
    "1/5/2024",
    "1-5-99",
    "Jan 5, 2024",
    "5-Jan-2024",
    "J2451187",
    "2024.123",
    "99-Mar-08",
    "2024-02-30",
    "2024-13-01",
    "epoch",
    "infinity",
    "-infinity",
    "x",
    "",
];
const CLOCKS: &[&str] = &[
    "00:00",
    "02:30:00",
    "01:30:00",
    "23:59:59.999999",
    "12:00:00.5",
    "10:30",
    "1:2:3",
    "101112",
    "10:30 PM",
    "12:00 AM",
    "04:05:06.7891234",
    "25:00",
    "10:61",
];
const OFFSETS: &[&str] = &[
    "",
    "",
    "",
    "+00",
    "-0530",
    "+05:45",
    "Z",
    " UTC",
    " EST",
    " PDT",
    " MSK",
    " America/New_York",
    " foo",
    "+16",
];
const ZONES: &[&str] = &[
    "UTC",
    "est",
    "PDT",
    "MSK",
    "Europe/Berlin",
    "america/new_york",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "+03",
    "-5:30",
    "UTC+3",
    "<+05>-5",
    "nowhere",
];
const INTERVALS: &[&str] = &[
    "1 day",
    "-1 day",
    "1 month",
    "30 days",
    "24 hours",
    "1 year 2 months 3 days 04:05:06.789",
    "-1 year +2 days -03:00",
    "1.5 weeks",
    "0.1 month",
    "1-2",
    "P1Y2M3DT4H5M6.7S",
    "PT36H",
    "26 hours",
    "40 days 100:00:00",
    "1 decade 1 century",
    "0.000001 seconds",
    "999 ms 1 us",
    "2 days ago",
    "@ 1 minute",
    "12 months",
    "0",
    "1 fortnight",
    "99999999999 years",
];
const UNITS: &[&str] = &[
    "microseconds",
    "milliseconds",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "decade",
    "century",
    "millennium",
];
const PARTS: &[&str] = &[
    "julian",
    "isoyear",
    "dow",
    "isodow",
    "doy",
    "epoch",
    "timezone",
    "timezone_hour",
    "timezone_minute",
    "fortnight",
];
const FACTORS: &[&str] = &["2", "-1", "0.5", "1.1", "0", "3", "1e3", "null::int", "0.333333"];
const COMPARISONS: &[&str] = &["=", "<>", "<", "<=", ">", ">=", "is distinct from"];

fn of<'a>(chance: &mut StdRng, all: &[&'a str]) -> &'a str {
    all.choose(chance).copied().unwrap_or_default()
}

fn text(chance: &mut StdRng) -> String {
    let date = of(chance, DATES);
    // An era is the last word.
    if chance.random_ratio(1, 3) || date.ends_with("BC") {
        return date.to_owned();
    }
    let between = of(chance, &[" ", " ", "T"]);
    format!("{date}{between}{}{}", of(chance, CLOCKS), of(chance, OFFSETS))
}

fn moment(chance: &mut StdRng) -> String {
    let kind = of(chance, &["date", "timestamp", "timestamptz", "timestamp", "timestamptz"]);
    if chance.random_ratio(1, 20) {
        return format!("null::{kind}");
    }
    let text = if kind == "date" { of(chance, DATES).to_owned() } else { text(chance) };
    if chance.random_ratio(1, 4) { format!("'{text}'::text::{kind}") } else { format!("{kind} '{text}'") }
}

fn interval(chance: &mut StdRng) -> String {
    if chance.random_ratio(1, 20) {
        return "null::interval".to_owned();
    }
    format!("interval '{}'", of(chance, INTERVALS))
}

fn part(chance: &mut StdRng) -> &'static str {
    if chance.random_ratio(1, 2) { of(chance, UNITS) } else { of(chance, PARTS) }
}

/// An expression over dates, times and intervals.
pub fn invent(chance: &mut StdRng) -> String {
    let (first, second) = (moment(chance), moment(chance));
    let (span, other) = (interval(chance), interval(chance));
    let comparison = of(chance, COMPARISONS);
    match chance.random_range(0..16) {
        0 => format!("({first}) at time zone '{}'", of(chance, ZONES)),
        1 => format!("timezone('{}', {first}) at time zone '{}'", of(chance, ZONES), of(chance, ZONES)),
        2 => format!("({first})::{}", of(chance, &["date", "time", "timestamp", "timestamptz", "text"])),
        3 => format!("({first}) {comparison} ({second})"),
        4 => format!("date_trunc('{}', {first})", of(chance, UNITS)),
        5 => format!("extract({} from {first})", part(chance)),
        6 => {
            format!("date_part('{}', {})", part(chance), if chance.random_ratio(1, 2) { first } else { span })
        }
        7 => format!("({first}) - ({second})"),
        8 => format!("({first}) {} {span}", of(chance, &["+", "-"])),
        9 => format!("age({first}, {second})"),
        10 => format!("{span} {comparison} {other}"),
        11 => format!("{span} {} {}", of(chance, &["*", "/"]), of(chance, FACTORS)),
        12 => format!("{}({span})", of(chance, &["justify_days", "justify_hours", "justify_interval"])),
        13 => format!("extract({} from {span})", part(chance)),
        14 => format!("({span} {} {other})::text", of(chance, &["+", "-"])),
        _ => format!(
            "date_bin('{}', {first}, {second})",
            of(chance, &["15 minutes", "1 day", "-1 day", "1 month"])
        ),
    }
}
