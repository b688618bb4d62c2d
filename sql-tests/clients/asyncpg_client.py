"""asyncpg: binary results through prepared statements, its type introspection, pool, COPY out."""

import asyncio
import datetime
import decimal
import io
import sys
import traceback
import uuid

import asyncpg

from client import DATABASE, HOST, OPTIONS, PASSWORD, PORT, SLOW_QUERY, SSLMODE, USER, show, show_error, sqlstate

ARGUMENTS = {
    "int2": 7,
    "int4": 7,
    "int8": 1 << 40,
    "float4": 1.5,
    "float8": 0.1,
    "numeric": decimal.Decimal("12.50"),
    "numeric(10,3)": decimal.Decimal("12.5"),
    "text": "naïve",
    "varchar": "v",
    "char(3)": "c",
    "name": "n",
    "bytea": b"\x00\xff",
    "bool": True,
    "date": datetime.date(1996, 2, 29),
    "time": datetime.time(1, 2, 3),
    "timestamp": datetime.datetime(1996, 2, 29, 1, 2, 3, 4),
    "timestamptz": datetime.datetime(1996, 2, 29, 1, 2, 3, tzinfo=datetime.timezone.utc),
    "interval": datetime.timedelta(days=1, seconds=2),
    "uuid": uuid.UUID(int=5),
    "json": '{"a": 1}',
    "jsonb": '{"a": 1}',
    "oid": 42,
    "int4[]": [1, 2, None],
    "int8[]": [1, 1 << 40],
    "text[]": ["a", None, 'b"'],
    "float8[]": [1.5],
    "numeric[]": [decimal.Decimal("1.5")],
    "date[]": [datetime.date(1996, 2, 29)],
    "bool[]": [True, False],
}


def connection_parameters():
    parameters = {"host": HOST, "port": PORT, "user": USER, "database": DATABASE, "ssl": SSLMODE}
    if PASSWORD:
        parameters["password"] = PASSWORD
    if OPTIONS:
        parameters["server_settings"] = {"options": OPTIONS}
    return parameters


def rows(records):
    return [tuple(record.values()) for record in records]


async def attempt(label, awaitable, shape=lambda value: value):
    try:
        show(label, shape(await awaitable))
    except Exception as error:
        show_error(label, error)
        if sqlstate(error) is None:
            traceback.print_exc()


async def arguments(_):
    for name, value in ARGUMENTS.items():
        await attempt(f"argument {name}", alone("fetchval", f"select $1::{name}", value))
    for name in ARGUMENTS:
        await attempt(f"null {name}", alone("fetchval", f"select null::{name}"))
    for label, statement, values in (
        ("by bigint", "select n_name from nation where n_nationkey = $1", (7,)),
        ("by text", "select n_nationkey from nation where n_name = $1", ("PERU",)),
        ("by date", "select count(*) from orders where o_orderdate >= $1", (datetime.date(1998, 1, 1),)),
        ("by numeric", "select count(*) from orders where o_totalprice > $1", (decimal.Decimal("400000"),)),
        ("any ints", "select n_name from nation where n_nationkey = any($1) order by 1", ([1, 2],)),
        ("any casted ints", "select n_name from nation where n_nationkey = any($1::int8[]) order by 1", ([1, 2],)),
        ("any texts", "select n_nationkey from nation where n_name = any($1::text[]) order by 1", (["PERU"],)),
        ("all texts", "select count(*) from nation where n_name <> all($1)", (["PERU"],)),
        ("unnest", "select * from unnest($1::int4[], $2::text[]) as t(a, b)", ([1, 2], ["a", "b"])),
        ("limit", "select n_name from nation order by 1 limit $1 offset $2", (2, 1)),
        ("twice", "select $1::int4 + $1::int4", (4,)),
        ("date plus", "select $1::date + $2::int4", (datetime.date(1996, 2, 28), 2)),
        ("interval", "select count(*) from orders where o_orderdate < $1::date - interval '6 years'",
         (datetime.date(1999, 1, 1),)),
        ("like", "select n_name from nation where n_name like $1 order by 1", ("I%",)),
    ):
        await attempt(label, alone("fetch", statement, *values), rows)


