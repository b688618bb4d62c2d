"""SQLAlchemy: schema reflection and selects, through psycopg2, psycopg and asyncpg."""

import asyncio
import datetime
import decimal

import sqlalchemy
from sqlalchemy import func, inspect, select
from sqlalchemy.ext.asyncio import create_async_engine

from client import DATABASE, HOST, OPTIONS, PASSWORD, PORT, TABLES, USER, attempt, run_sections, show


def url(driver):
    return sqlalchemy.URL.create(
        f"postgresql+{driver}", USER, PASSWORD or None, HOST, PORT, DATABASE)


def engine(driver, **settings):
    arguments = {"options": OPTIONS} if OPTIONS else {}
    return sqlalchemy.create_engine(url(driver), connect_args=arguments, **settings)


def reflection(driver):
    database = engine(driver)
    inspector = inspect(database)
    show(f"{driver} dialect", (database.dialect.name, database.dialect.server_version_info[0]))
    attempt(f"{driver} tables", lambda: sorted(inspector.get_table_names()))
    attempt(f"{driver} tables of public", lambda: sorted(inspector.get_table_names(schema="public")))
    attempt(f"{driver} views", inspector.get_view_names)
    attempt(f"{driver} materialized views", inspector.get_materialized_view_names)
    attempt(f"{driver} sequences", inspector.get_sequence_names)
    attempt(f"{driver} temporary tables", inspector.get_temp_table_names)
    attempt(f"{driver} schemas", lambda: "public" in inspector.get_schema_names())
    attempt(f"{driver} default schema", lambda: inspector.default_schema_name)
    attempt(f"{driver} enums", inspector.get_enums)
    attempt(f"{driver} domains", inspector.get_domains)
    for table in TABLES:
        attempt(f"{driver} columns of {table}", lambda: [
            (str(column["name"]), str(column["type"]), column["nullable"], column["default"], column["comment"])
            for column in inspector.get_columns(table)])
        attempt(f"{driver} primary key of {table}", lambda: inspector.get_pk_constraint(table))
        attempt(f"{driver} foreign keys of {table}", lambda: inspector.get_foreign_keys(table))
        attempt(f"{driver} indexes of {table}", lambda: inspector.get_indexes(table))
        attempt(f"{driver} unique constraints of {table}", lambda: inspector.get_unique_constraints(table))
        attempt(f"{driver} check constraints of {table}", lambda: inspector.get_check_constraints(table))
        attempt(f"{driver} comment of {table}", lambda: inspector.get_table_comment(table))
        attempt(f"{driver} options of {table}", lambda: inspector.get_table_options(table))
    attempt(f"{driver} has table", lambda: (inspector.has_table("nation"), inspector.has_table("no_such_table")))
    attempt(f"{driver} has schema", lambda: (inspector.has_schema("public"), inspector.has_schema("no_such_schema")))
    attempt(f"{driver} multiple columns", lambda: sorted(
        (key[1], len(columns)) for key, columns in inspector.get_multi_columns(schema="public").items()))
    attempt(f"{driver} reflect", lambda: reflected(database))
    attempt(f"{driver} no table", lambda: inspector.get_columns("no_such_table"))
    database.dispose()


def reflected(database):
    metadata = sqlalchemy.MetaData()
    metadata.reflect(database)
    return sorted((str(table.name), len(table.columns), table.comment) for table in metadata.tables.values())


