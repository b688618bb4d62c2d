"""psycopg 3: text and binary results, prepared statements, pipelines, COPY out, cancel."""

import datetime
import decimal
import hashlib

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types import TypeInfo
from psycopg.types.range import Range

from client import SLOW_QUERY, attempt, cancel_while, libpq_parameters, run_sections, show

PARAMETERS = {
    "small int": 7,
    "int": 100000,
    "bigint": 1 << 40,
    "huge int": 1 << 70,
    "negative": -5,
    "float": 1.5,
    "float nan": float("nan"),
    "float infinity": float("-inf"),
    "decimal": decimal.Decimal("12345.678900"),
    "decimal nan": decimal.Decimal("NaN"),
    "str": "naïve 'quoted' \\ text",
    "empty str": "",
    "bytes": b"\x00\x01\xff\\",
    "bool": True,
    "date": datetime.date(1996, 2, 29),
    "time": datetime.time(1, 2, 3, 456),
    "datetime": datetime.datetime(1996, 2, 29, 1, 2, 3, 456),
    "datetime tz": datetime.datetime(1996, 2, 29, 1, 2, 3, tzinfo=datetime.timezone.utc),
    "timedelta": datetime.timedelta(days=3, seconds=4, microseconds=5),
    "null": None,
    "ints": [1, 2, 3],
    "bigints": [1 << 40, None],
    "strs": ["a", 'b"', "c,d", None, ""],
    "dates": [datetime.date(1996, 2, 29)],
    "decimals": [decimal.Decimal("1.10")],
    "floats": [1.5, 2.5],
    "empty list": [],
}

CASTS = {
    "smallint": "7::smallint",
    "int": "7::int",
    "bigint": "7::bigint",
    "real": "1.25::real",
    "double": "0.1::float8",
    "numeric": "1.500::numeric",
    "numeric scaled": "1.5::numeric(12,4)",
    "numeric big": "12345678901234567890.123456789::numeric",
    "numeric zero": "0.00::numeric",
    "text": "'a'::text",
    "varchar": "'abc'::varchar(5)",
    "char": "'abc'::char(5)",
    "name": "'abc'::name",
    "quoted char": "'a'::\"char\"",
    "bool": "true",
    "bytea": r"'\x00ff'::bytea",
    "date": "'1996-02-29'::date",
    "date old": "'0044-03-15'::date",
    "time": "'01:02:03.5'::time",
    "timestamp": "'1996-02-29 01:02:03.5'::timestamp",
    "timestamptz": "'1996-02-29 01:02:03.5+02'::timestamptz",
    "interval": "'1 day 02:03:04'::interval",
    "json": "'{\"a\": [1, null]}'::json",
    "jsonb": "'{\"b\": 1, \"a\": 2}'::jsonb",
    "uuid": "'6b2a3c1e-0000-4000-8000-0123456789ab'::uuid",
    "oid": "42::oid",
    "regclass": "'pg_class'::regclass",
    "regtype": "'int4'::regtype",
    "int array": "array[1,2,null]::int[]",
    "text array": "array['a','b c',null]::text[]",
    "numeric array": "array[1.5,2.25]::numeric[]",
    "date array": "array['1996-02-29']::date[]",
    "bool array": "array[true,false]::bool[]",
    "null int": "null::int",
    "null text": "null::text",
    "untyped literal": "'abc'",
    "untyped null": "null",
    "row": "row(1::int,'a'::text)",
}


def values_of_every_type(connection):
    # A failed statement must not take the ones after it along.
    connection.autocommit = True
    for binary in (False, True):
        form = "binary" if binary else "text"
        with connection.cursor(binary=binary) as cursor:
            for name, expression in CASTS.items():
                try:
                    cursor.execute(f"select {expression} as v")
                    show(f"{form} {name}", cursor.fetchone()[0])
                    column = cursor.description[0]
                    show(
                        f"{form} {name} column",
                        (column.name, column.type_code, column.precision, column.scale, column.internal_size),
                    )
                except psycopg.Error as error:
                    show(f"{form} {name}", error.sqlstate)


def parameters_of_every_type(connection):
    connection.autocommit = True
    for binary in (False, True):
        form = "binary" if binary else "text"
        placeholder = "%b" if binary else "%t"
        for name, value in PARAMETERS.items():
            try:
                cursor = connection.cursor(binary=binary)
                cursor.execute(f"select {placeholder} as v", (value,))
                show(f"{form} parameter {name}", cursor.fetchone()[0])
                show(f"{form} parameter {name} type", cursor.description[0].type_code)
            except (psycopg.Error, NotImplementedError) as error:
                show(f"{form} parameter {name}", getattr(error, "sqlstate", None))


