"""TPC-H through the wire, side by side with the engines a user would otherwise reach for.

A figure alone says little: machines differ and drift. So Sluice runs on both routes beside DataFusion,
which it is built on, and DuckDB, on the same files, interleaved query by query; whatever slows the machine
for a minute slows all of them, and the ratios stand.
"""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dataset
import machine
import options
import results
import server
from comparison import Comparison, Record
from engines import DataFusion, DuckDB, Engine, Sluice

ENGINES = ("local", "cluster", "datafusion", "duckdb")
SLUICE_ROUTES = ("local", "cluster")
QUERIES = tuple(f"q{number}" for number in range(1, 23))
RUNS_MIN = 3


def main() -> int:
    chosen = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine.pin_to(machine.CORES)
    queries = {name: (chosen.query_dir / f"{name}.sql").read_text() for name in chosen.queries}
    chosen.data_dir.mkdir(parents=True, exist_ok=True)
    location = dataset.ensure(chosen.binary, chosen.data_dir, chosen.scale_factor)

    with contextlib.ExitStack() as stack:
        sluice = None
        if uses_sluice(chosen):
            sluice = stack.enter_context(server.running(chosen.binary, location, chosen.data_dir))
        engines = [open_engine(name, location, sluice) for name in chosen.engines]
        comparison = compare(engines, queries, chosen.runs)
        report = describe(chosen, sluice) + "\n\n" + judge(comparison, sluice)

    print(f"\n{report}")
    write(chosen, report)
    return 1 if comparison.failures() else 0


def parse_options() -> argparse.Namespace:
    parser = options.shared_parser(__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=RUNS_MIN, help="counted rounds, after one uncounted")
    parser.add_argument("--engines", type=subset_of(ENGINES), default=list(ENGINES), help=",".join(ENGINES))
    parser.add_argument("--queries", type=subset_of(QUERIES), default=list(QUERIES), help="as q1,q6,q18")
    parser.add_argument("--query-dir", type=Path, default=options.REPOSITORY / "sql-tests/tpch")
    chosen = parser.parse_args()
    if chosen.runs < 1:
        parser.error("--runs must be at least 1")
    missing = [name for name in chosen.queries if not (chosen.query_dir / f"{name}.sql").is_file()]
    if missing:
        parser.error(f"{chosen.query_dir} has no {', '.join(f'{name}.sql' for name in missing)}")
    return chosen


def subset_of(all_names: tuple[str, ...]) -> Callable[[str], list[str]]:
    """Parses a comma-separated choice, and keeps the order of the whole."""

    def subset(text: str) -> list[str]:
        names = set(text.split(","))
        if unknown := names - set(all_names):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
        return [name for name in all_names if name in names]

    return subset


def uses_sluice(chosen: argparse.Namespace) -> bool:
    return any(name in SLUICE_ROUTES for name in chosen.engines)


def open_engine(name: str, location: Path, sluice: server.Server | None) -> Engine:
    if name == "datafusion":
        return DataFusion(location)
    if name == "duckdb":
        return DuckDB(location)
    assert sluice is not None, "the server runs whenever one of its routes takes part"
    return Sluice(sluice.port, route=name)


def compare(engines: list[Engine], queries: dict[str, str], runs: int) -> Comparison:
    """Round 0 warms caches and connections and is not counted."""
    names = [engine.name for engine in engines]
    records = {query: {name: Record() for name in names} for query in queries}
    for round_number in range(runs + 1):
        for query, engine in schedule(engines, list(queries), round_number):
            record = records[query][engine.name]
            if record.failure is None:
                run_once(engine, queries[query], record, is_counted=round_number > 0)
            progress(round_number, query, engine.name, record)
    return Comparison(names, records)


def schedule(engines: list[Engine], queries: list[str], round_number: int) -> Iterator[tuple[str, Engine]]:
    """Every query on every engine; who goes first moves on with each query and each round."""
    for position, query in enumerate(queries):
        first = (position + round_number) % len(engines)
        for engine in engines[first:] + engines[:first]:
            yield query, engine


def run_once(engine: Engine, sql: str, record: Record, is_counted: bool) -> None:
    try:
        started = time.perf_counter()
        rows = engine.fetch_all(sql)
        seconds = time.perf_counter() - started
        engine.confirm()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a Rust panic inside DataFusion arrives as one, not as an Exception
        record.failure = first_line(error)
        return
    if record.rows not in (None, rows):
        record.failure = f"{rows} rows, {record.rows} in an earlier round"
    record.rows = rows
    if is_counted:
        record.seconds.append(seconds)


def first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def progress(round_number: int, query: str, engine: str, record: Record) -> None:
    if record.failure:
        outcome = f"failed: {record.failure}"
    else:
        outcome = f"{record.seconds[-1] * 1000:10.1f} ms" if record.seconds else "   warm-up"
    print(f"round {round_number}  {query:<4} {engine:<11} {outcome}", file=sys.stderr)


def describe(chosen: argparse.Namespace, sluice: server.Server | None) -> str:
    versions = machine.package_versions("datafusion", "duckdb", "psycopg")
    if sluice:
        versions.insert(0, machine.sluice_version(chosen.binary))
    rounds = f"- rounds: {chosen.runs} counted, after one uncounted; times are medians"
    return "\n".join([machine.describe(chosen.data_dir, chosen.disk, versions), rounds])


def judge(comparison: Comparison, sluice: server.Server | None) -> str:
    """The tables, with what only the still running server can tell."""
    if sluice is None:
        return comparison.markdown()
    if replaced := sluice.replaced_executors():
        comparison.incidents.append(f"{replaced} of {server.EXECUTORS} executors died during the run")
    return f"{comparison.markdown()}\n\nPeak memory of Sluice: {sluice.peak_memory()}."


def write(chosen: argparse.Namespace, report: str) -> None:
    is_whole = chosen.engines == list(ENGINES) and chosen.queries == list(QUERIES) and chosen.runs >= RUNS_MIN
    file = chosen.results or (options.BENCH / "RESULTS.md" if is_whole else None)
    if file is None:
        print(f"\nNot written to RESULTS.md: not all engines, all queries and {RUNS_MIN} rounds.")
        return
    results.replace_section(file, f"TPC-H, scale factor {chosen.scale_factor}", report)


if __name__ == "__main__":
    sys.exit(main())
