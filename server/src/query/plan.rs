//! Names against one snapshot → logical → optimised → physical.
//!
//! The destination is known before the physical plan is made: the plan that was routed is the plan
//! that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalog::{
    GrantObject, Metadata, PlannedViews, Privilege, Snapshot, SnapshotCatalog, TableDefinition, TableName,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProviderList, SchemaProvider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ParamValues, ScalarValue, TableReference};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, Statement as LogicalStatement, TableScan, WriteOp,
};
use datafusion::physical_plan::ExecutionPlan;
use engine::functions::numbers::wide::stored::holds_wide;
use engine::functions::numbers::wide::{self, is_wide};
use engine::functions::numbers::{conversions, digits};
use engine::session_state::{Destination, StatementSettings, Thrift};
use engine::{Error, Result};
use engine::{broadcast, exchange, plan_size};
use parking_lot::Mutex;

use super::QueryContext;
use super::assignments;
use super::declared::{self, Declared};
use super::estimate::{self, Estimate};
use super::parameters;
use super::single_row::SingleRow;
use crate::pg_catalog::{self, SystemSchema, types};
use crate::planning::Planned;
use crate::session::TEMPORARY_SCHEMA;
use crate::sql::{
    self, InsertSource, Query, ValuePlace, cast_outputs, cast_values, computed_values, inserted_columns,
    inserted_query, name_columns, present_name, qualify_relations, quantify, read_values, resolve,
    tell_computed_apart, tell_session, trim_beside, type_arrays, type_parameters, value_casts,
};

/// With less a task could not even spill.
const TASK_MEMORY_MIN: usize = 8 << 20;

/// A plan and the session it was made in.
pub struct Plan {
    /// What runs.
    pub physical: Arc<dyn ExecutionPlan>,
    /// The session it runs in.
    pub state: SessionState,
    /// The tables it reads, for placement.
    pub tables: Vec<Arc<TableDefinition>>,
    /// It reads so little that it has a thread, or a slot, at once when all are taken.
    pub is_small: bool,
}

/// Parameters and columns of a query.
#[derive(Debug, Clone)]
pub struct Description {
    /// The types of `$1`, `$2`, …
    pub parameters: Vec<DataType>,
    /// The columns under PostgreSQL's names.
    pub columns: SchemaRef,
    /// The query ready to be computed, when it is that small.
    pub single_row: Option<Arc<SingleRow>>,
}

/// A query is small that reads at most this part of what a task may take.
const SMALL_SHARE: u64 = 4;

/// Plans one query against one snapshot.
pub struct Planner {
    context: QueryContext,
    query: Query,
    names: Names,
    parameters: Vec<ScalarValue>,
    snapshot: Arc<Snapshot>,
    writes: bool,
    sources: Mutex<Vec<Source>>,
    declared: Mutex<Vec<Declared>>,
}

impl Planner {
    /// Resolves the query's tables. Fails with 42P01, 3F000 where one does not exist.
    ///
    /// `target` is the table that the rows are written to, when they are: who runs the query must reach it.
    pub fn new(
        context: &QueryContext,
        query: &Query,
        parameters: &[ScalarValue],
        target: Option<&Arc<TableDefinition>>,
    ) -> Result<Arc<Self>> {
        let mut names = Names::default();
        names.tables.extend(target.cloned());
        names.schemas = names.resolve(context, query, &mut Vec::new())?;
        Ok(Arc::new(Self {
            snapshot: Arc::clone(&context.snapshot),
            context: context.clone(),
            query: query.clone(),
            names,
            parameters: parameters.to_vec(),
            writes: target.is_some(),
            sources: Mutex::default(),
            declared: Mutex::default(),
        }))
    }

    /// True when the query reads tables that only this process has.
    pub fn reads_system(&self) -> bool {
        self.names.reads_system
    }

    /// True when its rows go to files.
    pub fn writes(&self) -> bool {
        self.writes
    }

    /// Where the columns come from, once the query was planned.
    pub fn sources(&self) -> Vec<Source> {
        self.sources.lock().clone()
    }

    /// What its columns were declared as, once the query was planned.
    pub fn declared(&self) -> Vec<Declared> {
        self.declared.lock().clone()
    }

    /// The users' tables it reads.
    pub fn tables(&self) -> &[Arc<TableDefinition>] {
        &self.names.tables
    }

    /// True when `scan` is of a user's table, and not of a function that gives rows.
    pub fn is_users_table(&self, scan: &TableScan) -> bool {
        self.snapshot.table(&estimate::name_of(scan)).is_some()
    }

    /// The optimised logical plan for this process, and the session it was made in. With any `thrift` one that needs
    /// less memory.
    pub async fn logical(self: &Arc<Self>, thrift: Thrift) -> Result<(SessionState, LogicalPlan)> {
        let planner = Arc::clone(self);
        // Here partitions are computed at once, so that few need least. With a single one DataFusion knows hash joins
        // alone.
        let threads = self.context.coordinator.config.server_threads();
        let partitions = if thrift == Thrift::None { threads } else { 2 };
        let settings = StatementSettings { thrift, ..self.context.statement_settings(partitions) };
        self.on_planning_thread(async move { planner.logical_on(Destination::Local, settings).await }).await
    }

