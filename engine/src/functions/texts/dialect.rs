//! PostgreSQL's regular expressions, and patterns of SIMILAR TO, as those that are matched here.

/// Why a pattern cannot be matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It is none (2201B).
    Invalid(&'static str),
    /// PostgreSQL matches it and we do not (0A000).
    Unsupported(&'static str),
    /// An option that there is none of (22023).
    Option(char),
    /// An escape of more than one letter (22025).
    Escape,
}

type Result<T> = std::result::Result<T, Problem>;

/// The most that a repetition may say.
const REPEATED_MAX: u32 = 255;

/// What the letters of a flags argument say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// `g`: all matches.
    pub is_global: bool,
    /// `i`: letters of either case.
    pub ignores_case: bool,
    /// `n`: lines are matched for themselves.
    is_of_lines: bool,
    /// `p`: dots and brackets stop at lines.
    stops_at_lines: bool,
    /// `w`: `^` and `$` are of lines.
    anchors_at_lines: bool,
    /// `x`: blanks and comments say nothing.
    is_expanded: bool,
    /// `q`: no letter is special.
    is_literal: bool,
}

impl Flags {
    /// Reads `letters`.
    pub fn read(letters: &str) -> Result<Self> {
        let mut flags = Self::default();
        for letter in letters.chars() {
            flags.take(letter, true)?;
        }
        Ok(flags)
    }

    fn take(&mut self, letter: char, may_be_global: bool) -> Result<()> {
        match letter {
            'g' if may_be_global => self.is_global = true,
            'i' => self.ignores_case = true,
            'c' => self.ignores_case = false,
            'n' | 'm' => self.set_lines(true, false, false),
            'p' => self.set_lines(false, true, false),
            'w' => self.set_lines(false, false, true),
            's' => self.set_lines(false, false, false),
            'x' => self.is_expanded = true,
            't' => self.is_expanded = false,
            'q' => self.is_literal = true,
            'a' | 'e' => {}
            'b' => return Err(Problem::Unsupported("basic regular expressions are not supported")),
            other => return Err(Problem::Option(other)),
        }
        Ok(())
    }

    fn set_lines(&mut self, both: bool, stops: bool, anchors: bool) {
        (self.is_of_lines, self.stops_at_lines, self.anchors_at_lines) = (both, stops, anchors);
    }
}

/// `pattern`, an advanced regular expression of PostgreSQL's, in the syntax of the regex crate: for asking whether it matches.
pub fn translated(pattern: &str, flags: Flags) -> Result<String> {
    read(pattern, flags, false)
}

/// The same for asking what it matches. Where some repetitions are to match little and others much, PostgreSQL has rules of its
/// own for how much that is.
pub fn extracting(pattern: &str, flags: Flags) -> Result<String> {
    read(pattern, flags, true)
}

fn read(pattern: &str, mut flags: Flags, is_extracting: bool) -> Result<String> {
    let mut pattern = pattern;
    if let Some(rest) = pattern.strip_prefix("***=") {
        (pattern, flags.is_literal) = (rest, true);
    } else if let Some(rest) = pattern.strip_prefix("***:") {
        pattern = rest;
    } else if pattern.starts_with("***") {
        return Err(Problem::Invalid("quantifier operand invalid"));
    }
    if !flags.is_literal
        && let Some(rest) = pattern.strip_prefix("(?")
        && let Some((letters, rest)) = rest.split_once(')')
        && !letters.is_empty()
        && letters.bytes().all(|letter| letter.is_ascii_alphabetic())
    {
        for letter in letters.chars() {
            flags.take(letter, false).map_err(|problem| match problem {
                Problem::Option(_) => Problem::Invalid("invalid embedded option"),
                other => other,
            })?;
        }
        pattern = rest;
    }
    let mut out = String::with_capacity(pattern.len() + 8);
    if flags.is_literal {
        pattern.chars().for_each(|letter| put_literal(letter, &mut out));
    } else {
        let letters: Vec<char> = pattern.chars().collect();
        let mut reader = Reader {
            letters: &letters,
            at: 0,
            flags,
            out: &mut out,
            has_dot: false,
            has_lazy: false,
            has_greedy: false,
            is_hidden: false,
        };
        reader.read()?;
        if is_extracting && reader.is_hidden {
            return Err(Problem::Unsupported(
                "alternatives that begin with others before them are not supported",
            ));
        }
        if is_extracting && reader.has_lazy && reader.has_greedy {
            return Err(Problem::Unsupported(
                "repetitions of both kinds in one regular expression are not supported",
            ));
        }
        if reader.has_dot && !(flags.is_of_lines || flags.stops_at_lines) {
            out.insert_str(0, "(?s)");
        }
    }
    if flags.is_of_lines || flags.anchors_at_lines {
        out.insert_str(0, "(?m)");
    }
    if flags.ignores_case {
        out.insert_str(0, "(?i)");
    }
    Ok(out)
}

