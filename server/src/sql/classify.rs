//! Sorts statements: queries go to the planner, the rest to `commands/`.

use datafusion::sql::parser::Statement;
use engine::{Error, Result};
use sqlparser::ast::{
    CloseCursor, ContextModifier, DiscardObject, Expr, ObjectName, ObjectNamePart, Reset, Set,
    Statement as SqlStatement, Value,
};

use super::dialect::{self, SessionFacts};
use super::names::{self, TableReference};
use crate::pg_catalog;

/// What a statement asks for.
#[derive(Debug, Clone)]
pub enum Command {
    /// Rows.
    Query(Box<Query>),
    /// `SET name = value`; no value means the default.
    Set { name: String, value: Option<String>, is_local: bool },
    /// `SHOW name`, or `SHOW ALL`.
    Show { name: String },
    /// `RESET name`; no name means all.
    Reset { name: Option<String> },
    /// `BEGIN`, `COMMIT` and their kin.
    Transaction(TransactionCommand),
    /// `DISCARD ALL` and its parts.
    Discard { is_all: bool },
    /// `DEALLOCATE name`; no name means all.
    Deallocate { name: Option<String> },
    /// `CLOSE ALL`: there are no cursors yet, so there is nothing to close.
    CloseAll,
}

/// A step of a transaction block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The words of the statements themselves.
pub enum TransactionCommand {
    Begin {
        is_start: bool,
    },
    Commit,
    Rollback,
    Savepoint,
    Release,
    RollbackTo,
    /// `SET TRANSACTION …`, `SET SESSION CHARACTERISTICS …`: every mode asked for is the one we have.
    SetModes,
}

/// A statement that gives rows.
#[derive(Debug, Clone)]
pub struct Query {
    /// The statement, rewritten to what DataFusion reads.
    pub statement: Statement,
    /// The tables it names.
    pub tables: Vec<TableReference>,
    /// PostgreSQL's names for its columns, from the left and from the right.
    pub output_names: (Vec<Option<String>>, Vec<Option<String>>),
    /// What stands before it.
    pub explain: Option<Explain>,
}

/// `EXPLAIN` before a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explain {
    /// `EXPLAIN ANALYZE`.
    pub is_analyze: bool,
}

/// Sorts one statement of `sql`.
pub fn classify(statement: Statement, sql: &str, facts: &SessionFacts) -> Result<Command> {
    match statement {
        Statement::Statement(inner) => classify_sql(*inner, sql, facts),
        Statement::Explain(explain) => {
            let is_analyze = explain.options.analyze;
            match classify(*explain.statement, sql, facts)? {
                Command::Query(mut query) => {
                    query.explain = Some(Explain { is_analyze });
                    Ok(Command::Query(query))
                }
                _ => Err(not_supported("EXPLAIN of a statement that is not a query")),
            }
        }
        Statement::Reset(reset) => Ok(Command::Reset { name: reset_name(&reset.to_string()) }),
        Statement::CreateExternalTable(_) => Err(not_supported("CREATE EXTERNAL TABLE")),
        Statement::CopyTo(_) => Err(not_supported("COPY")),
    }
}

fn classify_sql(statement: SqlStatement, sql: &str, facts: &SessionFacts) -> Result<Command> {
    Ok(match statement {
        SqlStatement::Query(_) => Command::Query(Box::new(query(statement, sql, facts))),
        SqlStatement::Explain { analyze, statement, .. } => match classify_sql(*statement, sql, facts)? {
            Command::Query(mut query) => {
                query.explain = Some(Explain { is_analyze: analyze });
                Command::Query(query)
            }
            _ => return Err(not_supported("EXPLAIN of a statement that is not a query")),
        },
        SqlStatement::Set(set) => classify_set(set)?,
        SqlStatement::ShowVariable { variable } => {
            Command::Show { name: variable_name(variable.iter().map(|i| i.value.as_str())) }
        }
        SqlStatement::Reset(reset) => Command::Reset {
            name: match reset.reset {
                Reset::ALL => None,
                Reset::ConfigurationParameter(name) => Some(object_name(&name)),
            },
        },
        SqlStatement::StartTransaction { begin, .. } => {
            Command::Transaction(TransactionCommand::Begin { is_start: !begin })
        }
        SqlStatement::Commit { .. } => Command::Transaction(TransactionCommand::Commit),
        SqlStatement::Rollback { savepoint: None, .. } => Command::Transaction(TransactionCommand::Rollback),
        SqlStatement::Rollback { savepoint: Some(_), .. } => {
            Command::Transaction(TransactionCommand::RollbackTo)
        }
        SqlStatement::Savepoint { .. } => Command::Transaction(TransactionCommand::Savepoint),
        SqlStatement::ReleaseSavepoint { .. } => Command::Transaction(TransactionCommand::Release),
        SqlStatement::Discard { object_type } => {
            Command::Discard { is_all: matches!(object_type, DiscardObject::ALL) }
        }
        SqlStatement::Deallocate { name, .. } => {
            let is_all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
            Command::Deallocate {
                name: (!is_all).then(|| catalog::identifier::fold(&name.value, name.quote_style.is_some())),
            }
        }
        SqlStatement::Close { cursor: CloseCursor::All } => Command::CloseAll,
        other => return Err(not_supported(&first_words(&other.to_string()))),
    })
}

