"""Kills one of three executors at varied moments of TPC-H queries, and checks every answer.

The killed executor's work folder is removed at once: the one in its place would otherwise take over its shuffle files
and hide the loss. Shuffle reads go over the network, as they would between machines.

With --busy N, N other processes compute all the time: nobody may be lost who was not killed, and a kill is found as soon.

With --long, one query that takes at least a minute is killed at 80 % of it, with and without the files of the executor.
"""

import argparse
import contextlib
import math
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

import dataset
import machine
import server
from options import REPOSITORY, shared_parser
from results import replace_between
from session import connect, confirm_route

QUERIES = range(1, 23)
MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.9)
EXECUTORS = 3
HANG_SECONDS = 90
REPORT = REPOSITORY / "docs/reliability.md"
BEGIN, END = "<!-- kills: begin -->", "<!-- kills: end -->"
BUSY_QUERIES = (1, 3, 5, 9, 13, 18, 21)
BUSY_MOMENTS = (0.3, 0.7)
# Of what is run beside busy processes: twice the undisturbed time more, and this.
BUSY_FACTOR, BUSY_SECONDS = 2, 5
BUSY_HANG_SECONDS = 600
LONG_BEGIN, LONG_END = "<!-- long: begin -->", "<!-- long: end -->"
LONG_SECONDS = 60
LONG_MOMENT = 0.8
LONG_HANG_SECONDS = 600


@dataclass
class Kill:
    query: int
    moment: float
    baseline_seconds: float
    seconds: float
    outcome: str
    retries: int
    notice: str
    found_seconds: float

    @property
    def added_seconds(self) -> float:
        return self.seconds - self.baseline_seconds


def main() -> None:
    parser = shared_parser(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=1, help="times every query and moment is tried")
    parser.add_argument("--seed", type=int, default=7, help="chooses the victims")
    parser.add_argument("--long", action="store_true", help="one query of a minute, killed at 80 percent of it")
    parser.add_argument("--busy", type=int, default=0, help="other processes that compute all the time")
    arguments = parser.parse_args()
    if arguments.busy:
        kill_beside(arguments)
        return
    if arguments.long:
        kill_long(arguments)
        return
    location = dataset.ensure(arguments.binary, arguments.data_dir, arguments.scale_factor)
    victims = random.Random(arguments.seed)
    environment = {"SLUICE_TEST_FORCE_REMOTE_READ": "1"}
    kills = []
    with server.running(
        arguments.binary, location, arguments.data_dir, executors=EXECUTORS, environment=environment
    ) as running:
        for number in QUERIES:
            text = (REPOSITORY / f"sql-tests/tpch/q{number}.sql").read_text()
            expected = answer(running.port, text, "local")
            baseline = statistics.median(timed(running.port, text)[0] for _ in range(3))
            for _ in range(arguments.rounds):
                for moment in MOMENTS:
                    kill = kill_during(running, number, text, moment, baseline, expected, victims)
                    print(f"q{number:<3} {moment:.0%}  {kill.outcome:6} +{kill.added_seconds:.1f} s, run again {kill.retries} times")
                    kills.append(kill)
    write_report(kills, machine.describe(arguments.data_dir, arguments.disk, [machine.sluice_version(arguments.binary)]), arguments.scale_factor)
    if any(kill.outcome != "right" for kill in kills):
        raise SystemExit(1)


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def kill_beside(arguments: argparse.Namespace) -> None:
    """Kills beside processes that compute, and counts who is lost although nobody killed it."""
    location = dataset.ensure(arguments.binary, arguments.data_dir, arguments.scale_factor)
    victims = random.Random(arguments.seed)
    environment = {"SLUICE_TEST_FORCE_REMOTE_READ": "1"}
    kills = []
    with server.running(
        arguments.binary, location, arguments.data_dir, executors=EXECUTORS, environment=environment
    ) as running:
        texts = {number: (REPOSITORY / f"sql-tests/tpch/q{number}.sql").read_text() for number in BUSY_QUERIES}
        expected = {number: answer(running.port, text, "local") for number, text in texts.items()}
        with busy(arguments.busy):
            for number, text in texts.items():
                baseline = statistics.median(timed(running.port, text)[0] for _ in range(3))
                for _ in range(arguments.rounds):
                    for moment in BUSY_MOMENTS:
                        kill = kill_during(
                            running, number, text, moment, baseline, expected[number], victims, hang_seconds=BUSY_HANG_SECONDS
                        )
                        print(
                            f"q{number:<3} {moment:.0%}  {kill.outcome:6} {baseline:.1f} +{kill.added_seconds:.1f} s,"
                            f" found after {kill.found_seconds:.2f} s"
                        )
                        kills.append(kill)
    log = (arguments.data_dir / "bench-server.log").read_text()
    without_cause = log.count('why="it fell silent"')
    described = machine.describe(arguments.data_dir, arguments.disk, [machine.sluice_version(arguments.binary)])
    write_busy_report(kills, without_cause, arguments.busy, described, arguments.scale_factor)
    if without_cause or any(kill.outcome != "right" for kill in kills):
        raise SystemExit(1)