def selects(driver):
    database = engine(driver, pool_pre_ping=True, pool_size=2)
    metadata = sqlalchemy.MetaData()
    for name in TABLES:
        attempt(f"{driver} autoload {name}", lambda: [
            (str(column.name), repr(column.type), column.primary_key)
            for column in sqlalchemy.Table(name, sqlalchemy.MetaData(), autoload_with=database).columns])
    # Declared by hand: the selects are worth a look where reflection fails, too.
    nation = sqlalchemy.Table(
        "nation", metadata, sqlalchemy.Column("n_nationkey", sqlalchemy.BigInteger, primary_key=True),
        sqlalchemy.Column("n_name", sqlalchemy.Text), sqlalchemy.Column("n_regionkey", sqlalchemy.BigInteger))
    region = sqlalchemy.Table(
        "region", metadata, sqlalchemy.Column("r_regionkey", sqlalchemy.BigInteger, primary_key=True),
        sqlalchemy.Column("r_name", sqlalchemy.Text))
    orders = sqlalchemy.Table(
        "orders", metadata, sqlalchemy.Column("o_orderkey", sqlalchemy.BigInteger, primary_key=True),
        sqlalchemy.Column("o_totalprice", sqlalchemy.Numeric(15, 2)), sqlalchemy.Column("o_orderdate", sqlalchemy.Date),
        sqlalchemy.Column("o_orderstatus", sqlalchemy.Text))
    with database.connect() as connection:
        def rows(statement, parameters=None):
            return [tuple(row) for row in connection.execute(statement, parameters or {})]

        for label, statement in (
            ("join", select(nation.c.n_name, region.c.r_name)
             .join(region, nation.c.n_regionkey == region.c.r_regionkey)
             .where(region.c.r_name == "ASIA").order_by(nation.c.n_name).limit(3).offset(1)),
            ("group", select(orders.c.o_orderstatus, func.count(), func.sum(orders.c.o_totalprice))
             .where(orders.c.o_orderdate >= datetime.date(1997, 1, 1))
             .group_by(orders.c.o_orderstatus).order_by(orders.c.o_orderstatus)),
            ("in", select(nation.c.n_name).where(nation.c.n_nationkey.in_([1, 2, 3])).order_by(nation.c.n_name)),
            ("empty in", select(nation.c.n_name).where(nation.c.n_nationkey.in_([]))),
            ("decimal", select(func.count()).select_from(orders)
             .where(orders.c.o_totalprice > decimal.Decimal("400000.10"))),
            ("like", select(nation.c.n_name).where(nation.c.n_name.ilike("u%")).order_by(nation.c.n_name)),
            ("contains", select(nation.c.n_name).where(nation.c.n_name.contains("AN", autoescape=True))
             .order_by(nation.c.n_name).limit(3)),
            ("extract", select(sqlalchemy.extract("year", orders.c.o_orderdate), func.count())
             .group_by(sqlalchemy.extract("year", orders.c.o_orderdate)).order_by(sqlalchemy.text("1"))),
            ("date_trunc", select(func.date_trunc("month", orders.c.o_orderdate), func.count())
             .group_by(sqlalchemy.text("1")).order_by(sqlalchemy.text("1")).limit(2)),
            ("case", select(nation.c.n_name, sqlalchemy.case((nation.c.n_regionkey == 0, "zero"), else_="other"))
             .order_by(nation.c.n_name).limit(2)),
            ("cast", select(sqlalchemy.cast(nation.c.n_nationkey, sqlalchemy.String(10)),
                            sqlalchemy.cast(nation.c.n_nationkey, sqlalchemy.Numeric(10, 2)))
             .order_by(nation.c.n_nationkey).limit(2)),
            ("exists", select(region.c.r_name).where(
                select(nation.c.n_nationkey).where(nation.c.n_regionkey == region.c.r_regionkey).exists())
             .order_by(region.c.r_name)),
            ("window", select(nation.c.n_name, func.row_number().over(
                partition_by=nation.c.n_regionkey, order_by=nation.c.n_name)).order_by(nation.c.n_name).limit(3)),
            ("cte", select(func.count()).select_from(select(nation).where(nation.c.n_regionkey == 1).cte("few"))),
            ("union", select(nation.c.n_name).where(nation.c.n_nationkey == 1)
             .union_all(select(region.c.r_name).where(region.c.r_regionkey == 1)).order_by("n_name")),
            ("distinct on", select(nation.c.n_regionkey, nation.c.n_name).distinct(nation.c.n_regionkey)
             .order_by(nation.c.n_regionkey, nation.c.n_name)),
            ("array any", select(nation.c.n_name).where(
                nation.c.n_nationkey == sqlalchemy.any_(sqlalchemy.cast([1, 2], sqlalchemy.ARRAY(sqlalchemy.BigInteger))))
             .order_by(nation.c.n_name)),
            ("concat", select(nation.c.n_name + "-" + region.c.r_name)
             .join(region, nation.c.n_regionkey == region.c.r_regionkey).order_by(nation.c.n_name).limit(1)),
            ("nulls last", select(nation.c.n_name).order_by(nation.c.n_regionkey.desc().nullslast(), nation.c.n_name).limit(1)),
            ("interval", select(func.max(orders.c.o_orderdate) - datetime.timedelta(days=1))),
        ):
            attempt(f"{driver} {label}", lambda: rows(statement))
            connection.rollback()
        attempt(f"{driver} text", lambda: rows(
            sqlalchemy.text("select n_name from nation where n_nationkey = :key"), {"key": 4}))
        streamed = connection.execute(
            select(orders.c.o_totalprice).where(orders.c.o_orderkey < 4000),
            execution_options={"stream_results": True, "max_row_buffer": 100})
        show(f"{driver} stream", sum(row[0] for row in streamed))
        attempt(f"{driver} error", lambda: rows(sqlalchemy.text("select * from no_such_table")))
        connection.rollback()
        with connection.begin_nested():
            show(f"{driver} savepoint", rows(sqlalchemy.text("select 'alive'")))
    for level in ("AUTOCOMMIT", "REPEATABLE READ", "SERIALIZABLE"):
        attempt(f"{driver} isolation {level}", lambda: isolation(database, level))
    database.dispose()


def isolation(database, level):
    with database.connect().execution_options(isolation_level=level) as connection:
        return connection.get_isolation_level(), connection.scalar(sqlalchemy.text("show transaction_isolation"))


async def with_asyncpg():
    arguments = {"server_settings": {"options": OPTIONS}} if OPTIONS else {}
    database = create_async_engine(url("asyncpg"), connect_args=arguments)
    async with database.connect() as connection:
        nation = await connection.run_sync(
            lambda c: sqlalchemy.Table("nation", sqlalchemy.MetaData(), autoload_with=c))
        result = await connection.execute(
            select(nation.c.n_name).where(nation.c.n_nationkey < 3).order_by(nation.c.n_name))
        names = [row[0] for row in result]
    await database.dispose()
    return names


class NoConnection:
    def close(self):
        pass


def psycopg2_reflection(_):
    reflection("psycopg2")


def psycopg_reflection(_):
    reflection("psycopg")


def psycopg2_selects(_):
    selects("psycopg2")


def psycopg_selects(_):
    selects("psycopg")


def asyncpg_selects(_):
    attempt("asyncpg", lambda: asyncio.run(with_asyncpg()))


run_sections(NoConnection, (psycopg2_reflection, psycopg_reflection, psycopg2_selects, psycopg_selects, asyncpg_selects))