def comparisons(connection):
    connection.autocommit = True
    attempt("range parameter", lambda: connection.execute("select %s::text", (Range(1, 5),)).fetchone())
    for label, statement, values in (
        ("compare bigint", "select n_name from nation where n_nationkey = %s", (7,)),
        ("compare text", "select n_nationkey from nation where n_name = %s", ("PERU",)),
        ("compare date", "select count(*) from orders where o_orderdate < %s", (datetime.date(1993, 1, 1),)),
        ("compare datetime", "select count(*) from orders where o_orderdate < %s", (datetime.datetime(1993, 1, 1),)),
        ("compare decimal", "select count(*) from orders where o_totalprice > %s", (decimal.Decimal("400000.5"),)),
        ("compare float", "select count(*) from orders where o_totalprice > %s", (400000.5,)),
        ("any ints", "select n_name from nation where n_nationkey = any(%s) order by 1", ([1, 3, 5],)),
        ("any strs", "select n_nationkey from nation where n_name = any(%s) order by 1", (["PERU", "CHINA"],)),
        ("like", "select n_name from nation where n_name like %s order by 1", ("U%",)),
        ("limit offset", "select n_name from nation order by n_nationkey limit %s offset %s", (2, 3)),
        ("interval add", "select max(o_orderdate) + %s from orders", (datetime.timedelta(days=1),)),
        ("int add", "select n_nationkey + %s from nation where n_nationkey = 1", (5,)),
        ("null is", "select %s::text is null", (None,)),
        ("between", "select count(*) from orders where o_orderkey between %s and %s", (1, 100)),
        ("in tuple", "select n_name from nation where n_nationkey in (%s, %s) order by 1", (2, 4)),
        ("case", "select case when n_nationkey < %s then %s else %s end from nation order by n_nationkey limit 3", (1, "a", "b")),
        ("coalesce", "select coalesce(%s, n_name) from nation where n_nationkey = 0", (None,)),
    ):
        attempt(label, lambda: connection.execute(statement, values).fetchall())
        attempt(label + " binary", lambda: connection.execute(statement, values, binary=True).fetchall())


def prepared(connection):
    connection.autocommit = True
    query = "select n_nationkey, n_name from nation where n_nationkey = %s"
    for key in range(4):
        attempt(f"prepared {key}", lambda: connection.execute(query, (key,), prepare=True).fetchone())
    attempt("prepared statements", lambda: connection.execute("select count(*) from pg_prepared_statements").fetchone())
    attempt("parameter types", lambda: connection.execute(
        "select statement, parameter_types::text from pg_prepared_statements").fetchall())
    connection.execute("deallocate all")
    attempt("deallocated", lambda: connection.execute("select count(*) from pg_prepared_statements").fetchone())


def many(connection):
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.executemany("select n_name from nation where n_nationkey = %s", [(1,), (2,), (99,)], returning=True)
    results = []
    while True:
        results.append(cursor.fetchall())
        if not cursor.nextset():
            break
    show("executemany", results)
    with connection.pipeline() as pipeline:
        first = connection.execute("select %s::int", (1,))
        second = connection.execute("select count(*) from region")
        pipeline.sync()
        third = connection.execute("select r_name from region order by 1 limit 1")
    show("pipeline", [first.fetchall(), second.fetchall(), third.fetchall()])
    try:
        with connection.pipeline():
            connection.execute("select 1::int")
            connection.execute("select 1::int / 0::int")
            connection.execute("select 2::int")
    except psycopg.Error as error:
        show("pipeline error", error.sqlstate)
    show("pipeline after", connection.execute("select 3::int").fetchone())
    connection.execute("create temp table piped (a int)")

    def piped(*statements):
        try:
            with connection.pipeline() as pipeline:
                for statement in statements:
                    pipeline.sync() if statement is None else connection.execute(statement)
        except psycopg.Error as error:
            show("pipeline of writes", (statements, error.sqlstate))
        count = connection.execute("select count(*) from piped").fetchone()
        show("pipeline of writes", (statements, count))

    piped("insert into piped values (1)", "select 1::int / 0::int")
    piped("insert into piped values (1)", None, "select 1::int / 0::int")
    piped("insert into piped values (2)", "insert into piped values (3)")
    piped("delete from piped", "rollback")
    piped("insert into piped values (4)", "vacuum")
    connection.execute("drop table piped")
    cursor = connection.cursor()
    cursor.execute("select 1::int as a; select 'x' as b, 2::int as c")
    show("two statements first", cursor.fetchall())
    show("two statements next", cursor.nextset())
    show("two statements second", cursor.fetchall())