    /// What `plan` will read.
    pub async fn estimate(self: &Arc<Self>, state: &SessionState, plan: &LogicalPlan) -> Result<Estimate> {
        let (planner, state, plan) = (Arc::clone(self), state.clone(), plan.clone());
        self.on_planning_thread(async move { estimate::estimate(&planner.snapshot, &state, &plan).await })
            .await
    }

    /// The physical plan of a logical one.
    pub async fn physical(self: &Arc<Self>, state: SessionState, logical: LogicalPlan) -> Result<Plan> {
        let snapshot = Arc::clone(&self.snapshot);
        self.on_planning_thread(async move {
            let tables = estimate::tables(&snapshot, &logical)?;
            let physical = state.query_planner().create_physical_plan(&logical, &state).await?;
            Ok(Plan { physical, state, tables, is_small: false })
        })
        .await
    }

    /// Plans from the start for the executors, with partitions and joins that suit `estimate`. Fails where they would
    /// not run it, or not rightly. `thrift` says what is given up for needing less memory.
    pub async fn plan_for_cluster(self: &Arc<Self>, estimate: Estimate, thrift: Thrift) -> Result<Plan> {
        let cluster = &self.context.coordinator.cluster;
        let partitions = self.context.target_partitions.unwrap_or_else(|| {
            cluster.target_partitions(&self.names.tables, estimate, self.context.target_partition_size)
        }) * thrift.partitions_factor();
        let mut settings = self.context.statement_settings(partitions);
        settings.prefer_hash_join = cluster.hash_joins_fit(estimate, partitions);
        settings.task_memory = cluster.task_memory();
        if let Some(most) = self.context.max_memory {
            // As many tasks run at once, at most.
            settings.memory_max = (most as usize / cluster.slots()).max(TASK_MEMORY_MIN);
            settings.task_memory = settings.task_memory.min(settings.memory_max);
        }
        settings.thrift = thrift;
        // Each task holds the whole of what is broadcast.
        let share = settings.task_memory / if thrift == Thrift::None { 2 } else { 16 };
        settings.broadcast_bytes_max = settings.broadcast_bytes_max.min(share);
        let bytes_max = settings.broadcast_bytes_max;
        let refusal = |plan: &Plan, bytes_max| {
            let are_kept = broadcast::are_kept(&plan.physical, bytes_max);
            let distributed = || cluster.refusal(plan, self.writes());
            if are_kept { distributed() } else { Some("a join of the plan cannot be distributed".to_owned()) }
        };
        let is_small = estimate.input_bytes <= settings.task_memory as u64 / SMALL_SHARE;
        let plan = self.physical_for_cluster(settings.clone()).await?;
        if refusal(&plan, bytes_max).is_none() {
            return Ok(Plan { is_small, ..plan });
        }
        // Later rules made a build side's size unknown, or what it says of columns is lost on its way: without
        // broadcasts there is less to mistake.
        settings.broadcast_bytes_max = 0;
        let plan = self.physical_for_cluster(settings).await?;
        match refusal(&plan, 0) {
            None => Ok(plan),
            Some(message) => Err(Error::NotSupported { message }),
        }
    }

    async fn physical_for_cluster(self: &Arc<Self>, settings: StatementSettings) -> Result<Plan> {
        let planner = Arc::clone(self);
        let (state, logical) = self
            .on_planning_thread(async move { planner.logical_on(Destination::Cluster, settings).await })
            .await?;
        self.physical(state, logical).await
    }

    /// What the query asks of its parameters and gives in its columns. `declared` are the types the
    /// client chose itself.
    pub async fn describe(self: &Arc<Self>, declared: &[Option<DataType>]) -> Result<Description> {
        let planner = Arc::clone(self);
        let declared = declared.to_vec();
        self.on_planning_thread(async move { planner.description(&declared).await }).await
    }

    async fn description(&self, declared: &[Option<DataType>]) -> Result<Description> {
        let partitions = self.context.coordinator.config.server_threads();
        let settings = self.context.statement_settings(partitions);
        let views = PlannedViews::default();
        let state = self.session_state(Destination::Local, &settings, &views);
        let expansion = self.expansion(&state, &views).await?;
        let plan = self.planned(&state, declared).await?;
        let parameters = parameters::types(&plan, declared, self.query.parameters.keys().last().copied())?;
        let plan = inserted_rows(plan);
        self.check_may_read(&plan)?;
        let sources = self.sources_of(&plan);
        if self.query.explain.is_some() {
            return Ok(Description { parameters, columns: super::explain_columns(), single_row: None });
        }
        let plan = expansion.of(plan)?;
        let declared = self.declared_of(&plan);
        let single_row = (!self.query.asks_session)
            .then(|| {
                SingleRow::of(&plan, &parameters, &state, (&self.context.time_zone, &self.context.style))
                    .map(Arc::new)
            })
            .flatten();
        let nulls = parameters.iter().map(ScalarValue::try_from).collect::<DataFusionResult<Vec<_>>>()?;
        let plan = bind(plan, nulls)?;
        let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
        let columns =
            with_sources(&output_schema(plan.schema().as_arrow(), &self.query), &sources, &declared);
        let columns = if self.names.reads_system { with_oid_arrays(&columns) } else { columns };
        Ok(Description { parameters, columns, single_row })
    }

