//! `to_char` of numbers, and `to_number`. The rules, and their order, are PostgreSQL's (`formatting.c`): what a place of a
//! template shows depends on what was shown before it.

use datafusion::error::Result;

use super::template::{Part, ordinal_ending};
use super::{fault, is_of};

const ROMAN_WIDTH: usize = 15;

/// A template of numbers, looked over.
#[derive(Debug, Clone, Default)]
pub struct Template {
    parts: Vec<Part>,
    /// Places before and behind the point, and of `V`.
    pre: usize,
    post: usize,
    multi: usize,
    /// The places of the first and behind the last `0`, from 1.
    zero_start: usize,
    zero_end: usize,
    /// Places before an `S`.
    before_sign: usize,
    sign: Sign,
    has_zero: bool,
    is_blank: bool,
    is_filled: bool,
    has_sign: bool,
    has_bracket: bool,
    has_minus: bool,
    has_plus: bool,
    is_roman: bool,
    has_multi: bool,
    has_point: bool,
    is_scientific: bool,
}

/// Where an `S` stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Sign {
    #[default]
    None,
    Before,
    Behind,
}

/// A number, as its type shows it.
#[derive(Debug, Clone, PartialEq)]
pub enum Number {
    /// Of up to 32 bits.
    Whole(i32),
    /// Of 64 bits.
    Large(i64),
    /// In digits, perhaps with a sign and a point.
    Exact(String),
    /// A floating-point number, of whose type so many digits are sure.
    Float { value: f64, digits: usize },
}

impl Template {
    /// Looks a template over (42601 when it contradicts itself).
    pub fn of(parts: Vec<Part>) -> Result<Self> {
        let mut template = Self::default();
        for part in &parts {
            if let Part::Field { name, .. } = part {
                template.take(name)?;
            }
        }
        template.parts = parts;
        Ok(template)
    }

