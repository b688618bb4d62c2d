"""Asks Sluice, on both routes, and DuckDB the same random questions over TPC-H, and compares the answers.

    differential.py --port PORT --data FOLDER --seed 7 --count 200

One seed makes the same questions everywhere; `--only K` asks the K-th alone and shows the three answers. Questions keep
to what both dialects mean alike: no division of integers, the place of nulls always said, a limit only under a total
order. Numbers may differ by what floating point does; rows are compared as multisets.
"""

import argparse
import math
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
import psycopg

TABLES = {
    "region": {"r_regionkey": "int", "r_name": "text", "r_comment": "text"},
    "nation": {"n_nationkey": "int", "n_name": "text", "n_regionkey": "int", "n_comment": "text"},
    "supplier": {"s_suppkey": "int", "s_name": "text", "s_nationkey": "int", "s_acctbal": "dec", "s_phone": "text"},
    "customer": {"c_custkey": "int", "c_name": "text", "c_nationkey": "int", "c_acctbal": "dec", "c_mktsegment": "text"},
    "part": {"p_partkey": "int", "p_name": "text", "p_brand": "text", "p_size": "int", "p_retailprice": "dec", "p_container": "text"},
    "partsupp": {"ps_partkey": "int", "ps_suppkey": "int", "ps_availqty": "int", "ps_supplycost": "dec"},
    "orders": {"o_orderkey": "int", "o_custkey": "int", "o_orderstatus": "text", "o_totalprice": "dec", "o_orderdate": "date", "o_orderpriority": "text"},
    "lineitem": {
        "l_orderkey": "int", "l_partkey": "int", "l_suppkey": "int", "l_linenumber": "int", "l_quantity": "dec", "l_extendedprice": "dec",
        "l_discount": "dec", "l_returnflag": "text", "l_linestatus": "text", "l_shipdate": "date", "l_commitdate": "date", "l_shipmode": "text",
    },
}  # fmt: skip
# Columns that are joined, and how many rows of the second one of the first meets at most is small.
EDGES = [
    ("n_regionkey", "r_regionkey"), ("s_nationkey", "n_nationkey"), ("c_nationkey", "n_nationkey"), ("ps_partkey", "p_partkey"),
    ("ps_suppkey", "s_suppkey"), ("o_custkey", "c_custkey"), ("l_orderkey", "o_orderkey"), ("l_partkey", "p_partkey"),
    ("l_suppkey", "s_suppkey"), ("l_partkey", "ps_partkey"), ("s_suppkey", "c_custkey"), ("p_size", "n_nationkey"),
]  # fmt: skip
OWNER = {column: table for table, columns in TABLES.items() for column in columns}
WORDS = ["A", "BUILDING", "green", "special", "Brand#1", "1-URGENT", "MAIL", "F", "R", "the", "%", "x"]


@dataclass(frozen=True)
class Column:
    sql: str
    type: str