    /// Refuses a plan that reads what the role was not given to read (42501). The plan is asked, not the
    /// text: a common table expression may have the name of the table it reads.
    pub fn check_may_read(&self, plan: &LogicalPlan) -> Result<()> {
        self.check_role_may_read(self.context.role_oid, plan)
    }

    fn check_role_may_read(&self, role: u32, plan: &LogicalPlan) -> Result<()> {
        if self.names.reads_system {
            self.check_system(role, plan)?;
        }
        // Whether the statement reads what it changes was looked at where that is known.
        let target = self.context.target.as_ref().map(|target| &target.table.name);
        let tables = estimate::tables_beside(target, &self.snapshot, plan)?;
        tables.iter().try_for_each(|table| check_may_read(&self.snapshot, role, table))
    }

    /// The same for system relations, of which a few are for superusers.
    fn check_system(&self, role: u32, plan: &LogicalPlan) -> Result<()> {
        let role = self.snapshot.metadata().role_by_oid(role);
        if role.is_some_and(|role| role.is_superuser) {
            return Ok(());
        }
        let mut denied = None;
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                let (schema, table) = (scan.table_name.schema().unwrap_or_default(), scan.table_name.table());
                if pg_catalog::is_for_superusers(schema, table) {
                    denied = Some(format!("permission denied for table {table}"));
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        denied.map_or(Ok(()), |message| Err(Error::PermissionDenied { message }))
    }

    /// Where each column of `plan` comes from, when it is a plain column of a user's table: the table's
    /// identifier and the column's number.
    fn sources_of(&self, plan: &LogicalPlan) -> Vec<Source> {
        let mut known: Vec<(String, Option<Arc<TableDefinition>>)> = Vec::new();
        let _ = plan.apply(|node| {
            let found = match node {
                LogicalPlan::TableScan(scan) => Some((scan.table_name.table(), scan)),
                LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
                    LogicalPlan::TableScan(scan) => Some((alias.alias.table(), scan)),
                    _ => None,
                },
                _ => None,
            };
            if let Some((name, scan)) = found {
                let table = self.snapshot.table(&estimate::name_of(scan)).cloned();
                known.push((name.to_owned(), table));
            }
            Ok(TreeNodeRecursion::Continue)
        });
        let source = |(qualifier, field): (Option<&datafusion::common::TableReference>, &Arc<Field>)| {
            let name = qualifier?.table();
            let mut tables = known.iter().filter(|(alias, _)| alias == name).map(|(_, table)| table);
            let table = tables.next()?.as_ref()?;
            // A name that stands for two tables tells nothing.
            let is_one = tables.all(|other| other.as_ref().is_some_and(|other| other.oid == table.oid));
            let at = table.position(field.name())?;
            is_one.then_some((table.oid, at + 1))
        };
        plan.schema().iter().map(source).collect()
    }

    /// What the columns of `plan` were declared as.
    fn declared_of(&self, plan: &LogicalPlan) -> Vec<Declared> {
        let is_any = self.names.tables.iter().any(|table| table.has_declared());
        if is_any { declared::of_plan(plan, &self.snapshot) } else { Vec::new() }
    }

    async fn logical_on(
        &self,
        destination: Destination,
        settings: StatementSettings,
    ) -> Result<(SessionState, LogicalPlan)> {
        // Who asks for the columns alone may know them.
        if !self.query.is_empty {
            let metadata = self.snapshot.metadata();
            // The first is the table that is written to, where one is.
            let mut read = self.names.tables.iter().skip(usize::from(self.writes));
            read.try_for_each(|table| check_populated(metadata, &table.name))?;
        }
        let views = PlannedViews::default();
        let state = self.session_state(destination, &settings, &views);
        let expansion = self.expansion(&state, &views).await?;
        let types: Vec<_> = self.parameters.iter().map(|value| Some(value.data_type())).collect();
        let plan = self.planned(&state, &types).await?;
        let plan = inserted_rows(plan);
        refuse_writes(&plan)?;
        self.check_may_read(&plan)?;
        *self.sources.lock() = self.sources_of(&plan);
        let plan = expansion.of(plan)?;
        *self.declared.lock() = self.declared_of(&plan);
        let plan = exchange::kept(plan)?;
        let plan = bind(plan, self.parameters.clone())?;
        let plan = state.optimize(&plan)?;
        Ok((state, plan))
    }

