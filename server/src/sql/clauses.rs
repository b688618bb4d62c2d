//! Clauses that the parser reads and PostgreSQL's grammar has not: they are syntax errors, as there. What PostgreSQL has and
//! Sluice has not is refused (0A000) where the statement is read.
//!
//! Each statement's fields are all named here, without `..`: a release of the parser that reads another clause does not
//! compile until it is said what becomes of it.

use std::collections::HashSet;

use engine::{Error, Result};
use sqlparser::ast::{
    AlterRoleOperation, AlterTable, AlterTableOperation, CreateRole, CreateTable, CreateView, Delete,
    FromTable, HiveDistributionStyle, Insert, RoleOption, Statement, Truncate, Update,
};

/// Refuses (42601) what `statement` says in another system's words.
pub fn check(statement: &Statement) -> Result<()> {
    match statement {
        Statement::CreateTable(create) => create_table(create),
        Statement::CreateView(create) => create_view(create),
        Statement::Insert(written) => insert(written),
        Statement::Update(written) => update(written),
        Statement::Delete(written) => delete(written),
        Statement::Truncate(written) => truncate(written),
        Statement::AlterTable(written) => alter_table(written),
        Statement::Drop { .. } | Statement::CreateSchema { .. } | Statement::Comment { .. } => {
            named(statement)
        }
        Statement::CreateRole(create) => create_role(create),
        Statement::AlterRole { name: _, operation: AlterRoleOperation::WithOptions { options } } => {
            role_options(options)
        }
        Statement::Prepare { name: _, data_types: _, statement } => prepare(statement),
        Statement::Copy { .. } | Statement::Execute { .. } => moved(statement),
        _ => Ok(()),
    }
}

/// A syntax error at the first of the words that is there.
fn none_of<const N: usize>(clauses: [(bool, &str); N]) -> Result<()> {
    match clauses.into_iter().find(|(is_there, _)| *is_there) {
        None => Ok(()),
        Some((_, word)) => {
            Err(Error::Syntax { message: format!("syntax error at or near \"{word}\""), position: None })
        }
    }
}

fn create_table(create: &CreateTable) -> Result<()> {
    let CreateTable {
        // Read in `tables`.
        temporary: _,
        if_not_exists: _,
        name: _,
        columns: _,
        constraints: _,
        table_options: _,
        query: _,
        like: _,
        on_commit: _,
        partition_by: _,
        inherits: _,
        partition_of: _,
        // PostgreSQL takes LOCAL and GLOBAL for noise.
        global: _,
        // It stands behind PARTITION OF alone.
        for_values: _,
        or_replace,
        external,
        dynamic,
        transient,
        volatile,
        iceberg,
        snapshot,
        hive_distribution,
        hive_formats,
        file_format,
        location,
        without_rowid,
        clone,
        version,
        comment,
        on_cluster,
        primary_key,
        order_by,
        cluster_by,
        clustered_by,
        strict,
        copy_grants,
        enable_schema_evolution,
        change_tracking,
        data_retention_time_in_days,
        max_data_extension_time_in_days,
        default_ddl_collation,
        with_aggregation_policy,
        with_row_access_policy,
        with_storage_lifecycle_policy,
        with_tags,
        external_volume,
        base_location,
        catalog,
        catalog_sync,
        storage_serialization_policy,
        target_lag,
        warehouse,
        refresh_mode,
        initialize,
        require_user,
        diststyle,
        distkey,
        sortkey,
        backup,
    } = create;
    none_of([
        (*or_replace, "replace"),
        (*external, "external"),
        (*dynamic, "dynamic"),
        (*transient, "transient"),
        (*volatile, "volatile"),
        (*iceberg, "iceberg"),
        (*snapshot, "snapshot"),
        (!matches!(hive_distribution, HiveDistributionStyle::NONE), "partitioned"),
        (hive_formats.is_some(), "row"),
        (file_format.is_some(), "stored"),
        (location.is_some(), "location"),
        (*without_rowid, "without"),
        (clone.is_some(), "clone"),
        (version.is_some(), "version"),
        (comment.is_some(), "comment"),
        (on_cluster.is_some(), "cluster"),
        (primary_key.is_some(), "primary"),
        (order_by.is_some(), "order"),
        (cluster_by.is_some(), "cluster"),
        (clustered_by.is_some(), "clustered"),
        (*strict, "strict"),
        (*copy_grants, "copy"),
        (enable_schema_evolution.is_some(), "enable_schema_evolution"),
        (change_tracking.is_some(), "change_tracking"),
        (data_retention_time_in_days.is_some(), "data_retention_time_in_days"),
        (max_data_extension_time_in_days.is_some(), "max_data_extension_time_in_days"),
        (default_ddl_collation.is_some(), "default_ddl_collation"),
        (with_aggregation_policy.is_some(), "aggregation"),
        (with_row_access_policy.is_some(), "row"),
        (with_storage_lifecycle_policy.is_some(), "storage"),
        (with_tags.is_some(), "tag"),
        (external_volume.is_some(), "external_volume"),
        (base_location.is_some(), "base_location"),
        (catalog.is_some(), "catalog"),
        (catalog_sync.is_some(), "catalog_sync"),
        (storage_serialization_policy.is_some(), "storage_serialization_policy"),
        (target_lag.is_some(), "target_lag"),
        (warehouse.is_some(), "warehouse"),
        (refresh_mode.is_some(), "refresh_mode"),
        (initialize.is_some(), "initialize"),
        (*require_user, "require"),
        (diststyle.is_some(), "diststyle"),
        (distkey.is_some(), "distkey"),
        (sortkey.is_some(), "sortkey"),
        (backup.is_some(), "backup"),
    ])
}

