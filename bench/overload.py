"""Offers a server four times the load it can serve, and reports what it still serves.

First the server is measured: as many clients as it has slots ask one question after the other, and what they get
answered in a second is its peak. Then questions arrive at four times that rate, whoever still waits. Every answer is
compared with the first; everything else must be a refusal with a SQLSTATE. While that goes on, another client asks for
the system's own tables.
"""

import queue
import random
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import psycopg

import dataset
import machine
import server
from options import REPOSITORY, shared_parser
from results import replace_between
from session import connect

QUESTIONS = (1, 3, 4, 6, 12, 14, 19)
SLOTS = 4
PLACES = 16
CLIENTS = 64
TIMES = 4
REPORT = REPOSITORY / "docs/reliability.md"
BEGIN, END = "<!-- overload: begin -->", "<!-- overload: end -->"


@dataclass
class Load:
    """What came of the questions of one phase."""

    seconds: float = 0
    latencies: list[float] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    offered: int = 0
    watching: list[float] = field(default_factory=list)

    def goodput(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, latencies: list[float], share: float) -> float:
        return sorted(latencies)[min(len(latencies) - 1, int(len(latencies) * share))]


class Clients:
    """Sessions that take questions from one queue."""

    def __init__(self, port: int, texts: dict[int, str], expected: dict[int, object], count: int) -> None:
        self.questions: queue.Queue[int | None] = queue.Queue()
        self.load = Load()
        self.lock = threading.Lock()
        self.port, self.texts, self.expected = port, texts, expected
        self.threads = [threading.Thread(target=self.answer, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def answer(self) -> None:
        with connect(self.port) as connection:
            connection.execute("SET sluice.route = local")
            while (number := self.questions.get()) is not None:
                started = time.monotonic()
                try:
                    rows = connection.execute(self.texts[number]).fetchall()
                except psycopg.Error as error:
                    with self.lock:
                        self.load.refusals[error.sqlstate or "none"] += 1
                    continue
                with self.lock:
                    self.load.latencies.append(time.monotonic() - started)
                    self.load.wrong += rows != self.expected[number]

    def end(self, started: float) -> Load:
        for _ in self.threads:
            self.questions.put(None)
        for thread in self.threads:
            thread.join()
        self.load.seconds = time.monotonic() - started
        return self.load


def main() -> None:
    parser = shared_parser(__doc__ or "")
    parser.add_argument("--seconds", type=float, default=60, help="of each phase")
    parser.add_argument("--seed", type=int, default=7, help="chooses the questions")
    arguments = parser.parse_args()
    location = dataset.ensure(arguments.binary, arguments.data_dir, arguments.scale_factor)
    chance = random.Random(arguments.seed)
    texts = {number: (REPOSITORY / f"sql-tests/tpch/q{number}.sql").read_text() for number in QUESTIONS}
    environment = {
        "SLUICE_SERVER__CONCURRENT_QUERIES_MAX": str(SLOTS),
        "SLUICE_SERVER__QUEUED_QUERIES_MAX": str(PLACES),
    }
    with server.running(arguments.binary, location, arguments.data_dir, executors=0, environment=environment) as running:
        expected = {}
        with connect(running.port) as connection:
            for number, text in texts.items():
                expected[number] = connection.execute(text).fetchall()
        peak = at_peak(running.port, texts, expected, arguments.seconds, chance)
        over = overloaded(running.port, texts, expected, arguments.seconds, chance, TIMES * peak.goodput())
    ratio = over.goodput() / peak.goodput()
    report = [
        f"{machine.describe(arguments.data_dir, arguments.disk, [machine.sluice_version(arguments.binary)])}",
        "",
        f"TPC-H SF {arguments.scale_factor}, queries {', '.join(map(str, QUESTIONS))}, in the server; {SLOTS} slots, {PLACES} places in the queue; {arguments.seconds:.0f} s each.",
        "",
        "| load | offered/s | answered/s | p50 | p99 | refused | wrong | `sys` p99 |",
        "|---|---|---|---|---|---|---|---|",
        row("peak", peak),
        row(f"{TIMES} × peak", over),
        "",
        f"Answered under {TIMES} times the load: **{ratio:.0%}** of the peak.",
    ]
    print("\n".join(report))
    replace_between(REPORT, BEGIN, END, "\n".join(report) + "\n")
    if ratio < 0.8 or over.wrong or peak.wrong or "none" in over.refusals:
        raise SystemExit(1)


def row(name: str, load: Load) -> str:
    refused = ", ".join(f"{count} × {code}" for code, count in sorted(load.refusals.items())) or "0"
    p50, p99 = statistics.median(load.latencies), load.percentile(load.latencies, 0.99)
    watching = load.percentile(load.watching, 0.99)
    return f"| {name} | {load.offered / load.seconds:.1f} | {load.goodput():.1f} | {p50 * 1000:.0f} ms | {p99 * 1000:.0f} ms | {refused} | {load.wrong} | {watching * 1000:.0f} ms |"


def watch(port: int, load: Load, until: threading.Event) -> threading.Thread:
    """Asks for the running queries ten times a second."""

    def ask() -> None:
        with connect(port) as connection:
            while not until.wait(0.1):
                started = time.monotonic()
                connection.execute("SELECT count(*) FROM sys.queries").fetchone()
                load.watching.append(time.monotonic() - started)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    return thread


def at_peak(port: int, texts: dict[int, str], expected: dict[int, object], seconds: float, chance: random.Random) -> Load:
    clients = Clients(port, texts, expected, SLOTS)
    started, over = time.monotonic(), threading.Event()
    watcher = watch(port, clients.load, over)
    while time.monotonic() - started < seconds:
        # One is waiting for each client, never more: they ask one after the other.
        if clients.questions.qsize() < SLOTS:
            clients.questions.put(chance.choice(QUESTIONS))
            clients.load.offered += 1
        else:
            time.sleep(0.001)
    over.set()
    watcher.join()
    return clients.end(started)


def overloaded(
    port: int, texts: dict[int, str], expected: dict[int, object], seconds: float, chance: random.Random, rate: float
) -> Load:
    clients = Clients(port, texts, expected, CLIENTS)
    started, over = time.monotonic(), threading.Event()
    watcher = watch(port, clients.load, over)
    while (elapsed := time.monotonic() - started) < seconds:
        while clients.load.offered < elapsed * rate:
            clients.questions.put(chance.choice(QUESTIONS))
            clients.load.offered += 1
        time.sleep(0.001)
    over.set()
    watcher.join()
    return clients.end(started)


if __name__ == "__main__":
    main()