def server_cursors(connection):
    connection.autocommit = True
    for binary in (False, True):
        form = "binary" if binary else "text"
        attempt(f"{form} named cursor", lambda: fetch_by_parts(connection, binary))
        attempt(f"{form} named iterated", lambda: iterate(connection, binary, "20000", None))
        attempt(f"{form} named with parameter", lambda: iterate(connection, binary, "%s", (20000,)))
    attempt("named scroll", lambda: scroll(connection))
    attempt("named withhold", lambda: withhold(connection))


def fetch_by_parts(connection, binary):
    with connection.transaction(), connection.cursor("ordered", binary=binary) as cursor:
        cursor.execute("select o_orderkey, o_totalprice, o_orderdate from orders order by o_orderkey")
        return cursor.fetchmany(3), cursor.fetchone(), cursor.rownumber


def iterate(connection, binary, limit, parameters):
    with connection.transaction(), connection.cursor("iterated", binary=binary) as cursor:
        cursor.itersize = 1000
        cursor.execute(f"select o_orderkey, o_clerk from orders where o_orderkey < {limit} order by 1", parameters)
        digest = hashlib.sha256()
        rows = 0
        for row in cursor:
            digest.update(repr(row).encode())
            rows += 1
        return rows, digest.hexdigest()


def scroll(connection):
    with connection.transaction(), connection.cursor("scrolled", scrollable=True) as cursor:
        cursor.execute("select n_name from nation order by n_nationkey")
        first = cursor.fetchmany(2)
        cursor.scroll(5)
        relative = cursor.fetchone()
        cursor.scroll(0, mode="absolute")
        return first, relative, cursor.fetchone()


def withhold(connection):
    with connection.cursor("held", withhold=True) as cursor:
        cursor.execute("select n_name from nation order by n_nationkey")
        return cursor.fetchmany(2)


def copy_out(connection):
    connection.autocommit = True
    query = "select n_nationkey, n_name, null::text, n_regionkey::int from nation where n_nationkey < 3 order by 1"
    for form in ("(format text)", "(format csv)", "(format csv, header true, delimiter ';', null 'NIL')",
                 "(format csv, force_quote *)", "(format csv, force_quote (n_name))", "with csv header",
                 "(format binary)", "(format text, header)", "(encoding 'utf8')"):
        attempt(f"copy {form}", lambda: copy_bytes(connection, f"copy ({query}) to stdout {form}"))
    attempt("copy typed rows", lambda: copy_rows(
        connection,
        "copy (select o_orderkey, o_orderdate, o_totalprice, o_clerk from orders"
        " where o_orderkey < 4 order by 1) to stdout (format binary)",
        ["int8", "date", "numeric", "text"]))
    attempt("copy table", lambda: sorted(copy_rows(
        connection, "copy region (r_name, r_regionkey) to stdout", ["text", "int8"])))
    attempt("copy error", lambda: copy_bytes(connection, "copy (select 1/0) to stdout"))
    attempt("copy with parameter", lambda: copy_bytes(
        connection, "copy (select n_name from nation where n_nationkey = %s) to stdout", (3,)))


def copy_bytes(connection, statement, parameters=None):
    with connection.cursor() as cursor:
        with cursor.copy(statement, parameters) as copy:
            data = b"".join(bytes(part) for part in copy)
        return data, cursor.rowcount


def copy_rows(connection, statement, types):
    with connection.cursor().copy(statement) as copy:
        copy.set_types(types)
        return list(copy.rows())


def type_info(connection):
    connection.autocommit = True
    for name in ("int4", "text", "numeric", "timestamptz", "bool", "public.nation", "no_such_type"):
        try:
            info = TypeInfo.fetch(connection, name)
        except psycopg.Error as error:
            show(f"type {name}", error.sqlstate)
            continue
        # A table's row type has an OID of its own on each server.
        if info is not None and name == "public.nation":
            show(f"type {name}", (info.name, info.oid > 0, info.array_oid > 0, info.regtype))
        else:
            show(f"type {name}", info and (info.name, info.oid, info.array_oid, info.regtype, info.delimiter))


