//! Finds the tables of the locations: at the start, and every so often afterwards. What can be served is served at once;
//! nothing about one table or one location ends the start.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use catalog::table::external::{self, Declared};
use catalog::{
    CatalogError, DEFAULT_SCHEMA, DiscoveredTable, ExternalFiles, LocationTrouble, Snapshot, TableDefinition,
    TableName, Trouble, Unavailable,
};
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::execution::session_state::SessionState;
use engine::Error;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::{info, warn};
use url::Url;

use crate::locations;

/// Tables opened at once: each reads a listing and footers.
const TABLES_OPENED_AT_ONCE: usize = 16;
/// How long the start waits for stores that do not answer. Their tables appear when they do.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// The tables of the locations, as they were found last.
#[derive(Debug)]
pub struct FoundTables {
    state: SessionState,
    planning: Handle,
    locations: Vec<Location>,
    /// The server's own folders, which are no tables.
    own_folders: Vec<Url>,
    /// A location was looked at after the start had gone on without it.
    came_late: Notify,
    /// Held from the look at the snapshot that is shown to the showing of the next.
    showing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Location {
    name: String,
    found: Mutex<Found>,
    /// One looks at a time.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, Default)]
struct Found {
    tables: Vec<TableDefinition>,
    problem: Option<Unavailable>,
}

/// How much is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// What came or went, and what could not be served.
    News,
    /// Every file.
    All,
}

impl FoundTables {
    /// Of `locations`, with sessions like `state`, opened on the threads `planning`. What lies in `own_folders` is the
    /// server's own. Nothing is looked at yet.
    pub fn new(
        state: SessionState,
        planning: Handle,
        locations: &[String],
        own_folders: Vec<Url>,
    ) -> Arc<Self> {
        let location = |name: &String| Location {
            name: name.clone(),
            found: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
        };
        let locations = locations.iter().map(location).collect();
        Arc::new(Self {
            state,
            planning,
            locations,
            own_folders,
            came_late: Notify::new(),
            showing: tokio::sync::Mutex::default(),
        })
    }

    /// Looks at every location. Goes on without stores that do not answer in time.
    pub async fn look_at_start(self: &Arc<Self>) {
        let (mut near, mut far) = (JoinSet::new(), JoinSet::new());
        for (at, location) in self.locations.iter().enumerate() {
            let looks = if is_local(&location.name) { &mut near } else { &mut far };
            let found = Arc::clone(self);
            looks.spawn(async move {
                found.look_at(at, Look::All, &HashMap::new()).await;
                found.came_late.notify_one();
            });
        }
        while near.join_next().await.is_some() {}
        let all_far = async { while far.join_next().await.is_some() {} };
        if tokio::time::timeout(START_PATIENCE, all_far).await.is_err() {
            for location in &self.locations {
                let mut found = location.found.lock();
                if found.problem.is_none() && found.tables.is_empty() && !is_local(&location.name) {
                    found.problem = Some(away("it has not answered yet".to_owned()));
                    warn!(
                        location = location.name,
                        "a location has not answered yet: its tables are served when it does"
                    );
                }
            }
            far.detach_all();
        }
    }

    /// Looks at every location again, and tells whether anything is otherwise than in `snapshot`.
    pub async fn look_again(&self, look: Look, snapshot: &Snapshot) -> bool {
        let known: HashMap<(String, String), TableDefinition> = match look {
            Look::All => HashMap::new(),
            Look::News => {
                let kept = snapshot
                    .found()
                    .filter(|table| table.unavailable.is_none() && !snapshot.has_changed(&table.name));
                kept.map(|table| {
                    ((table.location.clone(), table.name.table.clone()), TableDefinition::clone(table))
                })
                .collect()
            }
        };
        let looks = (0..self.locations.len()).map(|at| self.look_at(at, look, &known));
        let is_other = futures::future::join_all(looks).await;
        is_other.contains(&true)
    }

    /// Held by who looks and shows: what one has found does not hide what a later one finds.
    pub async fn showing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.showing.lock().await
    }

    /// Waits until a location was looked at that the start had not waited for.
    pub async fn came_late(&self) {
        self.came_late.notified().await;
    }

    /// What was found, and where that failed.
    pub fn current(&self) -> (Vec<TableDefinition>, Vec<LocationTrouble>) {
        let (mut tables, mut troubles) = (Vec::new(), Vec::new());
        for location in &self.locations {
            let found = location.found.lock().clone();
            tables.extend(found.tables);
            let trouble = |problem| LocationTrouble { location: location.name.clone(), problem };
            troubles.extend(found.problem.map(trouble));
        }
        (tables, troubles)
    }

