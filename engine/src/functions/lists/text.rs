//! The text of an array: how PostgreSQL reads `{1,NULL,"a b"}`, and how it quotes.

/// What a text of an array says.
#[derive(Debug, PartialEq, Eq)]
pub struct Literal {
    /// How many there are in each dimension, the outermost first; none for an empty array.
    pub dimensions: Vec<usize>,
    /// The items, the last dimension's next to each other.
    pub items: Vec<Option<String>>,
}

/// Why a text is none of an array that is held here.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is of no array.
    Malformed,
    /// It has more dimensions than PostgreSQL lets arrays have.
    TooDeep(usize),
    /// It tells where its subscripts begin.
    Bounds,
}

/// PostgreSQL's `MAXDIM`.
pub const DIMENSIONS_MAX: usize = 6;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    NoLevel,
    LevelStarted,
    ElementStarted,
    QuotedCompleted,
    LevelCompleted,
    ElementDelimited,
    LevelDelimited,
}

/// Reads the text of an array, as `array_in` does.
pub fn read(text: &str) -> Result<Literal, Fault> {
    let text = text.trim_matches(is_space);
    if text.starts_with('[') {
        return Err(if text.contains("={") { Fault::Bounds } else { Fault::Malformed });
    }
    if !text.starts_with('{') {
        return Err(Fault::Malformed);
    }
    let mut reader = Reader::default();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                if !reader.may_start() {
                    return Err(Fault::Malformed);
                }
                reader.quoted(&mut letters)?;
            }
            '\\' => {
                if !reader.may_start() && reader.state != State::ElementStarted {
                    return Err(Fault::Malformed);
                }
                reader.plain(letters.next().ok_or(Fault::Malformed)?, true);
            }
            '{' => reader.open()?,
            '}' => {
                reader.close()?;
                if reader.depth == 0 {
                    let is_end = letters.next().is_none();
                    return if is_end { Ok(reader.read()) } else { Err(Fault::Malformed) };
                }
            }
            ',' => reader.delimit()?,
            letter if is_space(letter) => {
                if reader.state == State::ElementStarted {
                    reader.item.push(letter);
                }
            }
            letter => {
                if !reader.may_start() && reader.state != State::ElementStarted {
                    return Err(Fault::Malformed);
                }
                reader.plain(letter, false);
            }
        }
    }
    Err(Fault::Malformed)
}

/// Whatever C's `isspace` takes for space.
fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

struct Reader {
    state: State,
    depth: usize,
    deepest: usize,
    /// Of each open level, how many there are so far; and how many the last closed one had.
    counts: [usize; DIMENSIONS_MAX],
    lengths: [usize; DIMENSIONS_MAX],
    item: String,
    /// As much of the item is not trimmed, and it is no NULL.
    kept: usize,
    items: Vec<Option<String>>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            state: State::NoLevel,
            depth: 0,
            deepest: 0,
            counts: [0; DIMENSIONS_MAX],
            lengths: [0; DIMENSIONS_MAX],
            item: String::new(),
            kept: 0,
            items: Vec::new(),
        }
    }
}

impl Reader {
    fn may_start(&self) -> bool {
        matches!(self.state, State::LevelStarted | State::ElementDelimited)
    }

    fn plain(&mut self, letter: char, is_escaped: bool) {
        self.item.push(letter);
        if is_escaped {
            self.kept = self.item.len();
        }
        self.state = State::ElementStarted;
    }

    fn quoted(&mut self, letters: &mut impl Iterator<Item = char>) -> Result<(), Fault> {
        loop {
            match letters.next().ok_or(Fault::Malformed)? {
                '"' => break,
                '\\' => self.item.push(letters.next().ok_or(Fault::Malformed)?),
                letter => self.item.push(letter),
            }
        }
        self.state = State::QuotedCompleted;
        Ok(())
    }