def write_busy_report(kills: list[Kill], without_cause: int, count: int, described: str, scale_factor: str) -> None:
    right = sum(kill.outcome == "right" for kill in kills)
    within = sum(kill.added_seconds <= BUSY_FACTOR * kill.baseline_seconds + BUSY_SECONDS for kill in kills)
    added = sorted(kill.added_seconds / kill.baseline_seconds for kill in kills)
    found = sorted(kill.found_seconds for kill in kills)
    body = f"""{described}

Scale factor {scale_factor}, {EXECUTORS} executors of one thread, beside {count} processes that compute all the time. The undisturbed time is measured beside them, too.

| kills | right | lost although nobody killed it | added at most {BUSY_FACTOR} × undisturbed + {BUSY_SECONDS} s | added ÷ undisturbed, median | worst | the loss was found after (s), median | worst |
|---|---|---|---|---|---|---|---|
| {len(kills)} | {right} | {without_cause} | {within} | {statistics.median(added):.2f} | {added[-1]:.2f} | {statistics.median(found):.2f} | {found[-1]:.2f} |
"""
    replace_between(REPORT, f"<!-- busy {count}: begin -->", f"<!-- busy {count}: end -->", body)


def kill_long(arguments: argparse.Namespace) -> None:
    """TPC-H Q18 as often in one statement as it takes to last a minute, each time with another threshold."""
    location = dataset.ensure(arguments.binary, arguments.data_dir, arguments.scale_factor)
    victims = random.Random(arguments.seed)
    with server.running(arguments.binary, location, arguments.data_dir, executors=EXECUTORS) as running:
        once = min(timed(running.port, long_text(1))[0] for _ in range(2))
        text = long_text(math.ceil(LONG_SECONDS / once) + 1)
        copies = text.count("union all") + 1
        expected = answer(running.port, text, "local")
        undisturbed = [timed(running.port, text)[0] for _ in range(2)]
        baseline = statistics.median(undisturbed)
        print(f"{copies} times Q18 take {baseline:.1f} s")
        kills = {}
        for keeps_files in (True, False):
            kills[keeps_files] = [
                kill_during(running, 18, text, LONG_MOMENT, baseline, expected, victims, keeps_files, LONG_HANG_SECONDS)
                for _ in range(arguments.rounds)
            ]
            for kill in kills[keeps_files]:
                print(f"files {'kept' if keeps_files else 'gone'}: {kill.outcome} {kill.seconds / baseline:.2f} x: {kill.notice}")
    described = machine.describe(arguments.data_dir, arguments.disk, [machine.sluice_version(arguments.binary)])
    rows = "\n".join(long_row(keeps_files, of, baseline) for keeps_files, of in kills.items())
    body = f"""{described}

TPC-H Q18 {copies} times in one statement (`UNION ALL`, each with a threshold of its own), scale factor {arguments.scale_factor}, {EXECUTORS} executors of one thread: {baseline:.1f} s undisturbed ({min(undisturbed):.1f} to {max(undisturbed):.1f}). Killed at {LONG_MOMENT:.0%} of that.

| of the killed executor | right | median total ÷ undisturbed | worst | the client is told |
|---|---|---|---|---|
{rows}
"""
    replace_between(REPORT, LONG_BEGIN, LONG_END, body)
    if any(kill.outcome != "right" for of in kills.values() for kill in of):
        raise SystemExit(1)


def long_text(copies: int) -> str:
    q18 = (REPOSITORY / "sql-tests/tpch/q18.sql").read_text().strip().rstrip(";")
    q18 = "\n".join(line for line in q18.splitlines() if not line.startswith("--"))
    q18 = q18.replace("sum(l_quantity)\nfrom", "sum(l_quantity) quantity\nfrom", 1)
    each = (q18.replace("> 300", f"> {300 + copy}") for copy in range(copies))
    copies_of_it = "\nunion all\n".join(f"select * from ({text}) as copy{number}" for number, text in enumerate(each))
    return f"select * from ({copies_of_it}) as all_of_them order by 1, 2, 3, 4, 5, 6"


def long_row(keeps_files: bool, kills: list[Kill], baseline: float) -> str:
    right = sum(kill.outcome == "right" for kill in kills)
    ratios = sorted(kill.seconds / baseline for kill in kills)
    files = "the one in its place has its files" if keeps_files else "nothing is left"
    return f"| {files} | {right} of {len(kills)} | {statistics.median(ratios):.2f} | {ratios[-1]:.2f} | {kills[-1].notice} |"


