//! What a panic that was caught says about its cause.
//!
//! Readers of files were seen to panic over a file that contradicts itself (a footer whose pages end before they begin).
//! That is the file's fault, not the query's, and it is told so; every other panic is an error of ours. A panic travels from
//! thread to thread with its text alone, so where each began is noted when it happens.

use std::any::Any;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Error;

/// Panics whose place is remembered. They are asked for at once.
const REMEMBERED_MAX: usize = 64;
/// In the paths of the crates that read what others wrote.
const READERS: [&str; 3] = ["/parquet-", "/arrow-ipc-", "/thrift-"];
/// Cuts slices of files for them, and much else for others.
const CUTTER: &str = "/bytes-";
/// Older ones are not what is asked about.
const ASKED_WITHIN: Duration = Duration::from_secs(60);

static RECENT: Mutex<VecDeque<Panic>> = Mutex::new(VecDeque::new());

struct Panic {
    text: String,
    file: String,
    at: Instant,
}

/// Notes where panics begin, from now on, besides what was done about them before.
pub fn watch() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or(String::new(), |location| location.file().to_owned());
        let file = if file.contains(CUTTER) { caller_of_cutter(file) } else { file };
        let mut recent = RECENT.lock();
        recent.push_back(Panic { text: text_of(panic.payload()), file, at: Instant::now() });
        if recent.len() > REMEMBERED_MAX {
            recent.pop_front();
        }
        drop(recent);
        before(panic);
    }));
}

/// The reader that had a slice cut, where one did.
fn caller_of_cutter(file: String) -> String {
    let trace = std::backtrace::Backtrace::force_capture().to_string();
    if trace.contains("parquet::") { READERS[0].to_owned() } else { file }
}

/// The error of a panic with `payload`, for `what` went on.
pub fn error_of(payload: &(dyn Any + Send), what: &str) -> Error {
    let text = text_of(payload);
    let recent = RECENT.lock();
    let is_reader = |file: &str| READERS.iter().any(|name| file.contains(name));
    let of_reader = recent
        .iter()
        .rev()
        .find(|panic| panic.text == text && panic.at.elapsed() < ASKED_WITHIN)
        .is_some_and(|panic| is_reader(&panic.file));
    if of_reader {
        return Error::CorruptFile {
            message: "a file that the query reads is damaged: what it says of its own parts cannot be".into(),
        };
    }
    Error::internal(format!("{what} panicked"))
}

/// The same for a panic of which only a text is left that has the panic's in it.
pub fn error_in(message: &str) -> Error {
    let recent = RECENT.lock();
    let is_it = |panic: &&Panic| !panic.text.is_empty() && message.contains(&panic.text);
    let panic = recent.iter().rev().find(is_it).map(|panic| panic.text.clone());
    drop(recent);
    match panic {
        Some(text) => error_of(&text, "a plan"),
        None => Error::internal(message),
    }
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_of_others_are_errors_of_ours() {
        watch();
        let caught = std::panic::catch_unwind(|| panic!("as a test does")).expect_err("it panics");
        assert_eq!(error_of(caught.as_ref(), "a test").sqlstate().as_str(), "XX000");
        let mut recent = RECENT.lock();
        recent.push_back(Panic {
            text: "begins after it ends".into(),
            file: "/src/parquet-59/page.rs".into(),
            at: Instant::now(),
        });
        drop(recent);
        let caught = std::panic::catch_unwind(|| panic!("begins after it ends")).expect_err("it panics");
        // The last one of that text counts.
        assert_eq!(error_of(caught.as_ref(), "a test").sqlstate().as_str(), "XX000");
        let payload: Box<dyn Any + Send> = Box::new("read past the end");
        RECENT.lock().push_back(Panic {
            text: "read past the end".into(),
            file: "/src/parquet-59/page.rs".into(),
            at: Instant::now(),
        });
        assert_eq!(error_of(payload.as_ref(), "a test").sqlstate().as_str(), "XX001");
    }
}
