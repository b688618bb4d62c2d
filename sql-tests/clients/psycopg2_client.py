"""psycopg2: client-side parameters, named cursors, COPY out, type OIDs, cancel."""

import datetime
import decimal
import io
import uuid

import psycopg2
import psycopg2.extensions
import psycopg2.extras

from client import SLOW_QUERY, attempt, cancel_while, libpq_parameters, run_sections, show


def connect():
    connection = psycopg2.connect(**libpq_parameters())
    connection.autocommit = True
    return connection


def query(connection, statement, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()


def session(connection):
    show("server major", connection.server_version // 10000)
    show("encoding", connection.encoding)
    show("protocol", connection.protocol_version)
    show("status", connection.status)
    for name in ("server_encoding", "client_encoding", "DateStyle", "integer_datetimes"):
        show(f"parameter {name}", connection.get_parameter_status(name))
    attempt("set encoding", lambda: connection.set_client_encoding("UTF8"))
    attempt("set unknown encoding", lambda: connection.set_client_encoding("KLINGON"))
    connection.set_session(isolation_level="SERIALIZABLE", readonly=True)
    attempt("session", lambda: query(connection, "show default_transaction_isolation"))
    connection.set_session(isolation_level="DEFAULT", readonly=False)
    connection.reset()
    show("notices", connection.notices)


def parameters(connection):
    for name, value in {
        "int": 7,
        "bigint": 1 << 40,
        "negative": -7,
        "float": 1.5,
        "decimal": decimal.Decimal("1.50"),
        "str": "it's \\ naïve %",
        "bytes": b"\x00\xff'",
        "bool": False,
        "date": datetime.date(1996, 2, 29),
        "time": datetime.time(1, 2, 3),
        "datetime": datetime.datetime(1996, 2, 29, 1, 2, 3, 4),
        "datetime tz": datetime.datetime(1996, 2, 29, 1, 2, 3, tzinfo=datetime.timezone.utc),
        "timedelta": datetime.timedelta(days=1, seconds=5),
        "null": None,
        "ints": [1, 2],
        "strs": ["a", "b'c", None],
        "dates": [datetime.date(1996, 2, 29)],
    }.items():
        # PostgreSQL types an integer literal as integer, Sluice as bigint: both are int here.
        attempt(f"parameter {name}", lambda: query(connection, "select %s", (value,)))
    psycopg2.extras.register_uuid(conn_or_curs=connection)
    attempt("parameter uuid", lambda: query(connection, "select %s", (uuid.UUID(int=1),)))
    attempt("parameter json", lambda: query(connection, "select %s::json", (psycopg2.extras.Json({"a": 1}),)))
    attempt("in tuple", lambda: query(
        connection, "select n_name from nation where n_nationkey in %s order by 1", ((1, 2),)))
    attempt("any", lambda: query(
        connection, "select n_nationkey from nation where n_name = any(%s) order by 1", (["PERU", "CHINA"],)))
    attempt("named", lambda: query(connection, "select %(a)s::int + %(a)s, %(b)s::text", {"a": 2, "b": "x"}))
    attempt("date filter", lambda: query(
        connection, "select count(*) from orders where o_orderdate between %s and %s",
        (datetime.date(1994, 1, 1), datetime.date(1994, 12, 31))))


def descriptions(connection):
    with connection.cursor() as cursor:
        cursor.execute("select o_orderkey, o_totalprice, o_orderdate, o_clerk, o_shippriority,"
                       " o_orderkey = 1 as b, sum(o_totalprice) over (partition by o_orderkey) as s,"
                       " avg(o_totalprice) over (partition by o_orderkey) as a, count(*) over () as c"
                       " from orders where o_orderkey < 4 order by 1")
        for column in cursor.description:
            show(f"column {column.name}", tuple(column))
        show("rows", cursor.fetchall())
        show("rowcount", (cursor.rowcount, cursor.rownumber, cursor.statusmessage))
    for style in (psycopg2.extras.DictCursor, psycopg2.extras.RealDictCursor, psycopg2.extras.NamedTupleCursor):
        with connection.cursor(cursor_factory=style) as cursor:
            cursor.execute("select n_nationkey, n_name from nation order by 1 limit 1")
            show(f"row of {style.__name__}", repr(cursor.fetchone()))


def named_cursors(connection):
    connection.autocommit = False
    with connection.cursor("plain") as cursor:
        cursor.itersize = 500
        cursor.execute("select l_orderkey, l_extendedprice from lineitem where l_orderkey < %s"
                       " order by l_orderkey, l_linenumber", (3000,))
        count = 0
        total = 0
        for _, price in cursor:
            count += 1
            total += price
        show("iterated", (count, total))
    with connection.cursor("many") as cursor:
        cursor.execute("select n_name from nation order by 1")
        show("fetchmany", cursor.fetchmany(2))
        show("description", [column.name for column in cursor.description])
        show("fetchone", cursor.fetchone())
        show("rest", len(cursor.fetchall()))
    connection.rollback()
    attempt("scroll", lambda: scroll(connection))
    connection.rollback()
    attempt("withhold", lambda: withhold(connection))
    connection.rollback()


def scroll(connection):
    with connection.cursor("scrolled", scrollable=True) as cursor:
        cursor.execute("select n_name from nation order by 1")
        cursor.scroll(3)
        third = cursor.fetchone()
        cursor.scroll(-2)
        return third, cursor.fetchone()


def withhold(connection):
    cursor = connection.cursor("held", withhold=True)
    cursor.execute("select n_name from nation order by 1")
    connection.commit()
    row = cursor.fetchone()
    cursor.close()
    return row


def copy_out(connection):
    for form in ("", "with csv", "with csv header", "with (format csv, delimiter '|', null 'NIL')", "with binary"):
        attempt(f"copy {form}", lambda: copy_bytes(
            connection, f"copy (select n_nationkey, n_name, null::int from nation order by 1 limit 3) to stdout {form}"))
    attempt("copy_to", lambda: copy_to(connection))


def copy_bytes(connection, statement):
    output = io.BytesIO()
    with connection.cursor() as cursor:
        cursor.copy_expert(statement, output)
        return output.getvalue(), cursor.rowcount


def copy_to(connection):
    output = io.StringIO()
    with connection.cursor() as cursor:
        cursor.copy_to(output, "region", sep="|", columns=("r_regionkey", "r_name"))
    return sorted(output.getvalue().splitlines())


def transactions(connection):
    connection.autocommit = False
    query(connection, "select 1")
    show("in transaction", connection.get_transaction_status())
    attempt("error", lambda: query(connection, "select * from no_such_table"))
    show("failed", connection.get_transaction_status())
    attempt("after error", lambda: query(connection, "select 1"))
    connection.rollback()
    show("rolled back", connection.get_transaction_status())
    with connection, connection.cursor() as cursor:
        cursor.execute("savepoint s")
        attempt("in savepoint", lambda: query(connection, "select 1/0"))
        cursor.execute("rollback to savepoint s")
        cursor.execute("release savepoint s")
        show("after savepoint", query(connection, "select 'alive'"))
    attempt("two phase", lambda: query(connection, "select count(*) from pg_prepared_xacts"))
    connection.rollback()
    try:
        query(connection, "select no_such_column from nation")
    except psycopg2.Error as error:
        show("diagnostics", (error.diag.sqlstate, error.diag.severity, error.diag.severity_nonlocalized,
                             error.diag.statement_position))
    connection.rollback()


def limits(connection):
    attempt("cancel", lambda: cancel_while(lambda: query(connection, SLOW_QUERY), connection.cancel))
    attempt("after cancel", lambda: query(connection, "select 'alive'"))
    with connection.cursor() as cursor:
        cursor.execute("set statement_timeout = 200")
    attempt("timeout", lambda: query(connection, SLOW_QUERY))
    other = connect()
    attempt("terminate", lambda: query(other, "select pg_terminate_backend(%s)", (connection.get_backend_pid(),)))
    attempt("terminated", lambda: query(connection, "select 1"))
    show("closed", connection.closed)
    other.close()


run_sections(connect, (session, parameters, descriptions, named_cursors, copy_out, transactions, limits))
