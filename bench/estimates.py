"""How far what is expected lies from what comes of it: rows and bytes of exchanges, memory of tasks, over TPC-H on executors.

Read from sys.estimates; within 2 is half to double. `--analyzed` runs ANALYZE first, which counts different values.
"""

import sys

import dataset
import options
import server
import tpch_queries
from comparison import table
from session import connect

OF_QUERY = """
select e.stage_id, e.what, e.predicted, e.actual, x.kind from sys.estimates e
left join sys.exchanges x on x.query_id = e.query_id and x.from_stage = e.stage_id
where e.query_id = (select query_id from sys.queries where sql not like '%sys.%' order by started_at desc limit 1)
"""


def main() -> int:
    parser = options.shared_parser(__doc__.splitlines()[0])
    parser.add_argument("--analyzed", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="tells of each that lies further off")
    parser.add_argument("--executor-memory", default=server.EXECUTOR_MEMORY)
    chosen = parser.parse_args()
    chosen.data_dir.mkdir(parents=True, exist_ok=True)
    location = dataset.ensure(chosen.binary, chosen.data_dir, chosen.scale_factor)
    counts: dict[str, list[int]] = {}
    with server.running(
        chosen.binary, location, chosen.data_dir, executor_memory=chosen.executor_memory
    ) as sluice, connect(sluice.port) as connection:
        connection.execute("SET sluice.lint = off")
        if chosen.analyzed:
            connection.execute("ANALYZE")
        connection.execute("SET sluice.route = cluster")
        for number, text in tpch_queries.texts().items():
            connection.execute(text).fetchall()
            for stage, what, predicted, actual, kind in connection.execute(OF_QUERY).fetchall():
                # What the client gets is no exchange, and what did not run has no figure.
                if (what.startswith("exchange") and kind == "result") or actual is None:
                    continue
                is_near = 0.5 <= max(predicted, 1) / max(actual, 1) <= 2
                tally = counts.setdefault(what, [0, 0])
                tally[0] += is_near
                tally[1] += 1
                if chosen.verbose and not is_near:
                    print(f"q{number} stage {stage} {what}: {predicted} expected, {actual} came ({kind})")
    rows = [[what, str(near), str(all_of), f"{100 * near / all_of:.0f} %"] for what, (near, all_of) in sorted(counts.items())]
    print(table(["what", "within 2", "of", "share"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
