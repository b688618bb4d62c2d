//! What a role may do, held to a PostgreSQL 15: every kind of statement on every kind of object by every kind of role, GRANT
//! and REVOKE in orders that a machine invents, and every way to a setting.

use std::collections::BTreeMap;
use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use sql_tests::{Options, Oracle, TestCluster};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// One of the two servers.
struct Server {
    config: Config,
    sessions: BTreeMap<String, Client>,
}

impl Server {
    fn new(config: Config) -> Self {
        Self { config, sessions: BTreeMap::new() }
    }

    /// A session of `role`, which is kept for the next statement.
    async fn of(&mut self, role: &str) -> &Client {
        if !self.sessions.contains_key(role) {
            let client = connect(self.config.clone().user(role)).await.expect("a session");
            self.sessions.insert(role.to_owned(), client);
        }
        &self.sessions[role]
    }

    async fn run(&mut self, role: &str, sql: &str) {
        let outcome = self.of(role).await.batch_execute(sql).await;
        outcome.unwrap_or_else(|error| panic!("{sql} as {role}: {error:?}"));
    }

    /// The SQLSTATE of `sql`; five zeros when it succeeds.
    async fn sqlstate(&mut self, role: &str, sql: &str) -> String {
        sqlstate(self.of(role).await.simple_query(sql).await)
    }

    /// The SQLSTATE of `sql` in a block that is rolled back.
    async fn tried(&mut self, role: &str, sql: &str) -> String {
        let client = self.of(role).await;
        client.batch_execute("begin").await.expect("a block");
        let outcome = sqlstate(client.simple_query(sql).await);
        client.batch_execute("rollback").await.expect("the end of a block");
        outcome
    }

    /// The one value of `sql`.
    async fn value(&mut self, role: &str, sql: &str) -> Result<String, String> {
        match self.of(role).await.simple_query(sql).await {
            Ok(messages) => Ok(value_of(&messages)),
            Err(error) => Err(sqlstate::<()>(Err(error))),
        }
    }
}

async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn value_of(messages: &[SimpleQueryMessage]) -> String {
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
        _ => None,
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn sqlstate<T>(outcome: Result<T, tokio_postgres::Error>) -> String {
    match outcome {
        Ok(_) => "00000".to_owned(),
        Err(error) => error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()),
    }
}

/// Both servers, with the same roles and objects; what keeps them running comes along.
async fn both() -> (Server, Server, (TestCluster, Oracle)) {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let options = Options { executors: 0, ..Options::default() };
    let cluster = TestCluster::start(binary, &options).await.expect("a server");
    let oracle = Oracle::start().await.expect("a PostgreSQL");
    let mut of_oracle = Config::new();
    of_oracle.host("127.0.0.1").port(oracle.port).user("postgres").dbname("postgres");
    (Server::new(cluster.config()), Server::new(of_oracle), (cluster, oracle))
}

const ROLES: &[&str] = &["owner_r", "granted_r", "member_r", "idle_r", "none_r", "postgres"];

const HOUSE: &[&str] = &[
    "create role owner_r login",
    "create role granted_r login",
    "create role member_r login in role owner_r",
    // A member that does not inherit.
    "create role idle_r login noinherit in role owner_r",
    "create role none_r login",
    "create role maker_r login createrole",
    "create role target_r",
    "create role super_r superuser",
    "create schema s authorization owner_r",
    "create schema h authorization owner_r",
    // PostgreSQL 15 grants it to nobody, as Sluice does.
    "grant usage on schema s to public",
];

const OBJECTS: &[&str] = &[
    "create table {s}.t (a int, b int)",
    "insert into {s}.t values (1, 2), (3, 4)",
    "create view {s}.v as select a, b from {s}.t",
    "create materialized view {s}.m as select a, b from {s}.t",
];