fn query(mut statement: SqlStatement, sql: &str, facts: &SessionFacts) -> Query {
    let output_names = names::output_names(&statement);
    let reads_system = names::tables(&statement, sql).iter().any(|table| {
        // A user's own table of such a name is found in its schema, `public`.
        pg_catalog::is_system_table(table.schema.as_deref(), &table.table)
    });
    dialect::adapt(&mut statement, facts, reads_system);
    // After the rewrites, which may leave out what cannot have rows.
    let tables = names::tables(&statement, sql);
    Query { statement: Statement::Statement(Box::new(statement)), tables, output_names, explain: None }
}

fn classify_set(set: Set) -> Result<Command> {
    Ok(match set {
        Set::SingleAssignment { scope, variable, values, .. } => {
            let is_local = matches!(scope, Some(ContextModifier::Local));
            let values: Vec<Option<String>> = values.iter().map(setting_value).collect();
            let value = match values.as_slice() {
                [None] => None,
                _ => Some(values.into_iter().flatten().collect::<Vec<_>>().join(", ")),
            };
            Command::Set { name: object_name(&variable), value, is_local }
        }
        Set::SetTimeZone { local, value } => {
            let value = setting_value(&value).filter(|v| !v.eq_ignore_ascii_case("local"));
            Command::Set { name: "timezone".into(), value, is_local: local }
        }
        Set::SetNames { charset_name, .. } => {
            Command::Set { name: "client_encoding".into(), value: Some(charset_name.value), is_local: false }
        }
        Set::SetTransaction { .. } => Command::Transaction(TransactionCommand::SetModes),
        other => return Err(not_supported(&first_words(&other.to_string()))),
    })
}

/// The text of a setting's value; `None` stands for DEFAULT.
fn setting_value(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident)
            if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default") =>
        {
            None
        }
        Expr::Identifier(ident) => Some(ident.value.clone()),
        Expr::Value(value) => Some(match &value.value {
            Value::Number(number, _) => number.clone(),
            Value::Boolean(flag) => flag.to_string(),
            other => other.clone().into_string().unwrap_or_else(|| other.to_string()),
        }),
        other => Some(other.to_string()),
    }
}

fn object_name(name: &ObjectName) -> String {
    variable_name(name.0.iter().filter_map(ObjectNamePart::as_ident).map(|i| i.value.as_str()))
}

/// Settings are found without regard to case; a few have names of several words.
fn variable_name<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let name = parts.collect::<Vec<_>>().join(".").to_ascii_lowercase();
    match name.as_str() {
        "time.zone" => "timezone".to_owned(),
        "transaction.isolation.level" => "transaction_isolation".to_owned(),
        "session.authorization" => "session_authorization".to_owned(),
        _ => name,
    }
}

fn reset_name(text: &str) -> Option<String> {
    let name = text.trim().trim_start_matches("RESET").trim().to_ascii_lowercase();
    (name != "all").then_some(name)
}

fn not_supported(what: &str) -> Error {
    Error::NotSupported { message: format!("{what} is not supported") }
}

/// The first words of a statement name its kind.
fn first_words(text: &str) -> String {
    let words: Vec<&str> = text
        .split_ascii_whitespace()
        .take_while(|word| word.chars().all(|c| c.is_ascii_uppercase()))
        .take(2)
        .collect();
    if words.is_empty() { "this statement".to_owned() } else { words.join(" ") }
}