class Maker:
    """Makes one question from a source of chance."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.names = 0

    def name(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    def one_in(self, n: int) -> bool:
        return self.chance.randrange(n) == 0

    def question(self) -> str:
        kind = self.chance.choice(["rows", "groups", "groups", "window", "set", "top", "with"])
        if kind == "set":
            types = [self.chance.choice(["int", "text", "dec"]) for _ in range(self.chance.randint(1, 3))]
            operator = self.chance.choice(["union", "union all", "intersect", "except"])
            return f"{self.rows(types)} {operator} {self.rows(types)}"
        if kind == "top":
            inner = self.groups() if self.one_in(2) else self.rows()
            width = self.chance.randint(1, 400)
            return f"select * from ({inner}) q order by {self.total_order(inner)} limit {width}"
        if kind == "with":
            inner, types = self.named_groups()
            name = self.name("w")
            columns = [Column(f"{name}.{column}", type) for column, type in types]
            other = f" join {name} again on again.{types[0][0]} = {name}.{types[0][0]}" if self.one_in(3) else ""
            where = self.where(columns)
            return f"with {name} as ({inner}) select {', '.join(c.sql for c in columns)} from {name}{other}{where}"
        return {"rows": self.rows, "groups": self.groups, "window": self.window}[kind]()

    def total_order(self, inner: str) -> str:
        width = self.width
        return ", ".join(f"{place} {self.chance.choice(['asc', 'desc'])} nulls {self.chance.choice(['first', 'last'])}" for place in range(1, width + 1))

    def source(self) -> tuple[str, list[Column]]:
        """What stands after FROM, and its columns."""
        if self.one_in(6):
            inner, types = self.named_groups()
            name = self.name("d")
            return f"({inner}) {name}", [Column(f"{name}.{column}", type) for column, type in types]
        table = self.chance.choice(list(TABLES))
        alias = self.name("t")
        sql, columns = f"{table} {alias}", [Column(f"{alias}.{c}", t) for c, t in TABLES[table].items()]
        present = {table: alias}
        for _ in range(self.chance.choice([0, 0, 1, 1, 2, 3])):
            edges = [(a, b) for a, b in EDGES if (OWNER[a] in present) != (OWNER[b] in present)]
            if not edges:
                break
            a, b = self.chance.choice(edges)
            known, new = (a, b) if OWNER[a] in present else (b, a)
            alias = self.name("t")
            kind = self.chance.choice(["join", "join", "left join", "right join", "full join"])
            added = [Column(f"{alias}.{c}", t) for c, t in TABLES[OWNER[new]].items()]
            condition = f"{present[OWNER[known]]}.{known} = {alias}.{new}"
            if kind != "full join" and self.one_in(3):
                condition += f" and {self.simple(self.chance.choice([columns, added]))}"
            sql += f" {kind} {OWNER[new]} {alias} on {condition}"
            present[OWNER[new]] = alias
            columns += added
        return sql, columns

    def where(self, columns: list[Column], depth: int = 2) -> str:
        return f" where {self.predicate(columns, depth)}" if not self.one_in(4) else ""

    def predicate(self, columns: list[Column], depth: int) -> str:
        roll = self.chance.randrange(9)
        if depth > 0 and roll < 3:
            word = self.chance.choice(["and", "or"])
            return f"({self.predicate(columns, depth - 1)} {word} {self.predicate(columns, depth - 1)})"
        if depth > 0 and roll == 3:
            return f"not ({self.predicate(columns, depth - 1)})"
        if depth > 0 and roll == 4:
            return self.subquery(columns)
        return self.simple(columns)

    def subquery(self, columns: list[Column]) -> str:
        """A condition on the rows of another table."""
        keys = [c for c in columns if c.type == "int"]
        table = self.chance.choice(["nation", "supplier", "customer", "part", "orders"])
        alias = self.name("s")
        inner = [Column(f"{alias}.{c}", t) for c, t in TABLES[table].items()]
        key = self.chance.choice([c for c in inner if c.type == "int"])
        if not keys:
            return self.simple(columns)
        outer = self.chance.choice(keys).sql
        word = self.chance.choice(["", "not "])
        kind = self.chance.randrange(3)
        if kind == 0:
            return f"{outer} {word}in (select {key.sql} from {table} {alias} where {self.simple(inner)} and {key.sql} is not null)"
        if kind == 1:
            return f"{word}exists (select 1 from {table} {alias} where {key.sql} = {outer} and {self.simple(inner)})"
        function = self.chance.choice(["max", "min", "count"])
        return f"{outer} {self.chance.choice(['<', '>=', '<>'])} (select {function}({key.sql}) from {table} {alias} where {self.simple(inner)})"

    def simple(self, columns: list[Column]) -> str:
        column = self.chance.choice(columns)
        if self.one_in(8):
            return f"{column.sql} is {self.chance.choice(['null', 'not null'])}"
        compare = self.chance.choice(["=", "<>", "<", "<=", ">", ">="])
        if column.type == "text":
            if self.one_in(2):
                return f"{column.sql} {self.chance.choice(['like', 'not like'])} '{self.chance.choice(['%', ''])}{self.chance.choice(WORDS)}%'"
            return f"{column.sql} {compare} '{self.chance.choice(WORDS)}'"
        if self.one_in(4):
            low, high = self.constant(column.type), self.constant(column.type)
            return f"{column.sql} between {low} and {high}"
        if self.one_in(4):
            return f"{column.sql} in ({', '.join(self.constant(column.type) for _ in range(4))})"
        others = [c for c in columns if c.type == column.type and c != column]
        if others and self.one_in(4):
            return f"{column.sql} {compare} {self.chance.choice(others).sql}"
        return f"{column.sql} {compare} {self.constant(column.type)}"

    def constant(self, type: str) -> str:
        if type == "int":
            return str(self.chance.choice([0, 1, 2, 5, 10, 24, 50, 100, 500, 1499, 3000, 60000]))
        if type in ("dec", "number"):
            return self.chance.choice(["0.00", "0.05", "1.5", "24", "100.10", "1000", "5000.55", "200000"])
        if type == "date":
            return f"date '{self.chance.randint(1992, 1998)}-{self.chance.randint(1, 12):02}-{self.chance.randint(1, 28):02}'"
        return f"'{self.chance.choice(WORDS)}'"

    def expression(self, columns: list[Column], type: str) -> str:
        """Something of `type`."""
        mine = [c for c in columns if c.type == type]
        base = self.chance.choice(mine).sql if mine else self.constant(type)
        roll = self.chance.randrange(8)
        if roll < 4:
            return base
        if roll == 4:
            return f"case when {self.simple(columns)} then {base} else {self.constant(type)} end"
        if roll == 5:
            return f"coalesce({base}, {self.constant(type)})"
        if type == "int":
            texts, dates = [c.sql for c in columns if c.type == "text"], [c.sql for c in columns if c.type == "date"]
            if texts and self.one_in(2):
                return f"length({self.chance.choice(texts)})"
            if dates:
                return f"cast(extract({self.chance.choice(['year', 'month', 'day'])} from {self.chance.choice(dates)}) as int)"
            return f"({base} % {self.chance.choice([3, 7, 10])} + {self.chance.randint(0, 9)})"
        if type == "dec":
            return f"({base} * {self.chance.choice(['2', '0.5', '-1'])})"
        if type == "text":
            return self.chance.choice([f"upper({base})", f"substr({base}, 2, 4)", f"{base} || '!'", f"trim({base})", f"replace({base}, 'a', 'b')"])
        return f"({base} + interval '{self.chance.randint(1, 40)} days')::date"

    def rows(self, types: list[str] | None = None) -> str:
        source, columns = self.source()
        types = types or [self.chance.choice(["int", "text", "dec", "date"]) for _ in range(self.chance.randint(1, 4))]
        self.width = len(types)
        listed = ", ".join(f"{self.expression(columns, type)} as c{place}" for place, type in enumerate(types))
        distinct = "distinct " if self.one_in(3) else ""
        return f"select {distinct}{listed} from {source}{self.where(columns)}"

    def aggregate(self, columns: list[Column]) -> tuple[str, str]:
        numbers = [c.sql for c in columns if c.type in ("int", "dec")]
        column = self.chance.choice(columns)
        kind = self.chance.randrange(7)
        if kind == 0 or not numbers:
            return "count(*)", "int"
        if kind == 1:
            return f"count({column.sql})", "int"
        if kind == 2:
            return f"count(distinct {column.sql})", "int"
        if kind == 3:
            return f"{self.chance.choice(['min', 'max'])}({column.sql})", column.type
        if kind == 4:
            return f"avg({self.chance.choice(numbers)})", "number"
        if kind == 5:
            return f"sum({self.chance.choice(numbers)}) filter (where {self.simple(columns)})", "number"
        return f"sum({self.chance.choice(numbers)})", "number"

    def named_groups(self) -> tuple[str, list[tuple[str, str]]]:
        source, columns = self.source()
        keys = [(self.expression(columns, type), type) for type in [self.chance.choice(["int", "text", "date"]) for _ in range(self.chance.randint(1, 2))]]
        aggregates = [self.aggregate(columns) for _ in range(self.chance.randint(1, 3))]
        types = [(f"k{place}", type) for place, (_, type) in enumerate(keys)] + [(f"a{place}", type) for place, (_, type) in enumerate(aggregates)]
        listed = ", ".join(f"{sql} as {name}" for (name, _), (sql, _) in zip(types, keys + aggregates, strict=True))
        having = f" having count(*) {self.chance.choice(['>', '<='])} {self.chance.randint(1, 30)}" if self.one_in(4) else ""
        grouped = ", ".join(str(place) for place in range(1, len(keys) + 1))
        self.width = len(types)
        return f"select {listed} from {source}{self.where(columns)} group by {grouped}{having}", types

    def groups(self) -> str:
        if self.one_in(5):
            source, columns = self.source()
            aggregates = [self.aggregate(columns)[0] for _ in range(self.chance.randint(1, 4))]
            self.width = len(aggregates)
            return f"select {', '.join(f'{sql} as a{place}' for place, sql in enumerate(aggregates))} from {source}{self.where(columns)}"
        return self.named_groups()[0]

    def window(self) -> str:
        # Over the primary key, so that the order is total.
        table, key = self.chance.choice([("orders", "o_orderkey"), ("customer", "c_custkey"), ("part", "p_partkey"), ("lineitem", "l_orderkey, l_linenumber")])
        columns = [Column(c, t) for c, t in TABLES[table].items()]
        by = self.chance.choice([c.sql for c in columns if c.type in ("text", "int")])
        number = self.chance.choice([c.sql for c in columns if c.type in ("int", "dec")])
        order = f"order by {self.chance.choice(columns).sql}, {key}"
        partition = f"partition by {by} " if not self.one_in(4) else ""
        functions = [
            f"row_number() over ({partition}{order})", f"rank() over ({partition}{order})", f"sum({number}) over ({partition}{order})",
            f"count(*) over ({partition.strip()})", f"lag({number}) over ({partition}{order})", f"max({number}) over ({partition}{order} rows between 3 preceding and current row)",
            f"first_value({number}) over ({partition}{order})",
        ]  # fmt: skip
        chosen = self.chance.sample(functions, 2)
        self.width = 4
        return f"select {key.split(',')[0]} as k, {by} as b, {chosen[0]} as w0, {chosen[1]} as w1 from {table}{self.where(columns)}"


def plain(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float, Decimal)):
        return float(value)
    return str(value)


def key(row: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(f"{value:.9g}" if isinstance(value, float) else repr(value) for value in row)


def sort(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(map(plain, row)) for row in rows), key=key)


def alike(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6) or (math.isnan(a) and math.isnan(b))
    return a == b


def same(a: list[tuple[Any, ...]], b: list[tuple[Any, ...]]) -> bool:
    return len(a) == len(b) and all(len(x) == len(y) and all(map(alike, x, y)) for x, y in zip(a, b, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", required=True, help="folder of TPC-H tables in Parquet")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--only", type=int, help="ask this question alone and show its answers")
    arguments = parser.parse_args()
    oracle = duckdb.connect()
    for table in TABLES:
        oracle.execute(f"create view {table} as select * from '{arguments.data}/{table}.parquet'")
    sessions = {}
    for route in ("local", "cluster"):
        sessions[route] = psycopg.connect(f"host=127.0.0.1 port={arguments.port} user=postgres dbname=postgres", autocommit=True)
        sessions[route].execute(f"SET sluice.route = {route}")
        sessions[route].execute("SET statement_timeout = '60s'")
    # Cut into several partitions, small as it is.
    sessions["cluster"].execute("SET sluice.target_partitions = 4")
    sessions["cluster"].execute("SET sluice.broadcast_size = '64kB'")
    compared = wrong = refused = skipped = 0
    for number in range(arguments.count):
        if arguments.only is not None and number != arguments.only:
            continue
        sql = Maker(random.Random(f"{arguments.seed}/{number}")).question()
        try:
            expected = sort(oracle.execute(sql).fetchall())
        except duckdb.Error as error:
            skipped += 1
            if arguments.only is not None:
                print(sql, error, sep="\n")
            continue
        for route, session in sessions.items():
            try:
                answer = sort(session.execute(sql).fetchall())
            except psycopg.Error as error:
                if error.sqlstate == "0A000":
                    refused += 1
                    continue
                wrong += 1
                print(f"-- seed {arguments.seed}, question {number}, {route}: {error.sqlstate} {error}\n{sql};\n", file=sys.stderr)
                continue
            compared += 1
            if not same(expected, answer):
                wrong += 1
                different = [pair for pair in zip(expected, answer, strict=False) if not all(map(alike, *pair))][:3]
                print(f"-- seed {arguments.seed}, question {number}, {route}: {len(answer)} rows, DuckDB has {len(expected)}; {different}\n{sql};\n", file=sys.stderr)
    print(f"seed {arguments.seed}: {compared} answers compared, {wrong} wrong, {refused} not supported, {skipped} questions DuckDB did not answer")
    asked = 2 * (arguments.count - skipped)
    if wrong or (arguments.only is None and (refused * 20 > asked or skipped * 10 > arguments.count)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
