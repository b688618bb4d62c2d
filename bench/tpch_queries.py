"""The 22 queries of TPC-H, as the tests run them."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "sql-tests/tpch"
NUMBERS = range(1, 23)


def texts() -> dict[int, str]:
    return {number: (FOLDER / f"q{number}.sql").read_text() for number in NUMBERS}
