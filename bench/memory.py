"""TPC-H on two executors whose memory is capped, beside themselves with plenty and DuckDB with as much in all.

Every answer is compared with DuckDB's. Executors are put into a memory control group of the cap's size where the
machine gives one, so that a process past its cap is killed and not just found out; the peak of each process that
ever ran is read as well. The server has the same cap.
"""

import contextlib
import decimal
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import psycopg

import dataset
import machine
import server
from options import REPOSITORY, shared_parser
from results import replace_between
from session import confirm_route, connect

CAPS = ("4GB", "1GB", "512MB")
PLENTY = "4GB"
EXECUTORS = 2
SERVER_MEMORY = "1GB"
STATEMENT_TIMEOUT = "1200s"
DUCKDB = "DuckDB"
UNITS = {"MB": 2**20, "GB": 2**30}
CONTROL_GROUPS = Path("/sys/fs/cgroup/memory")
REPORT = REPOSITORY / "docs/reliability.md"
BEGIN, END = "<!-- memory: begin -->", "<!-- memory: end -->"


@dataclass
class Outcome:
    seconds: float
    problem: str = ""
    retries: int = 0


@dataclass
class Run:
    """All queries by one engine under one cap."""

    cap: str
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    peak_bytes: int = 0
    server_peak_bytes: int = 0
    replaced: int = 0
    is_confined: bool = False

    def seconds(self, numbers: set[int]) -> float:
        return sum(outcome.seconds for number, outcome in self.outcomes.items() if number in numbers)

    def right(self) -> set[int]:
        return {number for number, outcome in self.outcomes.items() if not outcome.problem}


def main() -> None:
    parser = shared_parser(__doc__ or "")
    parser.set_defaults(scale_factor="10")
    parser.add_argument("--caps", default=",".join(CAPS), help="of each executor, the first as what the others are compared with")
    parser.add_argument("--queries", default=",".join(str(number) for number in range(1, 23)))
    parser.add_argument("--no-duckdb-limits", action="store_true", help="leave out DuckDB under the same limits")
    arguments = parser.parse_args()
    machine.pin_to(machine.CORES)
    arguments.data_dir.mkdir(parents=True, exist_ok=True)
    location = dataset.ensure(arguments.binary, arguments.data_dir, arguments.scale_factor)
    numbers = [int(number) for number in arguments.queries.split(",")]
    texts = {number: (REPOSITORY / f"sql-tests/tpch/q{number}.sql").read_text() for number in numbers}
    caps = arguments.caps.split(",")
    expected = {number: duckdb_rows(location, text, None, arguments.data_dir)[1] for number, text in texts.items()}
    runs, rivals = [], []
    for cap in caps:
        runs.append(capped(arguments, location, cap, texts, expected))
        if not arguments.no_duckdb_limits:
            rivals.append(rival(arguments, location, cap, texts))
    body = report(runs, rivals, machine.describe(arguments.data_dir, arguments.disk, [machine.sluice_version(arguments.binary), *machine.package_versions("duckdb")]), arguments.scale_factor)
    print(body)
    if len(numbers) == 22 and caps == list(CAPS) and rivals:
        replace_between(REPORT, BEGIN, END, body)
    if any(run.right() != set(numbers) or run.peak_bytes > cap_bytes(run.cap) for run in runs):
        raise SystemExit(1)


def cap_bytes(cap: str) -> int:
    return int(cap[:-2]) * UNITS[cap[-2:]]


def capped(arguments, location: Path, cap: str, texts: dict[int, str], expected: dict[int, list]) -> Run:
    run = Run(cap)
    with server.running(
        arguments.binary, location, arguments.data_dir, executors=EXECUTORS, executor_memory=cap, memory=SERVER_MEMORY
    ) as running, watched(running, run):
        for number, text in texts.items():
            outcome = query(running.port, text, expected[number])
            run.outcomes[number] = outcome
            print(f"{cap:>6} q{number:<3} {outcome.seconds:7.2f} s  peak {run.peak_bytes >> 20} MB, run again {outcome.retries} times {outcome.problem}", flush=True)
        run.replaced = running.replaced_executors()
    return run


@contextlib.contextmanager
def watched(running: server.Server, run: Run) -> Iterator[None]:
    """Reads the peaks of all executors, those that end included, and confines each as it appears."""
    ended = threading.Event()
    seen: set[int] = set()

    def watch() -> None:
        while not ended.wait(0.1):
            for pid in server.children(running.process.pid):
                if pid not in seen:
                    seen.add(pid)
                    run.is_confined = confine(pid, cap_bytes(run.cap))
                run.peak_bytes = max(run.peak_bytes, peak_bytes(pid))
            run.server_peak_bytes = max(run.server_peak_bytes, peak_bytes(running.process.pid))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for pid in seen:
            with contextlib.suppress(OSError):
                (CONTROL_GROUPS / f"sluice-bench-{pid}").rmdir()


