"""A Sluice server with two executors, alive for as long as a benchmark needs it.

Its state lives in a folder of its own inside the data folder: the same disk as the data, and no clash
with a server that somebody left running there.
"""

import contextlib
import http.client
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SERVER_MEMORY = "8GB"
EXECUTORS = 2
EXECUTOR_THREADS = 1
EXECUTOR_MEMORY = "4GB"

READY_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 30
LOG_TAIL_LINES = 20


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int
    state: Path
    dashboard: int
    executor_pids: list[int] = field(default_factory=list)

    def replaced_executors(self) -> int:
        """How many of the first executors are gone; a benchmark in which one died is not one."""
        return len(set(self.executor_pids) - set(children(self.process.pid)))

    def peak_memory(self) -> str:
        """The highest resident size of each process so far, beside its cap."""
        server = f"server {peak_gib(self.process.pid)} of {SERVER_MEMORY}"
        executors = " and ".join(peak_gib(pid) for pid in children(self.process.pid))
        return f"{server}, executors {executors or 'not seen'} of {EXECUTOR_MEMORY} each"


@contextlib.contextmanager
def running(
    binary: Path,
    location: Path | str,
    data_dir: Path,
    executors: int = EXECUTORS,
    environment: dict[str, str] | None = None,
    executor_memory: str = EXECUTOR_MEMORY,
    memory: str = SERVER_MEMORY,
) -> Iterator[Server]:
    """Serves `location` and yields once the server and its executors are ready."""
    if not binary.is_file():
        raise SystemExit(f"{binary} is not built: cargo build --release, or name it with --binary")
    log_file = data_dir / "bench-server.log"
    with tempfile.TemporaryDirectory(prefix="bench-", dir=data_dir) as state, log_file.open("wb") as log:
        port, dashboard_port, cluster_port = free_ports(3)
        process = subprocess.Popen(
            command(binary, location, Path(state), (port, dashboard_port, cluster_port), executors, executor_memory, memory),
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        try:
            wait_until_ready(process, dashboard_port, log_file)
            yield Server(process, port, Path(state), dashboard_port, children(process.pid))
        finally:
            stop(process)


def command(
    binary: Path,
    location: Path | str,
    state: Path,
    ports: tuple[int, int, int],
    executors: int,
    executor_memory: str,
    memory: str,
) -> list[str | Path]:
    port, dashboard_port, cluster_port = ports
    return [
        binary, "serve", location,
        "--listen", f"127.0.0.1:{port}",
        "--dashboard", f"127.0.0.1:{dashboard_port}",
        "--cluster-listen", f"127.0.0.1:{cluster_port}",
        "--data-dir", state,
        "--memory", memory,
        "--executors", str(executors),
        "--executor-threads", str(EXECUTOR_THREADS),
        "--executor-memory", executor_memory,
    ]  # fmt: skip


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on; all are held until the last is found, so no two are the same."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until_ready(process: subprocess.Popen[bytes], dashboard_port: int, log_file: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while not is_ready(dashboard_port):
        if process.poll() is not None:
            raise SystemExit(f"the server exited with {process.returncode}:\n{tail(log_file)}")
        if time.monotonic() > deadline:
            raise SystemExit(f"the server was not ready after {READY_TIMEOUT_SECONDS} s:\n{tail(log_file)}")
        time.sleep(0.1)


def is_ready(dashboard_port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", dashboard_port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def tail(log_file: Path) -> str:
    return "\n".join(log_file.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def children(parent: int) -> list[int]:
    """The processes that `parent` started and that still live: a server's executors."""
    pids = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return sorted(pid for pid in pids if status_field(pid, "PPid") == str(parent) and is_alive(pid))


def is_alive(pid: int) -> bool:
    """A process that died and that nobody has waited for yet is still listed, as a zombie."""
    return not (status_field(pid, "State") or "Z").startswith("Z")


def peak_gib(pid: int) -> str:
    peak = status_field(pid, "VmHWM")
    return f"{int(peak.split()[0]) / 1024**2:.2f} GB" if peak else "unknown"


def status_field(pid: int, name: str) -> str | None:
    """One line of a process's status; none when the process is gone or has no such line."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(f"{name}:")), None)
