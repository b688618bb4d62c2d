"""ODBC: pyodbc over psqlodbc, with and without DECLARE/FETCH, and the catalog functions."""

import datetime
import decimal
import glob
import sys

import pyodbc

import client
from client import DATABASE, HOST, OPTIONS, PASSWORD, PORT, SLOW_QUERY, SSLMODE, TABLES, USER, attempt, cancel_while, run_sections, show

# A pool of the driver manager would hand a section the settings of the one before.
pyodbc.pooling = False


def connect(**settings):
    drivers = sorted(glob.glob("/usr/lib/*/odbc/psqlodbcw.so"))
    if not drivers:
        sys.exit("odbc: psqlodbcw.so is missing: apt-get install odbc-postgresql")
    parts = {"Driver": drivers[0], "Servername": HOST, "Port": PORT, "Database": DATABASE, "UID": USER,
             "PWD": PASSWORD or "none", "SSLmode": SSLMODE, **settings}
    if OPTIONS:
        parts["pqopt"] = "{options='" + OPTIONS + "'}"
    return pyodbc.connect(";".join(f"{key}={value}" for key, value in parts.items()), autocommit=True)


def rows(cursor):
    return [tuple(row) for row in cursor.fetchall()]


def execute(connection, statement, *values):
    return rows(connection.cursor().execute(statement, *values))


def catalog(connection):
    cursor = connection.cursor()
    attempt("tables", lambda: sorted(rows(cursor.tables(schema="public", tableType="TABLE"))))
    attempt("tables by pattern", lambda: sorted(rows(cursor.tables(table="n%", schema="public", tableType="TABLE"))))
    attempt("views", lambda: rows(cursor.tables(schema="public", tableType="VIEW")))
    attempt("catalogs", lambda: len(rows(cursor.tables(catalog="%", schema="", table=""))) > 0)
    attempt("schemas", lambda: [row for row in rows(cursor.tables(catalog="", schema="%", table="")) if row[1] == "public"])
    for table in TABLES:
        attempt(f"columns of {table}", lambda: columns(cursor, table))
        attempt(f"primary key of {table}", lambda: rows(cursor.primaryKeys(table, schema="public")))
        attempt(f"foreign keys of {table}", lambda: rows(cursor.foreignKeys(table, schema="public")))
        attempt(f"row identifier of {table}", lambda: rows(cursor.rowIdColumns(table, schema="public")))
    attempt("column by pattern", lambda: columns(cursor, "nation", column="n_name"))
    attempt("statistics", lambda: [row[:9] for row in rows(cursor.statistics("nation", schema="public")) if row[6] != 0])
    attempt("type info", lambda: [row[:5] for row in rows(cursor.getTypeInfo())])
    attempt("type info of integer", lambda: rows(cursor.getTypeInfo(pyodbc.SQL_INTEGER)))
    attempt("procedures", lambda: rows(cursor.procedures(schema="public")))
    show("dbms", (connection.getinfo(pyodbc.SQL_DBMS_NAME), connection.getinfo(pyodbc.SQL_DBMS_VER).split(".")[0]))
    show("database", connection.getinfo(pyodbc.SQL_DATABASE_NAME))


def columns(cursor, table, **pattern):
    # The driver's column 22 is the table's OID, which no two servers share.
    return [row[:22] + row[23:] for row in rows(cursor.columns(table=table, schema="public", **pattern))]


