"""The options that both benchmarks share: which binary, which data, where the results go."""

import argparse
from pathlib import Path

BENCH = Path(__file__).resolve().parent
REPOSITORY = BENCH.parent


def shared_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--scale-factor", type=scale_factor, default="1", help="TPC-H scale, as 1, 10 or 0.1")
    parser.add_argument("--binary", type=Path, default=REPOSITORY / "target/release/sluice")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=REPOSITORY / "sluice-data",
        help="holds tpch-sfS/ and the server's own files",
    )
    parser.add_argument("--disk", help="what the data lies on, for the report; detected when left out")
    parser.add_argument(
        "--results",
        type=Path,
        help="the file whose section is replaced; bench/RESULTS.md for a whole run, none for a partial one",
    )
    return parser


def scale_factor(text: str) -> str:
    """Kept as text, because the folder of the data is named after what was typed."""
    if not float(text) > 0:
        raise ValueError(text)
    return text