fn put_literal(letter: char, out: &mut String) {
    if letter.is_ascii_punctuation() && !matches!(letter, '<' | '>' | '_') {
        out.push('\\');
    }
    out.push(letter);
}

struct Reader<'a> {
    letters: &'a [char],
    at: usize,
    flags: Flags,
    out: &'a mut String,
    has_dot: bool,
    /// Repetitions that match as little as they can, and as much.
    has_lazy: bool,
    has_greedy: bool,
    /// True when an alternative is matched only where one before it is, which is shorter: PostgreSQL takes the longest.
    is_hidden: bool,
}

/// The alternatives of a group so far, by their letters where they are nothing else.
struct Branches {
    before: Vec<String>,
    current: Option<String>,
}

impl Branches {
    fn new() -> Self {
        Self { before: Vec::new(), current: Some(String::new()) }
    }

    /// Ends an alternative. True when one before it is its beginning.
    fn end(&mut self) -> bool {
        let Some(letters) = self.current.replace(String::new()) else { return false };
        let is_hidden =
            self.before.iter().any(|before| letters != *before && letters.starts_with(before.as_str()));
        self.before.push(letters);
        is_hidden
    }
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.letters.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek(0);
        self.at += 1;
        letter
    }

    fn read(&mut self) -> Result<()> {
        // Whether something stands before that can be repeated.
        let mut may_repeat = false;
        let mut groups = vec![Branches::new()];
        while let Some(letter) = self.next() {
            let is_letter = !"()|^$.[*+?{\\".contains(letter);
            if let Some(branches) = groups.last_mut()
                && !is_letter
                && letter != '|'
                && letter != ')'
            {
                branches.current = None;
            }
            match letter {
                '(' => {
                    if self.peek(0) == Some('?') {
                        match self.peek(1) {
                            Some(':') => {
                                self.at += 2;
                                self.out.push_str("(?:");
                            }
                            Some('=' | '!' | '<') => {
                                return Err(Problem::Unsupported(
                                    "lookaround in regular expressions is not supported",
                                ));
                            }
                            Some('#') => {
                                while self.next().ok_or(Problem::Invalid("parentheses () not balanced"))?
                                    != ')'
                                {}
                                continue;
                            }
                            _ => return Err(Problem::Invalid("quantifier operand invalid")),
                        }
                    } else {
                        self.out.push('(');
                    }
                    groups.push(Branches::new());
                    may_repeat = false;
                }
                ')' => {
                    if groups.len() == 1 {
                        return Err(Problem::Invalid("parentheses () not balanced"));
                    }
                    self.is_hidden |= groups.pop().is_some_and(|mut branches| branches.end());
                    self.out.push(')');
                    may_repeat = true;
                }
                '|' => {
                    self.is_hidden |= groups.last_mut().is_some_and(Branches::end);
                    self.out.push('|');
                    may_repeat = false;
                }
                '^' | '$' => {
                    self.out.push(letter);
                    // What stands for a place cannot be repeated.
                    may_repeat = false;
                }
                '.' => {
                    self.has_dot = true;
                    self.out.push('.');
                    may_repeat = true;
                }
                '[' => {
                    if self.starts_with("[:<:]]") || self.starts_with("[:>:]]") {
                        let is_start = self.peek(2) == Some('<');
                        self.at += 6;
                        self.out.push_str(if is_start { r"\b{start}" } else { r"\b{end}" });
                        may_repeat = false;
                    } else {
                        self.bracket()?;
                        may_repeat = true;
                    }
                }
                '*' | '+' | '?' => {
                    if !may_repeat {
                        return Err(Problem::Invalid("quantifier operand invalid"));
                    }
                    self.out.push(letter);
                    self.lazily();
                    may_repeat = false;
                }
                '{' if self.peek(0).is_some_and(|next| next.is_ascii_digit()) => {
                    if !may_repeat {
                        return Err(Problem::Invalid("quantifier operand invalid"));
                    }
                    self.repetition()?;
                    self.lazily();
                    may_repeat = false;
                }
                '\\' => may_repeat = self.escape()?,
                letter if self.flags.is_expanded && letter.is_whitespace() => {}
                '#' if self.flags.is_expanded => {
                    while self.peek(0).is_some_and(|letter| letter != '\n') {
                        self.at += 1;
                    }
                }
                letter => {
                    if let Some(current) = groups.last_mut().and_then(|branches| branches.current.as_mut()) {
                        current.push(letter);
                    }
                    put_literal(letter, self.out);
                    may_repeat = true;
                }
            }
        }
        self.is_hidden |= groups.last_mut().is_some_and(Branches::end);
        if groups.len() == 1 { Ok(()) } else { Err(Problem::Invalid("parentheses () not balanced")) }
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(ahead, letter)| self.peek(ahead) == Some(letter))
    }

    fn lazily(&mut self) {
        if self.peek(0) == Some('?') {
            self.at += 1;
            self.out.push('?');
            self.has_lazy = true;
        } else {
            self.has_greedy = true;
        }
    }

    fn number(&mut self) -> Result<Option<u32>> {
        let mut number = None;
        while let Some(digit) = self.peek(0).and_then(|letter| letter.to_digit(10)) {
            let value = number.unwrap_or(0u32).saturating_mul(10).saturating_add(digit);
            if value > REPEATED_MAX {
                return Err(Problem::Invalid("invalid repetition count(s)"));
            }
            number = Some(value);
            self.at += 1;
        }
        Ok(number)
    }

    fn repetition(&mut self) -> Result<()> {
        let wrong = Problem::Invalid("invalid repetition count(s)");
        let least = self.number()?.ok_or(wrong.clone())?;
        let mut most = Some(least);
        if self.peek(0) == Some(',') {
            self.at += 1;
            most = self.number()?;
        }
        if self.next() != Some('}') {
            return Err(Problem::Invalid("braces {} not balanced"));
        }
        if most.is_some_and(|most| most < least) {
            return Err(wrong);
        }
        match most {
            Some(most) if most == least => self.out.push_str(&format!("{{{least}}}")),
            Some(most) => self.out.push_str(&format!("{{{least},{most}}}")),
            None => self.out.push_str(&format!("{{{least},}}")),
        }
        Ok(())
    }

    /// Behind a backslash. True for what can be repeated.
    fn escape(&mut self) -> Result<bool> {
        let letter = self.next().ok_or(Problem::Invalid("invalid escape \\ sequence"))?;
        if let Some(character) = self.character(letter)? {
            put_literal(character, self.out);
            return Ok(true);
        }
        let (text, may_repeat) = match letter {
            'd' => ("[0-9]", true),
            'D' => ("[^0-9]", true),
            's' => (r"\s", true),
            'S' => (r"\S", true),
            'w' => (r"\w", true),
            'W' => (r"\W", true),
            'm' => (r"\b{start}", false),
            'M' => (r"\b{end}", false),
            'y' => (r"\b", false),
            'Y' => (r"\B", false),
            'A' => (r"\A", false),
            'Z' => (r"\z", false),
            '1'..='9' => {
                return Err(Problem::Unsupported("back references in regular expressions are not supported"));
            }
            _ => return Err(Problem::Invalid("invalid escape \\ sequence")),
        };
        self.out.push_str(text);
        Ok(may_repeat)
    }

    /// The one character that an escape stands for.
    fn character(&mut self, letter: char) -> Result<Option<char>> {
        let wrong = Problem::Invalid("invalid escape \\ sequence");
        Ok(Some(match letter {
            'a' => '\x07',
            'b' => '\x08',
            'B' => '\\',
            'e' => '\x1b',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '0' => {
                return Err(Problem::Unsupported("octal escapes in regular expressions are not supported"));
            }
            'c' => {
                let letter = self.next().ok_or(wrong.clone())?;
                char::from_u32(letter as u32 & 0x1f).ok_or(wrong)?
            }
            'u' => self.hexadecimal(4)?,
            'U' => self.hexadecimal(8)?,
            'x' => {
                let digits = self.letters[self.at.min(self.letters.len())..]
                    .iter()
                    .take_while(|letter| letter.is_ascii_hexdigit())
                    .count();
                self.hexadecimal(digits.min(255))?
            }
            letter if letter.is_ascii_alphanumeric() => return Ok(None),
            letter => letter,
        }))
    }

    fn hexadecimal(&mut self, digits: usize) -> Result<char> {
        let wrong = Problem::Invalid("invalid escape \\ sequence");
        if digits == 0 {
            return Err(wrong);
        }
        let mut value = 0u32;
        for _ in 0..digits {
            let digit = self.next().and_then(|letter| letter.to_digit(16)).ok_or(wrong.clone())?;
            value = value.checked_mul(16).ok_or(wrong.clone())? + digit;
        }
        char::from_u32(value).filter(|letter| *letter != '\0').ok_or(wrong)
    }

    /// A bracket expression, behind its bracket.
    fn bracket(&mut self) -> Result<()> {
        let open = Problem::Invalid("brackets [] not balanced");
        let is_negated = self.peek(0) == Some('^');
        self.at += usize::from(is_negated);
        self.out.push_str(if is_negated { "[^" } else { "[" });
        if is_negated && (self.flags.is_of_lines || self.flags.stops_at_lines) {
            self.out.push_str(r"\n");
        }
        let mut is_first = true;
        loop {
            let letter = self.next().ok_or(open.clone())?;
            match letter {
                ']' if !is_first => break,
                '[' if self.peek(0) == Some(':') => self.class()?,
                '[' if matches!(self.peek(0), Some('.' | '=')) => {
                    return Err(Problem::Unsupported(
                        "collating elements in regular expressions are not supported",
                    ));
                }
                '\\' => {
                    let letter = self.next().ok_or(open.clone())?;
                    match self.character(letter)? {
                        Some(character) => self.range_from(character)?,
                        None => match letter {
                            'd' => self.out.push_str("0-9"),
                            's' => self.out.push_str(r"\s"),
                            'w' => self.out.push_str(r"\w"),
                            _ => return Err(Problem::Invalid("invalid escape \\ sequence")),
                        },
                    }
                }
                letter => self.range_from(letter)?,
            }
            is_first = false;
        }
        self.out.push(']');
        Ok(())
    }

    /// `letter`, or the range that begins with it.
    fn range_from(&mut self, letter: char) -> Result<()> {
        put_literal(letter, self.out);
        if self.peek(0) != Some('-') || self.peek(1).is_none_or(|end| end == ']') {
            return Ok(());
        }
        self.at += 1;
        let end = self.next().ok_or(Problem::Invalid("brackets [] not balanced"))?;
        let end = match end {
            '[' if matches!(self.peek(0), Some(':' | '.' | '=')) => {
                return Err(Problem::Invalid("invalid character range"));
            }
            '\\' => {
                let letter = self.next().ok_or(Problem::Invalid("brackets [] not balanced"))?;
                self.character(letter)?.ok_or(Problem::Invalid("invalid character range"))?
            }
            end => end,
        };
        if end < letter {
            return Err(Problem::Invalid("invalid character range"));
        }
        self.out.push('-');
        put_literal(end, self.out);
        Ok(())
    }

    /// `[:name:]` within brackets.
    fn class(&mut self) -> Result<()> {
        let wrong = Problem::Invalid("invalid character class");
        self.at += 1;
        let mut name = String::new();
        loop {
            match self.next().ok_or(Problem::Invalid("brackets [] not balanced"))? {
                ':' => break,
                letter => name.push(letter),
            }
        }
        if self.next() != Some(']') {
            return Err(wrong);
        }
        self.out.push_str(match name.as_str() {
            "alpha" => r"\p{Alphabetic}",
            "alnum" => r"\p{Alphabetic}0-9",
            "digit" => "0-9",
            "xdigit" => "0-9A-Fa-f",
            "lower" => r"\p{Lowercase}",
            "upper" => r"\p{Uppercase}",
            "space" => r"\s",
            "blank" => r" \t",
            "word" => r"\w",
            "punct" | "graph" | "print" | "cntrl" | "ascii" => {
                self.out.push_str(&format!("[:{name}:]"));
                return Ok(());
            }
            _ => return Err(wrong),
        });
        Ok(())
    }
}

