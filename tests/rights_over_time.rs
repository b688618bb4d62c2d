//! Rights that change while they are used, and texts that are more than they seem: what was taken back is gone at once, and
//! nobody's name or literal is run as another's statement.

use std::path::Path;

use sql_tests::{Options, TestCluster, rows, sqlstate};
use tokio_postgres::{Client, NoTls};

async fn started(environment: &[(&str, &str)]) -> TestCluster {
    let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let options = Options { executors: 0, environment, ..Options::default() };
    TestCluster::start(Path::new(env!("CARGO_BIN_EXE_sluice")), &options).await.expect("a server")
}

async fn connect_as(cluster: &TestCluster, user: &str) -> Client {
    let (client, connection) = cluster.config().user(user).connect(NoTls).await.expect("a session");
    tokio::spawn(connection);
    client
}

async fn run(client: &Client, statements: &[&str]) {
    for sql in statements {
        client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

async fn code(client: &Client, sql: &str) -> String {
    match sqlstate(&client.simple_query(sql).await) {
        "" => "00000".to_owned(),
        code => code.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_is_gone_in_an_open_block() {
    let cluster = started(&[]).await;
    let admin = cluster.connect().await.expect("a session");
    run(
        &admin,
        &[
            "create role eve login",
            "create role grp",
            "grant grp to eve",
            "grant create on schema public to eve",
            "create table secret (v text)",
            "insert into secret values ('SECRET')",
            "create table of_group (v text)",
            "grant select on secret to eve",
            "grant select on of_group to grp",
        ],
    )
    .await;
    let eve = connect_as(&cluster, "eve").await;
    run(&eve, &["begin", "create table dummy (x int)", "insert into dummy values (1)"]).await;
    assert_eq!(rows(&eve, "select v from secret").await[0][0], "SECRET");
    run(&admin, &["revoke select on secret from eve", "revoke grp from eve"]).await;
    // Her own is still hers.
    assert_eq!(rows(&eve, "select x from dummy").await[0][0], "1");
    assert_eq!(code(&eve, "select v from secret").await, "42501");
    run(&eve, &["rollback", "begin", "create table dummy (x int)"]).await;
    assert_eq!(code(&eve, "set role grp").await, "42501");
    run(&eve, &["rollback"]).await;

    // A superuser that is one no more.
    run(&admin, &["create role boss login superuser"]).await;
    let boss = connect_as(&cluster, "boss").await;
    run(&boss, &["begin", "create table dummy (x int)", "select rolpassword from pg_authid"]).await;
    run(&admin, &["alter role boss nosuperuser"]).await;
    assert_eq!(code(&boss, "select rolpassword from pg_authid").await, "42501");
    run(&boss, &["rollback"]).await;

    // A role that is no more has no session.
    run(&admin, &["drop role boss"]).await;
    assert_eq!(code(&boss, "select 1").await, "28000");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_do_not_outlast_the_owner_that_made_them() {
    let cluster = started(&[]).await;
    let admin = cluster.connect().await.expect("a session");
    run(
        &admin,
        &[
            "create role eve login",
            "create role victim login",
            "create role nobody1 login",
            "grant create on schema public to eve, victim",
        ],
    )
    .await;
    let eve = connect_as(&cluster, "eve").await;
    for (at, change) in [
        "grant select on {} to nobody1",
        "drop table {}",
        "alter table {} owner to eve",
        "alter table {} rename to other_{}",
        "alter table {} add column z int",
        "comment on table {} is 'mine'",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("t{at}");
        run(&eve, &[&format!("create table {name} (x int)"), "begin"]).await;
        run(&eve, &[&change.replace("{}", &name)]).await;
        run(&admin, &[&format!("alter table {name} owner to victim")]).await;
        assert_eq!(code(&eve, "commit").await, "40001", "{change}");
        let owner = format!("select tableowner from pg_tables where tablename = '{name}'");
        assert_eq!(rows(&admin, &owner).await, [["victim"]], "{change}");
        assert_eq!(
            code(&connect_as(&cluster, "nobody1").await, &format!("select * from {name}")).await,
            "42501"
        );
    }
    // A schema that is given away, and a table that is another by now.
    run(&admin, &["create schema s authorization eve"]).await;
    run(&eve, &["begin", "alter schema s owner to eve"]).await;
    run(&admin, &["alter schema s owner to victim"]).await;
    assert_eq!(code(&eve, "commit").await, "40001");
    run(&eve, &["create table again (x int)", "begin", "grant select on again to nobody1"]).await;
    let other = connect_as(&cluster, "eve").await;
    run(&other, &["drop table again"]).await;
    run(&connect_as(&cluster, "victim").await, &["create table again (x int)"]).await;
    assert_eq!(code(&eve, "commit").await, "40001");
    // What nobody has touched is committed beside what others do.
    run(&eve, &["create table mine (x int)", "begin", "insert into mine values (1)"]).await;
    run(&admin, &["create table unrelated (x int)"]).await;
    run(&eve, &["commit"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_materialized_view_is_its_owners_whoever_refreshes_it() {
    let cluster = started(&[]).await;
    let admin = cluster.connect().await.expect("a session");
    run(
        &admin,
        &[
            "create role eve login",
            "grant create on schema public to eve",
            "create table rents (tenant text, rent int)",
            "insert into rents values ('eve', 1), ('bob', 2)",
            "create view own_rents as select * from rents where tenant = current_user or current_user = 'postgres'",
            "grant select on own_rents to eve",
        ],
    )
    .await;
    let eve = connect_as(&cluster, "eve").await;
    run(
        &eve,
        &[
            "create materialized view m as select tenant, session_user::text as by_whom, current_user::text as as_whom from own_rents",
            "create materialized view n as select set_config('search_path', 'evil', false) as x",
        ],
    )
    .await;
    assert_ne!(rows(&eve, "show search_path").await[0][0], "evil");
    run(&admin, &["refresh materialized view m", "refresh materialized view n"]).await;
    assert_eq!(rows(&eve, "select * from m").await, [["eve", "postgres", "eve"]]);
    assert_ne!(rows(&admin, "show search_path").await[0][0], "evil");
    assert_eq!(
        code(&eve, "create materialized view o as select set_config('role', 'eve', false) as x").await,
        "42501"
    );
    run(&admin, &["insert into rents values ('eve', 3)"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_follows_its_role_and_not_the_name() {
    let cluster = started(&[]).await;
    let admin = cluster.connect().await.expect("a session");
    run(&admin, &["create role bob login", "create role maker login createrole"]).await;
    let bob = connect_as(&cluster, "bob").await;
    run(&bob, &["select 'a secret of his'"]).await;
    run(&admin, &["alter role bob rename to bob_left", "create role bob login superuser"]).await;
    assert_eq!(rows(&bob, "select current_user, session_user").await, [["bob_left", "bob_left"]]);
    assert_eq!(code(&bob, "select rolpassword from pg_authid").await, "42501");
    let shown = "select count(*) from pg_stat_activity where usename = 'bob_left'";
    assert_eq!(rows(&admin, shown).await, [["1"]]);
    // What the dropped role ran is not for another of its name.
    run(&admin, &["create role chief login superuser"]).await;
    let chief = connect_as(&cluster, "chief").await;
    run(&chief, &["select 'chiefly'"]).await;
    drop(chief);
    run(&admin, &["alter role chief nosuperuser", "drop role chief"]).await;
    run(&connect_as(&cluster, "maker").await, &["create role chief login"]).await;
    let heir = connect_as(&cluster, "chief").await;
    let read = "select count(*) from sys.queries where sql like '%chiefly%' and sql not like '%sys.queries%'";
    assert_eq!(rows(&heir, read).await, [["0"]]);
    // Nor is told where others are.
    let told = "select count(client_addr) from pg_stat_activity where usename <> 'chief'";
    assert_eq!(rows(&heir, told).await, [["0"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_literal_is_never_a_statement() {
    let cluster = started(&[]).await;
    let admin = cluster.connect().await.expect("a session");
    run(
        &admin,
        &[
            "create schema vault",
            "create table vault.gold (val text)",
            "insert into vault.gold values ('GOLD')",
            "create table acc (id int, email text, is_admin boolean)",
        ],
    )
    .await;
    let payload = r#"\' || (select max(val) from vault.gold) AS text) ELSE email END AS email, id = 2 AS is_admin FROM acc --"#;
    for text in [payload, r"\'", r"''", r"a''''b", r"\\''\'", r"'; drop table acc; --", "\\", "é'\\ü"] {
        run(&admin, &["truncate acc", "insert into acc values (1, 'a', false), (2, 'b', false)"]).await;
        let quoted = text.replace('\'', "''");
        run(&admin, &[&format!("update acc set email = '{quoted}' where id = 2")]).await;
        let now = rows(&admin, "select id, email, is_admin from acc order by id").await;
        assert_eq!(now, [["1", "a", "f"], ["2", text, "f"]]);
        run(&admin, &[&format!("update acc set is_admin = true where email = '{quoted}'")]).await;
        assert_eq!(rows(&admin, "select id from acc where is_admin").await, [["2"]]);
        let prepared = admin.prepare("update acc set email = $1 where email = $2").await.expect("prepared");
        assert_eq!(admin.execute(&prepared, &[&"c", &text]).await.expect("updated"), 1);
        assert_eq!(admin.execute(&prepared, &[&text, &"c"]).await.expect("updated"), 1);
        // In views, in arguments, and in what is deleted.
        run(&admin, &[&format!("create or replace view v as select id from acc where email = '{quoted}'")])
            .await;
        assert_eq!(rows(&admin, "select id from v").await, [["2"]]);
        run(&admin, &["deallocate all", "prepare p (text) as select $1 as given"]).await;
        assert_eq!(rows(&admin, &format!("execute p('{quoted}')")).await, [[text]]);
        run(&admin, &[&format!("delete from acc where email = '{quoted}'")]).await;
        assert_eq!(rows(&admin, "select id from acc").await, [["1"]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_never_a_statement() {
    let cluster = started(&[]).await;
    let admin = cluster.connect().await.expect("a session");
    run(
        &admin,
        &[
            "create role eve login",
            "grant create on schema public to eve",
            "create table private_pay (v text)",
            "insert into private_pay values ('SALARY')",
        ],
    )
    .await;
    let eve = connect_as(&cluster, "eve").await;
    run(
        &eve,
        &[
            r#"create table d ("\" text)"#,
            "insert into d values ('')",
            r#"create table opt ("\""||v from private_pay,d--" text)"#,
            "insert into opt values ('x')",
            "insert into opt values ('y')",
            r#"create table an ("\""),max(set_config('search_path','evil,public',false))from d--" int)"#,
            "insert into an values (1)",
        ],
    )
    .await;
    run(&admin, &["optimize opt", "analyze an"]).await;
    assert_eq!(rows(&eve, "select * from opt order by 1").await, [["x"], ["y"]]);
    assert_ne!(rows(&admin, "show search_path").await[0][0], "evil,public");
    // A view over such a column has its rows, or is refused.
    let made = code(&admin, "create view w as select *, 1 as one from opt").await;
    match made.as_str() {
        "00000" => assert_eq!(rows(&admin, "select count(*) from w").await, [["2"]]),
        refused => assert_eq!(refused, "0A000"),
    }
    admin.copy_out(r#"copy d ("\") to stdout"#).await.expect("copied");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_ignored_is_refused() {
    let cluster = started(&[]).await;
    let admin = cluster.connect().await.expect("a session");
    run(&admin, &["create table t (x int)", "create role eve login", "grant create on schema public to eve"])
        .await;
    for (options, expected) in [
        ("security_invoker = true", "0A000"),
        ("security_barrier = on", "0A000"),
        ("security_barrier = false", "00000"),
        ("no_such_option = 1", "22023"),
    ] {
        let sql = format!("create or replace view v with ({options}) as select * from t");
        assert_eq!(code(&admin, &sql).await, expected, "{options}");
    }
    assert_eq!(code(&admin, r#"create schema "sluice target public""#).await, "42939");
    // A name that a CREATE would refuse is refused as a new name, too.
    let eve = connect_as(&cluster, "eve").await;
    run(&eve, &["create table mine (x int)"]).await;
    for name in [r#""T""#, "\"a\nb\"", "pg_class"] {
        assert_ne!(code(&eve, &format!("alter table mine rename to {name}")).await, "00000", "{name}");
    }
    run(&eve, &[r#"alter table mine rename to "Mine""#]).await;
    // So is another text under a name of hers, where she may make nothing any more.
    run(&eve, &["create view own as select 1 as x"]).await;
    run(&admin, &["revoke create on schema public from eve"]).await;
    assert_eq!(code(&eve, "create or replace view own as select 2 as x").await, "42501");
    assert_eq!(rows(&eve, "select x from own").await, [["1"]]);
    // A hash is no password, and a word for oneself no name.
    for (sql, expected) in [
        ("alter role eve password 'md5c1a1f9d1b4c1f1f9d1b4c1f1f9d1b4c1'", "0A000"),
        ("alter role eve password 'md5 is no hash'", "00000"),
        (r#"create role "current_user""#, "42939"),
        (r#"alter role eve rename to "session_user""#, "42939"),
    ] {
        assert_eq!(code(&admin, sql).await, expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_on_queries_holds_whatever_they_are_called() {
    let cluster = started(&[]).await;
    let admin = cluster.connect().await.expect("a session");
    run(&admin, &["create role lim login", "alter role lim set sluice.max_concurrent_queries to '1'"]).await;
    let endless = [
        "select count(*) from pg_class a, generate_series(1, 1000000000000) b",
        "select count(pg_cancel_backend(-1)) from generate_series(1, 1000000000000)",
        "select pg_cancel_backend(-1), count(*) from (values (1), (2)) v(x), generate_series(1, 1000000000000)",
    ];
    for sql in endless {
        let first = connect_as(&cluster, "lim").await;
        run(&first, &["create temp table pg_class (x int)", "insert into pg_class values (1)"]).await;
        let cancel = first.cancel_token();
        let running = tokio::spawn(async move { first.simple_query(sql).await.err() });
        let started = "select count(*) = 1 from sys.queries where user_name = 'lim' and state = 'running'";
        while rows(&admin, started).await[0][0] != "t" {
            tokio::task::yield_now().await;
        }
        let second = connect_as(&cluster, "lim").await;
        let cancel_second = second.cancel_token();
        let waiting = tokio::spawn(async move {
            second.simple_query("select count(*) from generate_series(1, 1000000000000)").await.err()
        });
        let queued = "select count(*) = 1 from sys.queries where user_name = 'lim' and state = 'queued'";
        while rows(&admin, queued).await[0][0] != "t" {
            assert!(!running.is_finished(), "{sql}");
            tokio::task::yield_now().await;
        }
        cancel_second.cancel_query(NoTls).await.expect("sent");
        cancel.cancel_query(NoTls).await.expect("sent");
        waiting.await.expect("no panic");
        running.await.expect("no panic");
    }
}
