//! Runs one query: admit → plan → route → rows.

mod admission;
pub mod assignments;
mod attempts;
mod declared;
mod estimate;
mod explain;
mod files;
mod history;
mod journal;
mod lint;
mod local;
mod log;
mod parameters;
mod plan;
mod route;
mod rows;
mod single_row;
mod write;

use std::sync::Arc;
use std::time::Instant;

use catalog::{Metadata, Snapshot, SnapshotRow, TableDefinition, TableName, Target};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use engine::session_state::{StatementSettings, Thrift};
use engine::{Error, QueryId, Result};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub use admission::{Admission, Asker, Permit, Pool};
pub use assignments::COPIED_SCHEMA;
pub use estimate::Estimate;
pub use files::{FileSink, Sink};
pub use history::History;
pub use lint::Repeats;
pub use log::{QueryLog, QueryRecord, QueryState};
pub use plan::{Description, Plan, SOURCE, check_may_look_into, check_may_read};
pub use route::Route;
pub use rows::Rows;
pub use single_row::SingleRow;
pub use write::{Written, explain as explain_write, write, write_rows};

use crate::coordinator::Coordinator;
use crate::pg_catalog;
use crate::profile::LiveProfile;
use crate::session::{
    Effects, LintSetting, Notice, OpenCursors, PreparedStatements, RouteSetting, Session, Values,
};
use crate::sql::{Query, SessionFacts, SessionIdentity, TableReference};
use plan::Planner;

/// One run of a query: what it needs from its session, taken when it starts.
#[derive(Debug, Clone)]
pub struct QueryContext {
    /// The server.
    pub coordinator: Arc<Coordinator>,
    /// This run.
    pub id: QueryId,
    /// Its text, as the client sent it.
    pub sql: Arc<str>,
    /// The session's number.
    pub process_id: i32,
    /// The role that runs it.
    pub user: String,
    /// Its object identifier.
    pub role_oid: u32,
    /// That of the role that signed in, whose limits count.
    pub session_role_oid: u32,
    /// The schemas that names without one are looked up in.
    pub search_path: Vec<String>,
    /// What its functions about the session stand for.
    pub facts: SessionFacts,
    /// Who the session is, for those that ask it.
    pub identity: SessionIdentity,
    /// The one version of the catalog that this run sees.
    pub snapshot: Arc<Snapshot>,
    /// Changes of settings that the statement asks for.
    pub effects: Effects,
    /// It runs as the owner of what it makes: it may not become anybody else.
    pub is_restricted: bool,
    /// Where the session wants queries to run.
    pub route: RouteSetting,
    /// The session's own choice of partitions.
    pub target_partitions: Option<usize>,
    /// What the planner is told.
    pub time_zone: String,
    /// How the session prints values and reads dates, as its tasks are told.
    pub style: String,
    /// The largest build side that is broadcast, in bytes.
    pub broadcast_bytes_max: usize,
    /// How long planning may take.
    pub planning_timeout: Option<std::time::Duration>,
    /// Bytes that its operators may take, on all nodes together, when that is bounded.
    pub max_memory: Option<u64>,
    /// Queries of its role that may run at once, when that is bounded.
    pub max_concurrent_queries: Option<usize>,
    /// Where the outcome of routing is told.
    pub last_route: Arc<Mutex<String>>,
    /// Where the client is told what happened to its query.
    pub told: Arc<Mutex<Vec<Notice>>>,
    /// The session's settings by name, for the functions and views that show them.
    pub settings: Arc<Values>,
    /// The session's prepared statements, for the view that shows them.
    pub prepared: Arc<PreparedStatements>,
    /// The session's open cursors, for the view that shows them.
    pub cursors: Arc<OpenCursors>,
    /// Ends the query from outside.
    pub cancel: CancellationToken,
    /// The catalog of the session's own tables, once it made one.
    pub temporary: Option<Arc<Metadata>>,
    /// The snapshots there are, for a query that asks for them.
    pub snapshots: Arc<Vec<SnapshotRow>>,
    /// The table that the statement changes, where its own rows are read for that.
    pub target: Option<Target>,
    /// A written file that has grown to so many bytes is followed by another.
    pub file_bytes_max: u64,
    /// What is known of the run.
    pub profile: Arc<LiveProfile>,
    /// What is done when it is slower than it need be.
    pub lint: LintSetting,
    /// What the session has run lately.
    pub repeats: Arc<Mutex<Repeats>>,
    /// How large its partitions are to be, when it is distributed.
    pub target_partition_size: engine::ByteSize,
}

