//! The conformance suite of catalog stores, run against SQLite and against PostgreSQL.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use catalog::lake::{ColumnChange, FileColumn, FileValue, NewColumn, NewFile, NewTable, SortColumn};
use catalog::table::file_statistics::FileStatistics;
use catalog::{
    CatalogError, CatalogStore, Change, CommentTarget, CsvReading, ExternalFiles, ExternalFormat, Grant,
    GrantObject, Membership, Metadata, NewView, PrimaryKey, Privilege, Role, TableDefinition, TableName,
    TableStatistics, Warehouse,
};

fn warehouse(location: &str) -> Warehouse {
    Warehouse { location: location.into(), is_chosen: false, may_begin: true }
}

/// Commits, and checks that what is loaded is what was committed.
async fn committed(store: &CatalogStore, from: &Metadata, changes: &[Change]) -> Metadata {
    let next = store.commit(from, changes).await.unwrap_or_else(|error| panic!("{changes:?}: {error}"));
    let mut loaded = store.load().await.expect("the version");
    loaded.grants.clone_from(&next.grants);
    assert_eq!(loaded, next, "{changes:?}");
    next
}

fn file(path: &str, rows: u64, key: Option<&str>) -> NewFile {
    NewFile {
        path: path.into(),
        rows,
        file_bytes: 1_000,
        footer_bytes: 100,
        columns: vec![FileColumn {
            id: 1,
            bytes: 80,
            values: Some(rows),
            nulls: Some(0),
            min: Some("1".into()),
            max: Some("9".into()),
        }],
        partition: vec![FileValue { key: 0, text: key.map(str::to_owned) }],
    }
}

