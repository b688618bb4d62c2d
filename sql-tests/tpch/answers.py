"""Writes the reference answers of the TPC-H queries beside this file, computed by DuckDB.

An answer must come from an engine that shares no code with the one under test. The query text runs
as it stands in the file, so q11's FRACTION is 0.0001 at every scale factor.

    pip install duckdb tpchgen-cli==4.0.0
    tpchgen-cli parquet --scale-factor 0.1 --output-dir DATA_DIR
    python3 answers.py DATA_DIR OUT_DIR --scale-factor 0.1
"""

import argparse
import datetime
import decimal
import pathlib
import re

import duckdb

GENERATOR = "tpchgen 4.0.0"


def main():
    args = parse_args()
    args.out_dir.mkdir(parents=True, exist_ok=True)
    connection = connect(args.data_dir)

    answers = []
    for query in queries():
        columns, rows = run(connection, query)
        write_tsv(args.out_dir / f"{query.stem}.tsv", columns, rows)
        answers.append((query.stem, columns, rows))
        print(f"{query.stem}: {len(rows)} rows")

    write_readme(args.out_dir / "README.md", answers, args.scale_factor)
    print(f"duckdb {duckdb.__version__}, {len(answers)} answers in {args.out_dir}")


def parse_args():
    parser = argparse.ArgumentParser(description="Write the TPC-H reference answers with DuckDB.")
    parser.add_argument("data_dir", type=pathlib.Path, help="holds NAME.parquet or NAME/*.parquet for each table")
    parser.add_argument("out_dir", type=pathlib.Path, help="receives q1.tsv to q22.tsv and README.md")
    parser.add_argument("--scale-factor", default="not stated", help="recorded in README.md")
    return parser.parse_args()


def connect(data_dir):
    connection = duckdb.connect()
    for name, files in tables(data_dir):
        connection.read_parquet(files).create_view(name)
    return connection


def tables(data_dir):
    """Each table's name and files: NAME.parquet is one table, and so is the folder NAME."""
    found = {}
    for path in sorted(data_dir.iterdir()):
        if path.is_dir():
            files = [str(file) for file in sorted(path.glob("*.parquet"))]
        else:
            files = [str(path)] if path.suffix == ".parquet" else []
        if not files:
            continue
        name = path.name if path.is_dir() else path.stem
        if name in found:
            raise SystemExit(f"table {name} is both a file and a folder in {data_dir}")
        found[name] = files
    if not found:
        raise SystemExit(f"no parquet files in {data_dir}")
    return found.items()


def queries():
    here = pathlib.Path(__file__).resolve().parent
    return sorted(here.glob("q*.sql"), key=lambda path: int(re.fullmatch(r"q(\d+)", path.stem)[1]))


def run(connection, query):
    """The columns as (name, type) pairs, and the rows."""
    result = connection.execute(query.read_text(encoding="utf-8"))
    columns = [(column[0], str(column[1])) for column in result.description]
    return columns, result.fetchall()


def write_tsv(path, columns, rows):
    lines = ["\t".join(name for name, _ in columns)]
    lines += ["\t".join(text(value) for value in row) for row in rows]
    # An explicit newline keeps the bytes the same on every platform.
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def text(value):
    """A value in PostgreSQL's text format, with the escapes of COPY so that NULL stays distinct."""
    match value:
        case None:
            return r"\N"
        case bool():
            return "t" if value else "f"
        case int():
            return str(value)
        case float():
            return repr(value)
        case decimal.Decimal():
            return format(value, "f")
        case datetime.datetime():
            return value.isoformat(sep=" ")
        case datetime.date():
            return value.isoformat()
        case str():
            return value.translate(COPY_ESCAPES)
    raise TypeError(f"no text format for {type(value).__name__}")


COPY_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def write_readme(path, answers, scale_factor):
    lines = [
        "# TPC-H reference answers",
        "",
        f"- engine: duckdb {duckdb.__version__}",
        f"- generator: {GENERATOR}",
        f"- scale factor: {scale_factor}",
        "",
        "Written by `sql-tests/tpch/answers.py`. The first line of a file holds the column names. Values are",
        "in PostgreSQL's text format: NULL is `\\N`, decimals are exact, doubles have the shortest digits that",
        "read back the same.",
        "",
        "DuckDB averages and divides decimals as doubles. Compare those columns within a tolerance, and every",
        "other column exactly.",
        "",
        "| query | rows | columns that are doubles |",
        "|---|---:|---|",
    ]
    for name, columns, rows in answers:
        doubles = ", ".join(f"`{column}`" for column, kind in columns if kind == "DOUBLE")
        lines.append(f"| {name} | {len(rows)} | {doubles} |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