def confine(pid: int, limit_bytes: int) -> bool:
    group = CONTROL_GROUPS / f"sluice-bench-{pid}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        return False
    return True


def peak_bytes(pid: int) -> int:
    peak = server.status_field(pid, "VmHWM")
    return int(peak.split()[0]) * 1024 if peak else 0


def query(port: int, text: str, expected: list) -> Outcome:
    with connect(port) as connection:
        connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        connection.execute("SET sluice.route = 'cluster'")
        started = time.monotonic()
        try:
            rows = connection.execute(text).fetchall()
        except psycopg.Error as error:
            return Outcome(time.monotonic() - started, f"{error.sqlstate}: {str(error).splitlines()[0]}", retries(connection))
        seconds = time.monotonic() - started
        confirm_route(connection, "cluster")
        return Outcome(seconds, "" if same(rows, expected) else "WRONG", retries(connection))


def retries(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "select retries from sys.queries where route like 'cluster%' order by started_at desc limit 1"
    ).fetchone()
    return int(row[0]) if row else 0


def same(rows: list, expected: list) -> bool:
    """In any order: queries that sort leave the order of equal rows open."""
    if len(rows) != len(expected):
        return False
    key = lambda row: [round(value, 1) if isinstance(value, float) else str(value) for value in row]
    plain = lambda row: [plainly(value) for value in row]
    ordered = lambda rows: sorted((plain(row) for row in rows), key=lambda row: str(key(row)))
    return all(
        all(near(a, b) for a, b in zip(one, other, strict=True))
        for one, other in zip(ordered(rows), ordered(expected), strict=True)
    )


def plainly(value: object) -> object:
    if isinstance(value, decimal.Decimal):
        return float(value)
    return value.strip() if isinstance(value, str) else value


def near(a: object, b: object) -> bool:
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=0.01)
    return a == b


def duckdb_rows(location: Path, text: str, memory: str | None, data_dir: Path) -> tuple[float, list]:
    with duckdb.connect() as connection:
        connection.execute(f"SET threads = {machine.CORES}")
        connection.execute(f"SET temp_directory = '{data_dir}/duckdb-spill'")
        if memory:
            connection.execute(f"SET memory_limit = '{memory}'")
        for table in dataset.TABLES:
            file = dataset.table_file(location, table)
            connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{file}')")
        started = time.monotonic()
        rows = connection.execute(text).fetchall()
        return time.monotonic() - started, rows


def rival(arguments, location: Path, cap: str, texts: dict[int, str]) -> Run:
    """DuckDB with what all executors have together."""
    run = Run(cap)
    limit = f"{cap_bytes(cap) * EXECUTORS // 2**20}MiB"
    for number, text in texts.items():
        try:
            run.outcomes[number] = Outcome(duckdb_rows(location, text, limit, arguments.data_dir)[0])
        except duckdb.Error as error:
            run.outcomes[number] = Outcome(0, str(error).splitlines()[0])
        print(f"{cap:>6} q{number:<3} {run.outcomes[number].seconds:7.2f} s  DuckDB {run.outcomes[number].problem}", flush=True)
    return run


def report(runs: list[Run], rivals: list[Run], described: str, scale_factor: str) -> str:
    first = runs[0]
    lines = [described, "", f"Scale factor {scale_factor}, {EXECUTORS} executors of one thread, the server with {SERVER_MEMORY}.", ""]
    lines += [
        "| executors' cap | right | seconds | slow-down | worst query | run again | peak of an executor | of the server | executors lost | DuckDB with as much in all |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for index, run in enumerate(runs):
        both = run.right() & first.right()
        factor = run.seconds(both) / first.seconds(both) if both else math.nan
        worst = max(both, key=lambda number: run.outcomes[number].seconds / first.outcomes[number].seconds, default=0)
        worst_text = f"Q{worst} {run.outcomes[worst].seconds / first.outcomes[worst].seconds:.1f} ×" if worst else ""
        beside = ""
        if rivals:
            rival_run = rivals[index]
            common = run.right() & rival_run.right()
            beside = f"{len(rival_run.right())} of {len(rival_run.outcomes)}, {rival_run.seconds(common):.1f} s (ours of those {run.seconds(common):.1f} s)"
        again = sum(outcome.retries for outcome in run.outcomes.values())
        confined = ", confined" if run.is_confined else ""
        lines.append(
            f"| {run.cap}{confined} | {len(run.right())} of {len(run.outcomes)} | {run.seconds(run.right()):.1f} | {factor:.2f} × | {worst_text} | {again} | {run.peak_bytes / 2**20:.0f} MB | {run.server_peak_bytes / 2**20:.0f} MB | {run.replaced} | {beside} |"
        )
    problems = [f"- {run.cap}, Q{number}: {outcome.problem}" for run in runs for number, outcome in run.outcomes.items() if outcome.problem]
    return "\n".join(lines + ([""] + problems if problems else [])) + "\n"


if __name__ == "__main__":
    main()