    fn take(&mut self, name: &str) -> Result<()> {
        let refuse = |is_wrong: bool, message: &str| match is_wrong {
            true => Err(fault(is_of::SYNTAX, message.to_owned())),
            false => Ok(()),
        };
        refuse(
            self.is_scientific && !name.eq_ignore_ascii_case("EEEE"),
            "\"EEEE\" must be the last pattern used",
        )?;
        match name.to_ascii_uppercase().as_str() {
            "9" => {
                refuse(self.has_bracket, "\"9\" must be ahead of \"PR\"")?;
                match (self.has_multi, self.has_point) {
                    (true, _) => self.multi += 1,
                    (_, true) => self.post += 1,
                    _ => self.pre += 1,
                }
            }
            "0" => {
                refuse(self.has_bracket, "\"0\" must be ahead of \"PR\"")?;
                if !self.has_zero && !self.has_point {
                    self.has_zero = true;
                    self.zero_start = self.pre + 1;
                }
                if self.has_point {
                    self.post += 1
                } else {
                    self.pre += 1
                }
                self.zero_end = self.pre + self.post;
            }
            "B" => self.is_blank |= self.pre == 0 && self.post == 0 && !self.has_zero,
            "D" | "." => {
                refuse(self.has_point, "multiple decimal points")?;
                refuse(self.has_multi, "cannot use \"V\" and decimal point together")?;
                self.has_point = true;
            }
            "FM" => self.is_filled = true,
            "S" => {
                refuse(self.has_sign, "cannot use \"S\" twice")?;
                let others = self.has_plus || self.has_minus || self.has_bracket;
                refuse(others, "cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together")?;
                self.has_sign = true;
                if self.has_point {
                    self.sign = Sign::Behind;
                } else {
                    self.sign = Sign::Before;
                    self.before_sign = self.pre;
                }
            }
            "MI" => {
                refuse(self.has_sign, "cannot use \"S\" and \"MI\" together")?;
                self.has_minus = true;
            }
            "PL" => {
                refuse(self.has_sign, "cannot use \"S\" and \"PL\" together")?;
                self.has_plus = true;
            }
            "SG" => {
                refuse(self.has_sign, "cannot use \"S\" and \"SG\" together")?;
                self.has_minus = true;
                self.has_plus = true;
            }
            "PR" => {
                let others = self.has_sign || self.has_plus || self.has_minus;
                refuse(others, "cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together")?;
                self.has_bracket = true;
            }
            "RN" => self.is_roman = true,
            "V" => {
                refuse(self.has_point, "cannot use \"V\" and decimal point together")?;
                self.has_multi = true;
            }
            "EEEE" => {
                refuse(self.is_scientific, "cannot use \"EEEE\" twice")?;
                let others = self.is_blank
                    || self.is_filled
                    || self.has_sign
                    || self.has_bracket
                    || self.has_minus
                    || self.has_plus
                    || self.is_roman
                    || self.has_multi;
                refuse(others, "\"EEEE\" is incompatible with other formats")?;
                self.is_scientific = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// The text of `number`.
    pub fn shown(&self, number: &Number) -> Result<String> {
        if self.is_roman {
            let whole = match number {
                Number::Whole(number) => Some(i64::from(*number)),
                Number::Large(number) => Some(of_32_bits(*number)?),
                Number::Exact(digits) => match rounded(digits, 0).parse() {
                    Ok(number) => Some(of_32_bits(number)?),
                    Err(_) => None,
                },
                Number::Float { value, .. } => Some(value.round_ties_even() as i64),
            };
            return Ok(self.roman_shown(&roman(whole)));
        }
        if self.is_scientific {
            return Ok(self.scientific(number));
        }
        let mut of = self.clone();
        of.pre += self.multi;
        let whole = match number {
            Number::Whole(number) => Some(i64::from(*number)),
            Number::Large(number) => Some(*number),
            _ => None,
        };
        let (is_negative, digits) = match number {
            Number::Whole(_) | Number::Large(_) => {
                let scaled = i128::from(whole.unwrap_or_default()) * 10i128.pow(self.multi.min(18) as u32);
                let digits = scaled.unsigned_abs().to_string();
                let zeros = if self.post > 0 { format!(".{}", "0".repeat(self.post)) } else { String::new() };
                (scaled < 0, digits + &zeros)
            }
            Number::Exact(digits) => {
                let rounded = rounded(&shifted(digits, self.multi), self.post);
                match rounded.strip_prefix('-') {
                    Some(digits) => (true, digits.to_owned()),
                    None => (false, rounded),
                }
            }
            Number::Float { value, digits } => {
                let value = value * 10f64.powi(self.multi as i32);
                let whole = in_digits(value.abs(), 0).len();
                of.post = of.post.min(digits.saturating_sub(whole));
                (value.is_sign_negative() && !value.is_nan(), in_digits(value.abs(), of.post))
            }
        };
        let places = digits.find('.').unwrap_or(digits.len());
        let (digits, spaces) = if places > of.pre {
            (format!("{}.{}", "#".repeat(of.pre), "#".repeat(of.post)), 0)
        } else {
            (digits, of.pre - places)
        };
        Shower::new(of, &digits, is_negative, spaces).run()
    }

    fn roman_shown(&self, number: &str) -> String {
        let mut shown = String::new();
        // The sign of a Roman number is none, and ends the text.
        let mut end = None;
        for part in &self.parts {
            let number = match part {
                Part::Field { name: "SG" | "sg", .. } => {
                    end.get_or_insert(shown.len());
                    continue;
                }
                Part::Field { name: "RN", .. } => number.to_owned(),
                Part::Field { name: "rn", .. } => number.to_ascii_lowercase(),
                Part::Field { name: "L" | "l", .. } => {
                    shown.push(' ');
                    continue;
                }
                Part::Field { name: "," | "G" | "g" | "MI" | "mi" | "PL" | "pl", .. } => {
                    if !self.is_filled {
                        shown.push(' ');
                    }
                    continue;
                }
                Part::Field { .. } => continue,
                Part::Letter(letter) | Part::Separator(letter) | Part::Space(letter) => {
                    shown.push(*letter);
                    continue;
                }
            };
            shown.push_str(&if self.is_filled { number } else { format!("{number:>ROMAN_WIDTH$}") });
        }
        shown.truncate(end.unwrap_or(shown.len()));
        shown
    }

    fn scientific(&self, number: &Number) -> String {
        let (digits, is_finite) = match number {
            Number::Whole(number) => (scientific_double(f64::from(*number), self.post), true),
            Number::Large(number) => (scientific(&number.to_string(), self.post), true),
            Number::Exact(digits) => {
                (scientific(digits, self.post), digits.bytes().any(|byte| byte.is_ascii_digit()))
            }
            Number::Float { value, .. } => (scientific_double(*value, self.post), value.is_finite()),
        };
        if !is_finite {
            return format!(" {}.{}", "#".repeat(self.pre), "#".repeat(self.post + 4));
        }
        if digits.starts_with('-') { digits } else { format!(" {digits}") }
    }

    /// Reads a number out of `text`; `None` for an empty template.
    pub fn read(&self, text: &str) -> Result<Option<String>> {
        if self.parts.is_empty() {
            return Ok(None);
        }
        if self.is_scientific || self.is_roman {
            let name = if self.is_scientific { "EEEE" } else { "RN" };
            return Err(fault(is_of::NOT_SUPPORTED, format!("\"{name}\" not supported for input")));
        }
        let mut reader = Reader {
            template: self,
            input: text.as_bytes(),
            at: 0,
            sign: None,
            digits: String::new(),
            before: 0,
            behind: 0,
            has_point: false,
        };
        reader.run();
        let digits = reader.digits.trim_end_matches('.');
        let valid = digits.bytes().any(|byte| byte.is_ascii_digit());
        if !valid {
            let read = format!("{}{digits}", reader.sign.unwrap_or(' '));
            return Err(fault(
                is_of::INVALID_TEXT,
                format!("invalid input syntax for type numeric: \"{read}\""),
            ));
        }
        if reader.before > self.pre + self.multi
            && digits.trim_start_matches('0').len() > self.pre + self.multi
        {
            return Err(fault(is_of::NUMBER_OUT_OF_RANGE, "numeric field overflow".to_owned()));
        }
        let sign = if reader.sign == Some('-') { "-" } else { "" };
        Ok(Some(format!("{sign}{}", unshifted(digits, self.multi))))
    }
}

/// Writes one number into a template.
struct Shower<'a> {
    of: Template,
    digits: &'a [u8],
    at: usize,
    is_negative: bool,
    spaces: usize,
    count: usize,
    current: usize,
    is_in_number: bool,
    sign_is_written: bool,
    /// The place of the last digit behind the point that is none of the zeros at the end.
    last_relevant: Option<usize>,
    /// Where the text ends, when a place found no digit: what comes behind it is not shown.
    end: Option<usize>,
    out: String,
}

impl<'a> Shower<'a> {
    fn new(mut of: Template, digits: &'a str, is_negative: bool, spaces: usize) -> Self {
        of.zero_start = of.zero_start.saturating_sub(1);
        let sign_is_written;
        if of.has_plus || of.has_minus {
            sign_is_written = !of.has_plus || of.has_minus;
        } else {
            if !is_negative && of.is_filled {
                of.has_bracket = false;
            }
            sign_is_written = !is_negative && of.is_filled && !of.has_sign;
            if of.sign == Sign::Before && of.pre == of.before_sign {
                of.sign = Sign::Behind;
            }
        }
        let mut last_relevant = None;
        if of.is_filled && of.has_point {
            last_relevant = last_relevant_of(digits);
            if let Some(last) = &mut last_relevant
                && of.zero_end > spaces
            {
                *last = (*last).max((digits.len() - 1).min(of.zero_end - spaces));
            }
        }
        let count =
            (of.post + of.pre).wrapping_sub(1).wrapping_add(usize::from(!sign_is_written && spaces == 0));
        Self {
            digits: digits.as_bytes(),
            at: 0,
            is_negative,
            spaces,
            count,
            current: 0,
            is_in_number: false,
            sign_is_written,
            last_relevant,
            end: None,
            out: String::new(),
            of,
        }
    }

    fn run(mut self) -> Result<String> {
        let parts = std::mem::take(&mut self.of.parts);
        for part in &parts {
            let name = match part {
                Part::Field { name, .. } => name.to_ascii_uppercase(),
                Part::Letter(letter) | Part::Separator(letter) | Part::Space(letter) => {
                    self.out.push(*letter);
                    continue;
                }
            };
            let is_filled = self.of.is_filled;
            match name.as_str() {
                "9" | "0" | "." | "D" => self.place(name == "0"),
                "," | "G" if self.is_in_number => self.out.push(','),
                "MI" if self.is_negative => self.out.push('-'),
                "PL" if !self.is_negative => self.out.push('+'),
                "," | "G" | "MI" | "PL" if is_filled => {}
                "," | "G" | "MI" | "PL" => self.out.push(' '),
                "L" => self.out.push(' '),
                "TH" => {
                    let is_number = self.digits.first() != Some(&b'#');
                    if is_number && !self.is_negative && !self.of.has_point {
                        let digits = std::str::from_utf8(self.digits).unwrap_or_default();
                        if !digits.ends_with(|digit: char| digit.is_ascii_digit()) {
                            let message = format!("\"{digits}\" is not a number");
                            return Err(fault(is_of::INVALID_TEXT, message));
                        }
                        let ending = ordinal_ending(digits);
                        let is_lower = matches!(part, Part::Field { name: "th", .. });
                        self.out.push_str(&if is_lower {
                            ending.to_owned()
                        } else {
                            ending.to_ascii_uppercase()
                        });
                    }
                }
                "SG" => self.out.push(if self.is_negative { '-' } else { '+' }),
                _ => {}
            }
        }
        if let Some(end) = self.end {
            self.out.truncate(end);
        }
        Ok(self.out)
    }

    fn is_zero_before_point(&self) -> bool {
        !self.of.has_zero && self.at == 0 && self.digits.first() == Some(&b'0') && self.of.post != 0
    }

    fn last_relevant_is_point(&self) -> bool {
        self.last_relevant.is_some_and(|at| self.digits.get(at) == Some(&b'.'))
    }

    /// Shows what belongs into the next place.
    fn place(&mut self, is_zero: bool) {
        let is_filled = self.of.is_filled;
        self.is_in_number = false;
        let is_here = self.current >= self.spaces || (self.of.has_zero && self.of.zero_start == self.current);
        if !self.sign_is_written && is_here && (!self.is_zero_before_point() || self.last_relevant_is_point())
        {
            if self.of.has_sign {
                if self.of.sign == Sign::Before {
                    self.out.push(if self.is_negative { '-' } else { '+' });
                    self.sign_is_written = true;
                }
            } else if self.of.has_bracket {
                self.out.push(if self.is_negative { '<' } else { ' ' });
                self.sign_is_written = true;
            } else if self.is_negative {
                self.out.push('-');
                self.sign_is_written = true;
            } else {
                if !is_filled {
                    self.out.push(' ');
                }
                self.sign_is_written = true;
            }
        }
        let is_before = self.current < self.spaces;
        if is_before && (!self.of.has_zero || self.of.zero_start > self.current) {
            if !is_filled {
                self.out.push(' ');
            }
        } else if is_before && self.of.has_zero {
            self.out.push('0');
            self.is_in_number = true;
        } else {
            match self.digits.get(self.at).copied() {
                Some(b'.') => {
                    if !self.last_relevant_is_point() || is_filled {
                        self.out.push('.');
                    }
                }
                digit => {
                    let is_past = self.last_relevant.is_some_and(|last| self.at > last);
                    if is_past && !is_zero {
                    } else if self.is_zero_before_point() {
                        if !is_filled {
                            self.out.push(' ');
                        } else if self.last_relevant_is_point() {
                            self.out.push('0');
                        }
                    } else if let Some(digit) = digit {
                        self.out.push(char::from(digit));
                        self.is_in_number = true;
                    } else {
                        self.end.get_or_insert(self.out.len());
                    }
                }
            }
            if self.at < self.digits.len() {
                self.at += 1;
            }
        }
        let mut end = self
            .count
            .wrapping_add(usize::from(self.spaces > 0))
            .wrapping_add(usize::from(self.of.has_point));
        if self.last_relevant == Some(self.at) {
            end = self.current;
        }
        if self.current + 1 == end {
            if self.sign_is_written && self.of.has_bracket {
                self.out.push(if self.is_negative { '>' } else { ' ' });
            } else if self.of.has_sign && self.of.sign == Sign::Behind {
                self.out.push(if self.is_negative { '-' } else { '+' });
            }
        }
        self.current += 1;
    }
}

/// Reads one number.
struct Reader<'a> {
    template: &'a Template,
    input: &'a [u8],
    at: usize,
    sign: Option<char>,
    digits: String,
    before: usize,
    behind: usize,
    has_point: bool,
}

impl Reader<'_> {
    fn run(&mut self) {
        for part in &self.template.parts {
            if self.at >= self.input.len() {
                return;
            }
            let Part::Field { name, .. } = part else {
                self.skip_letter();
                continue;
            };
            match name.to_ascii_uppercase().as_str() {
                name @ ("9" | "0" | "." | "D") => {
                    self.place(matches!(name, "9" | "0"));
                    self.at += 1;
                }
                // Nothing is asked of the text where the template is filled and no number has begun.
                "," | "G" if !self.template.is_filled && self.input.get(self.at) == Some(&b',') => {
                    self.at += 1
                }
                "L" => self.skip_others(1),
                "TH" if !self.template.has_point => self.skip_others(2),
                name @ ("MI" | "PL" | "SG") => match self.input[self.at] {
                    b'-' if name != "PL" => self.take_sign('-'),
                    b'+' if name != "MI" => self.take_sign('+'),
                    _ => self.skip_others(1),
                },
                _ => {}
            }
        }
    }