/// What statements make of the lake is kept, and comes back as it was.
async fn lake_suite(store: &CatalogStore) {
    let name = TableName::new("public", "events");
    let tags = DataType::new_list(DataType::Utf8, true);
    let column = |name: &str, data_type: DataType| NewColumn {
        declared: None,
        name: name.into(),
        data_type,
        is_nullable: name != "id",
        default: (name == "kind").then(|| "it's".into()),
    };
    let sort = SortColumn { column: "id".into(), is_descending: true, nulls_first: false };
    let table = NewTable {
        name: name.clone(),
        uuid: engine_uuid(1),
        columns: vec![
            column("id", DataType::Int32),
            column("kind", DataType::Utf8),
            column("tags \"x\"", tags),
            column("price", DataType::Decimal128(15, 2)),
        ],
        partition_by: vec![("kind".into(), "identity".into())],
        sort: vec![sort],
    };
    let create = Change::CreateTable(Arc::new(table));
    let files = |removed: Vec<i64>, added: Vec<NewFile>| Change::Files {
        table: name.clone(),
        table_id: 0,
        removed,
        added: Arc::new(added),
    };
    let mut at = store.load().await.expect("a version");
    let block = [create, files(vec![], vec![file("kind=a/1.parquet", 10, Some("a"))])];
    at = committed(store, &at, &block).await;
    at = committed(store, &at, &[files(vec![], vec![file("x/2.parquet", 5, None)])]).await;
    let before = at.clone();
    let columns = |change| Change::Columns { table: name.clone(), change };
    let widen = ColumnChange::Widen { name: "id".into(), data_type: DataType::Int64, declared: None };
    at = committed(store, &at, &[columns(widen)]).await;
    let rename = ColumnChange::Rename { name: "price".into(), to: "cost".into() };
    let drop = ColumnChange::Drop { name: "tags \"x\"".into() };
    at = committed(store, &at, &[columns(rename), columns(drop)]).await;
    let added = ColumnChange::Add(column("kind 2", DataType::Date32));
    at = committed(store, &at, &[columns(added)]).await;
    let first = at.tables[&name].managed.as_ref().expect("a managed table").files[0].id;
    at = committed(store, &at, &[files(vec![first], vec![file("3.parquet", 7, Some("b"))])]).await;
    let managed = at.tables[&name].managed.as_ref().expect("a managed table");
    assert_eq!((managed.rows(), managed.files.len(), managed.next_row_id), (12, 2, 22));
    let layout = managed.layout_of(&managed.files[0]);
    let names: Vec<Option<&str>> = layout.iter().map(Option::as_deref).collect();
    assert_eq!(names, [Some("id"), Some("kind"), Some("price"), None]);

    let to = TableName::new("more", "events 2");
    let schema = Change::CreateSchema { name: "more".into(), uuid: engine_uuid(2) };
    at = committed(store, &at, &[schema, Change::RenameTable { from: name.clone(), to: to.clone() }]).await;
    assert!(at.tables.contains_key(&to));

    // The lake of an older version is still there.
    let old = store.load_lake(before.version).await.expect("an old version");
    let parts = |version: &Metadata| {
        let managed = version.tables[&name].managed.clone().expect("a managed table");
        (managed.columns.clone(), managed.files.clone())
    };
    assert_eq!(parts(&old), parts(&before));
    let none = store.load_lake(9_999).await.expect_err("no such version");
    assert!(matches!(none, CatalogError::NoSnapshot { snapshot: 9_999 }), "{none}");

    // Views, and who owns a schema.
    let view = |sql: &str, uuid: u8| {
        let columns = Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true)]));
        let name = TableName::new("more", "kinds");
        Change::PutView(Arc::new(NewView { name, uuid: engine_uuid(uuid), sql: sql.into(), columns }))
    };
    let owner = Change::SetSchemaOwner { schema: "more".into(), owner: 16_400 };
    at = committed(store, &at, &[view("SELECT 'a' AS k", 3), owner]).await;
    let oid = at.tables[&TableName::new("more", "kinds")].oid;
    at = committed(store, &at, &[view("SELECT 'b' AS k", 4)]).await;
    let (from, kinds) = (TableName::new("more", "kinds"), TableName::new("public", "kinds"));
    at = committed(store, &at, &[Change::RenameTable { from, to: kinds.clone() }]).await;
    assert_eq!((at.schema_owner("more"), at.tables[&kinds].oid), (16_400, oid));

    let end = [Change::DropTable(kinds), Change::DropTable(to), Change::DropSchema { name: "more".into() }];
    at = committed(store, &at, &end).await;
    assert!(at.tables.is_empty() && !at.schemas.contains_key("more"));

    // What only old snapshots know goes with them; the newest stays.
    let all = store.snapshots().await.expect("snapshots");
    assert_eq!(all.last().map(|row| row.snapshot), Some(at.version));
    assert!(all.iter().all(|row| row.committed_at > 1_700_000_000_000_000 && row.committed_at < i64::MAX));
    assert_eq!(store.expire(0).await.expect("nothing is that old"), 0);
    assert_eq!(store.living_files().await.expect("files").len(), 3);
    let expired = store.expire(i64::MAX).await.expect("all but the newest");
    assert_eq!(expired as usize, all.len() - 1);
    let none = store.load_lake(before.version).await.expect_err("it is gone");
    assert!(matches!(none, CatalogError::NoSnapshot { .. }), "{none}");
    let dead = store.dead_files().await.expect("files");
    assert_eq!((dead.len(), store.living_files().await.expect("files").len()), (3, 0));
    assert!(dead.iter().any(|file| file.location.ends_with("/kind=a/1.parquet")), "{dead:?}");
    store.forget_dead_files(&dead.iter().map(|file| file.id).collect::<Vec<_>>()).await.expect("forgotten");
    assert!(store.dead_files().await.expect("files").is_empty());
    let mut loaded = store.load().await.expect("the newest version");
    loaded.grants.clone_from(&at.grants);
    assert_eq!(loaded, at);
}

fn engine_uuid(last: u8) -> String {
    format!("0190d6a0-0000-7000-8000-0000000000{last:02x}")
}

