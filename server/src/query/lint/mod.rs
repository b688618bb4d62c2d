//! What makes queries slower than they need be, said aloud: each with what it costs, and what helps.
//!
//! Some of it is known before a query runs, and can refuse it (`SET sluice.lint = error`); the rest is known when it has
//! run. All measures go by the size that partitions are to have (`sluice.target_partition_size`).

mod repeats;
mod rules;

use std::sync::Arc;

use engine::{ByteSize, Error, Result};
use parking_lot::Mutex;

pub use repeats::Repeats;

use super::QueryContext;
use crate::profile::{Lint, LiveProfile};
use crate::session::{LintSetting, Notice, RouteSetting};

/// What the rules go by.
#[derive(Debug, Clone)]
pub struct Measures {
    /// How large partitions are to be.
    pub target: ByteSize,
    /// The session chose the number of partitions itself.
    pub chose_partitions: bool,
    /// The session sent the query to the executors itself.
    pub chose_cluster: bool,
    /// What the server would compute by itself, in bytes read.
    pub local_bytes_max: ByteSize,
}

/// What `SET sluice.lint = error` refuses: what a statement asks for, and not how its tables lie.
const REFUSED: &[&str] = &["cross_join", "unpruned_scan", "needless_cluster"];

/// Looks over one query.
#[derive(Debug)]
pub struct Linter {
    setting: LintSetting,
    measures: Measures,
    profile: Arc<LiveProfile>,
    told: Arc<Mutex<Vec<Notice>>>,
    repeats: Arc<Mutex<Repeats>>,
    sql: Arc<str>,
}

impl Linter {
    /// For the run of `context`.
    pub fn new(context: &QueryContext) -> Self {
        Self {
            setting: context.lint,
            measures: Measures {
                target: context.target_partition_size,
                chose_partitions: context.target_partitions.is_some(),
                chose_cluster: context.route == RouteSetting::Cluster,
                local_bytes_max: super::route::threshold(context),
            },
            profile: Arc::clone(&context.profile),
            told: Arc::clone(&context.told),
            repeats: Arc::clone(&context.repeats),
            sql: Arc::clone(&context.sql),
        }
    }

    /// What is known before the query runs. Fails with 54000 where the session wants such queries refused.
    pub fn before(&self, is_distributed: bool) -> Result<()> {
        if self.setting == LintSetting::Off {
            return Ok(());
        }
        let mut found = self.profile.read(|profile| rules::before(profile, is_distributed, &self.measures));
        found.extend(self.repeats.lock().begins(&self.sql));
        let is_refused = |lint: &&Lint| REFUSED.contains(&lint.code.as_str());
        if self.setting == LintSetting::Error
            && let Some(Lint { code, message, hint }) = found.iter().find(is_refused).cloned()
        {
            found.into_iter().for_each(|lint| self.profile.linted(lint));
            return Err(Error::TooLarge {
                message: format!("refused by sluice.lint: {code}: {message}"),
                hint,
            });
        }
        self.tell(found);
        Ok(())
    }

    /// What is known once it has run.
    pub fn after(&self) {
        if self.setting != LintSetting::Off {
            self.tell(self.profile.read(|profile| rules::after(profile, &self.measures)));
        }
    }

    fn tell(&self, found: Vec<Lint>) {
        for lint in found {
            if self.repeats.lock().is_news(&lint.code, &self.sql) {
                self.told.lock().push(Notice::lint(&lint));
            }
            self.profile.linted(lint);
        }
    }
}