    /// The plan of the statement, before it is optimised. An INSERT that names no columns may give values
    /// for the first of them only. `types` are what is known of the parameters.
    async fn planned(&self, state: &SessionState, types: &[Option<DataType>]) -> Result<LogicalPlan> {
        let mut statement = self.prepared(&self.query, &self.names.schemas, types)?;
        if let Some(target) = self.names.tables.first() {
            read_values(&mut statement, target)?;
        }
        if let (Some(source), Some(target)) = (InsertSource::of(&statement), self.names.tables.first()) {
            let width = match source {
                InsertSource::Values(width) => width,
                InsertSource::Query(query) => {
                    let plan = state.statement_to_plan(query).await.map_err(with_position)?;
                    plan_size::check(&plan)?;
                    plan.schema().fields().len()
                }
            };
            let names: Vec<String> = target.fields().iter().map(|field| field.name().clone()).collect();
            if width > names.len() {
                let message = "INSERT has more expressions than target columns".to_owned();
                return Err(Error::Syntax { message, position: None });
            }
            if width < names.len() {
                name_columns(&mut statement, &names[..width]);
            }
        }
        if let (Some(source), Some(target)) = (inserted_query(&statement), self.names.tables.first()) {
            let plan = state.statement_to_plan(source).await.map_err(with_position)?;
            if let Some(casts) = wide_outputs(plan.schema(), target, &inserted_columns(&statement))? {
                cast_outputs(&mut statement, &casts)?;
            }
        }
        if let (Some((values, places)), Some(target)) =
            (computed_values(&statement), self.names.tables.first())
            // What it refuses, it refuses below, where it is told better.
            && let Ok(plan) = state.statement_to_plan(values).await
        {
            let kinds = plan.schema().fields().iter().map(|field| field.data_type().clone());
            let casts = wide_values(kinds.zip(places), target, &inserted_columns(&statement))?;
            cast_values(&mut statement, &casts);
        }
        let written = value_casts(&statement);
        let plan = match state.statement_to_plan(statement).await {
            Err(error) if !self.writes && is_of_names(&error) => {
                let mut statement = self.prepared(&self.query, &self.names.schemas, types)?;
                tell_computed_apart(&mut statement);
                state.statement_to_plan(statement).await
            }
            planned => planned,
        };
        let plan = plan.map_err(with_position)?;
        plan_size::check(&plan)?;
        let is_copy = self.names.tables.iter().any(|table| table.name.schema == assignments::COPIED_SCHEMA);
        if let Some(target) = self.names.tables.first().filter(|_| !is_copy) {
            assignments::check_insert(&plan, target, &written)?;
        }
        Ok(plan)
    }

    /// The statement of `query` as DataFusion finds its relations, those without a schema in `schemas`. `types` are what is known
    /// of its parameters.
    fn prepared(
        &self,
        query: &Query,
        schemas: &Schemas,
        types: &[Option<DataType>],
    ) -> Result<datafusion::sql::parser::Statement> {
        let mut statement = query.statement.clone();
        if query.asks_session {
            tell_session(&mut statement, &self.context.identity);
        }
        if !query.parameters.is_empty() {
            let type_of = |number: usize| types.get(number.checked_sub(1)?).cloned().flatten();
            let value_of = |number: usize| match self.parameters.get(number.checked_sub(1)?)? {
                ScalarValue::Int16(value) => Some(value.map(i64::from)),
                ScalarValue::Int32(value) => Some(value.map(i64::from)),
                ScalarValue::Int64(value) => Some(*value),
                _ => None,
            };
            let is_array = |number| matches!(type_of(number), Some(DataType::List(_)));
            type_arrays(&mut statement, |column| self.column_type(column), is_array);
            type_parameters(&mut statement, type_of, value_of);
        }
        if self.names.tables.iter().any(|table| table.has_declared()) {
            trim_beside(&mut statement, |column| {
                let mut known = self.names.tables.iter().filter_map(|table| {
                    let declared = table.declared(table.position(column)?);
                    Some(declared.is_some_and(|declared| declared.name == types::BPCHAR.name))
                });
                // A name that stands for columns of two kinds tells nothing.
                known.next() == Some(true) && known.all(|is_padded| is_padded)
            });
        }
        resolve(&mut statement, &|schema, relation| {
            let schema = schema.or_else(|| schemas.get(relation).map(String::as_str));
            self.columns_of(schema.unwrap_or(catalog::DEFAULT_SCHEMA), relation)
        })?;
        quantify(&mut statement);
        if !schemas.is_empty() {
            qualify_relations(&mut statement, |relation| schemas.get(relation).cloned());
        }
        Ok(statement)
    }

    /// The names of a relation's columns, and of their types.
    fn columns_of(&self, schema: &str, relation: &str) -> Option<Vec<(String, Option<String>)>> {
        let name = TableName::new(schema, relation);
        // A table that is changed has more, which tell where its rows are: they have names that nobody writes.
        match self.snapshot.table(&name) {
            Some(table) => {
                let declared = |at| table.declared(at).map(|declared| declared.name.clone());
                let kind = |(at, field): (usize, &Field)| {
                    let kind = declared(at).unwrap_or_else(|| field.data_type().to_string());
                    (field.name().clone(), Some(kind))
                };
                Some(table.fields().iter().enumerate().map(kind).collect())
            }
            None => pg_catalog::column_names(schema, relation),
        }
    }