def transactions(connection):
    connection.rollback()
    show("status idle", connection.info.transaction_status.name)
    connection.execute("select count(*) from region").fetchone()
    show("status in transaction", connection.info.transaction_status.name)
    for label, statement in (
        ("division by zero", "select 1/0"),
        ("no table", "select * from no_such_table"),
        ("no column", "select no_such_column from nation"),
        ("no function", "select no_such_function(1)"),
        ("no type", "select 1::no_such_type"),
        ("syntax", "selec 1"),
        ("bad cast", "select 'x'::int"),
        ("bad date", "select '1996-02-30'::date"),
        ("numeric overflow", "select 99999999999::int"),
        ("ambiguous", "select n_name from nation a, nation b"),
        ("not grouped", "select n_name, count(*) from nation"),
        ("two rows", "select (select n_name from nation)"),
        ("bad parameter", "show no_such_parameter"),
        ("bad setting", "set client_min_messages = 'loud'"),
        ("no schema", "select * from no_such_schema.t"),
        ("union types", "select 1 union select 'x'::text"),
        ("operator", "select true + 1"),
    ):
        try:
            connection.execute(statement).fetchall()
            show(f"error {label}", "no error")
        except psycopg.Error as error:
            show(f"error {label}", (type(error).__name__, error.sqlstate))
        if label == "division by zero":
            show("status after error", connection.info.transaction_status.name)
            try:
                connection.execute("select 1")
            except psycopg.Error as error:
                show("error in failed transaction", (type(error).__name__, error.sqlstate))
        connection.rollback()
    with connection.transaction():
        try:
            with connection.transaction():
                connection.execute("select 1/0")
        except psycopg.Error as error:
            show("savepoint error", error.sqlstate)
        show("savepoint after", connection.execute("select 5::int").fetchone())
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    connection.read_only = True
    show("isolation", connection.execute("show transaction_isolation").fetchone())
    show("read only", connection.execute("show transaction_read_only").fetchone())
    connection.rollback()
    connection.isolation_level = None
    connection.read_only = None


def limits(connection):
    connection.autocommit = True
    attempt("cancel", lambda: cancel_while(lambda: connection.execute(SLOW_QUERY), connection.cancel))
    show("after cancel", connection.execute("select 1::int").fetchone())
    connection.execute("set statement_timeout = '200ms'")
    try:
        connection.execute(SLOW_QUERY)
        show("timeout", "no error")
    except psycopg.Error as error:
        show("timeout", (type(error).__name__, error.sqlstate))
    connection.execute("reset statement_timeout")
    show("after timeout", connection.execute("show statement_timeout").fetchone())


def session(connection):
    info = connection.info
    connection.autocommit = True
    show("server major", info.server_version // 10000)
    show("encoding", info.encoding)
    show("timezone", str(info.timezone) in ("UTC", "Etc/UTC"))
    for name in ("client_encoding", "DateStyle", "IntervalStyle", "integer_datetimes",
                 "standard_conforming_strings", "server_encoding", "in_hot_standby", "is_superuser",
                 "session_authorization", "default_transaction_read_only", "application_name"):
        show(f"parameter {name}", info.parameter_status(name))
    connection.execute("set application_name = 'renamed'")
    show("parameter changed", info.parameter_status("application_name"))
    connection.execute("set timezone = 'Europe/Berlin'")
    show("timezone changed", str(info.timezone))
    attempt("timestamptz moved", lambda: connection.execute("select '1996-07-01 00:00+00'::timestamptz").fetchone())
    for style in ("German", "SQL, DMY", "Postgres, MDY", "ISO, YMD"):
        attempt(f"datestyle {style}", lambda: (
            connection.execute(f"set datestyle = '{style}'").statusmessage,
            connection.execute("select '1996-07-01'::date::text").fetchone()))
    attempt("set intervalstyle", lambda: connection.execute("set intervalstyle = 'iso_8601'").statusmessage)
    attempt("intervalstyle", lambda: connection.execute("select '1 day 02:00'::interval::text").fetchone())
    for name in ("application_name", "timezone", "datestyle", "intervalstyle"):
        connection.execute(f"reset {name}")
    show("parameter reset", info.parameter_status("application_name"))
    cursor = connection.cursor(row_factory=dict_row)
    show("dict row", cursor.execute("select n_nationkey, n_name from nation order by 1 limit 1").fetchone())
    show("status message", cursor.statusmessage)
    query = sql.SQL("select {} from {} order by 1 limit 1").format(sql.Identifier("r_name"), sql.Identifier("public", "region"))
    attempt("composed", lambda: connection.execute(query).fetchone())
    for statement in ("begin", "rollback", "set extra_float_digits = 3", "show server_encoding",
                      "select 1 where false", "values (1::int), (2)", "explain select 1", "deallocate all",
                      "discard plans"):
        attempt(f"tag of {statement}", lambda: tag(connection.execute(statement)))


def tag(cursor):
    # The number of lines of a plan is each server's own.
    return (cursor.statusmessage, None if cursor.statusmessage == "EXPLAIN" else cursor.rowcount)


def main():
    run_sections(
        lambda: psycopg.connect(**libpq_parameters()),
        (session, values_of_every_type, parameters_of_every_type, comparisons, prepared, many,
         server_cursors, copy_out, type_info, transactions, limits),
    )


main()