    /// Looks at one location. Tables that are `known` are not opened again.
    async fn look_at(
        &self,
        at: usize,
        look: Look,
        known: &HashMap<(String, String), TableDefinition>,
    ) -> bool {
        let location = &self.locations[at];
        let _looking = location.looking.lock().await;
        let next = match self.listed(&location.name).await {
            Ok(discovered) => {
                let discovered = discovered.into_iter().filter_map(|found| self.apart(found));
                let opened = futures::stream::iter(discovered)
                    .map(|found| {
                        let kept = known.get(&(found.location.clone(), found.name.clone())).cloned();
                        async move {
                            match kept {
                                Some(kept) => kept,
                                None => self.opened(found).await,
                            }
                        }
                    })
                    .buffered(TABLES_OPENED_AT_ONCE);
                Found { tables: opened.collect().await, problem: None }
            }
            // What was found before may be there still: that is for who reads it to find out.
            Err(problem) if problem.trouble == Trouble::Away => {
                Found { tables: location.found.lock().tables.clone(), problem: Some(problem) }
            }
            Err(problem) => Found { tables: Vec::new(), problem: Some(problem) },
        };
        let mut found = location.found.lock();
        tell(&location.name, &found, &next);
        let is_other = look == Look::All || found.tables != next.tables || found.problem != next.problem;
        *found = next;
        is_other
    }

    /// What was found, unless it is a folder of the server's own. A table that holds one has files that are not its own.
    fn apart(&self, found: DiscoveredTable) -> Option<DiscoveredTable> {
        let path = |url: &Url| format!("{}/", locations::decoded(url).trim_end_matches('/'));
        let Ok(place) = Url::parse(&found.location).map(|url| path(&url)) else { return Some(found) };
        let mut own = self.own_folders.iter().map(path);
        if own.clone().any(|folder| place.starts_with(&folder)) {
            return None;
        }
        let holds_own = own.any(|folder| folder.starts_with(&place));
        let problem = holds_own.then(|| Unavailable {
            trouble: Trouble::Conflict,
            reason: "the server's own files lie in its folder".to_owned(),
            file: None,
            advice: "give the server a --data-dir and a --warehouse outside of it".to_owned(),
        });
        Some(DiscoveredTable { problem: problem.or(found.problem), ..found })
    }

    /// The tables that lie in `location`, unopened.
    async fn listed(&self, location: &str) -> Result<Vec<DiscoveredTable>, Unavailable> {
        // A web server does not tell what it has: files below the location are named by CREATE EXTERNAL TABLE.
        if location.starts_with("http://") || location.starts_with("https://") {
            return Ok(Vec::new());
        }
        let url = url_of(location)?;
        let url =
            ListingTableUrl::try_new(url, None).map_err(|error| away(Error::from(error).to_string()))?;
        let store = self.state.runtime_env().object_store(&url);
        let store = store.map_err(|error| of_store(problem_of(&unreadable(location, error)), location))?;
        let (shown, location, planning) = (location.to_owned(), location.to_owned(), &self.planning);
        let look = async move {
            catalog::check_apart_from_foreign(&store, &url).await?;
            catalog::discover(&store, &url, &location).await
        };
        let listed = planning.spawn(look).await;
        match listed {
            Ok(listed) => listed.map_err(|error| of_store(problem_of(&error), &shown)),
            Err(_) => Err(away("it cannot be listed".to_owned())),
        }
    }

    /// A table of what was found, which may be one that cannot be read.
    async fn opened(&self, found: DiscoveredTable) -> TableDefinition {
        let name = TableName::new(DEFAULT_SCHEMA, found.name.as_str());
        if let Some(problem) = found.problem {
            return TableDefinition::of_unavailable(name, found.location, problem);
        }
        let (state, location, of) = (self.state.clone(), found.location.clone(), name.clone());
        // Apart: a footer that lies was seen to end the reader by a panic.
        let opened = self.planning.spawn(async move {
            let (files, declared) = (ExternalFiles::default(), Declared::default());
            external::open(&state, of, &location, files, &declared).await
        });
        let problem = match opened.await {
            Ok(Ok(definition)) => return definition,
            Ok(Err(error)) => problem_of(&error),
            Err(_) => damaged(None, "the footer of a file of it cannot be read".to_owned()),
        };
        TableDefinition::of_unavailable(name, found.location, problem)
    }
}

fn is_local(location: &str) -> bool {
    !location.contains("://") || location.starts_with("file://")
}

/// The URL of a location of the start: of a folder with a trailing `/`, or of a file.
fn url_of(location: &str) -> Result<Url, Unavailable> {
    let is_file = location.to_ascii_lowercase().ends_with(".parquet");
    if !is_local(location) {
        let mut url = locations::resolve(location).map_err(|error| problem_of(&error))?;
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&if is_file { path } else { format!("{path}/") });
        return Ok(url);
    }
    let path = location.strip_prefix("file://").unwrap_or(location);
    let path = match Url::parse(location).ok().and_then(|url| url.to_file_path().ok()) {
        Some(decoded) if location.starts_with("file://") => decoded,
        _ => Path::new(path).to_owned(),
    };
    let path = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => away("it does not exist".to_owned()),
        kind => away(format!("it cannot be looked at: {kind}")),
    })?;
    let url = if path.is_dir() {
        std::fs::read_dir(&path).map_err(|error| away(format!("it cannot be listed: {}", error.kind())))?;
        Url::from_directory_path(&path)
    } else if is_file {
        Url::from_file_path(&path)
    } else {
        return Err(Unavailable {
            trouble: Trouble::Unsupported,
            reason: "it is a file of another kind than *.parquet".to_owned(),
            file: None,
            advice: "name it with CREATE EXTERNAL TABLE … STORED AS".to_owned(),
        });
    };
    url.map_err(|()| away("it is not an absolute path".to_owned()))
}

