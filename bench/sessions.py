"""Many sessions at once, a client that stops reading, and how soon a finished job's first row leaves.

The stalled client asks for the rows that a draining client of the same server has read twice before: what the
server holds for it is the difference between the two.
"""

import argparse
import contextlib
import datetime
import random
import re
import signal
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

import dataset
import machine
import options
import results
import server
from comparison import table
from session import connect
from wire import Drain, Read, message

ALL_ROWS = Read("all rows", "select * from lineitem", True, None)
CLUSTER_SQL = "select l_orderkey, sum(l_quantity) from lineitem group by 1"
CLUSTER_RUNS = 10
SAMPLE_SECONDS = 0.05
READ_BEFORE_STALL_BYTES = 4 << 20
STALL_SECONDS = 60
IDLE_SESSIONS = 2000
PING = Read("", "select 1", False, None)
MIB = 1024

# What a pool of small and middling clients asks; each with the parameters that a run draws.
MIX = [
    (40, "select %s::int + 1", lambda: [random.randint(1, 100_000)]),
    (20, "select * from nation where n_nationkey = %s", lambda: [random.randint(0, 24)]),
    (10, "select * from orders where o_orderkey = %s", lambda: [random.randint(1, 1_000_000)]),
    (8, "select c_name, count(*) from customer join orders on c_custkey = o_custkey where c_custkey < %s group by 1",
     lambda: [random.randint(10, 500)]),
    (5, "select sum(l_extendedprice * l_discount) from lineitem where l_shipdate >= %s and l_shipdate < %s",
     lambda: [datetime.date(1994, 1, 1), datetime.date(1994, 1, random.randint(2, 28))]),
    (5, "select relname, relkind from pg_catalog.pg_class where relname like %s", lambda: ["c%"]),
    (5, "select * from orders order by o_orderkey limit 1000", lambda: None),
    (2, "select l_returnflag, l_linestatus, sum(l_quantity) from lineitem group by 1, 2 order by 1, 2", lambda: None),
]  # fmt: skip