async fn suite(store: &CatalogStore) {
    let first = store.load().await.expect("a first version");
    assert_eq!(first.roles, Metadata::first().roles);
    let orders = TableName::new("public", "orders");
    let mut analyst = Role::new(first.next_role_oid(), "analyst");
    analyst.can_login = true;
    analyst.verifier = Some("SCRAM-SHA-256$4096:salt$stored:server".into());
    analyst.valid_until = Some(1_700_000_000_000_000);
    let grant = Grant {
        object: GrantObject::Table(orders.clone()),
        grantee: analyst.oid,
        privilege: Privilege::Select,
        is_grantable: false,
        grantor: 10,
    };
    let key = PrimaryKey { name: "orders_pkey".into(), columns: vec!["o_orderkey".into(), "o_line".into()] };
    let comment = CommentTarget::Column(orders.clone(), "o_orderkey".into());
    let table = Arc::new(TableDefinition {
        name: orders.clone(),
        oid: 17_000,
        location: "s3://lake/orders/".into(),
        file_schema: Arc::new(Schema::new(vec![
            Field::new("o_orderkey", DataType::Int64, false),
            Field::new("it's a \"list\"", DataType::new_list(DataType::Decimal128(15, 2), true), true),
        ])),
        partition_columns: vec![("day".into(), DataType::Date32)],
        statistics: TableStatistics { files: 2, file_bytes: 3, rows: u64::MAX, column_bytes: vec![8, 16] },
        files: ExternalFiles {
            format: ExternalFormat::Csv(CsvReading { delimiter: b';', ..CsvReading::default() }),
            glob: Some("*.csv".into()),
            is_declared: true,
        },
        analyzed: Arc::new(vec![FileStatistics {
            path: "orders/it's.parquet".into(),
            bytes: 9,
            modified: -1,
            told: "{}".into(),
        }]),
        managed: None,
        view: None,
        unavailable: None,
    });
    let changes = [
        Change::PutTable(Arc::clone(&table)),
        Change::PutTable(table),
        Change::PutRole(analyst.clone()),
        Change::AddMember(Membership { role: 10, member: analyst.oid, is_admin: true, grantor: 10 }),
        Change::PutGrant(grant.clone()),
        Change::PutGrant(grant),
        Change::Comment { target: comment.clone(), text: Some("it's the \"key\"".into()) },
        Change::PrimaryKey { table: orders.clone(), key: Some(key) },
    ];
    let second = store.commit(&first, &changes).await.expect("a second version");
    assert_eq!(second.version, first.version + 1);
    let mut loaded = store.load().await.expect("the second version");
    loaded.grants.sort_by_key(|g| (g.object.clone(), g.grantee, g.privilege));
    let mut expected = second.clone();
    expected.grants.sort_by_key(|g| (g.object.clone(), g.grantee, g.privilege));
    assert_eq!(loaded, expected);

    // Of two commits from one version, one wins, and nothing of the other stays.
    let late = [Change::PutRole(Role::new(20_000, "late"))];
    let conflict = store.commit(&first, &late).await.expect_err("too late");
    assert!(matches!(conflict, CatalogError::Conflict), "{conflict}");
    assert!(!store.load().await.expect("a version").roles.contains_key("late"));

    // A commit that fails half-way leaves the version as it was: two roles of one name.
    let twice = [Change::PutRole(Role::new(20_001, "twin")), Change::PutRole(Role::new(20_002, "twin"))];
    store.commit(&second, &twice).await.expect_err("two roles of one name");
    assert_eq!(store.load().await.expect("a version").version, second.version);

    let third = store
        .commit(
            &second,
            &[
                Change::DropRole { oid: analyst.oid },
                Change::Comment { target: comment, text: None },
                Change::PrimaryKey { table: orders.clone(), key: None },
            ],
        )
        .await
        .expect("a third version");
    assert!(third.memberships.is_empty() && third.comments.is_empty() && third.primary_keys.is_empty());
    assert_eq!(store.load().await.expect("the third version").roles, third.roles);

    // What belongs to a table goes with it.
    let comment = CommentTarget::Table(orders.clone());
    let comment = Change::Comment { target: comment, text: Some("gone soon".into()) };
    let fourth = store.commit(&third, &[comment, Change::DropTable(orders)]).await.expect("a fourth version");
    assert!(fourth.tables.is_empty() && fourth.comments.is_empty());
    let loaded = store.load().await.expect("the fourth version");
    assert!(loaded.tables.is_empty() && loaded.comments.is_empty());
}

