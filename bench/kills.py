"""Kills one of three executors at varied moments of TPC-H queries, and checks every answer.

The killed executor's work folder is removed at once: survivors on the same machine would otherwise read
its shuffle files by path and hide the loss. Shuffle reads go over the network for the same reason.
"""

import os
import random
import shutil
import signal
import statistics
import threading
import time
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


@dataclass
class Kill:
    query: int
    moment: float
    baseline_seconds: float
    seconds: float
    outcome: str
    retries: int

    @property
    def added_seconds(self) -> float:
        return self.seconds - self.baseline_seconds


def main() -> None:
    parser = shared_parser(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=1, help="times every query and moment is tried")
    parser.add_argument("--seed", type=int, default=7, help="chooses the victims")
    arguments = parser.parse_args()
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


def answer(port: int, text: str, route: str) -> list[tuple[object, ...]]:
    with connect(port) as connection:
        connection.execute(f"SET sluice.route = '{route}'")
        rows = connection.execute(text).fetchall()
        confirm_route(connection, route)
        return rows


def timed(port: int, text: str) -> tuple[float, list[tuple[object, ...]]]:
    started = time.monotonic()
    rows = answer(port, text, "cluster")
    return time.monotonic() - started, rows


def kill_during(
    running: server.Server,
    number: int,
    text: str,
    moment: float,
    baseline: float,
    expected: list[tuple[object, ...]],
    victims: random.Random,
) -> Kill:
    """Runs the query, kills one executor at its moment, and waits until three are alive again."""
    result: dict[str, object] = {}

    def query() -> None:
        try:
            result["seconds"], result["rows"] = timed(running.port, text)
        except psycopg.Error as error:
            result["error"] = f"{error.sqlstate}: {error}"

    thread = threading.Thread(target=query, daemon=True)
    before = time.monotonic()
    thread.start()
    time.sleep(moment * baseline)
    kill_one(running, victims)
    thread.join(HANG_SECONDS)
    if thread.is_alive():
        outcome = "hung"
    elif "error" in result:
        outcome = str(result["error"]).splitlines()[0]
    else:
        outcome = "right" if result["rows"] == expected else "WRONG"
    seconds = float(str(result.get("seconds", time.monotonic() - before)))
    wait_for_executors(running.port)
    return Kill(number, moment, baseline, seconds, outcome, retries_of_last(running.port))


def kill_one(running: server.Server, victims: random.Random) -> None:
    victim = victims.choice(server.children(running.process.pid))
    folders = [mark.parent for mark in running.state.glob("executors/*/*/.sluice-work-folder") if mark.read_text().strip() == str(victim)]
    os.kill(victim, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


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
