//! What the text of a setting's value stands for.

use std::borrow::Cow;

use engine::functions::instants::posix;
use engine::{Error, Result};

/// As PostgreSQL's: 63 bytes of printable ASCII, with a question mark in the place of every other byte.
pub(super) fn name_of(value: &str) -> String {
    const NAME_BYTES_MAX: usize = 63;
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte);
    let bytes = value.bytes().take(NAME_BYTES_MAX);
    bytes.map(|byte| if is_plain(&byte) { char::from(byte) } else { '?' }).collect()
}

/// On or off, in PostgreSQL's words and what they may be cut to.
pub(super) fn flag(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let is = |word: &str, least: usize| value.len() >= least && word.starts_with(&value);
    match value.as_str() {
        "1" => Some(true),
        "0" => Some(false),
        _ if is("true", 1) || is("yes", 1) || is("on", 2) => Some(true),
        _ if is("false", 1) || is("no", 1) || is("off", 2) => Some(false),
        _ => None,
    }
}

/// The one of `choices` that is meant. One that is on or off may be said as a flag is.
pub(super) fn choice(choices: &[&'static str], value: &str) -> Option<&'static str> {
    // Some drivers send their quotes along.
    let bare = value.trim().trim_matches('\'');
    let find = |wanted: &str| choices.iter().copied().find(|choice| choice.eq_ignore_ascii_case(wanted));
    let as_flag = || match bare.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => find("on"),
        "false" | "no" | "0" => find("off"),
        _ => None,
    };
    find(bare).or_else(as_flag)
}

/// A number within bounds.
pub(super) fn real(name: &str, value: &str, least: f64, most: f64) -> Result<String> {
    let invalid = |message: String| Error::InvalidParameterValue { message };
    let number: f64 = value
        .trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| invalid(format!("invalid value for parameter \"{name}\": \"{value}\"")))?;
    if !(least..=most).contains(&number) {
        let most = if most == f64::MAX { "1.79769e+308".to_owned() } else { most.to_string() };
        let message =
            format!("{number} is outside the valid range for parameter \"{name}\" ({least} .. {most})");
        return Err(invalid(message));
    }
    Ok(number.to_string())
}

/// So much memory, as PostgreSQL shows it: in the largest unit that leaves no fraction. A number without a unit counts
/// units of `unit_kb` kilobytes.
pub(super) fn memory(name: &str, value: &str, unit_kb: u64, least: u64) -> Result<String> {
    const UNITS: [(&str, f64); 5] = [
        ("TB", (1_u64 << 30) as f64),
        ("GB", (1_u64 << 20) as f64),
        ("MB", 1024.0),
        ("kB", 1.0),
        ("B", 1.0 / 1024.0),
    ];
    let invalid = |message: String| Error::InvalidParameterValue { message };
    let text = value.trim();
    let of_unit = UNITS.iter().find_map(|(unit, kb)| Some((text.strip_suffix(unit)?.trim_end(), *kb)));
    let (digits, kb) = of_unit.unwrap_or((text, unit_kb as f64));
    let number: f64 = digits
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| invalid(format!("invalid value for parameter \"{name}\": \"{value}\"")))?;
    let units = (number * kb / unit_kb as f64).round_ties_even();
    if units < least as f64 || units > f64::from(i32::MAX) {
        let unit = if unit_kb == 1 { "kB".to_owned() } else { format!("{unit_kb}kB") };
        let message = format!(
            "{units} {unit} is outside the valid range for parameter \"{name}\" ({least} .. {})",
            i32::MAX
        );
        return Err(invalid(message));
    }
    let kilobytes = units as u64 * unit_kb;
    let whole = UNITS[..4].iter().find(|(_, kb)| kilobytes > 0 && kilobytes.is_multiple_of(*kb as u64));
    Ok(match whole {
        Some((unit, kb)) => format!("{}{unit}", kilobytes / *kb as u64),
        None => kilobytes.to_string(),
    })
}

/// The names of the one locale there is; an empty one is the server's own.
pub(super) fn is_c_locale(value: &str) -> bool {
    ["", "C", "POSIX", "C.UTF-8", "C.utf8"].contains(&value.trim().trim_matches('\''))
}

