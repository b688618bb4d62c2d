"""The four ways to run one query, each measured from sending it to holding its last row.

Sluice pays for its wire and for psycopg turning text into Python values. The libraries run inside this
process and must also hand over their whole result, DuckDB as Python rows and DataFusion as Arrow batches.
"""

from pathlib import Path
from typing import Protocol

import datafusion
import duckdb
import psycopg

import dataset
from machine import CORES
from session import confirm_route, connect

THREADS = CORES
STATEMENT_TIMEOUT = "600s"


class Engine(Protocol):
    name: str

    def fetch_all(self, sql: str) -> int:
        """Runs one query to its last row and tells how many rows there were. This is what is timed."""

    def confirm(self) -> None:
        """Raises unless the last query ran where this engine's name says. Not timed."""


class Sluice:
    """A session that asks for one route, and makes sure afterwards that it got it."""

    def __init__(self, port: int, route: str) -> None:
        self.name = route
        self._port = port
        self._connection = self._connect()

    def _connect(self) -> psycopg.Connection:
        connection = connect(self._port)
        connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        connection.execute(f"SET sluice.route = '{self.name}'")
        return connection

    def fetch_all(self, sql: str) -> int:
        if self._connection.closed:
            self._connection = self._connect()
        return len(self._connection.execute(sql).fetchall())

    def confirm(self) -> None:
        confirm_route(self._connection, self.name)


class DataFusion:
    name = "datafusion"

    def __init__(self, location: Path) -> None:
        config = datafusion.SessionConfig().with_target_partitions(THREADS)
        self._context = datafusion.SessionContext(config)
        for table in dataset.TABLES:
            self._context.register_parquet(table, str(dataset.table_file(location, table)))

    def fetch_all(self, sql: str) -> int:
        return sum(batch.num_rows for batch in self._context.sql(sql).collect())

    def confirm(self) -> None:
        pass


class DuckDB:
    name = "duckdb"

    def __init__(self, location: Path) -> None:
        self._connection = duckdb.connect()
        self._connection.execute(f"SET threads = {THREADS}")
        for table in dataset.TABLES:
            file = str(dataset.table_file(location, table)).replace("'", "''")
            self._connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{file}')")

    def fetch_all(self, sql: str) -> int:
        return len(self._connection.execute(sql).fetchall())

    def confirm(self) -> None:
        pass
