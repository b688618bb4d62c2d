//! Templates of `to_char` and its kin, read as PostgreSQL reads them: keywords, quoted text, and what stands between.

/// What a template is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Dates and times, which know prefixes and suffixes.
    Moment,
    /// Numbers.
    Number,
}

/// A part of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A keyword as it is written, with what stands before and behind it.
    Field { name: &'static str, is_filled: bool, ordinal: Ordinal },
    /// A letter that is itself: of a quoted text, or none that starts a keyword.
    Letter(char),
    /// A sign that parts fields.
    Separator(char),
    /// A space.
    Space(char),
}

/// `TH` and `th` behind a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordinal {
    None,
    Upper,
    Lower,
}

/// Fields of dates and times, in capitals as PostgreSQL documents them; each may be written in small letters too, and names
/// of months, days and halves of the day with a capital first letter. Of several that fit the first is meant.
const MOMENT_FIELDS: [&str; 112] = [
    "A.D.", "A.M.", "AD", "AM", "B.C.", "BC", "CC", "DAY", "DDD", "DD", "DY", "Day", "Dy", "D", "FF1", "FF2",
    "FF3", "FF4", "FF5", "FF6", "FX", "HH24", "HH12", "HH", "IDDD", "ID", "IW", "IYYY", "IYY", "IY", "I",
    "J", "MI", "MM", "MONTH", "MON", "MS", "Month", "Mon", "OF", "P.M.", "PM", "Q", "RM", "SSSSS", "SSSS",
    "SS", "TZH", "TZM", "TZ", "US", "WW", "W", "Y,YYY", "YYYY", "YYY", "YY", "Y", "a.d.", "a.m.", "ad", "am",
    "b.c.", "bc", "cc", "day", "ddd", "dd", "dy", "d", "ff1", "ff2", "ff3", "ff4", "ff5", "ff6", "fx",
    "hh24", "hh12", "hh", "iddd", "id", "iw", "iyyy", "iyy", "iy", "i", "j", "mi", "mm", "month", "mon",
    "ms", "of", "p.m.", "pm", "q", "rm", "sssss", "ssss", "ss", "tzh", "tzm", "tz", "us", "ww", "w", "y,yyy",
    "yyyy", "yyy", "yy", "y",
];

const NUMBER_FIELDS: [&str; 36] = [
    ",", ".", "0", "9", "B", "C", "D", "EEEE", "FM", "G", "L", "MI", "PL", "PR", "RN", "SG", "SP", "S", "TH",
    "V", "b", "c", "d", "eeee", "fm", "g", "l", "mi", "pl", "pr", "rn", "sg", "sp", "s", "th", "v",
];

/// Reads a template.
pub fn parts(template: &str, kind: Kind) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let mut is_filled = false;
        if kind == Kind::Moment {
            for prefix in ["FM", "fm", "TM", "tm"] {
                if let Some(behind) = rest.strip_prefix(prefix) {
                    // Translated names of months and days are not padded; nothing else is changed by TM.
                    let is_name = ["DAY", "MONTH"].iter().any(|name| {
                        behind.get(..name.len()).is_some_and(|field| field.eq_ignore_ascii_case(name))
                    });
                    is_filled = prefix.eq_ignore_ascii_case("FM") || is_name;
                    rest = behind;
                    break;
                }
            }
        }
        if let Some(name) = field(rest, kind) {
            rest = &rest[name.len()..];
            let mut ordinal = Ordinal::None;
            if kind == Kind::Moment {
                for (suffix, of) in [("TH", Ordinal::Upper), ("th", Ordinal::Lower), ("SP", Ordinal::None)] {
                    if let Some(behind) = rest.strip_prefix(suffix) {
                        ordinal = of;
                        rest = behind;
                        break;
                    }
                }
            }
            parts.push(Part::Field { name, is_filled, ordinal });
        } else if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted_letters(quoted, &mut parts);
        } else {
            // Outside of quotes a backslash is special in front of one alone.
            if rest.starts_with("\\\"") {
                rest = &rest[1..];
            }
            let Some(letter) = rest.chars().next() else { break };
            rest = &rest[letter.len_utf8()..];
            parts.push(match letter {
                letter if kind == Kind::Moment && is_separator(letter) => Part::Separator(letter),
                letter if letter.is_ascii_whitespace() || letter == '\u{b}' => Part::Space(letter),
                letter => Part::Letter(letter),
            });
        }
    }
    parts
}