/// A pattern of SIMILAR TO as a regular expression in the syntax of the regex crate. `escape` is none where there is no escape.
pub fn similar(pattern: &str, escape: Option<char>) -> Result<String> {
    // As PostgreSQL writes it, in its own syntax.
    let mut written = String::from("^(?:");
    let mut in_bracket = false;
    let mut letters = pattern.chars().peekable();
    // A first letter of a bracket expression closes nothing.
    let mut bracket_start = false;
    while let Some(letter) = letters.next() {
        if Some(letter) == escape {
            match letters.next() {
                Some('"') if !in_bracket => {
                    return Err(Problem::Unsupported("separators in patterns of SIMILAR are not supported"));
                }
                Some(next) => {
                    written.push('\\');
                    written.push(next);
                    bracket_start = false;
                    continue;
                }
                None => return Err(Problem::Invalid("invalid escape \\ sequence")),
            }
        }
        if in_bracket {
            if letter == '\\' {
                written.push('\\');
            }
            written.push(letter);
            match letter {
                ']' if !bracket_start => in_bracket = false,
                '^' if bracket_start => continue,
                _ => {}
            }
            bracket_start = false;
            continue;
        }
        match letter {
            '[' => {
                written.push('[');
                (in_bracket, bracket_start) = (true, true);
            }
            '%' => written.push_str(".*"),
            '_' => written.push('.'),
            '(' => written.push_str("(?:"),
            '\\' | '.' | '^' | '$' => {
                written.push('\\');
                written.push(letter);
            }
            letter => written.push(letter),
        }
    }
    written.push_str(")$");
    translated(&written, Flags::default())
}