fn create_view(create: &CreateView) -> Result<()> {
    let CreateView {
        // Read in `views` and `tables`.
        or_replace: _,
        materialized,
        name: _,
        columns,
        query: _,
        options: _,
        temporary: _,
        // The next says where it stood.
        name_before_not_exists,
        if_not_exists,
        or_alter,
        secure,
        cluster_by,
        comment,
        with_no_schema_binding,
        copy_grants,
        to,
        params,
    } = create;
    none_of([
        (*or_alter, "alter"),
        (*secure, "secure"),
        (params.is_some(), "algorithm"),
        // Only a materialized view may be there already.
        (*if_not_exists && (!materialized || *name_before_not_exists), "not"),
        (columns.iter().any(|column| column.data_type.is_some() || column.options.is_some()), "("),
        (to.is_some(), "to"),
        (!cluster_by.is_empty(), "cluster"),
        (comment.is_some(), "comment"),
        (*copy_grants, "copy"),
        (*with_no_schema_binding, "with"),
    ])
}

fn insert(insert: &Insert) -> Result<()> {
    let Insert {
        insert_token: _,
        // Read in `tables`.
        table: _,
        table_alias: _,
        columns: _,
        source: _,
        on: _,
        returning: _,
        // A comment.
        optimizer_hints: _,
        or,
        ignore,
        into,
        overwrite,
        assignments,
        partitioned,
        after_columns,
        has_table_keyword,
        output,
        replace_into,
        priority,
        insert_alias,
        settings,
        format_clause,
        multi_table_insert_type,
        multi_table_into_clauses,
        multi_table_when_clauses,
        multi_table_else_clause,
    } = insert;
    none_of([
        (*replace_into, "replace"),
        (or.is_some(), "or"),
        (*ignore, "ignore"),
        (*overwrite, "overwrite"),
        (priority.is_some(), "priority"),
        (!into, "insert"),
        (*has_table_keyword, "table"),
        (!assignments.is_empty(), "set"),
        (partitioned.is_some(), "partition"),
        (!after_columns.is_empty(), "("),
        (output.is_some(), "output"),
        (insert_alias.is_some(), "as"),
        (settings.is_some(), "settings"),
        (format_clause.is_some(), "format"),
        (multi_table_insert_type.is_some(), "all"),
        (!multi_table_into_clauses.is_empty(), "into"),
        (!multi_table_when_clauses.is_empty(), "when"),
        (multi_table_else_clause.is_some(), "else"),
    ])
}

