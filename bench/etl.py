"""Parquet in, Parquet out: the pipeline that people write for Dask, beside Dask and DuckDB.

Twenty files of events are read, four of their six columns, the positive values kept, the year taken from the
date, values summed up, averaged and counted by year and category, and the result written as ten partitions of
Parquet. Engines take turns, round by round; the ratio is that of the medians. Sluice is driven by SQL through the
wire, on its local route and on two executors of one thread each; and again from and to SeaweedFS.
"""

import argparse
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import machine
import options
import results
import server
import store
from comparison import table
from session import connect

ROWS = 40_000_000
FILES = 20
CATEGORIES = 200
NOTES = 1000
PARTITIONS = 10
THREADS = 2
SEED = 20_261_125
FIRST_DAY = np.datetime64("2016-01-01T00:00:00", "us")
SECONDS = 8 * 365 * 24 * 60 * 60

OURS = f"""COPY (
    SELECT extract(year FROM date)::int AS year, category, sum(value) AS total, avg(value) AS mean, count(id) AS rows
    FROM events WHERE value > 0 GROUP BY 1, 2
) TO '{{target}}' (FORMAT parquet, PARTITIONS {PARTITIONS}, OVERWRITE)"""

DUCKDB = """COPY (
    SELECT year(date) AS year, category, sum(value) AS total, avg(value) AS mean, count(id) AS rows
    FROM read_parquet('{source}/*.parquet') WHERE value > 0 GROUP BY 1, 2
) TO '{target}' (FORMAT parquet, COMPRESSION zstd)"""


class WrongAnswer(Exception):
    pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, default=options.REPOSITORY / "target/release/sluice")
    parser.add_argument("--data-dir", type=Path, default=options.REPOSITORY / "sluice-data")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", default="local,cluster,duckdb,dask")
    parser.add_argument("--disk", help="what the data lies on, for the report; detected when left out")
    parser.add_argument("--results", type=Path)
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine.pin_to(machine.CORES)
    location = chosen.data_dir / f"etl-{chosen.rows}"
    source = location / "events"
    generate(source, chosen.rows)
    engines = chosen.engines.split(",")
    seconds: dict[str, list[float]] = {engine: [] for engine in engines}
    with (
        tempfile.TemporaryDirectory(prefix="out-", dir=location) as out,
        server.running(chosen.binary, location, chosen.data_dir) as sluice,
        dask_client(engines) as client,
    ):
        for counted in range(-1, chosen.rounds):
            for engine in engines:
                target = Path(out) / engine
                if engine == "duckdb":
                    took = run_duckdb(source, target.with_suffix(".parquet"))
                elif engine == "dask":
                    took = run_dask(client, source, target)
                else:
                    took = run_sluice(sluice.port, engine, target)
                # The first round warms up what can be.
                if counted >= 0:
                    seconds[engine].append(took)
        check_answers(Path(out), engines)
        memory = sluice.peak_memory()

    if "local" in engines and "cluster" in engines:
        seconds |= in_a_store(chosen.binary, chosen.data_dir, source, chosen.rounds)

    medians = {engine: statistics.median(times) for engine, times in seconds.items()}
    pairs = [("local", "duckdb"), ("local", "dask"), ("cluster", "local")]
    ratios = [f"{a}/{b} {medians[a] / medians[b]:.2f}" for a, b in pairs if a in medians and b in medians]
    rows = [
        [engine, f"{medians[engine]:.2f}", f"{min(times):.2f}", f"{max(times):.2f}"]
        for engine, times in seconds.items()
    ]
    said = (
        f"{chosen.rows:,} rows in {FILES} files, {chosen.rounds} rounds after one that is not counted. "
        f"Ratios of medians: {', '.join(ratios)}. Peak memory: {memory}."
    )
    versions = [
        machine.sluice_version(chosen.binary),
        *machine.package_versions("duckdb", "dask", "distributed", "pyarrow"),
    ]
    report = "\n\n".join(
        [
            machine.describe(chosen.data_dir, chosen.disk, versions),
            said,
            table(["engine", "median (s)", "best (s)", "worst (s)"], rows),
        ]
    )
    print(report)
    if chosen.rows == ROWS:
        results.replace_section(chosen.results or options.BENCH / "RESULTS.md", "Pipeline", report)
    return 0


