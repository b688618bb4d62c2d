"""How fast rows leave the server: lineitem read by a client that drains and counts, beside PostgreSQL.

The client speaks just enough of the protocol to ask, and looks at the last bytes of what it receives only,
so that the server is what is measured. Both servers answer in turns, so that a slow minute of the machine
meets both. PostgreSQL gets the same rows in an unlogged table of a cluster of its own.
"""

import contextlib
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dataset
import machine
import options
import results
import server
from comparison import table

PROGRAMS = Path(os.environ.get("SLUICE_TEST_POSTGRES_BIN", "/usr/lib/postgresql/15/bin"))
PROTOCOL_3_0 = 3 << 16
READY = (b"Z\0\0\0\x05I", b"Z\0\0\0\x05T", b"Z\0\0\0\x05E")
RECEIVE_BYTES = 1 << 20
PGBENCH_TRANSACTIONS = 5000
PGBENCH_SCRIPT = "\\set x random(1, 100000)\nSELECT :x::int + 1;\n"


@dataclass
class Read:
    """A way to read the table, and the share of PostgreSQL's speed that is asked for."""

    name: str
    sql: str
    is_binary: bool
    asked: float | None


READS = [
    Read("extended protocol, binary", "select * from lineitem", True, 1.2),
    Read("simple protocol, text", "select * from lineitem", False, None),
    Read("COPY, binary", "copy (select * from lineitem) to stdout (format binary)", False, 1.5),
    Read("COPY, text", "copy (select * from lineitem) to stdout", False, 1.0),
]


class Drain:
    """A session that throws away what it is sent."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = memoryview(bytearray(RECEIVE_BYTES))
        body = struct.pack("!I", PROTOCOL_3_0) + b"user\0postgres\0database\0postgres\0\0"
        self.socket.sendall(struct.pack("!I", len(body) + 4) + body)
        self.drain()

    def drain(self) -> tuple[int, float]:
        """Bytes up to ReadyForQuery, and when the first ones came."""
        total, tail, first = 0, b"", 0.0
        while tail not in READY:
            received = self.socket.recv_into(self.buffer)
            if received == 0:
                raise SystemExit("the server closed the connection")
            first = first or time.perf_counter()
            total += received
            tail = (tail + bytes(self.buffer[max(0, received - 6) : received]))[-6:]
        return total, first

    def run(self, read: Read) -> tuple[float, float, int]:
        """Seconds to the last byte and to the first, and the bytes."""
        started = time.perf_counter()
        if read.is_binary:
            self.socket.sendall(
                message(b"P", b"\0" + read.sql.encode() + b"\0\0\0")
                + message(b"B", b"\0\0" + struct.pack("!HHHH", 0, 0, 1, 1))
                + message(b"D", b"P\0")
                + message(b"E", b"\0" + struct.pack("!I", 0))
                + message(b"S", b"")
            )
        else:
            self.socket.sendall(message(b"Q", read.sql.encode() + b"\0"))
        total, first = self.drain()
        return time.perf_counter() - started, first - started, total


def message(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack("!I", len(body) + 4) + body


@contextlib.contextmanager
def postgres() -> Iterator[int]:
    """A PostgreSQL 15 with its defaults, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        (port,) = server.free_ports(1)
        owner = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        data = f"{folder}/data"
        quiet = {"stdout": subprocess.DEVNULL, "cwd": "/", "check": True}
        subprocess.run([*owner, PROGRAMS / "initdb", "-D", data, "-U", "postgres", "--auth=trust"], **quiet)
        flags = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        control = [*owner, PROGRAMS / "pg_ctl", "-D", data, "-l", f"{folder}/log", "-w"]
        subprocess.run([*control, "-o", flags, "start"], **quiet)
        try:
            yield port
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)


def psql(port: int, *arguments: str, **streams: object) -> subprocess.CompletedProcess[bytes]:
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
    return subprocess.run([*command, *arguments], check=True, **streams)