fn update(update: &Update) -> Result<()> {
    let Update {
        update_token: _,
        // Read in `tables`.
        table: _,
        assignments: _,
        from: _,
        selection: _,
        returning: _,
        // A comment.
        optimizer_hints: _,
        output,
        or,
        order_by,
        limit,
    } = update;
    none_of([
        (or.is_some(), "or"),
        (output.is_some(), "output"),
        (!order_by.is_empty(), "order"),
        (limit.is_some(), "limit"),
    ])
}

fn delete(delete: &Delete) -> Result<()> {
    let Delete {
        delete_token: _,
        // Read in `tables`.
        from,
        using: _,
        selection: _,
        returning: _,
        // A comment.
        optimizer_hints: _,
        tables,
        output,
        order_by,
        limit,
    } = delete;
    none_of([
        (matches!(from, FromTable::WithoutKeyword(_)) || !tables.is_empty(), "delete"),
        (output.is_some(), "output"),
        (!order_by.is_empty(), "order"),
        (limit.is_some(), "limit"),
    ])
}

fn truncate(truncate: &Truncate) -> Result<()> {
    let Truncate {
        // Each with ONLY and `*`, which say nothing where no table inherits.
        table_names: _,
        table: _,
        // No column counts up, and no table refers to another.
        identity: _,
        cascade: _,
        partitions,
        if_exists,
        on_cluster,
    } = truncate;
    none_of([(*if_exists, "exists"), (partitions.is_some(), "partition"), (on_cluster.is_some(), "on")])
}

fn alter_table(alter: &AlterTable) -> Result<()> {
    let AlterTable {
        // Read in `tables`. ONLY says nothing where no table inherits.
        name: _,
        if_exists: _,
        only: _,
        operations,
        end_token: _,
        location,
        on_cluster,
        table_type,
    } = alter;
    none_of([
        (location.is_some(), "location"),
        (on_cluster.is_some(), "on"),
        (table_type.is_some(), "alter"),
    ])?;
    let is_rename = |operation: &AlterTableOperation| {
        use AlterTableOperation::{RenameColumn, RenameConstraint, RenameTable};
        matches!(operation, RenameTable { .. } | RenameColumn { .. } | RenameConstraint { .. })
    };
    // A renaming stands alone.
    none_of([(operations.len() > 1 && operations.iter().any(is_rename), ",")])?;
    operations.iter().try_for_each(|operation| match operation {
        AlterTableOperation::AddColumn {
            column_keyword: _,
            if_not_exists: _,
            column_def: _,
            column_position,
        } => none_of([(column_position.is_some(), "first")]),
        AlterTableOperation::DropColumn {
            has_column_keyword: _,
            column_names,
            if_exists: _,
            drop_behavior: _,
        } => none_of([(column_names.len() > 1, ",")]),
        _ => Ok(()),
    })
}

fn create_role(create: &CreateRole) -> Result<()> {
    let CreateRole {
        names,
        // Read in `classify`, as all of PostgreSQL's.
        if_not_exists: _,
        login: _,
        inherit: _,
        bypassrls: _,
        password: _,
        superuser: _,
        create_db: _,
        create_role: _,
        replication: _,
        connection_limit: _,
        valid_until: _,
        in_role: _,
        in_group: _,
        role: _,
        user: _,
        admin: _,
        authorization_owner,
    } = create;
    none_of([(names.len() > 1, ","), (authorization_owner.is_some(), "authorization")])
}

