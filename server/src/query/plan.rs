//! Names against one snapshot → logical → optimised → physical.
//!
//! The destination is known before the physical plan is made: the plan that was routed is the plan
//! that runs.

use std::sync::Arc;

use catalog::{Snapshot, SnapshotCatalog, TableDefinition, TableName};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProviderList, SchemaProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Statement as LogicalStatement};
use datafusion::physical_plan::ExecutionPlan;
use engine::session_state::{Destination, StatementSettings};
use engine::{Error, Result};

use super::QueryContext;
use super::estimate::{self, Estimate};
use crate::pg_catalog::{self, SystemSchema};
use crate::sql::{Query, qualify_system_tables};

/// A plan and the session it was made in.
pub struct Plan {
    /// What runs.
    pub physical: Arc<dyn ExecutionPlan>,
    /// The session it runs in.
    pub state: SessionState,
    /// The tables it reads, for placement.
    pub tables: Vec<Arc<TableDefinition>>,
}

/// Parameters and columns of a query.
#[derive(Debug, Clone)]
pub struct Description {
    /// The types of `$1`, `$2`, …
    pub parameters: Vec<DataType>,
    /// The columns under PostgreSQL's names.
    pub columns: SchemaRef,
}

/// Plans one query against one snapshot.
pub struct Planner<'a> {
    context: &'a QueryContext,
    query: &'a Query,
    parameters: &'a [ScalarValue],
    snapshot: Arc<Snapshot>,
    tables: Vec<Arc<TableDefinition>>,
    reads_system: bool,
}

impl<'a> Planner<'a> {
    /// Resolves the query's tables. Fails with 42P01, 3F000 where one does not exist.
    pub fn new(context: &'a QueryContext, query: &'a Query, parameters: &'a [ScalarValue]) -> Result<Self> {
        let snapshot = context.coordinator.snapshot();
        let mut tables = Vec::new();
        let mut reads_system = false;
        for reference in &query.tables {
            let schema = reference.schema.as_deref();
            let name = TableName::new(schema.unwrap_or(catalog::DEFAULT_SCHEMA), &*reference.table);
            if let Some(definition) = snapshot.table(&name) {
                tables.push(Arc::clone(definition));
            } else if pg_catalog::is_system_table(schema, &reference.table) {
                reads_system = true;
            } else if schema.is_none() && pg_catalog::is_table_function(&reference.table) {
                // A function in FROM is a relation to the parser.
            } else {
                return Err(Error::UndefinedTable { name: reference.shown(), position: reference.position });
            }
        }
        Ok(Self { context, query, parameters, snapshot, tables, reads_system })
    }

    /// True when the query reads tables that only this process has.
    pub fn reads_system(&self) -> bool {
        self.reads_system
    }

    /// The users' tables it reads.
    pub fn tables(&self) -> &[Arc<TableDefinition>] {
        &self.tables
    }

    /// The optimised logical plan for this process, and the session it was made in.
    pub async fn logical(&self) -> Result<(SessionState, LogicalPlan)> {
        let partitions = self.context.coordinator.config.server_threads();
        let settings = self.context.statement_settings(partitions);
        self.within_planning_timeout(self.logical_on(Destination::Local, settings)).await
    }

    /// What `plan` will read.
    pub async fn estimate(&self, state: &SessionState, plan: &LogicalPlan) -> Result<Estimate> {
        estimate::estimate(&self.snapshot, state, plan).await
    }

    /// The physical plan of a logical one.
    pub async fn physical(&self, state: SessionState, logical: LogicalPlan) -> Result<Plan> {
        let tables = self.tables.clone();
        self.within_planning_timeout(async move {
            let physical = state.query_planner().create_physical_plan(&logical, &state).await?;
            Ok(Plan { physical, state, tables })
        })
        .await
    }

    /// Plans from the start for the executors, with partitions and joins that suit `estimate`.
    pub async fn plan_for_cluster(&self, estimate: Estimate) -> Result<Plan> {
        let cluster = &self.context.coordinator.cluster;
        let partitions = self
            .context
            .target_partitions
            .unwrap_or_else(|| cluster.target_partitions(&self.tables, estimate));
        let mut settings = self.context.statement_settings(partitions);
        settings.prefer_hash_join = cluster.hash_joins_fit(estimate, partitions);
        let (state, logical) =
            self.within_planning_timeout(self.logical_on(Destination::Cluster, settings)).await?;
        self.physical(state, logical).await
    }