/// Statements about what lies in a schema `{s}`.
const ON_OBJECTS: &[&str] = &[
    "select a from {s}.t",
    "select count(*) from {s}.t",
    "select a from {s}.v",
    "select a from {s}.m",
    "select x.a from {s}.t x join {s}.v y on x.a = y.a",
    "with w as (select a from {s}.t) select * from w",
    "select 1 where exists (select 1 from {s}.t)",
    "select a from {s}.nothing",
    "explain select a from {s}.t",
    "declare c cursor for select a from {s}.t",
    "copy {s}.t to stdout",
    "copy (select a from {s}.v) to stdout",
    "insert into {s}.t values (5, 6)",
    "insert into {s}.t select a, b from {s}.v",
    "explain insert into {s}.t values (5, 6)",
    "update {s}.t set a = 1",
    "update {s}.t set a = a + 1 where b = 2",
    "delete from {s}.t",
    "delete from {s}.t where a = 1",
    "truncate {s}.t",
    "truncate {s}.v",
    "truncate {s}.m",
    "create table {s}.n (a int)",
    "create table {s}.n as select a from {s}.t",
    "create view {s}.n as select a from {s}.t",
    "create or replace view {s}.v as select a, b from {s}.t",
    "create materialized view {s}.n as select a from {s}.t",
    "create temporary table mine as select a from {s}.t",
    "refresh materialized view {s}.m",
    "alter table {s}.t add column c int",
    "alter table {s}.t drop column if exists c",
    "alter table {s}.t rename column b to c",
    "alter table {s}.t alter column a set default 7",
    "alter table {s}.t rename to n",
    "alter table {s}.t owner to target_r",
    "alter table {s}.t owner to member_r",
    "alter table {s}.t owner to current_user",
    "alter view {s}.v rename to n",
    "drop table {s}.t cascade",
    "drop table if exists {s}.nothing",
    "drop view {s}.v",
    "drop materialized view {s}.m",
    "comment on table {s}.t is 'x'",
    "comment on column {s}.t.a is 'x'",
    "comment on schema {s} is 'x'",
    "grant select on {s}.t to target_r",
    "grant select, insert on {s}.t to target_r",
    "grant all on {s}.t to target_r",
    "grant select on {s}.v to target_r",
    "grant select on {s}.m to target_r",
    "grant select on {s}.t to public",
    "grant select on {s}.t to target_r with grant option",
    "grant select on {s}.t to public with grant option",
    "grant select on all tables in schema {s} to target_r",
    "grant usage on schema {s} to target_r",
    "grant all on schema {s} to target_r",
    "revoke select on {s}.t from granted_r",
    "revoke grant option for select on {s}.t from granted_r",
    "revoke all on {s}.t from public",
    "revoke all on {s}.t from owner_r",
    "revoke usage on schema {s} from public",
    "analyze {s}.t",
    "alter schema {s} owner to target_r",
    "alter schema {s} owner to current_user",
    "drop schema {s} cascade",
    "select has_table_privilege('{s}.t', 'select')",
];

/// Statements about roles, the database and the session, which no object is needed for.
const ON_ROLES: &[&str] = &[
    "create schema mine",
    "create schema mine authorization owner_r",
    "create temporary table mine (a int)",
    "grant create on database postgres to target_r",
    "revoke connect on database postgres from public",
    "comment on database postgres is 'x'",
    "comment on role target_r is 'x'",
    "comment on role super_r is 'x'",
    "create role new_r",
    "create role new_r login password 'x'",
    "create role new_r superuser",
    "create role new_r createdb createrole",
    "create role new_r in role postgres",
    "create role new_r in group postgres",
    "create role new_r in role super_r",
    "create role new_r in role target_r",
    "create role new_r role target_r",
    "create role new_r admin postgres",
    "create role new_r admin target_r",
    "create user new_r in role postgres password 'x'",
    "alter role none_r password 'x'",
    "alter role current_user password 'x'",
    "alter role current_user password 'x' connection limit 50",
    "alter role current_user connection limit 50",
    "alter role current_user valid until 'infinity'",
    "alter role current_user password 'x' valid until 'infinity'",
    "alter role current_user noinherit",
    "alter role current_user password 'x' noinherit",
    "alter role current_user createdb",
    "alter role current_user createrole",
    "alter role current_user superuser",
    "alter role target_r login",
    "alter role target_r superuser",
    "alter role target_r rename to new_r",
    "alter role super_r password 'x'",
    "alter role super_r rename to new_r",
    "alter role postgres password 'x'",
    "alter role postgres login",
    "alter role current_user set search_path = 'x'",
    "alter role current_user reset search_path",
    "alter role current_user reset all",
    "alter role target_r set search_path = 'x'",
    "alter role super_r set search_path = 'x'",
    "alter role postgres set search_path = 'x'",
    "alter role current_user set lc_messages = 'C'",
    "drop role target_r",
    "drop role super_r",
    "drop role current_user",
    "drop role owner_r",
    "drop role if exists nobody_r",
    "grant target_r to none_r",
    "grant owner_r to none_r",
    "grant postgres to none_r",
    "grant super_r to none_r",
    "grant target_r to none_r with admin option",
    "grant none_r to target_r",
    "grant target_r to target_r",
    "grant member_r to owner_r",
    "revoke owner_r from member_r",
    "revoke admin option for owner_r from member_r",
    "revoke postgres from none_r",
    "set role owner_r",
    "set role postgres",
    "set role none",
    "set role nobody_r",
    "set local role owner_r",
    "set local role postgres",
    "set session role postgres",
    "set role = 'postgres'",
    "set \"role\" to 'postgres'",
    "set role to owner_r",
    "set session authorization postgres",
    "set session authorization owner_r",
    "set local session authorization postgres",
    "set session authorization default",
    "set session_authorization = 'postgres'",
    "set is_superuser = on",
    "set server_version = '1'",
    "set lc_messages = 'C'",
    "reset role",
    "reset session authorization",
    "reset all",
    "select set_config('role', 'postgres', false)",
    "select set_config('role', 'owner_r', true)",
    "select set_config('session_authorization', 'postgres', false)",
    "select set_config('is_superuser', 'on', false)",
    "select set_config('lc_messages', 'C', false)",
    "select pg_has_role('postgres', 'member')",
    "select * from pg_authid",
];