/// The same problem, with the bucket's name.
fn of_store(mut problem: Unavailable, location: &str) -> Unavailable {
    let bucket = location.split('/').take(3).collect::<Vec<_>>().join("/");
    problem.reason =
        problem.reason.replace("no credentials for the store", &format!("no credentials for {bucket}"));
    problem
}

fn unreadable(name: &str, source: datafusion::error::DataFusionError) -> CatalogError {
    CatalogError::Unreadable { name: name.to_owned(), file: None, source }
}

fn away(reason: String) -> Unavailable {
    let advice = "see that the server reaches it and may read it; it is tried again by itself".to_owned();
    Unavailable { trouble: Trouble::Away, reason, file: None, advice }
}

fn damaged(file: Option<String>, reason: String) -> Unavailable {
    let advice = match &file {
        Some(file) => {
            format!("put a whole file in the place of {file}, or take it away, and REFRESH LOCATIONS")
        }
        None => "put whole files in the place of the damaged ones, and REFRESH LOCATIONS".to_owned(),
    };
    Unavailable { trouble: Trouble::Damaged, reason, file, advice }
}

/// Why a table or a location is not served that could not be opened for `error`.
fn problem_of(error: &CatalogError) -> Unavailable {
    let of = |trouble: Trouble, reason: String, advice: &str| Unavailable {
        trouble,
        reason,
        file: None,
        advice: advice.to_owned(),
    };
    match error {
        CatalogError::Types { problem, file, .. } => Unavailable {
            file: Some(file.clone()),
            ..of(
                Trouble::Conflict,
                problem.clone(),
                "write the files alike, or say the types: CREATE EXTERNAL TABLE … (column type, …)",
            )
        },
        CatalogError::Foreign { .. } => of(
            Trouble::Unsupported,
            error.to_string(),
            "export its rows as Parquet files to a folder of its own, with the engine that writes it",
        ),
        CatalogError::Location { problem, .. } => {
            let trouble = if problem.starts_with("holds") { Trouble::Empty } else { Trouble::Unsupported };
            of(
                trouble,
                format!("it {problem}"),
                "put Parquet files there, or name others with CREATE EXTERNAL TABLE",
            )
        }
        CatalogError::Unreadable { file, source, .. } => match engine::Error::from_datafusion_error(source) {
            Error::MissingFile { message } => away(format!("a file of it is missing: {message}")),
            Error::CorruptFile { message } | Error::Internal { message } => {
                let shown = file.as_ref().map_or_else(|| "a file".to_owned(), |file| format!("file {file}"));
                damaged(file.clone(), format!("{shown} is damaged: {message}"))
            }
            Error::NotSupported { message } => Unavailable {
                file: file.clone(),
                ..of(
                    Trouble::Unsupported,
                    format!("it needs what is not read here: {message}"),
                    "write it otherwise",
                )
            },
            other => Unavailable { file: file.clone(), ..away(other.to_string()) },
        },
        other => of(Trouble::Unsupported, other.to_string(), "write its files otherwise"),
    }
}

/// Logs what is new about a location: once, not at each look.
fn tell(location: &str, before: &Found, now: &Found) {
    match (&before.problem, &now.problem) {
        (before, Some(problem)) if before.as_ref() != Some(problem) => {
            let state = problem.trouble.name();
            warn!(
                location,
                state,
                reason = problem.reason,
                advice = problem.advice,
                "a location cannot be read"
            );
        }
        (Some(_), None) => info!(location, tables = now.tables.len(), "a location can be read again"),
        _ => {}
    }
    let known: HashMap<&str, &Option<Arc<Unavailable>>> =
        before.tables.iter().map(|table| (table.name.table.as_str(), &table.unavailable)).collect();
    for table in &now.tables {
        let (name, known) = (table.name.table.as_str(), known.get(table.name.table.as_str()));
        match (&table.unavailable, known) {
            (Some(problem), known) if known.is_none_or(|known| known.as_ref() != Some(problem)) => {
                let (state, file) = (problem.trouble.name(), problem.file.as_deref());
                warn!(
                    location,
                    table = name,
                    state,
                    file,
                    reason = problem.reason,
                    advice = problem.advice,
                    "a table cannot be read"
                );
            }
            (None, Some(Some(_))) => info!(location, table = name, "a table can be read again"),
            _ => {}
        }
    }
}
