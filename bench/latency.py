"""How long the smallest queries take, which is what a dashboard or an ORM feels.

Two figures: a prepared statement that reads nothing, and the cheapest query that goes through the cluster.
The first is also taken with pgbench where it is installed, because a Python client spends a good part of
such a short time on itself.
"""

import contextlib
import math
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.types.numeric import Int4

import dataset
import machine
import options
import results
import server
from comparison import table
from session import WrongRoute, confirm_route, connect

PREPARED_SQL = "SELECT $1::int + 1"
PREPARED_RUNS = 2000
CLUSTER_SQL = "SELECT count(*) FROM region"
CLUSTER_RUNS = 200
REGIONS = 5
WARM_UP_SHARE = 0.1

PGBENCH_SCRIPT = "\\set x random(1, 100000)\nSELECT :x::int + 1;\n"
PGBENCH_LOG_TIME_COLUMN = 2


class WrongAnswer(Exception):
    pass


@dataclass
class Sample:
    """The single times of one measurement, in seconds."""

    name: str
    client: str
    seconds: list[float]

    def percentile(self, share: float) -> float:
        return sorted(self.seconds)[math.ceil(share * len(self.seconds)) - 1]

    def row(self) -> list[str]:
        figures = (self.percentile(0.50), self.percentile(0.99), statistics.mean(self.seconds))
        return [
            self.name,
            self.client,
            str(len(self.seconds)),
            *(f"{1000 * figure:.3f}" for figure in figures),
        ]


def main() -> int:
    chosen = options.shared_parser(__doc__.splitlines()[0]).parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine.pin_to(machine.CORES)
    chosen.data_dir.mkdir(parents=True, exist_ok=True)
    location = dataset.ensure(chosen.binary, chosen.data_dir, chosen.scale_factor)

    samples: list[Sample] = []
    failures: list[str] = []
    with server.running(chosen.binary, location, chosen.data_dir) as sluice:
        for measure in measurements():
            with recording(failures):
                samples.append(measure(sluice.port))

    versions = [
        machine.sluice_version(chosen.binary),
        *machine.package_versions("psycopg"),
        *pgbench_version(),
    ]
    report = "\n\n".join(
        [machine.describe(chosen.data_dir, chosen.disk, versions), latency_table(samples), *failures]
    )
    print(report)
    results.replace_section(chosen.results or options.BENCH / "RESULTS.md", "Latency", report)
    return 1 if failures else 0


def measurements() -> Iterator[Callable[[int], Sample]]:
    yield prepared
    if shutil.which("pgbench"):
        yield prepared_with_pgbench
    yield smallest_cluster_query


@contextlib.contextmanager
def recording(failures: list[str]) -> Iterator[None]:
    """One measurement that fails is reported, and the others still run."""
    try:
        yield
    except (psycopg.Error, subprocess.CalledProcessError, WrongAnswer, WrongRoute) as error:
        failures.append(f"Failed: {error}")


def prepared(port: int) -> Sample:
    """One statement, prepared once, with another parameter each time."""
    with connect(port) as connection, psycopg.RawCursor(connection) as cursor:

        def run() -> float:
            # One declared type: psycopg would prepare the statement once for each width of integer.
            parameter = Int4(random.randint(1, 100_000))
            started = time.perf_counter()
            row = cursor.execute(PREPARED_SQL, [parameter], prepare=True).fetchone()
            seconds = time.perf_counter() - started
            expect(row, (parameter + 1,))
            return seconds

        return Sample(f"prepared `{PREPARED_SQL}`", "psycopg", repeat(run, PREPARED_RUNS))


def smallest_cluster_query(port: int) -> Sample:
    with connect(port) as connection:
        connection.execute("SET sluice.route = 'cluster'")

        def run() -> float:
            started = time.perf_counter()
            row = connection.execute(CLUSTER_SQL).fetchone()
            seconds = time.perf_counter() - started
            expect(row, (REGIONS,))
            confirm_route(connection, "cluster")
            return seconds

        return Sample(f"`{CLUSTER_SQL}` on the cluster", "psycopg", repeat(run, CLUSTER_RUNS))


def expect(row: tuple[int, ...] | None, right: tuple[int, ...]) -> None:
    if row != right:
        raise WrongAnswer(f"got {row} where {right} is right")


def repeat(run: Callable[[], float], times: int) -> list[float]:
    for _ in range(int(times * WARM_UP_SHARE)):
        run()
    return [run() for _ in range(times)]


def prepared_with_pgbench(port: int) -> Sample:
    """The same from a client in C; its log has one line for each transaction."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "script.sql").write_text(PGBENCH_SCRIPT)
        subprocess.run(
            [
                "pgbench", "--no-vacuum", "--protocol=prepared", "--file=script.sql", "--log",
                f"--transactions={PREPARED_RUNS}", "--host=127.0.0.1", f"--port={port}",
                "--username=postgres", "postgres",
            ],
            cwd=folder, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        (log,) = Path(folder).glob("pgbench_log.*")
        microseconds = [int(line.split()[PGBENCH_LOG_TIME_COLUMN]) for line in log.read_text().splitlines()]
    return Sample("the same", "pgbench", [one / 1e6 for one in microseconds])


def pgbench_version() -> list[str]:
    found = re.search(r"[\d.]+", machine.output("pgbench", "--version"))
    return [f"pgbench {found[0]}"] if found else []


def latency_table(samples: list[Sample]) -> str:
    header = ["query", "client", "runs", "p50 ms", "p99 ms", "mean ms"]
    return table(header, [sample.row() for sample in samples])


if __name__ == "__main__":
    sys.exit(main())