    fn take_sign(&mut self, sign: char) {
        self.sign = Some(sign);
        self.at += 1;
    }

    fn skip_letter(&mut self) {
        self.at += 1;
        while self.input.get(self.at).is_some_and(|byte| byte & 0xC0 == 0x80) {
            self.at += 1;
        }
    }

    /// Passes over letters that are no part of a number.
    fn skip_others(&mut self, count: usize) {
        for _ in 0..count {
            match self.input.get(self.at) {
                None | Some(b'0'..=b'9' | b'.' | b',' | b'+' | b'-') => return,
                Some(_) => self.skip_letter(),
            }
        }
    }

    /// Reads for a place of the template. What it has read is passed by the caller.
    fn place(&mut self, is_digit: bool) {
        let of = self.template;
        if self.input[self.at] == b' ' {
            self.at += 1;
        }
        let Some(&next) = self.input.get(self.at) else { return };
        let mut is_read = false;
        if self.sign.is_none() && is_digit && self.before + self.behind == 0 {
            let is_signed = if of.has_sign && of.sign == Sign::Before {
                matches!(next, b'-' | b'+')
            } else {
                matches!(next, b'-' | b'+') || (of.has_bracket && next == b'<')
            };
            if is_signed {
                self.take_sign(if next == b'+' { '+' } else { '-' });
            }
        }
        let Some(&next) = self.input.get(self.at) else { return };
        if next.is_ascii_digit() {
            if self.has_point && self.behind == of.post {
                return;
            }
            self.digits.push(char::from(next));
            if self.has_point {
                self.behind += 1
            } else {
                self.before += 1
            }
            is_read = true;
        } else if of.has_point && !self.has_point && next == b'.' {
            self.digits.push('.');
            self.has_point = true;
            is_read = true;
        }
        if self.sign.is_none() && self.before + self.behind > 0 {
            let after = self.input.get(self.at + 1);
            if of.has_sign && is_read {
                if let Some(sign @ (b'-' | b'+')) = after {
                    self.sign = Some(char::from(*sign));
                    self.at += 1;
                }
            } else if !is_read && !of.has_sign && (of.has_plus || of.has_minus) && matches!(next, b'-' | b'+')
            {
                self.sign = Some(char::from(next));
            }
        }
    }
}