impl QueryContext {
    /// A run of `sql` in `session`.
    pub fn new(
        coordinator: &Arc<Coordinator>,
        session: &Session,
        sql: Arc<str>,
        cancel: CancellationToken,
    ) -> Self {
        let settings = &session.settings;
        let profile = LiveProfile::new();
        *session.profile.lock() = Some(Arc::clone(&profile));
        let snapshot = session.snapshot(coordinator.snapshot());
        let search_path = session.search_path(&snapshot);
        let user = session.current_user().to_owned();
        let role_oid = snapshot.metadata().roles.get(&user).map_or(0, |role| role.oid);
        Self {
            coordinator: Arc::clone(coordinator),
            id: QueryId::generate(),
            sql,
            process_id: session.process_id,
            user,
            role_oid,
            session_role_oid: snapshot.metadata().roles.get(&session.user).map_or(0, |role| role.oid),
            identity: session.identity(&search_path),
            search_path,
            facts: session.facts(),
            snapshot,
            effects: Arc::clone(&session.effects),
            is_restricted: false,
            route: settings.route(),
            target_partitions: settings.target_partitions(),
            time_zone: settings.time_zone().into_owned(),
            style: settings.style().told(),
            broadcast_bytes_max: settings.broadcast_size().as_usize(),
            planning_timeout: settings.planning_timeout(),
            max_memory: settings.max_memory(),
            max_concurrent_queries: settings.max_concurrent_queries(),
            last_route: Arc::clone(&session.last_route),
            told: Arc::clone(&session.told),
            settings: settings.values(),
            prepared: Arc::clone(&session.prepared),
            cursors: Arc::clone(&session.cursors),
            cancel,
            temporary: session.temporary.as_ref().map(|own| Arc::clone(own.metadata())),
            snapshots: Arc::default(),
            target: None,
            file_bytes_max: coordinator.config.catalog.file_size.0,
            profile,
            lint: settings.lint(),
            repeats: Arc::clone(&session.repeats),
            target_partition_size: settings.target_partition_size(),
        }
    }

    /// The same run with what there was for an earlier one.
    pub fn seeing(self, earlier: &Self) -> Self {
        Self {
            snapshot: Arc::clone(&earlier.snapshot),
            temporary: earlier.temporary.clone(),
            search_path: earlier.search_path.clone(),
            identity: earlier.identity.clone(),
            user: earlier.user.clone(),
            role_oid: earlier.role_oid,
            ..self
        }
    }

    /// The schema in which a relation without one is found.
    pub fn schema_of(&self, relation: &str) -> Option<String> {
        let is_there = |schema: &&String| {
            let name = TableName::new(schema.as_str(), relation);
            self.snapshot.table(&name).is_some() || pg_catalog::is_system_table(Some(schema), relation)
        };
        if pg_catalog::is_system_table(None, relation)
            && self.snapshot.table(&TableName::new(catalog::DEFAULT_SCHEMA, relation)).is_none()
        {
            return Some("pg_catalog".to_owned());
        }
        self.search_path.iter().find(is_there).cloned()
    }

    /// The same run as the owner of what it makes, whoever asked for it: the query of a materialized view sees what its owner
    /// sees, and what it would set is forgotten, as in PostgreSQL's security-restricted operations.
    pub fn as_owner(&self, owner: u32) -> Result<Self> {
        let role = self.snapshot.metadata().role_by_oid(owner);
        let role = role.ok_or_else(|| Error::internal("an owner does not exist"))?;
        let mut context = self.clone();
        context.role_oid = owner;
        context.user.clone_from(&role.name);
        context.identity.user.clone_from(&role.name);
        context.effects = Effects::default();
        context.is_restricted = true;
        Ok(context)
    }