def queries(connection):
    for label, statement, values in (
        ("simple", "select n_nationkey, n_name from nation order by 1 limit 2", ()),
        ("by bigint", "select n_name from nation where n_nationkey = ?", (7,)),
        ("by text", "select n_nationkey from nation where n_name = ?", ("PERU",)),
        ("by date", "select count(*) from orders where o_orderdate < ?", (datetime.date(1993, 1, 1),)),
        ("by datetime", "select count(*) from orders where o_orderdate < ?", (datetime.datetime(1993, 1, 1),)),
        ("by decimal", "select count(*) from orders where o_totalprice > ?", (decimal.Decimal("400000.5"),)),
        ("by float", "select count(*) from orders where o_totalprice > ?", (400000.5,)),
        ("two", "select n_name from nation where n_regionkey = ? and n_name like ? order by 1", (1, "%A")),
        ("null", "select ?::int4", (None,)),
        ("casts", "select ?::int4, ?::int8, ?::text, ?::numeric(10,2), ?::date, ?::bool",
         (1, 2, "x", decimal.Decimal("1.5"), datetime.date(1996, 2, 29), True)),
        ("bytes", "select ?::bytea", (b"\x00\xff",)),
        ("unicode", "select ?::text", ("naïve ☃",)),
        ("types", "select 1::int2, 2::int4, 3::int8, 1.5::float4, 2.5::float8, 1.50::numeric(10,2), 'a'::text,"
                  " 'v'::varchar(3), true, '1996-02-29'::date, '01:02:03'::time, '1996-02-29 01:02:03.5'::timestamp", ()),
        ("long text", "select repeat('ab', 10000)", ()),
        ("escape function", "select {fn ucase('abc')}, {d '1996-02-29'}, {ts '1996-02-29 01:02:03'}", ()),
        ("scalar functions", "select {fn concat('a', 'b')}, {fn length('abc')}, {fn year({d '1996-02-29'})}", ()),
    ):
        attempt(label, lambda: execute(connection, statement, *values))
    cursor = connection.cursor()
    cursor.execute("select o_orderkey, o_totalprice, o_orderdate, o_clerk, o_shippriority, o_orderkey = 1 as b"
                   " from orders where o_orderkey < 3 order by 1")
    for column in cursor.description:
        show(f"column {column[0]}", (column[1].__name__, *column[2:]))
    attempt("many times", lambda: [
        execute(connection, "select n_name from nation where n_nationkey = ?", key)[0][0] for key in range(8)])
    attempt("two results", lambda: two_results(connection))


def two_results(connection):
    cursor = connection.cursor()
    cursor.execute("select 'first'; select 'second', 2::int4")
    first = rows(cursor)
    cursor.nextset()
    return first, rows(cursor)


def large(connection):
    cursor = connection.cursor()
    cursor.execute("select o_orderkey, o_totalprice from orders where o_orderkey < 20000 order by 1")
    first = tuple(cursor.fetchone())
    block = [tuple(row) for row in cursor.fetchmany(250)]
    rest = cursor.fetchall()
    show("large", (first, block[-1], len(rest), sum(row[1] for row in rest)))
    attempt("large with parameter", lambda: len(execute(
        connection, "select l_orderkey from lineitem where l_orderkey < ?", 3000)))
    attempt("interleaved", lambda: interleaved(connection))


def interleaved(connection):
    one, two = connection.cursor(), connection.cursor()
    one.execute("select n_name from nation order by 1")
    two.execute("select r_name from region order by 1")
    return [(one.fetchone()[0], two.fetchone()[0]) for _ in range(3)]


def transactions(connection):
    connection.autocommit = False
    attempt("error", lambda: execute(connection, "select * from no_such_table"))
    attempt("after error", lambda: execute(connection, "select 'alive'"))
    connection.rollback()
    attempt("after rollback", lambda: execute(connection, "select 'alive'"))
    connection.commit()
    connection.autocommit = True
    attempt("division", lambda: execute(connection, "select 1/0"))
    connection.execute("set statement_timeout = '200ms'")
    attempt("timeout", lambda: execute(connection, SLOW_QUERY))
    connection.execute("reset statement_timeout")
    cursor = connection.cursor()
    attempt("cancel", lambda: cancel_while(lambda: rows(cursor.execute(SLOW_QUERY)), cursor.cancel))
    attempt("after cancel", lambda: execute(connection, "select 'alive'"))


def settings(section, label, **options):
    def run(_):
        connection = connect(**options)
        client.prefix = f"{label} "
        section(connection)
        client.prefix = ""
        connection.close()

    run.__name__ = f"{section.__name__} with {label}"
    return run


run_sections(connect, (
    catalog,
    settings(queries, "UseServerSidePrepare=1", UseDeclareFetch=0, UseServerSidePrepare=1),
    settings(queries, "UseServerSidePrepare=0", UseDeclareFetch=0, UseServerSidePrepare=0),
    settings(large, "UseDeclareFetch=0", UseDeclareFetch=0),
    settings(large, "UseDeclareFetch=1", UseDeclareFetch=1, Fetch=100),
    settings(queries, "UseDeclareFetch=1", UseDeclareFetch=1, Fetch=100),
    transactions,
))