async def alone(method, *arguments):
    """One call on a connection of its own: a failed type introspection leaves a connection unusable."""
    connection = await asyncpg.connect(**connection_parameters())
    try:
        return await getattr(connection, method)(*arguments)
    finally:
        connection.terminate()


async def queries(connection):
    await attempt("fetch", connection.fetch("select * from nation order by n_nationkey limit 2"), rows)
    await attempt("fetchrow", connection.fetchrow("select * from orders where o_orderkey = 1"),
                  lambda record: dict(record))
    await attempt("fetchval", connection.fetchval("select sum(l_quantity) from lineitem"))
    await attempt("fetchval column", connection.fetchval("select n_nationkey, n_name from nation order by 1", column=1))
    await attempt("empty", connection.fetchrow("select 1 where false"))
    await attempt("execute", connection.execute("select 1; select 2"))
    await attempt("join", connection.fetch(
        "select r_name, count(*), avg(s_acctbal)::numeric(12,2) from supplier join nation on s_nationkey = n_nationkey"
        " join region on r_regionkey = n_regionkey group by 1 order by 1"), rows)
    await attempt("row value", alone("fetchval", "select row(1::int4, 'a'::text, null::int8)"),
                  lambda record: tuple(record.values()))
    await attempt("array_agg", alone("fetchval", "select array_agg(r_name order by r_name) from region"))
    await attempt("array_agg ints", alone("fetchval", "select array_agg(r_regionkey order by r_name) from region"))
    await attempt("whole row", alone("fetchval", "select region from region where r_regionkey = 1"),
                  lambda record: tuple(record.values()))
    await attempt("executemany", connection.executemany("select $1::int4", [(1,), (2,)]))
    await attempt("fetchmany", connection.fetchmany("select $1::int4", [(1,), (2,)]), rows)


async def inferred(text):
    connection = await asyncpg.connect(**connection_parameters())
    try:
        statement = await connection.prepare(text)
        return [p.name for p in statement.get_parameters()], [a.type.name for a in statement.get_attributes()]
    finally:
        connection.terminate()


async def statements(connection):
    statement = await connection.prepare(
        "select n_nationkey, n_name, $1::date as d, $2::numeric(10,2) as n, $3::text as t"
        " from nation where n_nationkey < $4 order by 1")
    for index, parameter in enumerate(statement.get_parameters()):
        show(f"parameter {index}", tuple(parameter))
    for attribute in statement.get_attributes():
        show(f"attribute {attribute.name}", tuple(attribute.type))
    show("status", statement.get_statusmsg())
    await attempt("prepared", statement.fetch(datetime.date(1996, 1, 1), decimal.Decimal("1.5"), "t", 2), rows)
    show("status after", statement.get_statusmsg())
    await attempt("explain", statement.explain(datetime.date(1996, 1, 1), decimal.Decimal("1.5"), "t", 2), bool)
    named = await connection.prepare("select $1::text", name="by_name")
    show("name", named.get_name())
    await attempt("named", named.fetchval("x"))
    for label, text in (
        ("inferred equal", "select n_name from nation where n_nationkey = $1 and n_name = $2"),
        ("inferred date", "select 1 from orders where o_orderdate between $1 and $2 + interval '1 day'"),
        ("inferred sum", "select n_nationkey + $1 from nation"),
        ("inferred numeric", "select o_totalprice * $1 from orders"),
        ("inferred limit", "select 1 from nation limit $1"),
        ("inferred any", "select 1 from nation where n_name = any($1)"),
        ("inferred in", "select 1 from nation where n_name in ($1, $2)"),
        ("inferred case", "select case when $1 then n_name else $2 end from nation"),
        ("inferred coalesce", "select coalesce($1, n_nationkey) from nation"),
        ("inferred function", "select substr(n_name, $1, $2), upper($3), abs($4::numeric) from nation"),
        ("inferred concat", "select n_name || $1 from nation"),
        ("inferred nothing", "select $1"),
    ):
        await attempt(label, inferred(text))