    fn open(&mut self) -> Result<(), Fault> {
        if !matches!(self.state, State::NoLevel | State::LevelStarted | State::LevelDelimited) {
            return Err(Fault::Malformed);
        }
        if self.depth >= DIMENSIONS_MAX {
            return Err(Fault::TooDeep(self.depth + 1));
        }
        // Items lie in the innermost level alone.
        if !self.items.is_empty() && self.depth >= self.deepest {
            return Err(Fault::Malformed);
        }
        self.counts[self.depth] = 0;
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        self.state = State::LevelStarted;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        match self.state {
            State::ElementStarted | State::QuotedCompleted => self.end_item()?,
            State::LevelCompleted => {}
            State::LevelStarted if self.depth == 1 => {}
            _ => return Err(Fault::Malformed),
        }
        self.depth -= 1;
        let count = self.counts[self.depth];
        let length = &mut self.lengths[self.depth];
        if *length != 0 && *length != count {
            return Err(Fault::Malformed);
        }
        *length = count;
        if self.depth > 0 {
            self.counts[self.depth - 1] += 1;
        }
        self.state = State::LevelCompleted;
        Ok(())
    }

    fn delimit(&mut self) -> Result<(), Fault> {
        self.state = match self.state {
            State::ElementStarted | State::QuotedCompleted => {
                self.end_item()?;
                State::ElementDelimited
            }
            State::LevelCompleted => State::LevelDelimited,
            _ => return Err(Fault::Malformed),
        };
        Ok(())
    }

    fn end_item(&mut self) -> Result<(), Fault> {
        if self.depth != self.deepest {
            return Err(Fault::Malformed);
        }
        self.counts[self.depth - 1] += 1;
        let mut item = std::mem::take(&mut self.item);
        let kept = std::mem::take(&mut self.kept);
        let is_quoted = self.state == State::QuotedCompleted;
        if !is_quoted {
            let end = item.trim_end_matches(is_space).len().max(kept);
            item.truncate(end);
        }
        let is_null = !is_quoted && kept == 0 && item.eq_ignore_ascii_case("null");
        self.items.push((!is_null).then_some(item));
        Ok(())
    }

    fn read(self) -> Literal {
        let dimensions = match self.items.is_empty() {
            true => Vec::new(),
            false => self.lengths[..self.deepest].to_vec(),
        };
        Literal { dimensions, items: self.items }
    }
}

/// Appends an item of an array, quoted where `array_out` quotes.
pub fn put_item(item: &str, out: &mut String) {
    let needs_quotes = item.is_empty()
        || item.eq_ignore_ascii_case("null")
        || item.contains(|letter| matches!(letter, '{' | '}' | ',' | '"' | '\\') || is_space(letter));
    if !needs_quotes {
        return out.push_str(item);
    }
    out.push('"');
    for letter in item.chars() {
        if matches!(letter, '"' | '\\') {
            out.push('\\');
        }
        out.push(letter);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(text: &str) -> Vec<Option<String>> {
        read(text).expect("an array").items
    }

    #[test]
    fn quotes_and_escapes_keep_what_would_be_trimmed() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            items(r#" { a b , "c d " ,null,"null", \n\ } "#)[..4],
            [some("a b"), some("c d "), None, some("null")]
        );
        assert_eq!(items(r"{\ a\ }"), [some(" a ")]);
        assert_eq!(items("{}"), []);
        assert_eq!(read("{{1,2,3},{4,5,6}}").expect("an array").dimensions, [2, 3]);
    }

    #[test]
    fn what_postgres_refuses_is_refused() {
        for text in [
            "", "a", "{", "{1", "{1,}", "{,1}", "{1}2", "{a\"b\"}", "{\"a\"b}", "{{1},2}", "{1,{2}}",
            "{{},{}}",
        ] {
            assert_eq!(read(text), Err(Fault::Malformed), "{text}");
        }
        assert_eq!(read("[0:1]={1,2}"), Err(Fault::Bounds));
        assert_eq!(read("{{{{{{{1}}}}}}}"), Err(Fault::TooDeep(7)));
    }
}
