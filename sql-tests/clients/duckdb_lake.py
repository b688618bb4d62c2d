"""DuckDB on the lake of a Sluice server: runs statements, prints the rows of each as a line of JSON.

usage: duckdb_lake.py CATALOG.sqlite [DATA_PATH] -- STATEMENT...
A DATA_PATH makes the catalog, as DuckDB makes one. AWS_ENDPOINT and its kin say where S3 is.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import sys
import tempfile

import duckdb


def extension(name: str, file: str, folder: str) -> str:
    """The extension's file, under the name its entry point is looked up by."""
    package = importlib.util.find_spec(f"duckdb_extension_{name}").submodule_search_locations[0]
    found = next(pathlib.Path(package).rglob("*.duckdb_extension"))
    return shutil.copy(found, f"{folder}/{file}.duckdb_extension")


def main() -> None:
    split = sys.argv.index("--")
    catalog, *data_path = sys.argv[1:split]
    with tempfile.TemporaryDirectory() as folder:
        connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
        for name, file in [("sqlite", "sqlite_scanner"), ("ducklake", "ducklake")]:
            connection.execute(f"LOAD '{extension(name, file, folder)}'")
        connection.execute("SET TimeZone = 'UTC'")
        if endpoint := os.environ.get("AWS_ENDPOINT"):
            connection.execute(f"LOAD '{extension('httpfs', 'httpfs', folder)}'")
            key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
            connection.execute(
                f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', USE_SSL false, URL_STYLE 'path',"
                f" ENDPOINT '{endpoint.removeprefix('http://')}', REGION 'us-east-1')"
            )
        options = f" (DATA_PATH '{data_path[0]}', DATA_INLINING_ROW_LIMIT 0)" if data_path else ""
        connection.execute(f"ATTACH 'ducklake:sqlite:{catalog}' AS lake{options}")
        connection.execute("USE lake" if data_path else "USE lake.public")
        for statement in sys.argv[split + 1 :]:
            rows = connection.execute(statement).fetchall()
            print(json.dumps([[None if v is None else str(v) for v in row] for row in rows]))


main()
