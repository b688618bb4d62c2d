//! Transactions: what is committed together and what is taken back, what two sessions see of each other, and what may be said
//! of a transaction when.

use std::path::Path;

use sql_tests::{Options, TestCluster, rows, sqlstate};
use tokio_postgres::Client;

async fn started() -> TestCluster {
    let options = Options { executors: 0, ..Options::default() };
    TestCluster::start(Path::new(env!("CARGO_BIN_EXE_sluice")), &options).await.expect("a server")
}

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

async fn code(client: &Client, sql: &str) -> String {
    sqlstate(&client.batch_execute(sql).await).to_owned()
}

async fn value(client: &Client, sql: &str) -> String {
    rows(client, sql).await[0][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statements_of_a_message_are_committed_together() {
    let cluster = started().await;
    let client = cluster.connect().await.expect("a session");
    let count = "select count(*) from t";
    run(&client, "create table t (a int)").await;
    // An error undoes what came before it in the message, settings included.
    let failing =
        "insert into t values (1); set application_name = 'x'; create table u (a int); select 1 / 0";
    assert_eq!(code(&client, failing).await, "22012");
    assert_eq!(value(&client, count).await, "0");
    assert_eq!(value(&client, "show application_name").await, "");
    assert_eq!(code(&client, "select * from u").await, "42P01");
    // A COMMIT in the middle keeps what came before it, a ROLLBACK does not; both begin anew.
    assert_eq!(
        code(&client, "insert into t values (1); commit; insert into t values (2); select 1/0").await,
        "22012"
    );
    assert_eq!(value(&client, count).await, "1");
    run(&client, "insert into t values (2); rollback; insert into t values (3)").await;
    assert_eq!(value(&client, "select sum(a) from t").await, "4");
    // A BEGIN makes a block of what came before it, too.
    run(&client, "insert into t values (4); begin; insert into t values (5)").await;
    assert_eq!(value(&client, count).await, "4");
    run(&client, "rollback").await;
    assert_eq!(value(&client, count).await, "2");
    run(&client, "begin; insert into t values (4); commit; insert into t values (5)").await;
    assert_eq!(value(&client, count).await, "4");
    // Statements see what those before them did.
    run(&client, "create table u (a int); insert into u values (1); insert into t select a from u").await;
    assert_eq!(value(&client, count).await, "5");
    for (sql, wanted) in [
        ("select 1; vacuum", "25001"),
        ("vacuum; select 1", "25001"),
        ("select 1; discard all", "25001"),
        ("select 1; savepoint a", "25P01"),
        ("select 1; commit and chain", "25P01"),
        ("commit and chain", "25P01"),
        ("rollback and chain", "25P01"),
        ("savepoint a", "25P01"),
        ("release a", "25P01"),
        ("rollback to a", "25P01"),
        ("set local work_mem = '5MB'; select 1", ""),
        ("declare c cursor for select 1; fetch c", ""),
    ] {
        assert_eq!(code(&client, sql).await, wanted, "{sql}");
    }
    run(&client, "vacuum").await;
    for (sql, wanted) in [
        ("listen c", "0A000"),
        ("unlisten *", ""),
        ("notify c", ""),
        ("lock table t", "25P01"),
        ("begin; lock table t", "0A000"),
        ("rollback", ""),
        ("select a from t for update", "0A000"),
        ("select a from (select a from t for share) as s", "0A000"),
    ] {
        assert_eq!(code(&client, sql).await, wanted, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_savepoint_is_gone_back_to() {
    let cluster = started().await;
    let client = cluster.connect().await.expect("a session");
    run(&client, "create table t (a int)").await;
    let seen = "select coalesce(string_agg(a::text, ',' order by a), '') from t";
    run(&client, "begin; insert into t values (1); savepoint a; insert into t values (2)").await;
    run(&client, "set application_name = 'x'; savepoint b; insert into t values (3); create table u (a int)")
        .await;
    run(&client, "create temp table own as select 1 as a").await;
    assert_eq!(value(&client, seen).await, "1,2,3");
    run(&client, "rollback to b").await;
    assert_eq!(value(&client, seen).await, "1,2");
    assert_eq!(value(&client, "show application_name").await, "x");
    assert_eq!(code(&client, "select * from u").await, "42P01");
    // The block has failed, and goes on where it was.
    assert_eq!(code(&client, "select 1").await, "25P02");
    assert_eq!(code(&client, "release a").await, "25P02");
    assert_eq!(code(&client, "rollback to nosuch").await, "3B001");
    assert_eq!(code(&client, "select 1").await, "25P02");
    run(&client, "rollback to savepoint a").await;
    assert_eq!(value(&client, seen).await, "1");
    assert_eq!(value(&client, "show application_name").await, "");
    assert_eq!(code(&client, "rollback to b").await, "3B001");
    run(&client, "rollback to a; insert into t values (4); savepoint a; insert into t values (5); release a")
        .await;
    // The outer one of that name is there again.
    run(&client, "savepoint c; delete from t; rollback to c; release savepoint a").await;
    assert_eq!(value(&client, seen).await, "1,4,5");
    run(&client, "commit").await;
    assert_eq!(value(&client, seen).await, "1,4,5");
    assert_eq!(code(&client, "select * from own").await, "42P01");
    assert_eq!(code(&client, "begin; release nosuch").await, "3B001");
    run(&client, "rollback").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_outlive_what_failed_behind_a_savepoint() {
    let cluster = started().await;
    let client = cluster.connect().await.expect("a session");
    run(&client, "begin; declare c cursor for values (1), (2), (3)").await;
    assert_eq!(value(&client, "fetch c").await, "1");
    run(&client, "savepoint s; declare d cursor for values (1)").await;
    assert_eq!(code(&client, "select 1 / 0").await, "22012");
    run(&client, "rollback to s").await;
    assert_eq!(value(&client, "fetch c").await, "2");
    assert_eq!(code(&client, "fetch 0 from c").await, "0A000");
    run(&client, "rollback to s").await;
    assert_eq!(code(&client, "fetch d").await, "34000");
    run(&client, "rollback to s; rollback").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_sees_what_there_was_when_it_was_declared() {
    let cluster = started().await;
    let client = cluster.connect().await.expect("a session");
    run(&client, "create table t as select 1 as a; create temp table own as select 1 as a").await;
    run(&client, "begin; declare c cursor for select count(*) from t").await;
    run(&client, "declare d cursor for select count(*) from own").await;
    run(&client, "declare h cursor with hold for select count(*) from t").await;
    run(&client, "insert into t values (2); insert into own values (2)").await;
    assert_eq!(value(&client, "fetch c").await, "1");
    assert_eq!(value(&client, "fetch d").await, "1");
    run(&client, "commit").await;
    assert_eq!(value(&client, "fetch h").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_sees_its_cursors() {
    let cluster = started().await;
    let (client, other) =
        (cluster.connect().await.expect("a session"), cluster.connect().await.expect("a session"));
    let cursors = "select name, statement, is_holdable, is_binary, is_scrollable, \
                   creation_time between now() - interval '1 hour' and now() + interval '1 hour' \
                   from pg_cursors order by name";
    let names = "select coalesce(string_agg(name, ',' order by name), '') from pg_catalog.pg_cursors";
    assert!(rows(&client, cursors).await.is_empty());
    run(&client, "begin; declare c  cursor for select 1; declare \"B\" binary cursor for select 'x;y'").await;
    run(&client, "declare h no scroll cursor with hold for select 1 /* one */ as a;").await;
    let wanted = [
        ["B", "declare \"B\" binary cursor for select 'x;y'", "f", "t", "f", "t"],
        ["c", "declare c  cursor for select 1;", "f", "f", "f", "t"],
        ["h", "declare h no scroll cursor with hold for select 1 /* one */ as a;", "t", "f", "f", "t"],
    ];
    assert_eq!(rows(&client, cursors).await, wanted);
    assert!(rows(&other, cursors).await.is_empty());
    // One that is read, to its end or not, is there as before.
    run(&client, "fetch all from c").await;
    assert_eq!(value(&client, names).await, "B,c,h");
    run(&client, "close c").await;
    assert_eq!(value(&client, names).await, "B,h");
    run(&client, "commit").await;
    assert_eq!(value(&client, names).await, "h");
    run(&client, "close h").await;
    assert_eq!(value(&client, names).await, "");
    // What a savepoint or the transaction takes back is gone.
    run(
        &client,
        "begin; declare a cursor for select 1; savepoint s; declare b cursor with hold for select 1",
    )
    .await;
    assert_eq!(value(&client, names).await, "a,b");
    run(&client, "rollback to s").await;
    assert_eq!(value(&client, names).await, "a");
    run(&client, "rollback").await;
    assert_eq!(value(&client, names).await, "");
    run(&client, "declare k cursor with hold for select 1").await;
    assert_eq!(value(&client, names).await, "k");
    run(&client, "discard all").await;
    assert_eq!(value(&client, names).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_sees_its_prepared_statements() {
    let cluster = started().await;
    let (client, other) =
        (cluster.connect().await.expect("a session"), cluster.connect().await.expect("a session"));
    let prepared = "select statement, parameter_types, parameter_types::text as shown, from_sql, generic_plans, \
                    custom_plans, \
                    prepare_time between now() - interval '1 hour' and now() + interval '1 hour' \
                    from pg_prepared_statements order by statement";
    let names = "select coalesce(string_agg(name, ',' order by name), '') from pg_prepared_statements";
    assert!(rows(&client, prepared).await.is_empty());
    run(&client, "prepare p (int, timestamptz) as select $1  + 1, $2; prepare q as select 'ä;'").await;
    run(&client, "execute p (1, now()); execute q; execute q").await;
    let statement = client.prepare("select  $1::text || 'x'").await.expect("a statement");
    let row = client.query_one(&statement, &[&"y"]).await.expect("a row");
    assert_eq!(row.get::<_, &str>(0), "yx");
    let types = "{integer,\"timestamp with time zone\"}";
    let wanted = [
        ["prepare p (int, timestamptz) as select $1  + 1, $2;", types, types, "t", "0", "1", "t"],
        ["prepare q as select 'ä;'", "{}", "{}", "t", "2", "0", "t"],
        ["select  $1::text || 'x'", "{text}", "{text}", "f", "0", "1", "t"],
    ];
    assert_eq!(rows(&client, prepared).await, wanted);
    assert!(rows(&other, prepared).await.is_empty());
    // They are of no transaction.
    run(&client, "begin; prepare r as select 1; rollback; deallocate q").await;
    assert_eq!(
        rows(&client, "select name from pg_prepared_statements where from_sql order by 1").await,
        [["p"], ["r"]]
    );
    // The client closes its own, once nothing holds it.
    drop((row, statement));
    run(&client, "deallocate p; deallocate r").await;
    assert_eq!(value(&client, names).await, "");
    run(&client, "prepare p as select 1; deallocate all").await;
    assert_eq!(value(&client, names).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_sees_one_moment_where_it_asks_for_it() {
    let cluster = started().await;
    let one = cluster.connect().await.expect("a session");
    let other = cluster.connect().await.expect("a session");
    run(&one, "create table t (a int); insert into t values (1)").await;
    let count = "select count(*) from t";
    run(&one, "begin isolation level repeatable read").await;
    // The moment is that of the first query.
    run(&other, "insert into t values (2)").await;
    assert_eq!(value(&one, count).await, "2");
    run(&other, "insert into t values (3); create table u (a int)").await;
    assert_eq!(value(&one, count).await, "2");
    assert_eq!(code(&one, "savepoint s; select * from u").await, "42P01");
    run(&one, "rollback to s; insert into t values (4)").await;
    assert_eq!(value(&one, count).await, "3");
    run(&one, "commit").await;
    assert_eq!(value(&one, count).await, "4");
    // Rows that another one changed since cannot be changed.
    run(&one, "begin isolation level repeatable read; select 1").await;
    run(&other, "update t set a = a + 1").await;
    run(&one, "delete from t where a = 1").await;
    assert_eq!(code(&one, "commit").await, "40001");
    // Each statement for itself.
    run(&one, "begin").await;
    assert_eq!(value(&one, count).await, "4");
    run(&other, "insert into t values (5)").await;
    assert_eq!(value(&one, count).await, "5");
    run(&one, "commit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_serializable_is_as_if_it_had_run_alone() {
    let cluster = started().await;
    let one = cluster.connect().await.expect("a session");
    let other = cluster.connect().await.expect("a session");
    run(&one, "create table a (n int); create table b (n int)").await;
    for client in [&one, &other] {
        run(client, "begin isolation level serializable").await;
    }
    // Each reads what the other one writes.
    run(&one, "insert into a select count(*) from b").await;
    run(&other, "insert into b select count(*) from a").await;
    run(&one, "commit").await;
    assert_eq!(code(&other, "commit").await, "40001");
    assert_eq!(rows(&one, "select (select count(*) from a), (select count(*) from b)").await, [["1", "0"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transaction_may_do_is_said_first() {
    let cluster = started().await;
    let client = cluster.connect().await.expect("a session");
    for (sql, wanted) in [
        ("begin; select 1; set transaction isolation level serializable", "25001"),
        ("begin; select 1; set transaction isolation level read committed", ""),
        ("begin; savepoint a; set transaction isolation level serializable", "25001"),
        ("begin; set transaction read only; savepoint a; set transaction read write", "25001"),
        ("begin read only; select 1; set transaction read write", "25001"),
        ("begin; select 1; set transaction read only", ""),
        ("begin; select 1; set transaction deferrable", "25001"),
        ("begin; savepoint a; set transaction not deferrable", "25001"),
        ("begin; select 1; set transaction_isolation = 'serializable'", "25001"),
        ("begin read only; create table t (a int)", "25006"),
        ("begin isolation level snapshot", "42601"),
        ("begin; set transaction snapshot 'x'", "0A000"),
    ] {
        assert_eq!(code(&client, sql).await, wanted, "{sql}");
        run(&client, "rollback").await;
    }
    let shown = |name: &'static str| value(&client, name);
    run(&client, "begin isolation level repeatable read read only, deferrable; commit and chain").await;
    assert_eq!(shown("show transaction_isolation").await, "repeatable read");
    assert_eq!(shown("show transaction_read_only").await, "on");
    assert_eq!(shown("show transaction_deferrable").await, "on");
    assert_eq!(code(&client, "select 1 / 0").await, "22012");
    run(&client, "rollback and chain").await;
    assert_eq!(shown("show transaction_isolation").await, "repeatable read");
    run(&client, "commit").await;
    assert_eq!(shown("show transaction_isolation").await, "read committed");
    // Outside of a transaction they are those of the next one.
    run(&client, "set transaction_isolation = 'serializable'").await;
    assert_eq!(shown("show transaction_isolation").await, "read committed");
    run(&client, "set session characteristics as transaction isolation level serializable, read only").await;
    assert_eq!(shown("show transaction_isolation").await, "serializable");
    assert_eq!(shown("show default_transaction_read_only").await, "on");
    assert_eq!(code(&client, "create table t (a int)").await, "25006");
    run(&client, "begin read write; create table t (a int); commit").await;
    run(&client, "begin; set default_transaction_isolation = 'repeatable read'").await;
    assert_eq!(shown("show transaction_isolation").await, "serializable");
    run(&client, "commit").await;
    assert_eq!(shown("show transaction_isolation").await, "repeatable read");
    // What a part of a transaction may do ends with the part.
    run(&client, "begin read write; savepoint a; set transaction read only; release a").await;
    assert_eq!(shown("show transaction_read_only").await, "off");
    run(&client, "rollback").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_has_the_value_that_holds_or_is_refused() {
    let cluster = started().await;
    let client = cluster.connect().await.expect("a session");
    for (sql, wanted) in [
        ("set datestyle = 'ISO'", ""),
        ("set datestyle = iso, mdy", ""),
        ("set datestyle = 'ISO, DMY'", ""),
        ("set datestyle = german", ""),
        ("set datestyle = 'iso, sql'", "22023"),
        ("set intervalstyle = 'iso_8601'", ""),
        ("set intervalstyle = 'other'", "22023"),
        ("set standard_conforming_strings = off", "0A000"),
        ("set standard_conforming_strings = true", ""),
        ("set extra_float_digits = 3", ""),
        ("set extra_float_digits = 0", ""),
        ("set extra_float_digits = 4", "22023"),
        ("set client_encoding = 'UTF-8'", ""),
        ("set client_encoding = latin1", "0A000"),
        ("set client_encoding = nosuch", "22023"),
        ("set array_nulls = off", "0A000"),
        ("set transform_null_equals = on", "0A000"),
        ("set backslash_quote = off", "0A000"),
        ("set quote_all_identifiers = on", "0A000"),
        ("set xmloption = content", ""),
        ("set xmloption = document", "0A000"),
        ("set check_function_bodies = false", ""),
        ("set row_security = off", ""),
        ("set default_table_access_method = heap", ""),
        ("set default_tablespace = ''", ""),
        ("set default_tablespace = nosuch", "22023"),
        ("set lc_time = 'de_DE.UTF-8'", "0A000"),
        ("set lc_monetary = 'C'", ""),
        ("set enable_nestloop = of", ""),
        ("set enable_nestloop = maybe", "22023"),
        ("set random_page_cost = 1.1", ""),
        ("set random_page_cost = -1", "22023"),
        ("set work_mem = 'abc'", "22023"),
        ("set work_mem = 1, 2", "22023"),
        ("set synchronous_commit = false", ""),
        ("set session_replication_role = replica", ""),
        ("set time zone '+05:30'", ""),
        ("set time zone 'A3'", "22023"),
        ("set nosuch = 1", "42704"),
        ("select set_config('search_path', '\"a', false)", "22023"),
    ] {
        assert_eq!(code(&client, sql).await, wanted, "{sql}");
    }
    for (set, name, wanted) in [
        ("set work_mem = 1024", "work_mem", "1MB"),
        ("set work_mem = '1.5MB'", "work_mem", "1536kB"),
        ("reset all", "work_mem", "4MB"),
        ("reset all", "enable_nestloop", "on"),
        ("set search_path = \"Foo\", bar, 'a,b'", "search_path", "\"Foo\", bar, \"a,b\""),
        ("set search_path to default", "search_path", "\"$user\", public"),
        ("set time zone 5", "timezone", "<+05>-05"),
        ("set time zone -7.5", "timezone", "<-07:30>+07:30"),
    ] {
        run(&client, set).await;
        assert_eq!(value(&client, &format!("show {name}")).await, wanted, "{set}");
        assert_eq!(value(&client, &format!("select current_setting('{name}')")).await, wanted, "{set}");
    }
    assert_eq!(value(&client, "select timestamptz '2020-01-01 00:00+00'").await, "2019-12-31 16:30:00-07:30");
    run(&client, "create schema \"Foo\"; create table \"Foo\".t as select 1 as a; set search_path = \"Foo\"")
        .await;
    assert_eq!(value(&client, "select a from t").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transaction_made_itself_is_not_committed_over_another_version() {
    let cluster = started().await;
    let (client, other) =
        (cluster.connect().await.expect("a session"), cluster.connect().await.expect("a session"));
    run(&other, "create table beside (a int)").await;
    run(&client, "begin; create table t as values (1), (2)").await;
    run(&other, "insert into beside values (1)").await;
    // The file that goes has another number on the version that is there now.
    run(&client, "delete from t where column1 = 1").await;
    assert_eq!(code(&client, "commit").await, "40001");
    assert_eq!(code(&client, "select * from t").await, "42P01");
    // What is only made goes onto any version.
    run(&client, "begin; create schema made; create table made.t as values (1), (2)").await;
    run(&other, "insert into beside values (2)").await;
    run(&client, "create view made.v as select count(*) as n from made.t; insert into made.t values (3)")
        .await;
    run(&client, "commit").await;
    assert_eq!(value(&client, "select n from made.v").await, "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_of_a_message_that_has_ended() {
    let cluster = started().await;
    let (client, other) =
        (cluster.connect().await.expect("a session"), cluster.connect().await.expect("a session"));
    let number = value(&client, "select pg_backend_pid()").await;
    run(&client, "select 1; select 2").await;
    let state = format!("select state from pg_stat_activity where pid = {number}");
    assert_eq!(value(&other, &state).await, "idle");
    run(&client, "select set_config('application_name', 'x', true)").await;
    run(&client, "begin; rollback").await;
    assert_eq!(value(&client, "show application_name").await, "");
    run(&client, "create temp table own (a int); begin").await;
    assert_eq!(code(&client, "discard temp").await, "0A000");
}