/// Each option stands once.
fn role_options(options: &[RoleOption]) -> Result<()> {
    let mut seen = HashSet::new();
    match options.iter().all(|option| seen.insert(std::mem::discriminant(option))) {
        true => Ok(()),
        false => {
            Err(Error::Syntax { message: "conflicting or redundant options".to_owned(), position: None })
        }
    }
}

fn named(statement: &Statement) -> Result<()> {
    match statement {
        Statement::Drop {
            object_type: _,
            if_exists: _,
            names: _,
            // Not both: the parser sees to it.
            cascade: _,
            restrict: _,
            purge,
            temporary,
            table,
        } => none_of([(*purge, "purge"), (*temporary, "temporary"), (table.is_some(), "on")]),
        Statement::CreateSchema {
            schema_name: _,
            if_not_exists: _,
            with,
            options,
            default_collate_spec,
            clone,
        } => none_of([
            (with.is_some(), "with"),
            (options.is_some(), "options"),
            (default_collate_spec.is_some(), "default"),
            (clone.is_some(), "clone"),
        ]),
        Statement::Comment { object_type: _, object_name: _, comment: _, if_exists } => {
            none_of([(*if_exists, "if")])
        }
        _ => Ok(()),
    }
}

fn moved(statement: &Statement) -> Result<()> {
    match statement {
        Statement::Copy { source: _, to: _, target: _, options, legacy_options, values: _ } => {
            // The list of options is the newer form, and the only one then.
            none_of([(!options.is_empty() && !legacy_options.is_empty(), "with")])
        }
        Statement::Execute {
            name: _,
            parameters: _,
            has_parentheses: _,
            immediate,
            into,
            using,
            output,
            default,
        } => none_of([
            (*immediate, "immediate"),
            (!into.is_empty(), "into"),
            (!using.is_empty(), "using"),
            (*output, "output"),
            (*default, "default"),
        ]),
        _ => Ok(()),
    }
}

/// Only statements about rows can be prepared.
fn prepare(statement: &Statement) -> Result<()> {
    let word = match statement {
        Statement::Query(_) | Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_) => {
            return check(statement);
        }
        other => other.to_string(),
    };
    let word = word.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    none_of([(true, word.as_str())])
}

#[cfg(test)]
mod tests {
    use engine::config::LimitsConfig;

    use super::super::dialect::SessionFacts;

    #[test]
    fn the_words_of_others_are_syntax_errors() {
        for sql in [
            "create table t (a int) strict",
            "create table t (a int auto_increment)",
            "create table t (a int autoincrement)",
            "create table t (a int asc)",
            "create table t (a int identity)",
            "create table t (x int, y int) as select 1, 2",
            "create or replace table t (a int)",
            "create view if not exists v as select 1",
            "create view v if not exists as select 1",
            "create view v (a comment 'x') as select 1",
            "create algorithm = merge view v as select 1",
            "create view v copy grants as select 1",
            "insert t values (1)",
            "insert into table t values (1)",
            "insert into t (a) settings x = 1 values (1)",
            "update or replace t set a = 1",
            "update t set a = 1 limit 1",
            "update t set t.a = 1 order by a",
            "delete from t limit 1",
            "delete t",
            "truncate if exists t",
            "truncate t on cluster x",
            "create schema s with (a = 1)",
            "comment if exists on table t is 'x'",
            "drop table t purge",
            "alter table t rename a to b, rename c to d",
            "prepare p as set work_mem = '1MB'",
            "prepare p as create table t as select 1",
            "create role r, s",
            "alter role r login superuser login",
            "copy t to stdout with oids",
            "copy t to stdout where a = 1",
            "copy t to stdout delimiter ',' (format csv)",
            "copy t to stdout (format csv, header, header)",
        ] {
            let parsed = crate::sql::parse(sql, &LimitsConfig::default(), &SessionFacts::for_tests());
            let error = parsed.expect_err(sql);
            assert_eq!(error.sqlstate().as_str(), "42601", "{sql}: {error}");
        }
    }
}