/// A part of the text that matches are replaced by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Text(String),
    /// What a group matched; 0 is all that was matched.
    Group(usize),
}

/// Reads the text that matches are replaced by.
pub fn replacement(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let group = match letter {
            '\\' => match letters.next() {
                Some('&') => 0,
                Some(digit @ '1'..='9') => digit as usize - '0' as usize,
                Some('\\') | None => {
                    plain.push('\\');
                    continue;
                }
                Some(other) => {
                    plain.extend(['\\', other]);
                    continue;
                }
            },
            letter => {
                plain.push(letter);
                continue;
            }
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Group(group));
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(pattern: &str) -> Result<String> {
        translated(pattern, Flags::default())
    }

    #[test]
    fn expressions_are_translated() {
        assert_eq!(plain("foo.*").as_deref(), Ok("(?s)foo.*"));
        assert_eq!(plain(r"\mfoo\M").as_deref(), Ok(r"\b{start}foo\b{end}"));
        assert_eq!(plain("a{,2}").as_deref(), Ok(r"a\{\,2\}"));
        assert_eq!(plain("[]a-z[&]").as_deref(), Ok(r"[\]a-z\[\&]"));
        assert_eq!(plain("[^[:alpha:]]").as_deref(), Ok(r"[^\p{Alphabetic}]"));
        assert_eq!(plain("(?i)a").as_deref(), Ok("(?i)a"));
        assert_eq!(plain("***=a.b").as_deref(), Ok(r"a\.b"));
        for wrong in ["a**", "*a", "(", "a)", "[a", "a{2", "a{3,2}", "[[:nope:]]", "\\q", "a{256}", "(?a*b"] {
            assert!(matches!(plain(wrong), Err(Problem::Invalid(_))), "{wrong}: {:?}", plain(wrong));
        }
        for refused in [r"(a)\1", "a(?=b)", "[[.a.]]"] {
            assert!(matches!(plain(refused), Err(Problem::Unsupported(_))), "{refused}");
        }
    }

    #[test]
    fn what_is_extracted_is_of_one_kind() {
        assert!(extracting("a.*?b", Flags::default()).is_ok());
        assert!(extracting("Y*?([0-9]+)", Flags::default()).is_err());
        assert!(plain("Y*?([0-9]+)").is_ok());
        assert!(extracting("a|ab", Flags::default()).is_err());
        assert!(extracting("x(foo|fo|bar)|y", Flags::default()).is_ok());
    }

    #[test]
    fn similar_patterns_match_whole_texts() {
        assert_eq!(similar("a_c%", Some('\\')).as_deref(), Ok("(?s)^(?:a.c.*)$"));
        assert_eq!(similar("a.c", Some('\\')).as_deref(), Ok(r"^(?:a\.c)$"));
        assert_eq!(similar("a#%c", Some('#')).as_deref(), Ok(r"^(?:a\%c)$"));
        assert_eq!(similar("(b|c)", Some('\\')).as_deref(), Ok("^(?:(?:b|c))$"));
    }

    #[test]
    fn replacements_keep_what_is_not_special() {
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(replacement(r"X\1$1\&"), [text("X"), Piece::Group(1), text("$1"), Piece::Group(0)]);
        assert_eq!(replacement(r"\\1\x"), [text(r"\1\x")]);
    }
}