/// What is granted beforehand, by the name of the state.
const STATES: &[(&str, &[&str])] = &[
    ("nothing granted", &[]),
    (
        "granted to a role",
        &[
            "grant usage, create on schema {s} to granted_r",
            "grant all on {s}.t, {s}.v, {s}.m to granted_r",
            "grant create on database postgres to granted_r",
        ],
    ),
    (
        "granted to write and not to read",
        &[
            "grant usage on schema {s} to granted_r",
            "grant insert, update, delete, truncate on {s}.t to granted_r",
        ],
    ),
    (
        "granted to pass on",
        &[
            "grant usage, create on schema {s} to granted_r with grant option",
            "grant select, insert on {s}.t to granted_r with grant option",
            "grant target_r to granted_r with admin option",
        ],
    ),
    (
        "granted to the members' role and to all",
        &[
            "grant usage on schema {s} to public",
            "grant all on {s}.t, {s}.v, {s}.m to public",
            "revoke select on {s}.t from owner_r",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_do_what_it_may_in_postgres() {
    let (mut ours, mut theirs, _running) = both().await;
    for server in [&mut ours, &mut theirs] {
        for sql in HOUSE {
            server.run("postgres", sql).await;
        }
        for schema in ["s", "h"] {
            for sql in OBJECTS {
                server.run("owner_r", &sql.replace("{s}", schema)).await;
            }
        }
    }
    let roles: Vec<&str> = ROLES.iter().copied().chain(["maker_r"]).collect();
    let (mut cells, mut differences) = (0, Vec::new());
    for (state, grants) in STATES {
        for server in [&mut ours, &mut theirs] {
            for sql in *grants {
                for schema in ["s", "h"] {
                    server.run("postgres", &sql.replace("{s}", schema)).await;
                }
            }
        }
        let on_objects = ["s", "h"]
            .into_iter()
            .flat_map(|schema| ON_OBJECTS.iter().map(move |sql| sql.replace("{s}", schema)));
        for sql in on_objects.chain(ON_ROLES.iter().map(|sql| (*sql).to_owned())) {
            for role in &roles {
                cells += 1;
                let (found, expected) = (ours.tried(role, &sql).await, theirs.tried(role, &sql).await);
                if found != expected {
                    differences.push(format!("{state}: {role}: {sql}: {found}, PostgreSQL {expected}"));
                }
            }
        }
        for server in [&mut ours, &mut theirs] {
            for schema in ["s", "h"] {
                let relations = format!("{schema}.t, {schema}.v, {schema}.m");
                let sql = format!("revoke all on {relations} from granted_r, public cascade");
                server.run("postgres", &sql).await;
            }
            server.run("postgres", "grant all on s.t, h.t to owner_r").await;
            server.run("postgres", "revoke all on schema s, h from granted_r, public cascade").await;
            server.run("postgres", "grant usage on schema s to public").await;
            server.run("postgres", "revoke create on database postgres from granted_r").await;
            server.run("postgres", "revoke target_r from granted_r").await;
        }
    }
    println!("{cells} cells, {} differences", differences.len());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(cells >= 1_000, "{cells} cells");
}

/// Invents statements about privileges and memberships.
struct Inventor(StdRng);

impl Inventor {
    fn one_of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices.choose(&mut self.0).copied().unwrap_or_default()
    }

    fn often(&mut self, per_cent: u32) -> bool {
        self.0.random_range(0..100) < per_cent
    }

    fn role(&mut self) -> &'static str {
        self.one_of(&["ann", "bob", "eve", "dan", "owner_r"])
    }

    fn statement(&mut self) -> String {
        let object = self.one_of(&["s.t", "s.t", "s.v", "schema s", "all tables in schema s"]);
        let privileges = if object == "schema s" {
            self.one_of(&["usage", "create", "all", "usage, create"])
        } else {
            self.one_of(&[
                "select",
                "insert",
                "update",
                "delete",
                "truncate",
                "all",
                "select, insert",
                "select, update",
            ])
        };
        let grantee = if self.often(10) { "public" } else { self.role() };
        match self.0.random_range(0..20) {
            0..=8 => {
                let option = if self.often(40) { " with grant option" } else { "" };
                format!("grant {privileges} on {object} to {grantee}{option}")
            }
            9..=14 => {
                let option = if self.often(30) { "grant option for " } else { "" };
                let behaviour = self.one_of(&["", " cascade", " restrict"]);
                format!("revoke {option}{privileges} on {object} from {grantee}{behaviour}")
            }
            15 | 16 => {
                let option = if self.often(40) { " with admin option" } else { "" };
                format!("grant {} to {}{option}", self.role(), self.role())
            }
            17 => {
                let option = if self.often(40) { "admin option for " } else { "" };
                format!("revoke {option}{} from {}", self.role(), self.role())
            }
            18 => format!("alter table s.t owner to {}", self.role()),
            _ => {
                let inherits = self.one_of(&["inherit", "noinherit"]);
                format!("alter role {} {inherits}", self.role())
            }
        }
    }
}

/// What every role may do on the objects, and who is a member of what, as one text.
const RIGHTS: &str = "select string_agg(line, E'\\n' order by line) from (
    select r.rolname || ' ' || o.name || ' ' || p.word || ' ' || has_table_privilege(r.rolname, o.name, p.word)::text
        || ' ' || has_table_privilege(r.rolname, o.name, p.word || ' with grant option')::text as line
    from (select rolname from pg_roles where rolname in ('ann', 'bob', 'eve', 'dan', 'owner_r')) r
    cross join (values ('s.t'), ('s.v')) o(name)
    cross join (values ('select'), ('insert'), ('update'), ('delete'), ('truncate')) p(word)
    union all
    select r.rolname || ' schema ' || p.word || ' ' || has_schema_privilege(r.rolname, 's', p.word)::text
    from (select rolname from pg_roles where rolname in ('ann', 'bob', 'eve', 'dan', 'owner_r')) r
    cross join (values ('usage'), ('create'), ('usage with grant option')) p(word)
    union all
    select r.rolname || ' ' || m.rolname || ' ' || p.word || ' ' || pg_has_role(m.rolname, r.rolname, p.word)::text
    from (select rolname from pg_roles where rolname in ('ann', 'bob', 'eve', 'dan', 'owner_r')) r
    cross join (select rolname from pg_roles where rolname in ('ann', 'bob', 'eve', 'dan', 'owner_r')) m
    cross join (values ('member'), ('usage'), ('member with admin option')) p(word)
  ) lines";

