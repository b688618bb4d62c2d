//! Every function of PostgreSQL 15 that takes everyday types, called with nulls of them: here it is of the same type, or there is
//! none. And what PostgreSQL's functions of one argument do not take, ours of the name do not take either.

use std::path::Path;

use sql_tests::{Options, Oracle, TestCluster};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// Calls of every function whose arguments are of these types, with nulls of them. Those without arguments may do something.
const CALLS: &str = "
    select format('%I(%s)%s', proname, args, case prokind when 'w' then ' over ()' else '' end)
    from (
        select p.oid, proname, prokind, string_agg('null::' || coalesce(known.name, typname), ', ' order by place) args
        from pg_proc p
        join pg_namespace n on n.oid = pronamespace and nspname = 'pg_catalog'
        cross join unnest(proargtypes) with ordinality argument (kind, place)
        join pg_type t on t.oid = kind
        left join (values ('anyelement', 'int4'), ('anyarray', 'int4[]'), ('anycompatible', 'int4'),
            ('anycompatiblearray', 'int4[]'), ('_int4', 'int4[]'), ('_text', 'text[]'), ('int2', null), ('int4', null),
            ('int8', null), ('text', null), ('float4', null), ('float8', null), ('numeric', null), ('bool', null),
            ('date', null), ('timestamp', null), ('timestamptz', null), ('time', null), ('interval', null),
            ('bytea', null)) known (kind, name) on known.kind = typname
        where not proretset and prokind in ('f', 'a', 'w')
            and prorettype not in (2278, 2279, 2280, 2281, 3838)
        group by 1, 2, 3
        having bool_and(known.kind is not null)
    ) calls
    order by proname collate \"C\", args";

/// The names of functions of one argument.
const NAMES: &str = "
    select distinct format('%I', proname) from pg_proc p
    join pg_namespace n on n.oid = pronamespace and nspname = 'pg_catalog'
    where not proretset and prokind in ('f', 'a') and pronargs = 1
        and prorettype not in (2278, 2279, 2280, 2281, 3838) and proname !~ '^(pg_|lo_|binary_)'
    order by 1";

const VALUES: [&str; 9] = [
    "null::int4",
    "null::text",
    "null::float8",
    "null::numeric",
    "null::bool",
    "null::date",
    "null::timestamp",
    "null::interval",
    "null::bytea",
];

/// What differs, and is told in docs/postgres-compatibility.md or is of the system's tables.
const APART: [(&str, &str); 20] = [
    ("exp(null::numeric", "doubles, as the engine computes"),
    ("ln(null::numeric", "the same"),
    ("log(null::numeric", "the same"),
    ("log10(null::numeric", "the same"),
    ("pow(null::numeric", "the same"),
    ("power(null::numeric", "the same"),
    ("sqrt(null::numeric", "the same"),
    ("mod(null::int2", "a smallint is computed as an integer"),
    ("regexp_instr(", "a bigint"),
    ("current_schemas(", "names are texts"),
    ("to_reg", "object identifiers are told as such"),
    ("to_json", "of what it is made of"),
    ("col_description(", "takes any number"),
    ("obj_description(", "the same"),
    ("mxid_age(", "takes anything"),
    ("row_security_active(", "the same"),
    ("justify_", "a text is read as an interval"),
    ("age(null::text", "a text is read as a timestamp"),
    ("isfinite(null::text", "the same"),
    ("char", "the length of bytes is told under all its names"),
];

async fn session(config: Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("a session");
    tokio::spawn(connection);
    client
}

async fn column(client: &Client, sql: &str) -> Vec<String> {
    let rows = client.simple_query(sql).await.expect("rows");
    rows.into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect()
}

/// The type of `call`, or the SQLSTATE that it is refused with.
async fn kind_of(client: &Client, call: &str) -> Result<String, String> {
    match client.simple_query(&format!("select pg_typeof({call})::text")).await {
        Ok(rows) => Ok(rows
            .iter()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .unwrap_or_default()),
        Err(error) => Err(error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_one_name_are_of_one_type() {
    let binary = Path::new(env!("CARGO_BIN_EXE_sluice"));
    let options = Options { executors: 1, ..Options::default() };
    let cluster = TestCluster::start(binary, &options).await.expect("a cluster");
    let oracle = Oracle::start().await.expect("a PostgreSQL");
    let mut of_oracle = Config::new();
    of_oracle.host("127.0.0.1").port(oracle.port).user("postgres").dbname("postgres");
    let (postgres, ours) = (session(of_oracle).await, session(cluster.config()).await);
    let mut calls = column(&postgres, CALLS).await;
    for name in column(&postgres, NAMES).await {
        calls.extend(VALUES.map(|value| format!("{name}({value})")));
    }
    assert!(calls.len() > 2_000, "{} calls", calls.len());
    let mut wrong = Vec::new();
    for call in &calls {
        let here = kind_of(&ours, call).await;
        if matches!(&here, Err(state) if state == "42883" || state == "0A000") {
            continue;
        }
        let there = kind_of(&postgres, call).await;
        if here.is_err() && there.is_err() {
            continue;
        }
        let is_apart = APART.iter().any(|(start, _)| call.trim_start_matches('"').starts_with(start));
        if here != there && !(is_apart && here.is_ok()) {
            wrong.push(format!("{call}\n    PostgreSQL: {there:?}\n    here: {here:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), calls.len(), wrong.join("\n"));
}