/// PostgreSQL's name for a character set that it has.
pub(super) fn encoding(value: &str) -> Option<&'static str> {
    const OTHERS: [&str; 14] = [
        "latin",
        "iso8859",
        "iso10646",
        "win",
        "windows",
        "koi",
        "euc",
        "sjis",
        "shiftjis",
        "shiftjis2004",
        "big5",
        "gb",
        "johab",
        "uhc",
    ];
    let bare: String =
        value.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    match bare.as_str() {
        "utf8" | "unicode" => Some("UTF8"),
        "sqlascii" | "muleinternal" | "abc" | "alt" | "tcvn" | "tcvn5712" | "vscii" | "mskanji" => {
            Some("other")
        }
        other if OTHERS.iter().any(|known| other.starts_with(known)) => Some("other"),
        _ => None,
    }
}

/// The names of a list such as `"$user", public`: folded where they stand without quotes. None where it is no list.
pub(super) fn schemas(value: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = value.trim();
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        let (name, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_name(quoted)?,
            None => {
                let end = rest.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(rest.len());
                (catalog::identifier::fold(&rest[..end], false), &rest[end..])
            }
        };
        if name.is_empty() && !rest.starts_with('"') {
            return None;
        }
        names.push(name);
        let behind = behind.trim_start();
        if behind.is_empty() {
            return Some(names);
        }
        rest = behind.strip_prefix(',')?.trim_start();
    }
}

/// A name up to its closing quote, and what is behind it.
fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (before, behind) = rest.split_once('"')?;
        name.push_str(before);
        match behind.strip_prefix('"') {
            Some(behind) => {
                name.push('"');
                rest = behind;
            }
            None => return Some((name, behind)),
        }
    }
}

/// `value` as it is shown, `ISO, MDY`; what it does not say is what `current` says. None for what PostgreSQL does not know, and
/// for two that contradict each other.
pub(super) fn date_style(value: &str, current: &str) -> Option<String> {
    let (mut style, mut order) = (None, None);
    for word in value.split(',').map(|word| word.trim().trim_matches(['\'', '"'])) {
        let word = word.to_ascii_uppercase();
        let said = match word.as_str() {
            "" if value.trim().is_empty() => (None, None),
            "ISO" => (Some("ISO"), None),
            "SQL" => (Some("SQL"), None),
            "DEFAULT" => (style.or(Some("ISO")), order.or(Some("MDY"))),
            "MDY" | "US" => (None, Some("MDY")),
            "DMY" => (None, Some("DMY")),
            "YMD" => (None, Some("YMD")),
            word if word.starts_with("POSTGRES") => (Some("Postgres"), None),
            word if word.starts_with("GERMAN") => (Some("German"), None),
            word if word.starts_with("NONEURO") => (None, Some("MDY")),
            word if word.starts_with("EURO") => (None, Some("DMY")),
            _ => return None,
        };
        let contradicts =
            |one: Option<&str>, other: Option<&str>| one.zip(other).is_some_and(|(one, other)| one != other);
        if contradicts(said.0, style) || contradicts(said.1, order) {
            return None;
        }
        (style, order) = (said.0.or(style), said.1.or(order));
    }
    let (current_style, current_order) = current.split_once(", ").unwrap_or(("ISO", "MDY"));
    let own_order = if style == Some("German") { "DMY" } else { current_order };
    Some(format!("{}, {}", style.unwrap_or(current_style), order.unwrap_or(own_order)))
}

/// IANA names; hours east of Greenwich such as `5` or `-3.5`, which are kept as PostgreSQL shows them: `<+05>-05`; and POSIX zones,
/// which count west: `UTC+3`, `+05:30`.
pub(super) fn time_zone(value: &str) -> Option<String> {
    if let Ok(zone) = value.parse::<chrono_tz::Tz>() {
        return Some(zone.name().to_owned());
    }
    let by_letters = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(value));
    if let Some(zone) = by_letters {
        return Some(zone.name().to_owned());
    }
    let hours = match value.strip_prefix('<') {
        Some(shown) => hours_of(shown.split_once('>')?.0)?,
        None => match value.parse::<f64>() {
            Ok(hours) => hours,
            Err(_) => return posix_offset(value).map(|_| value.to_ascii_uppercase()),
        },
    };
    if hours.is_nan() || hours.abs() >= 16.0 {
        return None;
    }
    let minutes = (hours.abs() * 60.0).round() as u32;
    let digits = match minutes % 60 {
        0 => format!("{:02}", minutes / 60),
        part => format!("{:02}:{part:02}", minutes / 60),
    };
    let (sign, against) = if hours < 0.0 { ('-', '+') } else { ('+', '-') };
    Some(format!("<{sign}{digits}>{against}{digits}"))
}