    /// The plans of the views that the query reads, each as its owner may read. `planned` is told their columns.
    async fn expansion(&self, state: &SessionState, planned: &PlannedViews) -> Result<Expansion> {
        let mut expansion = Expansion::default();
        for ViewUse { definition, query, schemas } in &self.names.views {
            let name = &definition.name;
            let plan = state.statement_to_plan(self.prepared(query, schemas, &[])?).await?;
            plan_size::check(&plan)?;
            refuse_writes(&plan)?;
            self.check_role_may_read(self.snapshot.metadata().owner(name), &plan)?;
            let plan = renamed(expansion.of(plan)?, query)?;
            planned.write().insert(name.clone(), Arc::clone(plan.schema().inner()));
            expansion.0.insert(name.clone(), plan);
        }
        Ok(expansion)
    }

    /// The type of a column that one of the tables has, whatever its table.
    fn column_type(&self, column: &str) -> Option<DataType> {
        self.names
            .tables
            .iter()
            .find_map(|table| table.fields().get(table.position(column)?).map(|f| f.data_type().clone()))
    }

    fn session_state(
        &self,
        destination: Destination,
        settings: &StatementSettings,
        views: &PlannedViews,
    ) -> SessionState {
        let coordinator = &self.context.coordinator;
        let tables = SnapshotCatalog::new(Arc::clone(&self.snapshot), destination.string_layout())
            .with_target(self.context.target.clone())
            .with_views(Arc::clone(views));
        let catalogs = MemoryCatalogProviderList::new();
        let database: Arc<dyn CatalogProvider> = if self.names.reads_system {
            Arc::new(WithSystemSchemas { tables, system: pg_catalog::schemas(&self.context, &self.snapshot) })
        } else {
            Arc::new(tables)
        };
        catalogs.register_catalog(catalog::DATABASE.to_owned(), database);
        let mut state = coordinator.sessions.for_statement(destination, Arc::new(catalogs), settings);
        if self.names.reads_system || destination == Destination::Local {
            pg_catalog::register_functions(&mut state, &self.context, &self.snapshot, &self.names.functions);
        }
        state
    }

    /// Planning recurses as deep as the statement, and computes without pause: it runs on a
    /// planning thread, whose stack is large, so that clients are heard meanwhile. How long it may take is bounded.
    async fn on_planning_thread<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let who =
            if self.query.is_little { Planned::Little } else { Planned::Role(self.context.session_role_oid) };
        self.context.coordinator.planning.run(who, self.context.planning_timeout, work).await
    }
}

/// What the names in a query stand for.
#[derive(Default)]
struct Names {
    /// The users' tables, those behind views included.
    tables: Vec<Arc<TableDefinition>>,
    /// The views, each behind those that it reads.
    views: Vec<ViewUse>,
    /// For the statement itself.
    schemas: Schemas,
    /// The functions that are called.
    functions: BTreeSet<String>,
    /// Some of them only this process has.
    reads_system: bool,
}

/// Where relations are that were written without a schema, where that is not the one that DataFusion would look in.
type Schemas = BTreeMap<String, String>;

/// A view that is read.
struct ViewUse {
    definition: Arc<TableDefinition>,
    query: Query,
    schemas: Schemas,
}

/// Refuses a materialized view whose rows were never computed (55000).
fn check_populated(metadata: &Metadata, name: &TableName) -> Result<()> {
    match metadata.materialized.get(name) {
        Some(of) if of.is_unpopulated => Err(Error::NotInState {
            message: format!("materialized view \"{}\" has not been populated", name.table),
        }),
        _ => Ok(()),
    }
}