/// The access control lists, by object.
const LISTS: &str = "select relname || ' ' || coalesce(array_to_string(relacl, ' '), '')
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 's' and relname in ('t', 'v')
    union all select nspname || ' ' || coalesce(array_to_string(nspacl, ' '), '') from pg_namespace where nspname = 's'";

/// Their items in one order, without those that only say that an owner has everything.
fn items(lists: &str) -> Vec<String> {
    let mut items = Vec::new();
    for list in lists.lines() {
        let (object, rest) = list.split_once(' ').unwrap_or((list, ""));
        for item in rest.split_whitespace() {
            let (grantee, given) = item.split_once('=').unwrap_or((item, ""));
            let (letters, grantor) = given.split_once('/').unwrap_or((given, ""));
            // An owner may pass everything on, whether that was granted or not.
            let letters = if grantee == grantor { letters.replace('*', "") } else { letters.to_owned() };
            if grantee != grantor || !["arwdDxt", "UC"].contains(&letters.as_str()) {
                items.push(format!("{object} {grantee}={letters}/{grantor}"));
            }
        }
    }
    items.sort();
    items
}

/// `SLUICE_TEST_SEED=5 SLUICE_TEST_STATEMENTS=20000 cargo test --release --test rights` invents others, and more.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_in_any_order_mean_what_they_mean_in_postgres() {
    let (mut ours, mut theirs, _running) = both().await;
    let house = [
        "create role ann login",
        "create role bob login",
        "create role eve login noinherit",
        "create role dan login createrole",
        "create role owner_r login",
        "create schema s authorization owner_r",
    ];
    let objects = ["create table s.t (a int)", "create view s.v as select a from s.t"];
    for server in [&mut ours, &mut theirs] {
        for sql in house {
            server.run("postgres", sql).await;
        }
        for sql in objects {
            server.run("owner_r", sql).await;
        }
    }
    let (seed, count) = (number("SLUICE_TEST_SEED", 11), number("SLUICE_TEST_STATEMENTS", 1_200));
    let mut inventor = Inventor(StdRng::seed_from_u64(seed));
    let mut done: Vec<String> = Vec::new();
    let (mut before, mut changed) = (Vec::new(), 0);
    for step in 0..count {
        let role = if inventor.often(15) { "postgres" } else { inventor.role() };
        let sql = inventor.statement();
        let (found, expected) = (ours.sqlstate(role, &sql).await, theirs.sqlstate(role, &sql).await);
        done.push(format!("{role}: {sql}: {expected}"));
        let recent = || done[done.len().saturating_sub(25)..].join("\n");
        assert_eq!(found, expected, "seed {seed}, step {step}:\n{}\nbefore: {before:?}", recent());
        changed += usize::from(expected == "00000");
        let found = items(&ours.value("postgres", LISTS).await.expect("lists"));
        let expected = items(&theirs.value("postgres", LISTS).await.expect("lists"));
        assert_eq!(found, expected, "seed {seed}, step {step}:\n{}\nbefore: {before:?}", recent());
        before = expected;
        if step % 10 == 9 {
            let found = ours.value("postgres", RIGHTS).await.expect("rights");
            let expected = theirs.value("postgres", RIGHTS).await.expect("rights");
            let unlike: Vec<_> = found.lines().zip(expected.lines()).filter(|(a, b)| a != b).collect();
            assert_eq!(found.lines().count(), expected.lines().count());
            assert!(unlike.is_empty(), "seed {seed}, step {step}:\n{}\n{unlike:?}", recent());
        }
    }
    println!("{count} statements, {changed} of which succeeded");
    assert!(changed > count as usize / 5, "too few statements did anything: {changed}");
}