def in_a_store(binary: Path, data_dir: Path, source: Path, rounds: int) -> dict[str, list[float]]:
    """The same from and to an S3 store on this machine, whose processes share the two cores."""
    routes = ("local", "cluster")
    seconds: dict[str, list[float]] = {f"{route}, S3": [] for route in routes}
    with store.running(data_dir) as s3:
        s3.put(source, "data/events")
        place = f"s3://{store.BUCKET}/data"
        with server.running(binary, f"{place}/", data_dir, environment=s3.environment()) as sluice:
            for counted in range(-1, rounds):
                for route in routes:
                    took = run_sluice(sluice.port, route, f"{place}/out/{route}")
                    if counted >= 0:
                        seconds[f"{route}, S3"].append(took)
    return seconds


def generate(folder: Path, rows: int) -> None:
    if len(list(folder.glob("*.parquet"))) == FILES:
        return
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(SEED)
    categories = np.array([f"category-{n:03}" for n in range(CATEGORIES)])
    notes = np.array([f"note number {n:04}" for n in range(NOTES)])
    each = rows // FILES
    for file in range(FILES):
        ids = np.arange(file * each, (file + 1) * each)
        events = pa.table(
            {
                "id": ids,
                "date": FIRST_DAY + random.integers(0, SECONDS, each).astype("timedelta64[s]"),
                "value": random.normal(10, 30, each),
                "category": categories[random.integers(0, CATEGORIES, each)],
                "note": notes[random.integers(0, NOTES, each)],
                "w": random.random(each),
            }
        )
        # Complete under its name or not there: an interrupted run makes the file again.
        unfinished = folder / f"part-{file:02}.unfinished"
        pq.write_table(events, unfinished)
        unfinished.rename(folder / f"part-{file:02}.parquet")


def run_sluice(port: int, route: str, target: Path | str) -> float:
    with connect(port) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET sluice.route = {route}")
        began = time.perf_counter()
        cursor.execute(OURS.format(target=f"{target}/"))
        return time.perf_counter() - began


def run_duckdb(source: Path, target: Path) -> float:
    with duckdb.connect() as connection:
        connection.execute(f"SET threads = {THREADS}")
        began = time.perf_counter()
        connection.execute(DUCKDB.format(source=source, target=target))
        return time.perf_counter() - began


class dask_client:
    """Two workers of one thread each, for as long as the runs take; none when Dask takes no part."""

    def __init__(self, engines: list[str]) -> None:
        self.is_wanted = "dask" in engines
        self.cluster = None

    def __enter__(self):
        if not self.is_wanted:
            return None
        from dask.distributed import Client, LocalCluster

        self.cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        return Client(self.cluster)

    def __exit__(self, *_) -> None:
        if self.cluster:
            self.cluster.close()


def run_dask(client, source: Path, target: Path) -> float:
    import dask.dataframe as dd

    began = time.perf_counter()
    events = dd.read_parquet(source, columns=["id", "date", "value", "category"])
    events = events[events["value"] > 0]
    events = events.assign(year=events["date"].dt.year)
    grouped = events.groupby(["year", "category"]).agg(
        total=("value", "sum"), mean=("value", "mean"), rows=("id", "count")
    )
    grouped.reset_index().repartition(npartitions=PARTITIONS).to_parquet(target, overwrite=True)
    return time.perf_counter() - began


def check_answers(out: Path, engines: list[str]) -> None:
    """All engines wrote the same groups; sums of doubles may differ in their last digits."""

    def summary(engine: str):
        files = out / "duckdb.parquet" if engine == "duckdb" else out / engine / "*.parquet"
        columns = "count(*), sum(rows), round(sum(total), 2), round(sum(mean), 4)"
        return duckdb.connect().execute(f"SELECT {columns} FROM read_parquet('{files}')").fetchone()

    found = {engine: summary(engine) for engine in engines}
    if len(set(found.values())) != 1:
        raise WrongAnswer(str(found))


if __name__ == "__main__":
    sys.exit(main())
