"""How fast executors write a table, beside DuckDB's COPY.

CREATE TABLE AS of lineitem on two executors of one thread and 1 GB each, and DuckDB's COPY of the same rows
with the same codec, two threads and a limit of 2 GB. They take turns, round by round; the ratio is that of
the medians.
"""

import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import duckdb

import dataset
import machine
import options
import results
import server
from comparison import table
from session import connect

EXECUTOR_MEMORY = "1GB"
DUCKDB_MEMORY = "2GB"
DUCKDB_THREADS = 2


class WrongAnswer(Exception):
    pass


def main() -> int:
    parser = options.shared_parser(__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine.pin_to(machine.CORES)
    chosen.data_dir.mkdir(parents=True, exist_ok=True)
    location = dataset.ensure(chosen.binary, chosen.data_dir, chosen.scale_factor)
    lineitem = location / "lineitem.parquet"
    rows = duckdb.connect().execute(f"SELECT count(*) FROM '{lineitem}'").fetchall()[0][0]

    server.EXECUTOR_MEMORY = EXECUTOR_MEMORY
    ours: list[float] = []
    theirs: list[float] = []
    with server.running(chosen.binary, location, chosen.data_dir) as sluice:
        for _ in range(chosen.rounds):
            ours.append(create_table(sluice.port, rows))
            theirs.append(copy(lineitem, chosen.data_dir))
        memory = sluice.peak_memory()
        replaced = sluice.replaced_executors()

    ratio = statistics.median(theirs) / statistics.median(ours)
    spread = [their / our for our, their in zip(ours, theirs)]
    rows_table = table(
        ["engine", "rounds", "median (s)", "best (s)", "rows/s (median)"],
        [figures("Sluice, CREATE TABLE AS", ours, rows), figures("DuckDB, COPY", theirs, rows)],
    )
    said = (
        f"lineitem at scale factor {chosen.scale_factor}, {rows:,} rows, zstd. Throughput: {ratio:.0%} of DuckDB's "
        f"(rounds {min(spread):.0%} to {max(spread):.0%}). Peak memory: {memory}; {replaced} executors were lost."
    )
    versions = [machine.sluice_version(chosen.binary), *machine.package_versions("duckdb")]
    report = "\n\n".join([machine.describe(chosen.data_dir, chosen.disk, versions), said, rows_table])
    print(report)
    results.replace_section(chosen.results or options.BENCH / "RESULTS.md", "Writes", report)
    return 1 if replaced else 0


def create_table(port: int, rows: int) -> float:
    with connect(port) as connection, connection.cursor() as cursor:
        cursor.execute("SET sluice.route = cluster")
        began = time.perf_counter()
        cursor.execute("CREATE TABLE written AS SELECT * FROM lineitem")
        seconds = time.perf_counter() - began
        cursor.execute("SELECT count(*) FROM written")
        (found,) = cursor.fetchone()
        if found != rows:
            raise WrongAnswer(f"{found} rows were written of {rows}")
        cursor.execute("DROP TABLE written")
        return seconds


def copy(lineitem: Path, data_dir: Path) -> float:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=data_dir) as folder, duckdb.connect() as connection:
        connection.execute(f"SET threads = {DUCKDB_THREADS}")
        connection.execute(f"SET memory_limit = '{DUCKDB_MEMORY}'")
        # Neither engine has to keep the order of the rows.
        connection.execute("SET preserve_insertion_order = false")
        began = time.perf_counter()
        target = f"{folder}/out.parquet"
        connection.execute(f"COPY (SELECT * FROM '{lineitem}') TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
        return time.perf_counter() - began


def figures(name: str, seconds: list[float], rows: int) -> list[str]:
    median = statistics.median(seconds)
    return [name, str(len(seconds)), f"{median:.2f}", f"{min(seconds):.2f}", f"{rows / median:,.0f}"]


if __name__ == "__main__":
    sys.exit(main())
