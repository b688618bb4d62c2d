"""How often the router chooses the slower route, and what that costs: its regret, over TPC-H at several scales.

Each query is timed on both routes, turn about. The regret of a query is the time on the route that the server chooses by
itself, in terms of the faster one; of all, the geometric mean.
"""

import statistics
import sys
import time

import dataset
import machine
import options
import server
import tpch_queries
from comparison import table
from session import confirm_route, connect


def timed(connection, route: str, text: str) -> float:
    connection.execute(f"SET sluice.route = {route}")
    began = time.perf_counter()
    connection.execute(text).fetchall()
    took = time.perf_counter() - began
    confirm_route(connection, route)
    return took


def chosen_route(connection, text: str) -> str:
    connection.execute("SET sluice.route = auto")
    first = connection.execute(f"EXPLAIN {text}").fetchone()[0]
    return first.removeprefix("Route: ").split(":")[0]


def main() -> int:
    parser = options.shared_parser(__doc__.splitlines()[0])
    parser.add_argument("--scales", default="0.1,1,10")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", default=server.SERVER_MEMORY, help="of the server")
    parser.add_argument("--executor-memory", default=server.EXECUTOR_MEMORY)
    chosen = parser.parse_args()
    machine.pin_to(machine.CORES)
    chosen.data_dir.mkdir(parents=True, exist_ok=True)
    rows, regrets = [], []
    for scale in chosen.scales.split(","):
        location = dataset.ensure(chosen.binary, chosen.data_dir, scale)
        with server.running(
            chosen.binary, location, chosen.data_dir, memory=chosen.memory, executor_memory=chosen.executor_memory
        ) as sluice, connect(sluice.port) as connection:
            connection.execute("SET sluice.lint = off")
            for number, text in tpch_queries.texts().items():
                times = {"local": [], "cluster": []}
                for turn in range(chosen.rounds + 1):
                    for route in ("local", "cluster") if turn % 2 else ("cluster", "local"):
                        took = timed(connection, route, text)
                        if turn:
                            times[route].append(took)
                medians = {route: statistics.median(taken) for route, taken in times.items()}
                route = chosen_route(connection, text)
                regret = medians[route] / min(medians.values())
                regrets.append((scale, regret))
                rows.append([scale, f"q{number}", f"{medians['local'] * 1000:.0f}", f"{medians['cluster'] * 1000:.0f}", route, f"{regret:.2f}"])
    print(table(["SF", "query", "local, ms", "cluster, ms", "chosen", "regret"], rows))
    for scale in chosen.scales.split(","):
        of_scale = [regret for at, regret in regrets if at == scale]
        print(f"\nSF {scale}: geometric mean {statistics.geometric_mean(of_scale):.3f}, worst {max(of_scale):.2f}")
    print(f"\nall: geometric mean {statistics.geometric_mean([regret for _, regret in regrets]):.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