#[tokio::test]
async fn sqlite_keeps_what_was_committed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.sqlite");
    let store = CatalogStore::open_file(&path, &warehouse("/lake")).await.expect("a store");
    suite(&store).await;
    assert_eq!(store.load().await.expect("its version").version, 3);
    lake_suite(&store).await;
    let before = store.load().await.expect("its version");
    let again = CatalogStore::open_file(&path, &warehouse("/elsewhere")).await.expect("the same store");
    let mut after = again.load().await.expect("its version");
    after.grants.clone_from(&before.grants);
    assert_eq!(after, before);
    assert_eq!(after.data_folder, "file:///lake/");
}

#[tokio::test]
async fn postgres_keeps_what_was_committed() {
    let oracle = sql_tests::Oracle::start().await.expect("a PostgreSQL");
    let store = CatalogStore::open_url(&oracle.url(), &warehouse("s3://lake/x")).await.expect("a store");
    suite(&store).await;
    lake_suite(&store).await;
}

/// A catalog of format 2 knew neither admin options nor who gave a grant on whose behalf.
#[tokio::test]
async fn rights_of_earlier_catalogs_are_kept() {
    use sqlx::{ConnectOptions, Connection};
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.sqlite");
    let orders = TableName::new("public", "orders");
    let object = GrantObject::Table(orders.clone());
    {
        let store = CatalogStore::open_file(&path, &warehouse("/lake/")).await.expect("a new store");
        let first = store.load().await.expect("the first version");
        let roles = ["owner", "ann", "bob"].into_iter().zip(20_001..);
        let mut changes: Vec<Change> =
            roles.map(|(name, oid)| Change::PutRole(Role::new(oid, name))).collect();
        changes.push(Change::SetOwner { table: orders.clone(), owner: 20_001 });
        store.commit(&first, &changes).await.expect("roles");
    }
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut connection = options.connect().await.expect("the file");
    for sql in [
        "drop table sluice_privileges",
        "drop table sluice_memberships",
        "create table sluice_memberships (role bigint not null, member bigint not null,
           primary key (role, member))",
        "create table sluice_grants (
           kind text not null, schema_name text not null, object_name text not null, grantee bigint not null,
           privilege text not null, is_grantable bigint not null, grantor bigint not null,
           primary key (kind, schema_name, object_name, grantee, privilege))",
        "insert into sluice_memberships values (20001, 20003)",
        "insert into sluice_grants values ('schema', 'public', '', 0, 'USAGE', 0, 10)",
        // A superuser granted for the owner, and who was given the option for itself.
        "insert into sluice_grants values ('table', 'public', 'orders', 20002, 'SELECT', 1, 10)",
        "insert into sluice_grants values ('table', 'public', 'orders', 20003, 'SELECT', 0, 20002)",
        "update sluice_catalog set format = 2",
    ] {
        sqlx::query(sql).execute(&mut connection).await.expect(sql);
    }
    connection.close().await.expect("the end");
    let store = CatalogStore::open_file(&path, &warehouse("/lake/")).await.expect("brought up to date");
    let loaded = store.load().await.expect("the version");
    assert_eq!(
        loaded.memberships,
        [Membership { role: 20_001, member: 20_003, is_admin: false, grantor: 10 }]
    );
    let mut grants: Vec<_> =
        loaded.grants_on(&object).map(|g| (g.grantee, g.grantor, g.is_grantable)).collect();
    grants.sort_unstable();
    assert_eq!(grants, [(20_002, 20_001, true), (20_003, 20_002, false)]);
    assert!(loaded.allows(20_003, &GrantObject::Schema("public".into()), Privilege::Usage));
}
