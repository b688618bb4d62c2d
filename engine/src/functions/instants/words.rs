//! The words of dates, times and intervals.

/// A part of a date, a time or an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    Julian,
    IsoYear,
    Weekday,
    IsoWeekday,
    YearDay,
    Zone,
    ZoneHour,
    ZoneMinute,
    Epoch,
    /// What follows is a time.
    Time,
}

/// What a word of a date says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    Ignored,
    Now,
    /// Days from today.
    Day(i64),
    Zulu,
    Epoch,
    /// True for what lies behind all others.
    Infinity(bool),
    Month(i64),
    SummerWord,
    /// True after noon.
    Half(bool),
    /// True before the year 1.
    Era(bool),
    Weekday,
    Unit(Unit),
}

/// Letters of a word that count.
const LETTERS: usize = 10;

fn counted(word: &str) -> &str {
    word.get(..LETTERS).unwrap_or(word)
}

/// A word of dates, in small letters.
pub fn special(word: &str) -> Option<Special> {
    use Special::*;
    Some(match counted(word) {
        "infinity" => Infinity(true),
        "-infinity" => Infinity(false),
        "ad" => Era(false),
        "bc" => Era(true),
        "allballs" => Zulu,
        "am" => Half(false),
        "pm" => Half(true),
        "at" | "on" => Ignored,
        "now" => Now,
        "today" => Day(0),
        "tomorrow" => Day(1),
        "yesterday" => Day(-1),
        "epoch" => Epoch,
        "dst" => SummerWord,
        "jan" | "january" => Month(1),
        "feb" | "february" => Month(2),
        "mar" | "march" => Month(3),
        "apr" | "april" => Month(4),
        "may" => Month(5),
        "jun" | "june" => Month(6),
        "jul" | "july" => Month(7),
        "aug" | "august" => Month(8),
        "sep" | "sept" | "september" => Month(9),
        "oct" | "october" => Month(10),
        "nov" | "november" => Month(11),
        "dec" | "december" => Month(12),
        "sun" | "sunday" | "mon" | "monday" | "tue" | "tues" | "tuesday" | "wed" | "wednesday" | "weds"
        | "thu" | "thur" | "thurs" | "thursday" | "fri" | "friday" | "sat" | "saturday" => Weekday,
        "d" => Unit(self::Unit::Day),
        "dow" => Unit(self::Unit::Weekday),
        "doy" => Unit(self::Unit::YearDay),
        "h" => Unit(self::Unit::Hour),
        "isodow" => Unit(self::Unit::IsoWeekday),
        "isoyear" => Unit(self::Unit::IsoYear),
        "j" | "jd" | "julian" => Unit(self::Unit::Julian),
        "m" => Unit(self::Unit::Month),
        "mm" => Unit(self::Unit::Minute),
        "s" => Unit(self::Unit::Second),
        "t" => Unit(self::Unit::Time),
        "y" => Unit(self::Unit::Year),
        _ => return None,
    })
}

/// A unit of intervals, in small letters.
pub fn unit(word: &str) -> Option<Unit> {
    use Unit::*;
    Some(match counted(word) {
        "c" | "cent" | "centuries" | "century" => Century,
        "d" | "day" | "days" => Day,
        "dec" | "decade" | "decades" | "decs" => Decade,
        "h" | "hour" | "hours" | "hr" | "hrs" => Hour,
        "m" | "min" | "mins" | "minute" | "minutes" => Minute,
        "microsecon" | "us" | "usec" | "usecs" | "useconds" | "usecond" => Microsecond,
        "mil" | "millennia" | "millennium" | "mils" => Millennium,
        "millisecon" | "ms" | "msec" | "msecs" | "mseconds" | "msecond" => Millisecond,
        "mon" | "mons" | "month" | "months" => Month,
        "qtr" | "quarter" => Quarter,
        "s" | "sec" | "second" | "seconds" | "secs" => Second,
        "timezone" => Zone,
        "timezone_h" => ZoneHour,
        "timezone_m" => ZoneMinute,
        "w" | "week" | "weeks" => Week,
        "y" | "year" | "years" | "yr" | "yrs" => Year,
        _ => return None,
    })
}

/// The part that `extract` names.
pub fn extracted(name: &str) -> Option<Unit> {
    let lower = name.to_ascii_lowercase();
    unit(&lower).or_else(|| match special(&lower)? {
        Special::Unit(unit) => Some(unit),
        Special::Epoch => Some(Unit::Epoch),
        _ => None,
    })
}

/// True for abbreviations of summer time, in small letters.
pub fn is_summer(word: &str) -> bool {
    SUMMER.binary_search(&word).is_ok()
}

const SUMMER: &[&str] = &[
    "acdt", "acsst", "adt", "aedt", "aesst", "akdt", "almst", "awsst", "azost", "bdst", "brst", "bst",
    "cadt", "cdt", "cest", "cetdst", "chadt", "clst", "clt", "easst", "east", "edt", "eest", "eetdst",
    "egst", "fjst", "fnst", "idt", "kdt", "kgst", "lhdt", "mdt", "mest", "mesz", "metdst", "msd", "must",
    "ndt", "nzdt", "pdt", "pkst", "pmdt", "pyst", "sadt", "ulast", "uyst", "uzst", "wadt", "wdt", "wetdst",
    "wgst", "yekst",
];