impl Names {
    /// Looks up the relations of `query`, which stands for the innermost of the views in `open`.
    fn resolve(
        &mut self,
        context: &QueryContext,
        query: &Query,
        open: &mut Vec<TableName>,
    ) -> Result<Schemas> {
        /// Views over views, as deep as they may lie.
        const VIEWS_MAX: usize = 64;
        let snapshot = &context.snapshot;
        let mut schemas = Schemas::new();
        // Ours are kept with all schemas; one of another engine means what it meant there, whoever reads it.
        let searched = match open.last() {
            None => context.search_path.clone(),
            Some(view) => vec![view.schema.clone(), catalog::DEFAULT_SCHEMA.to_owned()],
        };
        self.functions.extend(query.functions.iter().cloned());
        for reference in &query.tables {
            let schema = reference.schema.as_deref();
            // What views read was found when they were made; who reads them needs not look there.
            if open.is_empty() {
                check_may_look_into(snapshot.metadata(), context.role_oid, schema.map(catalog::own_schema))?;
            }
            let path = || schema.map_or_else(|| searched.clone(), |schema| vec![schema.to_owned()]);
            let own = |schema: String| match &context.target {
                Some(_) => catalog::own_schema(&schema).to_owned(),
                None => schema,
            };
            let names = path().into_iter().map(|schema| TableName::new(own(schema), &*reference.table));
            let found = names.into_iter().find_map(|name| snapshot.table(&name).cloned());
            if let Some(definition) = found {
                if schema.is_none() && definition.name.schema != catalog::DEFAULT_SCHEMA {
                    let schema = definition.name.schema.clone();
                    schemas.insert(reference.table.clone(), schema);
                }
                let Some(view) = &definition.view else {
                    if definition.unavailable.is_some() {
                        // A view's reader need not be allowed to read the table.
                        if open.is_empty() {
                            check_may_read(snapshot, context.role_oid, &definition)?;
                        }
                        definition.check_available()?;
                    }
                    self.tables.push(definition);
                    continue;
                };
                if open.contains(&definition.name) || open.len() == VIEWS_MAX {
                    let name = &definition.name.table;
                    let message = format!("infinite recursion detected in rules for relation \"{name}\"");
                    return Err(Error::InvalidObjectDefinition { message });
                }
                if !self.views.iter().any(|known| known.definition.name == definition.name) {
                    let query = sql::view_query(&view.sql, &context.facts)?;
                    open.push(definition.name.clone());
                    let schemas = self.resolve(context, &query, open)?;
                    open.pop();
                    self.views.push(ViewUse { definition, query, schemas });
                }
            } else if pg_catalog::is_system_table(schema, &reference.table) {
                self.reads_system = true;
                if schema.is_none() {
                    schemas.insert(reference.table.clone(), "pg_catalog".to_owned());
                }
            } else if schema.is_none_or(|schema| schema == "pg_catalog")
                && pg_catalog::is_table_function(&reference.table)
            {
                // A function in FROM is a relation to the parser.
            } else {
                return Err(Error::UndefinedTable { name: reference.shown(), position: reference.position });
            }
        }
        Ok(schemas)
    }
}

/// The plans of views, to be put in the place of their scans.
#[derive(Default)]
struct Expansion(BTreeMap<TableName, LogicalPlan>);

impl Expansion {
    fn of(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        if self.0.is_empty() {
            return Ok(plan);
        }
        let expanded = plan.transform_down_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
            let Some(view) = self.0.get(&estimate::name_of(scan)) else { return Ok(Transformed::no(node)) };
            let builder = LogicalPlanBuilder::from(view.clone()).alias(scan.table_name.clone())?;
            let builder = match &scan.projection {
                Some(columns) => builder.select(columns.iter().copied())?,
                None => builder,
            };
            // What is in it was expanded before.
            Ok(Transformed::new(builder.build()?, true, TreeNodeRecursion::Jump))
        })?;
        plan_size::check(&expanded.data)?;
        Ok(expanded.data)
    }
}

/// `plan` with its columns under PostgreSQL's names.
fn renamed(plan: LogicalPlan, query: &Query) -> Result<LogicalPlan> {
    let columns = output_schema(plan.schema().as_arrow(), query);
    let column = |((qualifier, field), wanted): ((Option<&TableReference>, &Arc<Field>), &Arc<Field>)| {
        let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
        column.alias(wanted.name())
    };
    let outputs: Vec<Expr> = plan.schema().iter().zip(columns.fields()).map(column).collect();
    Ok(LogicalPlanBuilder::from(plan).project(outputs)?.build()?)
}

