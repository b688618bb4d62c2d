"""pandas: read_sql through SQLAlchemy, with the column types that it infers."""

import datetime

import pandas
import sqlalchemy

from client import DATABASE, HOST, OPTIONS, PASSWORD, PORT, USER, attempt, run_sections, show


def connect():
    url = sqlalchemy.URL.create("postgresql+psycopg2", USER, PASSWORD or None, HOST, PORT, DATABASE)
    return sqlalchemy.create_engine(
        url, isolation_level="AUTOCOMMIT", connect_args={"options": OPTIONS} if OPTIONS else {}).connect()


def described(frame):
    types = [(name, str(kind)) for name, kind in frame.dtypes.items()]
    return types, len(frame), [[str(value) for value in row] for row in frame.head(3).itertuples(index=False)]


def reads(connection):
    attempt("query", lambda: described(pandas.read_sql(
        "select o_orderkey, o_totalprice, o_orderdate, o_clerk, o_shippriority from orders"
        " where o_orderkey < 1000 order by 1", connection)))
    attempt("parameters", lambda: described(pandas.read_sql(
        sqlalchemy.text("select n_nationkey, n_name from nation where n_regionkey = :region and n_name < :name order by 1"),
        connection, params={"region": 1, "name": "P"})))
    attempt("date parameter", lambda: described(pandas.read_sql(
        sqlalchemy.text("select count(*) as orders, sum(o_totalprice) as price from orders where o_orderdate < :day"),
        connection, params={"day": datetime.date(1992, 2, 1)})))
    attempt("parse dates", lambda: described(pandas.read_sql(
        "select o_orderdate from orders where o_orderkey < 10 order by o_orderkey", connection, parse_dates=["o_orderdate"])))
    attempt("index", lambda: list(pandas.read_sql(
        "select n_name, n_nationkey from nation order by 1 limit 3", connection, index_col="n_name").index))
    attempt("table", lambda: described(
        pandas.read_sql_table("region", connection).sort_values("r_regionkey")))
    attempt("table columns", lambda: described(
        pandas.read_sql_table("nation", connection, schema="public", columns=["n_name"]).sort_values("n_name")))
    attempt("floats", lambda: described(pandas.read_sql(
        "select o_totalprice from orders where o_orderkey < 4 order by o_orderkey", connection, coerce_float=True)))
    attempt("nulls", lambda: described(pandas.read_sql(
        "select null::int8 as a, null::float8 as b, null::text as c, null::date as d", connection)))
    attempt("backend", lambda: described(pandas.read_sql(
        "select n_nationkey, n_name from nation order by 1 limit 2", connection, dtype_backend="pyarrow")))
    attempt("error", lambda: pandas.read_sql("select * from no_such_table", connection))


def chunks(connection):
    lengths = []
    total = 0
    # A named cursor of psycopg2 lives in a transaction.
    stream = connection.execution_options(stream_results=True, isolation_level="REPEATABLE READ")
    for chunk in pandas.read_sql("select o_orderkey, o_totalprice from orders where o_orderkey < 20000", stream, chunksize=2000):
        lengths.append(len(chunk))
        total += int(chunk["o_orderkey"].sum())
    show("chunks", (lengths, total))


run_sections(connect, (reads, chunks))
