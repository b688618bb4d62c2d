"""The TPC-H files that every engine reads.

Sluice's own generator writes them once, so all engines see the same bytes and the same row groups.
"""

import subprocess
from pathlib import Path

TABLES = ("customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier")


def ensure(binary: Path, data_dir: Path, scale_factor: str) -> Path:
    """The folder with the eight Parquet files, generated if one is missing."""
    location = data_dir / f"tpch-sf{scale_factor}"
    if not is_complete(location):
        generate(binary, data_dir, scale_factor)
    if not is_complete(location):
        raise SystemExit(f"{location} does not hold all eight TPC-H tables")
    return location


def is_complete(location: Path) -> bool:
    return all(table_file(location, table).is_file() for table in TABLES)


def table_file(location: Path, table: str) -> Path:
    return location / f"{table}.parquet"


def generate(binary: Path, data_dir: Path, scale_factor: str) -> None:
    if not binary.is_file():
        raise SystemExit(f"{binary} is not built: cargo build --release, or name it with --binary")
    subprocess.run(
        [binary, "demo", "--generate-only", "--scale-factor", scale_factor, "--data-dir", data_dir],
        check=True,
    )
