//! The conformance suite of catalog stores, run against SQLite and against PostgreSQL.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use catalog::{
    CatalogError, CatalogStore, Change, CommentTarget, Grant, GrantObject, Metadata, PrimaryKey, Privilege,
    Role, TableDefinition, TableName, TableStatistics,
};

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
    });
    let changes = [
        Change::PutTable(Arc::clone(&table)),
        Change::PutTable(table),
        Change::PutRole(analyst.clone()),
        Change::AddMember { role: 10, member: analyst.oid },
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
    suite(&CatalogStore::open_file(&path).await.expect("a store")).await;
    let again = CatalogStore::open_file(&path).await.expect("the same store");
    assert_eq!(again.load().await.expect("its version").version, 4);
}

#[tokio::test]
async fn postgres_keeps_what_was_committed() {
    let oracle = sql_tests::Oracle::start().await.expect("a PostgreSQL");
    let store = CatalogStore::open_url(&oracle.url()).await.expect("a store");
    suite(&store).await;
}
