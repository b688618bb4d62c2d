//! The same statement again and again in one session, with other constants: a loop that computes.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::profile::Lint;

/// Statements that are told apart; one that was not seen for longest is forgotten first.
const STATEMENTS_MAX: usize = 64;
/// So often within [`WITHIN`] is a loop, when it took [`TOOK_MIN`] together.
const TIMES_MIN: u32 = 20;
const WITHIN: Duration = Duration::from_secs(120);
const TOOK_MIN: Duration = Duration::from_secs(2);
/// Lints that are about what the session has set, and not about a statement.
const OF_SESSIONS: &[&str] = &["needless_cluster"];
/// What is remembered to have been told; then it may be told once more.
const TOLD_MAX: usize = 1024;

/// What a session has run lately.
#[derive(Debug, Default)]
pub struct Repeats {
    statements: HashMap<u64, Repeated>,
    /// What its client has been told of which statement.
    told: HashSet<(String, u64)>,
}

#[derive(Debug)]
struct Repeated {
    times: u32,
    took: Duration,
    first_at: Instant,
    last_at: Instant,
    told: bool,
}

impl Repeats {
    /// Notes that `sql` is run once more. Tells of it once for each loop.
    pub fn begins(&mut self, sql: &str) -> Option<Lint> {
        let now = Instant::now();
        let key = fingerprint(sql);
        if !self.statements.contains_key(&key) && self.statements.len() >= STATEMENTS_MAX {
            let oldest = self.statements.iter().min_by_key(|(_, of)| of.last_at).map(|(key, _)| *key);
            oldest.map(|key| self.statements.remove(&key));
        }
        let fresh = || Repeated { times: 0, took: Duration::ZERO, first_at: now, last_at: now, told: false };
        let repeated = self.statements.entry(key).or_insert_with(fresh);
        if now.duration_since(repeated.first_at) > WITHIN {
            *repeated =
                Repeated { told: repeated.told && now.duration_since(repeated.last_at) < WITHIN, ..fresh() };
        }
        repeated.times += 1;
        repeated.last_at = now;
        if repeated.told || repeated.times < TIMES_MIN || repeated.took < TOOK_MIN {
            return None;
        }
        repeated.told = true;
        let (times, took) = (repeated.times, repeated.took.as_secs_f64());
        let within = now.duration_since(repeated.first_at).as_secs_f64();
        Some(Lint {
            code: "repeated_work".to_owned(),
            message: format!(
                "this statement was run {times} times in {within:.0} s, which took {took:.1} s together"
            ),
            hint: "Compute all of it in one statement, with GROUP BY or a join with the constants, or keep what is computed in a materialized view.".to_owned(),
        })
    }

    /// True the first time that the session is told of the lint called `code`, of a statement like `sql`: one that chose its
    /// route, or runs the same again and again, knows by then.
    pub fn is_news(&mut self, code: &str, sql: &str) -> bool {
        let statement = if OF_SESSIONS.contains(&code) { 0 } else { fingerprint(sql) };
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        self.told.insert((code.to_owned(), statement))
    }

    /// Notes how long a run of `sql` took.
    pub fn ended(&mut self, sql: &str, took: Duration) {
        if let Some(repeated) = self.statements.get_mut(&fingerprint(sql)) {
            repeated.took += took;
        }
    }
}

/// So much of a statement tells it apart, in letters.
const FINGERPRINT_OF: usize = 4096;

/// The same for statements that differ in constants, spaces and letter case alone.
fn fingerprint(sql: &str) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    let mut letters = sql.chars().take(FINGERPRINT_OF).peekable();
    let mut before = ' ';
    while let Some(letter) = letters.next() {
        let is_of_word = before.is_alphanumeric() || before == '_';
        match letter {
            '\'' => {
                while letters.next_if(|next| *next != '\'').is_some() {}
                letters.next();
                hasher.write_u8(b'?');
            }
            digit if digit.is_ascii_digit() && !is_of_word => {
                while letters.next_if(|next| next.is_ascii_digit() || *next == '.').is_some() {}
                hasher.write_u8(b'?');
            }
            space if space.is_whitespace() => {
                while letters.next_if(|next| next.is_whitespace()).is_some() {}
                hasher.write_u8(b' ');
            }
            other => other.to_lowercase().for_each(|letter| hasher.write_u32(letter as u32)),
        }
        before = letter;
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_spaces_make_no_difference() {
        let one = fingerprint("select * from t1 where a = 5 and b = 'x'");
        assert_eq!(one, fingerprint("SELECT *  from t1\nwhere a = 17.5 and b = 'it is'"));
        assert_ne!(one, fingerprint("select * from t2 where a = 5 and b = 'x'"));
        assert_ne!(one, fingerprint("select * from t1 where c = 5 and b = 'x'"));
    }

    #[test]
    fn a_loop_is_told_of_once() {
        let mut repeats = Repeats::default();
        let mut told = 0;
        for n in 0..100 {
            let sql = format!("select sum(a) from t where b = {n}");
            told += repeats.begins(&sql).iter().count();
            repeats.ended(&sql, Duration::from_millis(150));
        }
        assert_eq!(told, 1);
    }

    #[test]
    fn quick_statements_are_no_loop_to_speak_of() {
        let mut repeats = Repeats::default();
        for n in 0..1000 {
            let sql = format!("select a from t where b = {n}");
            assert!(repeats.begins(&sql).is_none());
            repeats.ended(&sql, Duration::from_micros(900));
        }
    }
}