/// The place of the last digit behind the point that is not 0, or of the point; `None` without a point.
fn last_relevant_of(digits: &str) -> Option<usize> {
    let point = digits.find('.')?;
    Some(digits[point + 1..].rfind(|digit| digit != '0').map_or(point, |at| point + 1 + at))
}

/// A double with `places` behind its point, as C's `%.*f`.
fn in_digits(value: f64, places: usize) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value.is_infinite() => "Infinity".to_owned(),
        value => format!("{value:.places$}"),
    }
}

/// `digits` with `places` behind the point, rounded half away from zero.
fn rounded(digits: &str, places: usize) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("{sign}{digits}");
    }
    let mut kept: Vec<u8> =
        whole.bytes().chain(fraction.bytes().chain(std::iter::repeat(b'0')).take(places)).collect();
    if fraction.as_bytes().get(places).is_some_and(|digit| *digit >= b'5') {
        let mut at = kept.len();
        loop {
            if at == 0 {
                kept.insert(0, b'1');
                break;
            }
            at -= 1;
            if kept[at] < b'9' {
                kept[at] += 1;
                break;
            }
            kept[at] = b'0';
        }
    }
    let sign = if kept.iter().all(|digit| *digit == b'0') { "" } else { sign };
    let kept = String::from_utf8(kept).unwrap_or_default();
    let (whole, fraction) = kept.split_at(kept.len() - places);
    let whole = if whole.is_empty() { "0" } else { whole };
    if places == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// `digits` times 10 to the `places`.
