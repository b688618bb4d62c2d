//! Ends a supervised executor together with its server, also when the server is killed.
//!
//! The server holds the write end of our standard input. It writes the cluster's secret, which would be seen among
//! arguments or in the environment, and nothing else. When it goes, however it goes, the read ends; a thread of its
//! own notices even while every other thread computes.

use std::io::{BufRead, Read};
use std::sync::Arc;

use engine::config::Secret;
use engine::work_folder::WorkFolder;

/// Reads the secret that the server gives. `None` when it has ended before.
pub fn read_secret() -> Option<Secret> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).ok()?;
    let secret = line.trim_end();
    (!secret.is_empty()).then(|| Secret::new(secret.to_owned()))
}

/// Exits the process when standard input ends.
pub fn end_with_server(work_folder: Arc<WorkFolder>) {
    std::thread::Builder::new()
        .name("supervision".into())
        .spawn(move || {
            let mut sink = [0u8; 64];
            while std::io::stdin().read(&mut sink).is_ok_and(|read| read > 0) {}
            // Exiting runs no destructors, so the folder is removed here.
            let _ = work_folder.remove();
            std::process::exit(0);
        })
        .expect("a thread can be started when the process starts");
}