def load(sluice_port: int, postgres_port: int) -> None:
    columns = psql(
        sluice_port,
        "-At",
        "-c",
        "select string_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' not null', ', ' order by attnum)"
        " from pg_attribute where attrelid = 'lineitem'::regclass",
        stdout=subprocess.PIPE,
    ).stdout.decode()
    psql(postgres_port, "-c", f"create unlogged table lineitem ({columns})")
    with subprocess.Popen(
        ["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(sluice_port), "-U", "postgres"]
        + ["-c", "copy lineitem to stdout"],
        stdout=subprocess.PIPE,
    ) as source:
        psql(postgres_port, "-c", "copy lineitem from stdin", stdin=source.stdout)
    psql(postgres_port, "-c", "vacuum analyze lineitem")


def count_cells(port: int) -> int:
    counted = psql(
        port,
        "-At",
        "-c",
        "select (select count(*) from lineitem) * count(*) from pg_attribute where attrelid = 'lineitem'::regclass",
        stdout=subprocess.PIPE,
    )
    return int(counted.stdout)


def processor_seconds(pid: int) -> float:
    """What a process has computed so far, in all its threads: here the scan, the encoder and the socket."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def small_statement(port: int) -> float:
    """The p50 of a prepared statement, in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "script.sql").write_text(PGBENCH_SCRIPT)
        subprocess.run(
            ["pgbench", "--no-vacuum", "--protocol=prepared", "--file=script.sql", "--log"]
            + [f"--transactions={PGBENCH_TRANSACTIONS}", "--host=127.0.0.1", f"--port={port}"]
            + ["--username=postgres", "postgres"],
            cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        (log,) = Path(folder).glob("pgbench_log.*")
        return statistics.median(int(line.split()[2]) for line in log.read_text().splitlines()) / 1000


def main() -> int:
    parser = options.shared_parser(__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="of each read on each server")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not shutil.which("psql") or not (PROGRAMS / "initdb").is_file():
        raise SystemExit("psql and PostgreSQL 15 are needed (Debian: postgresql-client, postgresql-15)")
    machine.pin_to(machine.CORES)
    location = dataset.ensure(chosen.binary, chosen.data_dir, chosen.scale_factor)
    rows = []
    with server.running(chosen.binary, location, chosen.data_dir) as sluice, postgres() as postgres_port:
        load(sluice.port, postgres_port)
        sessions = {"Sluice": Drain(sluice.port), "PostgreSQL": Drain(postgres_port)}
        cells = count_cells(sluice.port)
        for read in READS:
            for session in sessions.values():
                session.run(read)  # warms the caches
            taken = {name: [] for name in sessions}
            cpu = processor_seconds(sluice.process.pid)
            for _ in range(chosen.runs):
                for name, session in sessions.items():
                    taken[name].append(session.run(read))
            cpu = (processor_seconds(sluice.process.pid) - cpu) / chosen.runs
            seconds = {name: statistics.median(one[0] for one in runs) for name, runs in taken.items()}
            first = statistics.median(one[1] for one in taken["Sluice"]) * 1000
            ratio = seconds["PostgreSQL"] / seconds["Sluice"]
            ratios = [
                theirs[0] / ours[0] for ours, theirs in zip(taken["Sluice"], taken["PostgreSQL"], strict=True)
            ]
            rows.append(
                [
                    read.name,
                    f"{seconds['Sluice']:.2f}",
                    f"{seconds['PostgreSQL']:.2f}",
                    f"{ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
                    f"≥ {read.asked}" if read.asked else "",
                    f"{first:.0f}",
                    f"{cpu / cells * 1e9:.0f}",
                    f"{taken['Sluice'][0][2] / (1 << 20):.0f}",
                ]
            )
        ours, theirs = small_statement(sluice.port), small_statement(postgres_port)
    reads = table(
        ["lineitem read by", "Sluice s", "PostgreSQL s", "speed ratio (rounds)", "asked", "first byte ms", "CPU ns/cell", "MiB"],
        rows,
    )
    small = f"Prepared `SELECT $1::int + 1`, pgbench, p50: {ours:.3f} ms, PostgreSQL {theirs:.3f} ms: {ours / theirs:.1f} ×."
    about = machine.describe(chosen.data_dir, chosen.disk, [machine.sluice_version(chosen.binary)])
    report = "\n\n".join([about, reads, small])
    print(report)
    results.replace_section(
        chosen.results or options.BENCH / "RESULTS.md", f"Wire, scale factor {chosen.scale_factor}", report
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