fn shifted(digits: &str, places: usize) -> String {
    if places == 0 {
        return digits.to_owned();
    }
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let moved: String = fraction.chars().chain(std::iter::repeat('0')).take(places).collect();
    let rest = fraction.get(places..).unwrap_or_default();
    let whole = format!("{whole}{moved}");
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    if rest.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
}

/// `digits` divided by 10 to the `places`.
fn unshifted(digits: &str, places: usize) -> String {
    if places == 0 {
        return digits.to_owned();
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let padded = format!("{whole:0>width$}", width = places + 1);
    let (whole, moved) = padded.split_at(padded.len() - places);
    format!("{whole}.{moved}{fraction}")
}

/// `1.23e+04`, rounded half away from zero as `numeric` is.
fn scientific(digits: &str, places: usize) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all: String = format!("{whole}{fraction}");
    let Some(first) = all.find(|digit| digit != '0') else {
        let zeros = if places > 0 { format!(".{}", "0".repeat(places)) } else { String::new() };
        return format!("0{zeros}e+00");
    };
    let exponent = whole.len() as i64 - first as i64 - 1;
    let (head, rest) = all[first..].split_at(1);
    // The exponent is that of the number before it is rounded, as PostgreSQL's is: 9.99 may become 10.0.
    let mantissa = rounded(&format!("{head}.{rest}"), places);
    let direction = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{mantissa}e{direction}{:02}", exponent.abs())
}

/// The same of a double: C's `%.*e`.
fn scientific_double(value: f64, places: usize) -> String {
    let shown = format!("{value:.places$e}");
    let Some((mantissa, exponent)) = shown.split_once('e') else { return shown };
    let (direction, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{mantissa}e{direction}{exponent:0>2}")
}

fn of_32_bits(number: i64) -> Result<i64> {
    match i32::try_from(number) {
        Ok(_) => Ok(number),
        Err(_) => Err(fault(is_of::NUMBER_OUT_OF_RANGE, "integer out of range".to_owned())),
    }
}

/// A number from 1 to 3999; `#` for others.
fn roman(number: Option<i64>) -> String {
    const PARTS: [(i64, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let Some(mut rest) = number.filter(|number| (1..=3999).contains(number)) else {
        return "#".repeat(ROMAN_WIDTH);
    };
    let mut roman = String::new();
    for (value, letters) in PARTS {
        while rest >= value {
            rest -= value;
            roman.push_str(letters);
        }
    }
    roman
}