fn field(rest: &str, kind: Kind) -> Option<&'static str> {
    let fields: &[&'static str] = match kind {
        Kind::Moment => &MOMENT_FIELDS,
        Kind::Number => &NUMBER_FIELDS,
    };
    fields.iter().copied().find(|name| rest.starts_with(name))
}

/// Puts the letters up to the closing quote into `parts`, and gives what stands behind it.
fn quoted_letters<'a>(quoted: &'a str, parts: &mut Vec<Part>) -> &'a str {
    let mut letters = quoted.chars();
    loop {
        match letters.next() {
            None => return "",
            Some('"') => return letters.as_str(),
            Some('\\') => match letters.next() {
                Some(letter) => parts.push(Part::Letter(letter)),
                None => parts.push(Part::Letter('\\')),
            },
            Some(letter) => parts.push(Part::Letter(letter)),
        }
    }
}

/// True for what parts fields: visible ASCII that is no letter and no digit.
pub fn is_separator(letter: char) -> bool {
    letter.is_ascii_graphic() && !letter.is_ascii_alphanumeric()
}

/// `number` with the ending of its ordinal.
pub fn with_ordinal(mut number: String, ordinal: Ordinal) -> String {
    if ordinal != Ordinal::None {
        let ending = ordinal_ending(&number);
        number.push_str(&if ordinal == Ordinal::Upper {
            ending.to_ascii_uppercase()
        } else {
            ending.to_owned()
        });
    }
    number
}

/// The ending of a number's ordinal.
pub fn ordinal_ending(number: &str) -> &'static str {
    let digits = number.as_bytes();
    let [.., before, last] = *digits else {
        return ending_of(digits.last().copied());
    };
    if before == b'1' { "th" } else { ending_of(Some(last)) }
}

fn ending_of(last: Option<u8>) -> &'static str {
    match last {
        Some(b'1') => "st",
        Some(b'2') => "nd",
        Some(b'3') => "rd",
        _ => "th",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(template: &str, kind: Kind) -> Vec<&'static str> {
        let name = |part: &Part| match part {
            Part::Field { name, .. } => Some(*name),
            _ => None,
        };
        parts(template, kind).iter().filter_map(name).collect()
    }

    #[test]
    fn the_longest_field_is_meant() {
        assert_eq!(names("YYYYMMDD", Kind::Moment), ["YYYY", "MM", "DD"]);
        assert_eq!(names("FMMonth DDth, Y,YYY", Kind::Moment), ["Month", "DD", "Y,YYY"]);
        assert_eq!(names("HH24:MI:SS.US", Kind::Moment), ["HH24", "MI", "SS", "US"]);
        assert_eq!(names("S9,999.99PR", Kind::Number), ["S", "9", ",", "9", "9", "9", ".", "9", "9", "PR"]);
        assert_eq!(names("999th", Kind::Number), ["9", "9", "9", "th"]);
    }

    #[test]
    fn quoted_text_is_itself() {
        let letter = Part::Letter;
        assert_eq!(parts(r#""YY\"""#, Kind::Moment), [letter('Y'), letter('Y'), letter('"')]);
        assert_eq!(parts(r#"\"x"#, Kind::Number), [letter('"'), letter('x')]);
    }

    #[test]
    fn ordinals_of_teens_end_alike() {
        for (number, ending) in
            [("1", "st"), ("11", "th"), ("22", "nd"), ("113", "th"), ("3", "rd"), ("0", "th")]
        {
            assert_eq!(ordinal_ending(number), ending, "{number}");
        }
    }
}