def answer(port: int, text: str, route: str) -> list[tuple[object, ...]]:
    with connect(port) as connection:
        connection.execute(f"SET sluice.route = '{route}'")
        rows = connection.execute(text).fetchall()
        confirm_route(connection, route)
        return rows


def timed(port: int, text: str, notices: list[str] | None = None) -> tuple[float, list[tuple[object, ...]]]:
    started = time.monotonic()
    with connect(port) as connection:
        if notices is not None:
            connection.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
        connection.execute("SET sluice.route = 'cluster'")
        rows = connection.execute(text).fetchall()
        confirm_route(connection, "cluster")
    return time.monotonic() - started, rows


def kill_during(
    running: server.Server,
    number: int,
    text: str,
    moment: float,
    baseline: float,
    expected: list[tuple[object, ...]],
    victims: random.Random,
    keeps_files: bool = False,
    hang_seconds: float = HANG_SECONDS,
) -> Kill:
    """Runs the query, kills one executor at its moment, and waits until three are alive again."""
    result: dict[str, object] = {}
    notices: list[str] = []

    def query() -> None:
        try:
            result["seconds"], result["rows"] = timed(running.port, text, notices)
        except psycopg.Error as error:
            result["error"] = f"{error.sqlstate}: {error}"

    thread = threading.Thread(target=query, daemon=True)
    before = time.monotonic()
    thread.start()
    time.sleep(moment * baseline)
    killed = kill_one(running, victims, keeps_files)
    found_seconds = found_after(running.port, killed)
    thread.join(hang_seconds)
    if thread.is_alive():
        outcome = "hung"
    elif "error" in result:
        outcome = str(result["error"]).splitlines()[0]
    else:
        outcome = "right" if result["rows"] == expected else "WRONG"
    seconds = float(str(result.get("seconds", time.monotonic() - before)))
    wait_for_executors(running.port)
    return Kill(number, moment, baseline, seconds, outcome, retries_of_last(running.port), "; ".join(notices), found_seconds)


def kill_one(running: server.Server, victims: random.Random, keeps_files: bool) -> int:
    victim = victims.choice(server.children(running.process.pid))
    folders = [mark.parent for mark in running.state.glob("executors/*/*/.sluice-work-folder") if mark.read_text().strip() == str(victim)]
    os.kill(victim, signal.SIGKILL)
    for folder in [] if keeps_files else folders:
        shutil.rmtree(folder, ignore_errors=True)
    return victim


def found_after(port: int, killed: int) -> float:
    """How long the process that was killed is still listed as alive, in seconds."""
    started = time.monotonic()
    with connect(port) as connection:
        while connection.execute("select count(*) from sys.executors where process_id = %s", (killed,)).fetchone() != (0,):
            time.sleep(0.02)
    return time.monotonic() - started


def wait_for_executors(port: int) -> None:
    with connect(port) as connection:
        while connection.execute("select count(*) from sys.executors").fetchone() != (EXECUTORS,):
            time.sleep(0.05)


def retries_of_last(port: int) -> int:
    with connect(port) as connection:
        row = connection.execute(
            "select retries from sys.queries where route like 'cluster%' order by started_at desc limit 1"
        ).fetchone()
        return int(row[0]) if row else 0


def write_report(kills: list[Kill], described: str, scale_factor: str) -> None:
    """Replaces the table between the marks of the report."""
    right = sum(kill.outcome == "right" for kill in kills)
    hung = sum(kill.outcome == "hung" for kill in kills)
    hit = [kill for kill in kills if kill.retries > 0]
    added = statistics.median(kill.added_seconds for kill in hit)
    ratio = statistics.median(kill.seconds / kill.baseline_seconds for kill in hit)
    rows = "\n".join(row(number, [kill for kill in kills if kill.query == number]) for number in QUERIES)
    body = f"""{described}

Scale factor {scale_factor}, {EXECUTORS} executors of one thread, killed at {", ".join(f"{moment:.0%}" for moment in MOMENTS)} of each query's undisturbed time. **{right} of {len(kills)} answers were right, {hung} hung.** Median where the query was run again: {ratio:.2f} × the undisturbed time, {added:.1f} s more.

| query | undisturbed (s) | right | run again | median total (s) | worst total (s) |
|---|---|---|---|---|---|
{rows}
"""
    replace_between(REPORT, BEGIN, END, body)


def row(number: int, kills: list[Kill]) -> str:
    right = sum(kill.outcome == "right" for kill in kills)
    again = sum(kill.retries > 0 for kill in kills)
    totals = [kill.seconds for kill in kills]
    return f"| Q{number} | {kills[0].baseline_seconds:.2f} | {right} of {len(kills)} | {again} | {statistics.median(totals):.2f} | {max(totals):.2f} |"


if __name__ == "__main__":
    main()