/// Who a session is, once it may speak.
const WHO: &str = "select current_user || ' ' || session_user || ' ' || current_setting('is_superuser')";

#[tokio::test(flavor = "multi_thread")]
async fn nobody_becomes_another_by_a_setting() {
    let (mut ours, mut theirs, _running) = both().await;
    for server in [&mut ours, &mut theirs] {
        for sql in HOUSE {
            server.run("postgres", sql).await;
        }
        server.run("postgres", "create role ann login in role owner_r").await;
        server.run("postgres", "create table secret (a int)").await;
    }
    let roles = ["ann", "idle_r", "none_r", "maker_r", "postgres"];
    // At start-up.
    for name in ["role", "ROLE", "session_authorization", "is_superuser", "server_version", "lc_messages"] {
        for value in ["postgres", "owner_r", "none", "nobody_r", "on", "C"] {
            // PostgreSQL looks among the machine's locales.
            if name == "lc_messages" && value != "C" {
                continue;
            }
            for role in roles {
                for options in
                    [format!("-c {name}={value}"), format!("--{name}={value}"), format!("-c{name}={value}")]
                {
                    let mut seen = Vec::new();
                    for server in [&ours, &theirs] {
                        let mut config = server.config.clone();
                        config.user(role).options(&options);
                        seen.push(match connect(&config).await {
                            Ok(client) => value_of(&client.simple_query(WHO).await.expect("who it is")),
                            Err(error) => sqlstate::<()>(Err(error)),
                        });
                    }
                    assert_eq!(seen[0], seen[1], "{role} with {options}");
                }
            }
        }
    }
    // Inside. Each way in, then what came of it, in one message and in two, and in a block that ends.
    let ways = [
        "set {n} = '{v}'",
        "set {n} to {v}",
        "set \"{n}\" = '{v}'",
        "set session {n} = '{v}'",
        "begin; set local {n} = '{v}'; commit",
        "begin; set {n} = '{v}'; rollback",
        "select set_config('{n}', '{v}', false)",
        "begin; select set_config('{n}', '{v}', true); commit",
        "set {n} = '{v}'; reset {n}",
        "set {n} = '{v}'; reset all",
        "set {n} = '{v}'; discard all",
        "set {n} = '{v}'; set {n} to default",
        "prepare p as select set_config('{n}', '{v}', false); execute p; deallocate p",
    ];
    for way in ways {
        for name in ["role", "session_authorization"] {
            for value in ["postgres", "owner_r", "none_r", "none", "nobody_r", "Postgres"] {
                for role in roles {
                    let sql = way.replace("{n}", name).replace("{v}", value);
                    let mut seen = Vec::new();
                    for server in [&mut ours, &mut theirs] {
                        let client = connect(server.config.clone().user(role)).await.expect("a session");
                        let mut state = "00000".to_owned();
                        for part in sql.split("; ") {
                            state = sqlstate(client.batch_execute(part).await);
                            if state != "00000" {
                                break;
                            }
                        }
                        client.batch_execute("rollback").await.expect("the end of a block");
                        let who = value_of(&client.simple_query(WHO).await.expect("who it is"));
                        let reads = sqlstate(client.simple_query("select a from secret").await);
                        seen.push((state, who, reads));
                    }
                    assert_eq!(seen[0], seen[1], "{role}: {sql}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_the_session_is_is_told_when_a_statement_runs() {
    let (mut ours, mut theirs, _running) = both().await;
    for server in [&mut ours, &mut theirs] {
        server.run("postgres", "create role fb").await;
        server.run("postgres", "create schema fb").await;
        server.run("postgres", "grant usage on schema fb to fb").await;
        server
            .run("postgres", "create view who as select current_user::text as u, session_user::text as s")
            .await;
        server.run("postgres", "grant select on who to fb").await;
    }
    let mut seen = Vec::new();
    for server in [&mut ours, &mut theirs] {
        let client = connect(&server.config).await.expect("a session");
        let mut said = Vec::new();
        for sql in [
            "set role fb; select current_user",
            "select current_user; reset role; select current_user, session_user",
            "set search_path = fb; select current_schema()",
            "reset search_path; select current_schema()",
            "set role fb; select u from who; reset role",
            "select u from who",
            "prepare p as select current_user || current_schema(); execute p; set role fb; execute p; reset role; execute p",
            "begin; set local role fb; select current_user; commit; select current_user",
            "begin; set role fb; select current_user; rollback; select current_user",
            "set session authorization fb; select session_user, current_user; reset session authorization; select session_user",
        ] {
            let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            said.push((sql, value_of(&messages)));
        }
        let prepared =
            client.prepare("select current_user::text, current_schema()::text").await.expect("a statement");
        for sql in ["reset role", "set role fb", "reset role"] {
            client.batch_execute(sql).await.expect("a role");
            let row = client.query_one(&prepared, &[]).await.expect("a row");
            said.push((sql, format!("{} {}", row.get::<_, String>(0), row.get::<_, String>(1))));
        }
        seen.push(said);
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_closed_lets_nobody_in() {
    let (mut ours, mut theirs, _running) = both().await;
    for server in [&mut ours, &mut theirs] {
        for sql in ["create role ann login", "create role bob login", "create role boss login superuser"] {
            server.run("postgres", sql).await;
        }
        server.run("postgres", "revoke connect on database postgres from public").await;
        server.run("postgres", "grant connect on database postgres to bob").await;
    }
    for role in ["ann", "bob", "boss", "postgres"] {
        let mut seen = Vec::new();
        for server in [&ours, &theirs] {
            seen.push(sqlstate(connect(server.config.clone().user(role)).await));
        }
        assert_eq!(seen[0], seen[1], "{role}");
        assert_eq!(seen[0] == "00000", role != "ann", "{role}");
    }
}