@dataclass
class Pool:
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def main() -> int:
    parser = options.shared_parser(__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--idle", action="store_true", help="measure sessions that do nothing, and only those")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine.pin_to(machine.CORES)
    location = dataset.ensure(chosen.binary, chosen.data_dir, chosen.scale_factor)
    if chosen.idle:
        return idle_sessions(chosen, location)
    with server.running(chosen.binary, location, chosen.data_dir) as sluice:
        stall, stall_is_good = stalled_client(sluice)
        first_row = first_rows_of_jobs(sluice.port, chosen.data_dir / "bench-server.log")
        pool, pool_is_good = mixed_sessions(sluice, chosen.sessions, chosen.minutes * 60)
    about = machine.describe(
        chosen.data_dir,
        chosen.disk,
        [machine.sluice_version(chosen.binary), *machine.package_versions("psycopg")],
    )
    report = "\n\n".join([about, stall, first_row, pool])
    print(report)
    results.replace_section(
        chosen.results or options.BENCH / "RESULTS.md",
        f"Sessions, scale factor {chosen.scale_factor}",
        report,
    )
    return 0 if stall_is_good and pool_is_good else 1


def idle_sessions(chosen: argparse.Namespace, location: Path) -> int:
    """What a session costs that was signed in, has run one statement, and waits."""
    environment = {"SLUICE_LIMITS__CONNECTIONS_MAX": str(IDLE_SESSIONS + 100)}
    with server.running(chosen.binary, location, chosen.data_dir, 0, environment) as sluice:
        warm = [Drain(sluice.port) for _ in range(20)]
        for drain in warm:
            drain.run(PING)
        before = resident_kib(sluice.process.pid)
        # Their buffers are this client's own: a session here needs only its socket.
        open_ones = []
        for _ in range(IDLE_SESSIONS):
            drain = Drain(sluice.port)
            drain.run(PING)
            drain.buffer = None
            open_ones.append(drain)
        each = (resident_kib(sluice.process.pid) - before) / IDLE_SESSIONS
    about = machine.describe(chosen.data_dir, chosen.disk, [machine.sluice_version(chosen.binary)])
    text = f"{IDLE_SESSIONS} idle sessions: {each:.1f} KiB of the server each (asked ≤ 100 KiB)."
    report = f"{about}\n\n{text}"
    print(report)
    results.replace_section(chosen.results or options.BENCH / "RESULTS.md", "Idle sessions", report)
    return 0 if each <= 100 else 1


@contextlib.contextmanager
def sampling(pid: int) -> Iterator[list[tuple[float, int]]]:
    """Resident KiB of a process with the time of each look, for as long as the block runs."""
    samples: list[tuple[float, int]] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(SAMPLE_SECONDS):
            samples.append((time.monotonic(), resident_kib(pid)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def resident_kib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


def stalled_client(sluice: server.Server) -> tuple[str, bool]:
    pid = sluice.process.pid
    drain = Drain(sluice.port)
    drain.run(ALL_ROWS)
    with sampling(pid) as samples:
        drain.run(ALL_ROWS)
    draining = max(kib for _, kib in samples) // MIB
    drain.socket.close()
    stalled = Drain(sluice.port)
    stalled.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    stalled.socket.sendall(
        message(b"P", b"\0" + ALL_ROWS.sql.encode() + b"\0\0\0")
        + message(b"B", b"\0\0\0\0\0\0\0\1\0\1")
        + message(b"E", b"\0\0\0\0\0")
        + message(b"S", b"")
    )
    received = 0
    while received < READ_BEFORE_STALL_BYTES:
        received += stalled.socket.recv_into(stalled.buffer)
    with sampling(pid) as samples:
        time.sleep(STALL_SECONDS)
    resident = [kib // MIB for _, kib in samples]
    stalled.socket.close()
    ended = time.monotonic()
    with connect(sluice.port) as connection:
        while running_statements(connection):
            if time.monotonic() - ended > 30:
                break
        gone = time.monotonic() - ended
    is_good = max(resident) <= draining + 32 and gone <= 1
    rows = [
        ["draining client, peak of the server", f"{draining} MiB", ""],
        ["stalled client, peak", f"{max(resident)} MiB", "≤ 32 MiB more"],
        [f"the same over {STALL_SECONDS} s, first and last", f"{resident[0]} and {resident[-1]} MiB", "flat"],
        ["after it has gone, until nothing of it runs", f"{gone:.2f} s", "≤ 1 s"],
    ]
    return table(["a client that stops reading in the middle of lineitem", "", "asked"], rows), is_good


def running_statements(connection: psycopg.Connection) -> int:
    row = connection.execute("select count(*) from sys.queries where state = 'running' and sql like '%from lineitem'")
    return row.fetchone()[0]


def first_rows_of_jobs(port: int, log: Path) -> str:
    """Milliseconds from the server's own line that a job has succeeded to the first row at the client."""
    drain = Drain(port)
    drain.run(Read("", "set sluice.route = cluster", False, None))
    took = []
    for _ in range(CLUSTER_RUNS):
        first = first_data_row(drain, CLUSTER_SQL)
        lines = re.findall(r"(\S+)Z\s+INFO .*job succeeded", log.read_text())
        succeeded = datetime.datetime.fromisoformat(plain(lines[-1])).replace(tzinfo=datetime.UTC).timestamp()
        took.append((first - succeeded) * 1000)
    return (
        f"First row from the cluster ({len(took)} runs of `{CLUSTER_SQL}`), after its job has succeeded: "
        f"median {statistics.median(took):.0f} ms, worst {max(took):.0f} ms (asked ≤ 100 ms)."
    )


def first_data_row(drain: Drain, sql: str) -> float:
    """When the first DataRow of the answer to `sql` had come; the rest is read and thrown away."""
    drain.socket.sendall(message(b"Q", sql.encode() + b"\0"))
    tag = b""
    while tag != b"D":
        header = exactly(drain.socket, 5)
        tag = header[:1]
        exactly(drain.socket, int.from_bytes(header[1:], "big") - 4)
    came = time.time()
    drain.drain()
    return came


def exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise SystemExit("the server closed the connection")
        data += more
    return data


def plain(text: str) -> str:
    """A log's word without the colours of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def mixed_sessions(sluice: server.Server, count: int, seconds: float) -> tuple[str, bool]:
    pools = [Pool() for _ in range(count)]
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=one_session, args=(sluice.port, pool, until)) for pool in pools]
    with sampling(sluice.process.pid) as samples:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    taken = sorted(second for pool in pools for second in pool.seconds)
    errors = [error for pool in pools for error in pool.errors]
    p50, p95, p99 = (taken[int(len(taken) * share)] * 1000 for share in (0.5, 0.95, 0.99))
    peak = max(kib for _, kib in samples) // MIB
    text = (
        f"{count} sessions for {seconds / 60:.0f} min, mixed (two cores, shared with the clients): {len(taken)} "
        f"queries, {len(errors)} errors; p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms, slowest "
        f"{taken[-1]:.1f} s; server at most {peak} MiB."
    )
    return "\n\n".join([text, *sorted(set(errors))[:5]]), not errors


def one_session(port: int, pool: Pool, until: float) -> None:
    weights = [weight for weight, _, _ in MIX]
    try:
        with connect(port) as connection:
            # Drivers prepare what they run often.
            connection.prepare_threshold = 5
            while time.monotonic() < until:
                _, sql, draw = random.choices(MIX, weights)[0]
                started = time.monotonic()
                connection.execute(sql, draw()).fetchall()
                pool.seconds.append(time.monotonic() - started)
    except psycopg.Error as error:
        pool.errors.append(f"{type(error).__name__}: {error}".strip())


if __name__ == "__main__":
    sys.exit(main())
