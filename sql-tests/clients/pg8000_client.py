"""pg8000: a pure Python driver that sends every parameter as text of an unknown type."""

import datetime
import decimal

import pg8000.dbapi
import pg8000.native

from client import DATABASE, HOST, OPTIONS, PASSWORD, PORT, USER, attempt, run_sections, show


def connect():
    return pg8000.native.Connection(
        USER, host=HOST, port=PORT, database=DATABASE, password=PASSWORD or None,
        startup_params={"options": OPTIONS} if OPTIONS else None)


def rows(result):
    return [tuple(row) for row in result or ()]


def queries(connection):
    for name, value, cast in (
        ("int", 7, "int4"), ("bigint", 1 << 40, "int8"), ("float", 1.5, "float8"),
        ("decimal", decimal.Decimal("1.50"), "numeric(10,2)"), ("str", "naïve", "text"), ("bool", True, "bool"),
        ("bytes", b"\x00\xff", "bytea"), ("date", datetime.date(1996, 2, 29), "date"),
        ("time", datetime.time(1, 2, 3), "time"), ("datetime", datetime.datetime(1996, 2, 29, 1, 2, 3), "timestamp"),
        ("datetime tz", datetime.datetime(1996, 2, 29, 1, 2, 3, tzinfo=datetime.timezone.utc), "timestamptz"),
        ("timedelta", datetime.timedelta(days=1, seconds=2), "interval"), ("null", None, "int4"),
        ("ints", [1, 2, None], "int4[]"), ("strs", ["a", 'b"'], "text[]"), ("json", {"a": 1}, "jsonb"),
    ):
        attempt(f"parameter {name}", lambda: rows(connection.run(f"select cast(:v as {cast})", v=value)))
        attempt(f"uncast {name}", lambda: rows(connection.run("select :v", v=value)))
    for label, statement, values in (
        ("by bigint", "select n_name from nation where n_nationkey = :k", {"k": 7}),
        ("by text", "select n_nationkey from nation where n_name = :k", {"k": "PERU"}),
        ("by date", "select count(*) from orders where o_orderdate < :d", {"d": datetime.date(1993, 1, 1)}),
        ("by decimal", "select count(*) from orders where o_totalprice > :p", {"p": decimal.Decimal("400000")}),
        ("any", "select n_name from nation where n_nationkey = any(cast(:k as int8[])) order by 1", {"k": [1, 2]}),
        ("limit", "select n_name from nation order by 1 limit :n", {"n": 2}),
    ):
        attempt(label, lambda: rows(connection.run(statement, **values)))
    connection.run("select n_nationkey, n_name, n_regionkey::int4 as r from nation order by 1 limit 1")
    show("columns", [(column["name"], column["type_oid"], column["type_size"], column["type_modifier"])
                     for column in connection.columns])
    show("row count", connection.row_count)


def prepared(connection):
    statement = connection.prepare("select n_name from nation where n_nationkey = :k")
    attempt("prepared", lambda: [rows(statement.run(k=key)) for key in range(3)])
    statement.close()
    connection.run("start transaction")
    attempt("error", lambda: rows(connection.run("select 1/0")))
    attempt("after error", lambda: rows(connection.run("select 1")))
    connection.run("rollback")
    attempt("after rollback", lambda: rows(connection.run("select 'alive'")))
    for name in ("server_encoding", "client_encoding", "DateStyle"):
        show(name, connection.parameter_statuses.get(name))


def dbapi(_):
    connection = pg8000.dbapi.connect(
        USER, host=HOST, port=PORT, database=DATABASE, password=PASSWORD or None,
        startup_params={"options": OPTIONS} if OPTIONS else None)
    cursor = connection.cursor()
    cursor.execute("select o_orderkey, o_totalprice, o_orderdate from orders where o_orderkey < %s order by 1", (5,))
    show("dbapi rows", rows(cursor.fetchall()))
    show("dbapi description", [column[:2] for column in cursor.description])
    attempt("dbapi many", lambda: cursor.executemany("select %s::int4", [(1,), (2,)]) is cursor)
    connection.rollback()
    connection.close()


run_sections(connect, (queries, prepared, dbapi))