async def cursors(connection):
    async with connection.transaction():
        total = 0
        async for record in connection.cursor(
                "select l_extendedprice from lineitem where l_orderkey < $1", 2000, prefetch=100):
            total += record[0]
        show("iterated", total)
        cursor = await connection.cursor("select n_name from nation order by n_nationkey")
        show("cursor fetch", rows(await cursor.fetch(3)))
        await attempt("cursor forward", cursor.forward(5))
        show("cursor fetchrow", tuple(await cursor.fetchrow()))
        show("cursor rest", len(await cursor.fetch(100)))


async def copy_out(connection):
    for form in ({}, {"format": "csv", "header": True}, {"format": "csv", "delimiter": "|", "null": "NIL"},
                 {"format": "binary"}, {"format": "csv", "force_quote": True}):
        output = io.BytesIO()
        await attempt(f"copy_from_query {form}".replace(":", "="), connection.copy_from_query(
            "select n_nationkey, n_name, null::int4 from nation where n_nationkey < $1 order by 1", 3,
            output=output, **form), lambda tag: (tag, output.getvalue()))
    output = io.BytesIO()
    await attempt("copy_from_table", connection.copy_from_table("region", output=output, columns=["r_name"]),
                  lambda tag: (tag, sorted(output.getvalue().splitlines())))


async def errors(connection):
    for label, statement, values in (
        ("division", "select 1/$1::int4", (0,)),
        ("no table", "select * from no_such_table", ()),
        ("argument type", "select $1::int4", ("x",)),
        ("argument count", "select $1::int4", ()),
        ("cast", "select $1::text::int4", ("x",)),
        ("ambiguous parameter", "select $1 is null", (None,)),
    ):
        await attempt(f"error {label}", connection.fetch(statement, *values), rows)
    show("in transaction", connection.is_in_transaction())
    try:
        async with connection.transaction():
            await connection.fetch("select 1/0")
    except asyncpg.PostgresError as error:
        show("transaction error", error.sqlstate)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await attempt("isolation", connection.fetchval("show transaction_isolation"))
        try:
            async with connection.transaction():
                await connection.fetch("select 1/0")
        except asyncpg.PostgresError as error:
            show("nested error", error.sqlstate)
        await attempt("after nested error", connection.fetchval("select 'alive'"))
    await attempt("timeout", connection.fetch(SLOW_QUERY, timeout=0.5), rows)
    await attempt("after timeout", connection.fetchval("select 'alive'"))


async def session(connection):
    show("server major", connection.get_server_version().major)
    for name in ("client_encoding", "DateStyle", "TimeZone", "integer_datetimes", "is_superuser"):
        value = getattr(connection.get_settings(), name)
        # The time zone's name is the machine's choice; both mean the same.
        show(f"setting {name}", "UTC" if value == "Etc/UTC" else value)
    await attempt("set", connection.execute("set statement_timeout = '7s'"))
    await attempt("listen", connection.execute("listen nothing"))
    await connection.reset()
    await attempt("after reset", connection.fetchval("show statement_timeout"))
    await attempt("schema codec", connection.set_type_codec(
        "json", encoder=repr, decoder=lambda text: ("decoded", text), schema="pg_catalog"))
    await attempt("decoded json", connection.fetchval("select '[1]'::json"))
    await attempt("introspected domain", connection.fetchval(
        "select table_name from information_schema.tables where table_schema = 'public' order by 1 limit 1"))
    await attempt("reload schema state", connection.reload_schema_state())


async def pool(_):
    async with asyncpg.create_pool(**connection_parameters(), min_size=2, max_size=4) as connections:
        async def count(key):
            async with connections.acquire() as connection:
                return await connection.fetchval("select count(*) from customer where c_nationkey = $1", key)

        show("pool", list(await asyncio.gather(*(count(key) for key in range(8)))))
        await attempt("pool fetch", connections.fetchval("select max(n_name) from nation"))


async def main():
    failed = False
    for section in (session, arguments, queries, statements, cursors, copy_out, errors, pool):
        connection = await asyncpg.connect(**connection_parameters())
        try:
            await section(connection)
            await connection.close()
        except Exception as error:
            failed = True
            show_error(f"section {section.__name__}", error)
            traceback.print_exc()
            connection.terminate()
    return failed


sys.exit(1 if asyncio.run(main()) else 0)