/// Users' tables and the system's, in one database.
#[derive(Debug)]
struct WithSystemSchemas {
    tables: SnapshotCatalog,
    system: Vec<(&'static str, Arc<SystemSchema>)>,
}

impl CatalogProvider for WithSystemSchemas {
    fn schema_names(&self) -> Vec<String> {
        let system = self.system.iter().map(|(name, _)| (*name).to_owned());
        self.tables.schema_names().into_iter().chain(system).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let system = self.system.iter().find(|(schema, _)| *schema == name);
        match system {
            Some((_, schema)) => Some(Arc::clone(schema) as _),
            None => self.tables.schema(name),
        }
    }
}

/// Refuses a table that the role was not given to read (42501).
pub fn check_may_read(snapshot: &Snapshot, role: u32, table: &TableDefinition) -> Result<()> {
    // Only its own session finds it.
    if table.name.schema == TEMPORARY_SCHEMA {
        return Ok(());
    }
    let metadata = snapshot.metadata();
    // What was is read by who may read what is.
    let name = TableName::new(table.name.schema.as_str(), present_name(&table.name.table));
    let object = GrantObject::Table(name);
    if !metadata.allows(role, &object, Privilege::Select) {
        let message = format!("permission denied for {object}");
        return Err(Error::PermissionDenied { message });
    }
    Ok(())
}

/// Refuses to look into a schema that was named and that the role may not use (42501), before it tells what is in it.
pub fn check_may_look_into(metadata: &Metadata, role: u32, schema: Option<&str>) -> Result<()> {
    match schema.filter(|schema| metadata.is_closed_to(role, schema)) {
        None => Ok(()),
        Some(schema) => {
            Err(Error::PermissionDenied { message: format!("permission denied for schema {schema}") })
        }
    }
}

/// The rows of an INSERT, as the columns of its table: where they go is ours to say.
fn inserted_rows(plan: LogicalPlan) -> LogicalPlan {
    match plan {
        LogicalPlan::Dml(DmlStatement { op: WriteOp::Insert(InsertOp::Append), input, .. }) => {
            Arc::unwrap_or_clone(input)
        }
        other => other,
    }
}

/// DataFusion's own ways of writing would go round the catalog.
fn refuse_writes(plan: &LogicalPlan) -> Result<()> {
    let what = match plan {
        LogicalPlan::Ddl(ddl) => ddl.name(),
        LogicalPlan::Dml(_) => "INSERT, UPDATE and DELETE",
        LogicalPlan::Copy(_) => "COPY",
        LogicalPlan::Statement(LogicalStatement::SetVariable(_)) => "SET here",
        _ => return Ok(()),
    };
    Err(Error::NotSupported { message: format!("{what} is not supported") })
}

fn bind(plan: LogicalPlan, parameters: Vec<ScalarValue>) -> Result<LogicalPlan> {
    if parameters.is_empty() {
        let unbound = plan.get_parameter_names()?;
        if let Some(name) = unbound.into_iter().min() {
            return Err(Error::UndefinedParameter { name });
        }
        return Ok(plan);
    }
    let plan = with_special_numbers(plan, &parameters)?;
    Ok(plan.with_param_values(ParamValues::from(parameters))?)
}

/// Parameters that no decimal holds, as literals of their texts: the planner has no type for them. So are those that are cast to
/// `numeric`, which leaves them their digits.
fn with_special_numbers(plan: LogicalPlan, parameters: &[ScalarValue]) -> Result<LogicalPlan> {
    let is_number =
        |value: &ScalarValue| matches!(value, ScalarValue::Decimal128(Some(_), ..) | ScalarValue::List(_));
    if !parameters.iter().any(|value| is_number(value) || wide::shown(value).is_some()) {
        return Ok(plan);
    }
    let value_of = |expr: &Expr| {
        let Expr::Placeholder(placeholder) = expr else { return None };
        let at = placeholder.id.trim_start_matches('$').parse::<usize>().ok()?;
        parameters.get(at.checked_sub(1)?)
    };
    let bound = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let bound = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let bound = expr.transform_up(|expr| {
                // Its numbers have their digits already.
                if let Expr::Cast(cast) = &expr
                    && is_bare_list(cast.field.data_type())
                    && let Some(value @ ScalarValue::List(_)) = value_of(&cast.expr)
                    && holds_wide(&value.data_type())
                {
                    return Ok(Transformed::yes(Expr::Literal(value.clone(), None)));
                }
                // What no decimal holds was put in already.
                if let Expr::Cast(cast) = &expr
                    && *cast.field.data_type() == digits::BARE
                    && matches!(cast.expr.as_ref(), Expr::ScalarFunction(call) if call.func.name() == conversions::BARE)
                {
                    return Ok(Transformed::yes(cast.expr.as_ref().clone()));
                }
                let text = match &expr {
                    Expr::Cast(cast) if *cast.field.data_type() == digits::BARE => match value_of(&cast.expr)
                    {
                        Some(ScalarValue::Decimal128(Some(value), _, scale)) => {
                            Some(digits::shown(*value, *scale))
                        }
                        _ => None,
                    },
                    expr => value_of(expr).and_then(wide::shown),
                };
                Ok(match text {
                    Some(text) => Transformed::yes(conversions::bare_literal(&text)),
                    None => Transformed::no(expr),
                })
            })?;
            Ok(bound.update_data(|expr| name.restore(expr)))
        })?;
        if bound.transformed { bound.map_data(LogicalPlan::recompute_schema) } else { Ok(bound) }
    })?;
    Ok(bound.data)
}

fn is_bare_list(kind: &DataType) -> bool {
    matches!(kind, DataType::List(item) if *item.data_type() == digits::BARE)
}

