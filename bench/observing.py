"""What it costs that somebody looks on: TPC-H on executors with a viewer of the dashboard's events, and without.

The viewer reads what the pages read, tasks and one query included, and draws nothing: a browser on the same two cores
would be measured in place of the server. With `--before BINARY` the other side is a build that tells nothing at all.
Rounds alternate between both sides. Besides, the server's processor time while nobody looks and nothing runs.
"""

import contextlib
import http.client
import os
import statistics
import sys
import threading
import time
from pathlib import Path

import dataset
import machine
import options
import server
import tpch_queries
from comparison import table
from session import connect

IDLE_SECONDS = 30


@contextlib.contextmanager
def viewer(dashboard: int):
    """Reads the dashboard's events until the end; gives the bytes that came."""
    connection = http.client.HTTPConnection("127.0.0.1", dashboard)
    connection.request("GET", "/api/live?tasks=1")
    answer, seen, over = connection.getresponse(), [0], threading.Event()

    def read() -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            while not over.is_set():
                seen[0] += len(answer.read1())

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        connection.sock and connection.sock.close()


def one_round(port: int, route: str) -> float:
    with connect(port) as connection:
        connection.execute(f"SET sluice.route = {route}")
        began = time.perf_counter()
        for text in tpch_queries.texts().values():
            connection.execute(text).fetchall()
        return time.perf_counter() - began


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = options.shared_parser(__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="a build that is measured without a viewer in place of this one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--route", choices=["local", "cluster"], default="cluster")
    chosen = parser.parse_args()
    machine.pin_to(machine.CORES)
    chosen.data_dir.mkdir(parents=True, exist_ok=True)
    location = dataset.ensure(chosen.binary, chosen.data_dir, chosen.scale_factor)
    with server.running(chosen.binary, location, chosen.data_dir) as watched, server.running(
        chosen.before or chosen.binary, location, chosen.data_dir
    ) as alone:
        time.sleep(5)
        began = processor_seconds(watched.process.pid)
        time.sleep(IDLE_SECONDS)
        idle = (processor_seconds(watched.process.pid) - began) / IDLE_SECONDS
        one_round(watched.port, chosen.route), one_round(alone.port, chosen.route)
        pairs = []
        for number in range(chosen.rounds):
            def with_viewer() -> float:
                with viewer(watched.dashboard) as seen:
                    took = one_round(watched.port, chosen.route)
                    assert seen[0] > 0, "the viewer saw nothing"
                    return took

            sides = [with_viewer, lambda: one_round(alone.port, chosen.route)]
            if number % 2:
                second, first = sides[1](), sides[0]()
            else:
                first, second = sides[0](), sides[1]()
            pairs.append((first, second))
    ratios = [seen / unseen for seen, unseen in pairs]
    rows = [[str(at), f"{seen:.2f}", f"{unseen:.2f}", f"{seen / unseen:.3f}"] for at, (seen, unseen) in enumerate(pairs, 1)]
    print(table(["round", "looked on, s", "not, s", "ratio"], rows))
    print(f"\nmedian of the ratios: {statistics.median(ratios):.3f}; while nobody looks and nothing runs the server takes "
          f"{idle * 100:.2f} % of a core")
    return 0


if __name__ == "__main__":
    sys.exit(main())