    /// Waits for its turn. What only looks at the system, or ends what runs, never waits: it is asked for most when
    /// everything else does. Nor does `SELECT 1`, by which clients learn whether anybody is there.
    async fn admit(&self, query: &Query) -> Result<Permit> {
        if self.only_watches(query) || query.is_little {
            return self.coordinator.admission.watch(&self.asker(), self.session_role_oid).await;
        }
        self.slot().await
    }

    /// True for a query that reads nothing but the system's own tables, or ends what runs. A name may be that of a user's
    /// table, which is found first.
    fn only_watches(&self, query: &Query) -> bool {
        let is_system = |table: &TableReference| {
            let is_users = |schema: &String| {
                self.snapshot.table(&TableName::new(schema.as_str(), table.table.as_str())).is_some()
            };
            pg_catalog::is_system_table(table.schema.as_deref(), &table.table)
                && (table.schema.is_some() || !self.search_path.iter().any(is_users))
        };
        query.only_ends_runs || (!query.tables.is_empty() && query.tables.iter().all(is_system))
    }

    async fn slot(&self) -> Result<Permit> {
        let (role, most) = (self.session_role_oid, self.max_concurrent_queries);
        self.coordinator.admission.admit(&self.asker(), role, most).await
    }

    fn asker(&self) -> Asker {
        Asker { query: self.id.clone(), session: self.process_id }
    }

    /// Waits for the memory that a query with this estimate takes where it runs: twice what it is expected to hold where that
    /// was asked, else as much as it reads.
    async fn reserve(&self, permit: Permit, route: &Route, estimate: Estimate) -> Result<Permit> {
        let (pool, capacity) = match route {
            Route::Local(_) => (Pool::Local, self.coordinator.runtime.pool.limit_bytes() as u64),
            Route::Cluster(_) => (Pool::Cluster, self.coordinator.cluster.pool_bytes()),
        };
        let here = estimate.set_aside(capacity).filter(|_| pool == Pool::Local);
        let bytes = here.unwrap_or(estimate.input_bytes);
        let bytes = bytes.min(self.max_memory.unwrap_or(u64::MAX));
        self.coordinator.admission.reserve(permit, &self.asker(), pool, bytes, capacity).await
    }

    /// What its operators may take of `bytes`.
    fn memory_bytes(&self, bytes: usize) -> usize {
        self.max_memory.map_or(bytes, |most| bytes.min(most as usize))
    }

    fn statement_settings(&self, target_partitions: usize) -> StatementSettings {
        StatementSettings {
            target_partitions,
            time_zone: self.time_zone.clone(),
            style: self.style.clone(),
            broadcast_bytes_max: self.broadcast_bytes_max,
            prefer_hash_join: true,
            task_memory: self.memory_bytes(self.coordinator.runtime.pool.limit_bytes())
                / target_partitions.max(1),
            memory_max: 0,
            thrift: Thrift::None,
        }
    }
}

/// Runs `query` and gives its rows. Dropping them stops the work, here and on every executor, and
/// returns the permit.
pub async fn run(context: &QueryContext, query: &Query, parameters: &[ScalarValue]) -> Result<Rows> {
    run_prepared(context, query, None, parameters).await
}

/// The same for a query that was described before, with what was kept of it then.
pub async fn run_prepared(
    context: &QueryContext,
    query: &Query,
    single_row: Option<&SingleRow>,
    parameters: &[ScalarValue],
) -> Result<Rows> {
    let record = context.coordinator.queries.start(context);
    if context.only_watches(query) && !query.tables.is_empty() {
        record.only_watches();
    }
    let then = history::with_history(context, query).await;
    let then = then.inspect_err(|error| record.fail(error))?;
    let context = then.as_ref().unwrap_or(context);
    let outcome = tokio::select! {
        outcome = start(context, query, single_row, parameters, &record) => outcome,
        () = context.cancel.cancelled() => Err(Error::Cancelled),
    };
    match outcome {
        Ok(rows) => Ok(rows.recorded_in(record)),
        Err(error) => {
            record.fail(&error);
            Err(error)
        }
    }
}