fn hours_of(offset: &str) -> Option<f64> {
    let sign = if offset.starts_with('-') { -1.0 } else { 1.0 };
    let digits = offset.trim_start_matches(['+', '-']);
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
    Some(sign * (hours.parse::<f64>().ok()? + minutes.parse::<f64>().ok()? / 60.0))
}

/// The minutes east of Greenwich of a POSIX zone, by [`posix`].
fn posix_offset(value: &str) -> Option<i32> {
    let letters = value.chars().take_while(char::is_ascii_alphabetic).count();
    let minutes = posix(value).filter(|seconds| seconds % 60 == 0)? / 60;
    (!matches!(letters, 1 | 2) && minutes.abs() < 16 * 60).then_some(minutes)
}

/// The offset of a zone that was said in hours, as `+05:30`; else the zone.
pub(super) fn zone_offset(zone: &str) -> Cow<'_, str> {
    match zone.strip_prefix('<').and_then(|shown| shown.split_once('>')) {
        Some((offset, _)) if offset.contains(':') => Cow::Borrowed(offset),
        Some((offset, _)) => Cow::Owned(format!("{offset}:00")),
        None if zone.parse::<chrono_tz::Tz>().is_ok() => Cow::Borrowed(zone),
        None => posix_offset(zone).map_or(Cow::Borrowed(zone), |minutes| {
            let sign = if minutes < 0 { '-' } else { '+' };
            Cow::Owned(format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_zones_have_names_or_hours() {
        assert_eq!(time_zone("europe/berlin").as_deref(), Some("Europe/Berlin"));
        assert_eq!(time_zone("-5.5").as_deref(), Some("<-05:30>+05:30"));
        assert_eq!(time_zone("<-05:30>+05:30").as_deref(), Some("<-05:30>+05:30"));
        assert_eq!(zone_offset("<+05>-05"), "+05:00");
        assert_eq!(time_zone("+05:30").as_deref(), Some("+05:30"));
        assert_eq!(zone_offset("+05:30"), "-05:30");
        assert_eq!(time_zone("gmt-3").as_deref(), Some("GMT-3"));
        assert_eq!(zone_offset("GMT-3"), "+03:00");
        assert_eq!(time_zone("ab3"), None);
        assert_eq!(time_zone("Atlantis"), None);
    }

    #[test]
    fn lists_of_schemas_keep_what_is_in_quotes() {
        let names = |text| schemas(text).map(|names| names.join("|"));
        assert_eq!(names("\"$user\", Public").as_deref(), Some("$user|public"));
        assert_eq!(names("\"Foo\",bar,\"a,\"\"b\"").as_deref(), Some("Foo|bar|a,\"b"));
        assert_eq!(names("").as_deref(), Some(""));
        assert_eq!(names("\"\"").as_deref(), Some(""));
        for wrong in ["\"a", "a b", "a,", ",a"] {
            assert_eq!(schemas(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn memory_is_shown_in_its_largest_unit() {
        assert_eq!(memory("work_mem", "1024", 1, 64).expect("memory"), "1MB");
        assert_eq!(memory("work_mem", "1.5MB", 1, 64).expect("memory"), "1536kB");
        assert_eq!(memory("temp_buffers", "1024", 8, 100).expect("memory"), "8MB");
        for wrong in ["abc", "1", "1mb"] {
            memory("work_mem", wrong, 1, 64).expect_err(wrong);
        }
    }

    #[test]
    fn date_styles_do_not_contradict_themselves() {
        let style = |value| date_style(value, "ISO, MDY");
        assert_eq!(style("iso").as_deref(), Some("ISO, MDY"));
        assert_eq!(style("SQL, DMY").as_deref(), Some("SQL, DMY"));
        assert_eq!(style("German").as_deref(), Some("German, DMY"));
        assert_eq!(date_style("ymd", "Postgres, DMY").as_deref(), Some("Postgres, YMD"));
        assert_eq!(date_style("default", "Postgres, DMY").as_deref(), Some("ISO, MDY"));
        assert_eq!(style("iso, sql"), None);
        assert_eq!(style("iso, dmy, mdy"), None);
        assert_eq!(style("cubist"), None);
    }
}
