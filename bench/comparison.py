"""From single runs to the figures one may quote: medians, ratios, the worst query, the failures.

A total covers only queries that every engine in it finished; otherwise one would look fast for having
failed.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

Pair = tuple[str, str]

# Whose time is divided by whose.
RATIOS: tuple[Pair, ...] = (("local", "datafusion"), ("cluster", "local"), ("local", "duckdb"))

# The first of these that took part says how many rows are right; Sluice never judges itself.
ROW_COUNT_JUDGES = ("duckdb", "datafusion", "local", "cluster")


@dataclass
class Record:
    """What one engine did with one query; the times are those of the counted rounds, in order."""

    seconds: list[float] = field(default_factory=list)
    rows: int | None = None
    failure: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass
class Comparison:
    engines: list[str]
    records: dict[str, dict[str, Record]]
    """By query, then by engine."""
    incidents: list[str] = field(default_factory=list)
    """What went wrong outside any one query."""

    def failures(self) -> list[str]:
        failed = [
            f"{query} on {engine}: {record.failure}"
            for query, by_engine in self.records.items()
            for engine, record in by_engine.items()
            if record.failure
        ]
        return failed + self.row_count_mismatches() + self.incidents

    def row_count_mismatches(self) -> list[str]:
        mismatches = []
        for query, by_engine in self.records.items():
            rows = {name: record.rows for name, record in by_engine.items() if is_finished(record)}
            judge = next((name for name in ROW_COUNT_JUDGES if name in rows), "")
            mismatches += [
                f"{query} on {engine}: {count} rows where {judge} has {rows[judge]}"
                for engine, count in rows.items()
                if count != rows[judge]
            ]
        return mismatches

    def finished_by(self, engines: Sequence[str]) -> list[str]:
        """The queries that all of these engines finished."""
        return [
            query
            for query, by_engine in self.records.items()
            if all(is_finished(by_engine[engine]) for engine in engines)
        ]

    def pairs(self) -> list[Pair]:
        return [pair for pair in RATIOS if set(pair) <= set(self.engines)]

    def ratio(self, query: str, pair: Pair) -> float:
        ours, theirs = (self.records[query][engine].median for engine in pair)
        return ours / theirs

    def round_ratios(self, pair: Pair) -> list[float]:
        """The ratio of the two totals within each round, where both met the same weather."""
        queries = self.finished_by(pair)
        ours, theirs = (self.round_totals(engine, queries) for engine in pair)
        return [one / other for one, other in zip(ours, theirs, strict=True)]

    def round_totals(self, engine: str, queries: list[str]) -> list[float]:
        rounds = zip(*(self.records[query][engine].seconds for query in queries), strict=True)
        return [sum(seconds) for seconds in rounds]

    def markdown(self) -> str:
        parts = [self.query_table()]
        if pairs := [pair for pair in self.pairs() if self.finished_by(pair)]:
            parts.append(self.pair_table(pairs))
        parts.append(self.failure_list())
        return "\n\n".join(parts)

    def query_table(self) -> str:
        header = ["query", "rows", *(f"{engine} ms" for engine in self.engines)]
        header += ["/".join(pair) for pair in self.pairs()]
        rows = [self.query_row(query) for query in self.records]
        if common := self.finished_by(self.engines):
            rows.append(self.total_row(common))
        return table(header, rows)

    def query_row(self, query: str) -> list[str]:
        by_engine = self.records[query]
        rows = next((str(record.rows) for record in by_engine.values() if is_finished(record)), "–")
        times = [
            milliseconds(by_engine[engine].median) if is_finished(by_engine[engine]) else "failed"
            for engine in self.engines
        ]
        ratios = [
            f"{self.ratio(query, pair):.2f}" if query in self.finished_by(pair) else "–"
            for pair in self.pairs()
        ]
        return [query, rows, *times, *ratios]

    def total_row(self, queries: list[str]) -> list[str]:
        totals = {
            engine: sum(self.records[query][engine].median for query in queries) for engine in self.engines
        }
        ratios = [f"{totals[ours] / totals[theirs]:.2f}" for ours, theirs in self.pairs()]
        cells = [f"total of {len(queries)}", *map(milliseconds, totals.values()), *ratios]
        label, *figures = (f"**{cell}**" for cell in cells)
        return [label, "", *figures]

    def pair_table(self, pairs: list[Pair]) -> str:
        header = ["totals compared", "queries", "min of rounds", "median", "max of rounds", "worst query"]
        return table(header, [self.pair_row(pair) for pair in pairs])

    def pair_row(self, pair: Pair) -> list[str]:
        queries = self.finished_by(pair)
        ratios = self.round_ratios(pair)
        spread = [f"{figure:.2f}" for figure in (min(ratios), statistics.median(ratios), max(ratios))]
        worst = max(queries, key=lambda query: self.ratio(query, pair))
        return ["/".join(pair), str(len(queries)), *spread, f"{worst} ({self.ratio(worst, pair):.2f})"]

    def failure_list(self) -> str:
        failures = self.failures()
        if not failures:
            return "Failures: none."
        return "\n".join([f"Failures: {len(failures)}.", "", *(f"- {failure}" for failure in failures)])


def is_finished(record: Record) -> bool:
    return record.failure is None and bool(record.seconds)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table that also reads well in a terminal: first column left, figures right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells: list[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    return "\n".join(line(cells) for cells in [header, rule, *rows])