async fn start(
    context: &QueryContext,
    query: &Query,
    single_row: Option<&SingleRow>,
    parameters: &[ScalarValue],
    record: &log::RecordHandle,
) -> Result<Rows> {
    let began_at = Instant::now();
    let permit = context.admit(query).await?;
    context.profile.admitted(began_at.elapsed().as_secs_f64() * 1000.0);
    let planned_at = Instant::now();
    if let Some(row) = single_row.filter(|row| row.suits(&context.time_zone, &context.style, parameters)) {
        let route = Route::Local(route::READS_NO_TABLE.to_owned());
        *context.last_route.lock() = route.to_string();
        record.routed(&route);
        return Ok(Rows::of_batch(row.compute(parameters)?));
    }
    let planner = Planner::new(context, query, parameters, None)?;
    let choice = route::choose(context, &planner).await?;
    *context.last_route.lock() = choice.route.to_string();
    record.routed(&choice.route);
    context.profile.was_planned(planned_at.elapsed().as_secs_f64() * 1000.0);
    let permit = match query.explain {
        Some(explain) if !explain.is_analyze => permit,
        _ => context.reserve(permit, &choice.route, choice.estimate).await?,
    };
    attempts::account(context, &choice.route, &choice.plan, query.explain.is_some());
    if let Some(explain) = query.explain
        && !explain.is_analyze
    {
        return explain::planned(context, &choice, explain);
    }
    check_bounds(context, &choice)?;
    record.linter().before(matches!(choice.route, Route::Cluster(_)))?;
    if let Some(explain) = query.explain {
        return explain::analyzed(context, &planner, choice, explain, permit, record).await;
    }
    let turn = permit.turn();
    let rows = attempts::run(context, &planner, choice, permit, record, |plan, _| Ok(plan)).await?;
    Ok(rows.lending(turn).told_sources(planner.sources(), planner.declared()))
}

/// Refuses a plan that would take long only to be handed out (54000).
fn check_bounds(context: &QueryContext, choice: &route::Choice) -> Result<()> {
    let limits = &context.coordinator.config.limits;
    let partitions = context.profile.partitions();
    if partitions > limits.plan_partitions_max {
        let most = limits.plan_partitions_max;
        return Err(Error::TooLarge {
            message: format!(
                "the plan has {partitions} partitions, more than limits.plan_partitions_max ({most})"
            ),
            hint: "RESET sluice.target_partitions, ask for fewer with DISTRIBUTE BY, or split the statement."
                .into(),
        });
    }
    let most = limits.plan_files_max;
    if choice.estimate.files <= most {
        return Ok(());
    }
    Err(Error::TooLarge {
        message: format!("the query reads {} files, more than limits.plan_files_max ({most})", choice.estimate.files),
        hint: "Filter on the partition columns of its tables, or write them in fewer files: OPTIMIZE, or CREATE TABLE AS; CHECK LAYOUT tells how they lie.".into(),
    })
}

/// What a query asks of its parameters and gives in its columns, without running it.
pub async fn describe(
    context: &QueryContext,
    query: &Query,
    declared: &[Option<DataType>],
) -> Result<Description> {
    let then = history::with_history(context, query).await?;
    Planner::new(then.as_ref().unwrap_or(context), query, &[], None)?.describe(declared).await
}

/// The users' tables that `query` reads, those behind views included.
pub fn tables_of(context: &QueryContext, query: &Query) -> Result<Vec<Arc<TableDefinition>>> {
    Ok(Planner::new(context, query, &[], None)?.tables().to_vec())
}

/// The columns of `EXPLAIN`.
pub fn explain_columns() -> SchemaRef {
    explain::columns()
}