/// Columns with PostgreSQL's names and types in place of DataFusion's.
pub fn output_schema(schema: &Schema, query: &Query) -> SchemaRef {
    let (left, right) = &query.output_names;
    let count = schema.fields().len();
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let named = left.get(index).or_else(|| right.get(count - 1 - index)).cloned().flatten();
            let mut field = field.as_ref().clone();
            if let Some(name) = named {
                field = field.with_name(name);
            } else if let Some((name, _)) = field.name().split_once(sql::REPEATED) {
                field = field.clone().with_name(name);
            }
            let told = query.output_types.get(index).copied().flatten();
            match told {
                Some((oid, modifier)) if holds(field.data_type(), oid) => {
                    let mut metadata = field.metadata().clone();
                    metadata.insert(pg_catalog::PG_TYPE.into(), types::name(oid).into());
                    metadata.insert(pg_catalog::PG_TYPMOD.into(), modifier.to_string());
                    field.with_metadata(metadata)
                }
                _ => field,
            }
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// The types of the columns of `target` that numbers of any scale go to, by the place of each among `outputs`; `None` where
/// there are no such. The planner has no cast for them.
fn wide_outputs(
    outputs: &DFSchema,
    target: &TableDefinition,
    named: &[String],
) -> Result<Option<Vec<Option<DataType>>>> {
    if !outputs.fields().iter().any(|field| is_wide(field.data_type())) {
        return Ok(None);
    }
    let cast = |(at, output): (usize, &Arc<Field>)| {
        let kind = output.data_type();
        if is_wide(kind) { stored_type(kind, target, named, at) } else { Ok(None) }
    };
    outputs.fields().iter().enumerate().map(cast).collect::<Result<_>>().map(Some)
}

/// The same for values, of which it says where they stand.
fn wide_values(
    values: impl Iterator<Item = (DataType, ValuePlace)>,
    target: &TableDefinition,
    named: &[String],
) -> Result<Vec<(ValuePlace, DataType)>> {
    let cast = |(kind, place): (DataType, ValuePlace)| {
        stored_type(&kind, target, named, place.1).map(|to| to.map(|to| (place, to)))
    };
    values.filter(|(kind, _)| is_wide(kind)).filter_map(|value| cast(value).transpose()).collect()
}

/// The type of the column that takes values of `kind`, the one at that place of those that the statement names. Fails where none
/// are put there (42804).
fn stored_type(
    kind: &DataType,
    target: &TableDefinition,
    named: &[String],
    at: usize,
) -> Result<Option<DataType>> {
    let at = match named.get(at) {
        Some(name) => target.position(name),
        None => Some(at),
    };
    let columns = target.fields();
    let Some(column) = at.and_then(|at| columns.get(at)) else { return Ok(None) };
    assignments::check_type(kind, column)?;
    Ok(Some(column.data_type().clone()))
}

/// Whether values of PostgreSQL type `oid` are held as `data_type`.
fn holds(data_type: &DataType, oid: u32) -> bool {
    let is_text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match oid {
        oid if types::is_sent_as_oid(oid) => *data_type == DataType::Int64,
        oid if oid == types::INT8.oid => *data_type == DataType::Int64,
        oid if oid == types::NUMERIC.oid => {
            matches!(data_type, DataType::Decimal128(..) | DataType::LargeBinary)
        }
        _ => is_text,
    }
}

/// Arrays of numbers that system tables give are arrays of object identifiers; aggregates forget it.
fn with_oid_arrays(columns: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        let is_numbers =
            matches!(field.data_type(), DataType::List(item) if *item.data_type() == DataType::Int64);
        let mut metadata = field.metadata().clone();
        if is_numbers {
            metadata.entry(pg_catalog::PG_TYPE.into()).or_insert_with(|| "_oid".into());
        }
        field.as_ref().clone().with_metadata(metadata)
    };
    Arc::new(Schema::new(columns.fields().iter().map(field).collect::<Vec<_>>()))
}

/// The table's identifier and the column's number, for a plain column of a user's table.
pub type Source = Option<(u32, usize)>;

/// The key of a field's metadata that tells the table and the column it comes from.
pub const SOURCE: &str = "sluice.source";

/// Columns told where they come from. A computed number has no precision of its own.
pub fn with_sources(columns: &Schema, sources: &[Source], declared: &[Declared]) -> SchemaRef {
    let mut sources = sources.iter().copied().map(Some).chain(std::iter::repeat(None));
    let mut declared = declared.iter().map(Option::as_ref).chain(std::iter::repeat(None));
    let field = |field: &Arc<Field>| {
        let mut metadata = field.metadata().clone();
        if let Some((name, modifier)) = declared.next().flatten() {
            metadata.entry(pg_catalog::PG_TYPE.into()).or_insert_with(|| name.clone());
            metadata.entry(pg_catalog::PG_TYPMOD.into()).or_insert_with(|| modifier.to_string());
        }
        match sources.next().flatten() {
            Some(Some((table, column))) => {
                metadata.insert(SOURCE.into(), format!("{table}.{column}"));
            }
            Some(None) if !metadata.contains_key(pg_catalog::PG_TYPMOD) => {
                metadata.insert(pg_catalog::PG_TYPMOD.into(), "-1".into());
            }
            _ => {}
        }
        field.as_ref().clone().with_metadata(metadata)
    };
    Arc::new(Schema::new(columns.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Whether the planner found two columns of one name, which it gave them itself.
fn is_of_names(error: &datafusion::error::DataFusionError) -> bool {
    error.strip_backtrace().contains("require unique expression names")
}

/// A column that does not exist, with its place where the planner tells it.
fn with_position(error: datafusion::error::DataFusionError) -> Error {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let mut error = Error::from(error);
    if let (Error::UndefinedColumn { position, .. }, Some(span)) = (&mut error, span) {
        // Lines are joined when the text is cut into statements, so only the first can be told.
        *position = (span.start.line == 1).then_some(span.start.column as usize);
    }
    error
}