    /// What the query asks of its parameters and gives in its columns. `declared` are the types the
    /// client chose itself.
    pub async fn describe(&self, declared: &[Option<DataType>]) -> Result<Description> {
        let partitions = self.context.coordinator.config.server_threads();
        let settings = self.context.statement_settings(partitions);
        let state = self.session_state(Destination::Local, &settings);
        let query = self.query;
        let declared = declared.to_vec();
        let statement = self.statement();
        self.within_planning_timeout(async move {
            let plan = state.statement_to_plan(statement).await.map_err(|e| with_position(e, query))?;
            let parameters = parameter_types(&plan, &declared)?;
            let columns = if query.explain.is_some() {
                super::explain_columns()
            } else {
                let nulls =
                    parameters.iter().map(ScalarValue::try_from).collect::<DataFusionResult<Vec<_>>>()?;
                let plan = bind(plan, nulls)?;
                let options = state.config_options();
                let plan = state.analyzer().execute_and_check(plan, options, |_, _| {})?;
                output_schema(plan.schema().as_arrow(), query)
            };
            Ok(Description { parameters, columns })
        })
        .await
    }

    async fn logical_on(
        &self,
        destination: Destination,
        settings: StatementSettings,
    ) -> Result<(SessionState, LogicalPlan)> {
        let state = self.session_state(destination, &settings);
        let plan = state
            .statement_to_plan(self.statement())
            .await
            .map_err(|error| with_position(error, self.query))?;
        refuse_writes(&plan)?;
        let plan = bind(plan, self.parameters.to_vec())?;
        let plan = state.optimize(&plan)?;
        Ok((state, plan))
    }

    fn statement(&self) -> datafusion::sql::parser::Statement {
        let mut statement = self.query.statement.clone();
        if self.reads_system {
            qualify_system_tables(&mut statement, |table| {
                let is_users = self.snapshot.table(&TableName::new(catalog::DEFAULT_SCHEMA, table));
                is_users.is_none() && pg_catalog::is_system_table(None, table)
            });
        }
        statement
    }

    fn session_state(&self, destination: Destination, settings: &StatementSettings) -> SessionState {
        let coordinator = &self.context.coordinator;
        let tables = SnapshotCatalog::new(Arc::clone(&self.snapshot), destination.string_layout());
        let catalogs = MemoryCatalogProviderList::new();
        let database: Arc<dyn CatalogProvider> = if self.reads_system {
            Arc::new(WithSystemSchemas { tables, system: pg_catalog::schemas(self.context, &self.snapshot) })
        } else {
            Arc::new(tables)
        };
        catalogs.register_catalog(catalog::DATABASE.to_owned(), database);
        let mut state = coordinator.sessions.for_statement(destination, Arc::new(catalogs), &settings);
        if self.reads_system || destination == Destination::Local {
            pg_catalog::register_functions(&mut state, self.context, &self.snapshot);
        }
        state
    }

    /// Planning recurses as deep as the statement: every thread that plans has a large stack
    /// (`serve.rs`), and how long it may take is bounded.
    async fn within_planning_timeout<T: Send>(
        &self,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        match self.context.planning_timeout {
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or(Err(Error::PlanningTimeout)),
            None => work.await,
        }
    }
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

/// The server writes nothing yet; DataFusion's own ways of writing would go round the catalog.
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
    Ok(plan.with_param_values(ParamValues::from(parameters))?)
}

/// The type of each parameter: the client's, else what the statement implies, else text.
fn parameter_types(plan: &LogicalPlan, declared: &[Option<DataType>]) -> Result<Vec<DataType>> {
    let mut inferred = plan.get_parameter_types()?;
    for (name, data_type) in cast_parameters(plan)? {
        inferred.insert(name, Some(data_type));
    }
    let numbers = inferred.keys().filter_map(|name| name.trim_start_matches('$').parse::<usize>().ok());
    let count = numbers.max().unwrap_or(0).max(declared.len());
    Ok((0..count)
        .map(|index| {
            let implied = || inferred.get(&format!("${}", index + 1)).cloned().flatten();
            declared
                .get(index)
                .cloned()
                .flatten()
                .or_else(implied)
                .filter(|data_type| *data_type != DataType::Null)
                .unwrap_or(DataType::Utf8)
        })
        .collect())
}

/// Parameters that stand right under a cast: `$1::int` says what `$1` is, as PostgreSQL reads it.
fn cast_parameters(plan: &LogicalPlan) -> Result<Vec<(String, DataType)>> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Cast(cast) = expr
                    && let Expr::Placeholder(parameter) = cast.expr.as_ref()
                {
                    found.push((parameter.id.clone(), cast.field.data_type().clone()));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Columns with PostgreSQL's names in place of DataFusion's.
pub fn output_schema(schema: &Schema, query: &Query) -> SchemaRef {
    let (left, right) = &query.output_names;
    let count = schema.fields().len();
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let named = left.get(index).or_else(|| right.get(count - 1 - index)).cloned().flatten();
            match named {
                Some(name) => field.as_ref().clone().with_name(name),
                None => field.as_ref().clone(),
            }
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// A column that does not exist is found by name in the statement: the planner does not say where.
fn with_position(error: datafusion::error::DataFusionError, _query: &Query) -> Error {
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
    let mut error = Error::from(error);
    if let (Error::UndefinedColumn { position, .. }, Some(span)) = (&mut error, span) {
        // Lines are joined when the text is cut into statements, so only the first can be told.
        *position = (span.start.line == 1).then_some(span.start.column as usize);
    }
    error
}
