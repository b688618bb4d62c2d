"""Asks a server and two executors mixed questions for an hour, and reports how their memory and files develop.

Clients ask TPC-H queries on both routes, read half of a cursor and leave, cancel, make tables and drop them again, and
sign in anew each time. Every answer is compared with the first. Memory and open files of each process are looked at
every few seconds; the slope is that of a straight line through what was seen after the warm-up.
"""

import os
import random
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

import dataset
import machine
import server
from options import REPOSITORY, shared_parser
from results import replace_between
from session import connect

QUERIES = range(1, 23)
CLIENTS = 3
EXECUTORS = 2
LOOK_EVERY_SECONDS = 5
WARM_UP_SHARE = 1 / 4
EXECUTOR_MEMORY = "512MB"
SERVER_MEMORY = "1GB"
REPORT = REPOSITORY / "docs/reliability.md"
BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"


@dataclass
class Process:
    """What was seen of one process: seconds since the start, resident bytes, open files."""

    name: str
    number: int
    seen: list[tuple[float, int, int]] = field(default_factory=list)

    def look(self, second: float) -> None:
        try:
            pages = int(Path(f"/proc/{self.number}/statm").read_text().split()[1])
            files = len(os.listdir(f"/proc/{self.number}/fd"))
        except OSError:
            return
        self.seen.append((second, pages * os.sysconf("SC_PAGE_SIZE"), files))


@dataclass
class Counts:
    """What was done, and what came of it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    done: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def add(self, what: str, is_right: bool = True) -> None:
        with self.lock:
            self.done[what] += 1
            self.wrong += not is_right


class Client:
    """One client after the other, until told to end."""

    def __init__(self, port: int, number: int, seed: int, texts: dict[int, str], expected: dict[int, object], counts: Counts, end: threading.Event) -> None:
        self.port, self.number, self.texts, self.expected, self.counts, self.end = port, number, texts, expected, counts, end
        self.chance = random.Random(f"{seed}-{number}")
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self) -> None:
        deeds = [self.ask, self.ask, self.ask, self.ask, self.leave_cursor, self.cancel, self.write]
        while not self.end.is_set():
            deed = self.chance.choice(deeds)
            try:
                with connect(self.port) as connection:
                    connection.execute(f"SET sluice.route = '{self.chance.choice(['local', 'cluster'])}'")
                    deed(connection)
            except psycopg.Error as error:
                with self.counts.lock:
                    self.counts.refused[error.sqlstate or str(error)] += 1

    def ask(self, connection: psycopg.Connection) -> None:
        number = self.chance.choice(list(self.texts))
        rows = connection.execute(self.texts[number]).fetchall()
        self.counts.add("queries", rows == self.expected[number])

    def leave_cursor(self, connection: psycopg.Connection) -> None:
        with connection.transaction(), connection.cursor(name="half") as cursor:
            cursor.execute("select l_orderkey, l_comment from lineitem")
            first = cursor.fetchmany(self.chance.choice([10, 10_000]))
            self.counts.add("cursors left in the middle", len(first) > 0)

    def cancel(self, connection: psycopg.Connection) -> None:
        connection.execute(f"SET statement_timeout = {self.chance.randint(20, 600)}")
        try:
            connection.execute("select count(*), sum(l_tax) from (select distinct l_orderkey, l_comment, l_tax from lineitem) d").fetchall()
        except psycopg.errors.QueryCanceled:
            pass
        self.counts.add("cancelled")

    def write(self, connection: psycopg.Connection) -> None:
        name = f"soak_{self.number}"
        connection.execute(f"DROP TABLE IF EXISTS {name}")
        connection.execute(f"CREATE TABLE {name} AS SELECT o_orderkey k, o_totalprice v FROM orders WHERE o_orderkey % 7 = {self.number}")
        connection.execute(f"INSERT INTO {name} SELECT k + 1, v FROM {name}")
        connection.execute(f"DELETE FROM {name} WHERE k % 2 = 0")
        counted = connection.execute(f"SELECT count(*) FROM {name}").fetchone()
        original = connection.execute(f"SELECT count(*) FROM orders WHERE o_orderkey % 7 = {self.number}").fetchone()
        connection.execute(f"DROP TABLE {name}")
        # Of each row and the one made of it, one has an even number.
        self.counts.add("tables written", counted == original)


def main() -> None:
    parser = shared_parser(__doc__ or "")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=7, help="chooses what clients do")
    arguments = parser.parse_args()
    location = dataset.ensure(arguments.binary, arguments.data_dir, arguments.scale_factor)
    texts = {number: (REPOSITORY / f"sql-tests/tpch/q{number}.sql").read_text() for number in QUERIES}
    with server.running(
        arguments.binary, location, arguments.data_dir, executors=EXECUTORS, executor_memory=EXECUTOR_MEMORY, memory=SERVER_MEMORY
    ) as running:
        with connect(running.port) as connection:
            connection.execute("SET sluice.route = local")
            expected = {number: connection.execute(text).fetchall() for number, text in texts.items()}
        processes = [Process("server", running.process.pid)]
        processes += [Process(f"executor {at + 1}", child) for at, child in enumerate(server.children(running.process.pid))]
        counts, end = Counts(), threading.Event()
        clients = [Client(running.port, number, arguments.seed, texts, expected, counts, end) for number in range(CLIENTS)]
        started = time.monotonic()
        while (second := time.monotonic() - started) < arguments.minutes * 60:
            for process in processes:
                process.look(second)
            time.sleep(LOOK_EVERY_SECONDS)
        end.set()
        for client in clients:
            client.thread.join()
        still = {process.number for process in processes} <= {running.process.pid, *server.children(running.process.pid)}
    described = machine.describe(arguments.data_dir, arguments.disk, [machine.sluice_version(arguments.binary)])
    body = f"""{described}

TPC-H SF {arguments.scale_factor}, {CLIENTS} clients, {EXECUTORS} executors of one thread and {EXECUTOR_MEMORY}, the server with {SERVER_MEMORY}; {arguments.minutes:.0f} minutes, of which the first quarter is the warm-up. Done: {", ".join(f"{count} {what}" for what, count in sorted(counts.done.items()))}. **{counts.wrong} wrong**, refused: {dict(counts.refused) or "none"}; {"the same processes to the end" if still else "A PROCESS ENDED"}.

| process | median resident | highest | slope per 10 minutes | open files, first and last tenth |
|---|---|---|---|---|
{chr(10).join(row(process, arguments.minutes * 60) for process in processes)}
"""
    print(body)
    if arguments.minutes >= 60:
        replace_between(REPORT, BEGIN, END, body)
    if counts.wrong or not still:
        raise SystemExit(1)


def row(process: Process, seconds: float) -> str:
    warm = [(second, resident, files) for second, resident, files in process.seen if second > seconds * WARM_UP_SHARE]
    seconds_seen, resident, files = zip(*warm)
    slope = statistics.linear_regression(seconds_seen, resident).slope
    median = statistics.median(resident)
    tenth = max(1, len(warm) // 10)
    first, last = statistics.median(files[:tenth]), statistics.median(files[-tenth:])
    return f"| {process.name} | {median / 1e6:.0f} MB | {max(resident) / 1e6:.0f} MB | {slope * 600 / median:+.1%} | {first:.0f}, {last:.0f} |"


if __name__ == "__main__":
    main()
