"""How fast real drivers read the rows of lineitem, from Sluice and from PostgreSQL 15, in turns.

Here the client is most of what is measured: it makes objects of what it reads. `bench/wire` measures the server.
"""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import adbc_driver_postgresql.dbapi
import psycopg

import dataset
import machine
import options
import results
import server
from comparison import table
from session import connect
from wire import load, postgres

JDBC_JAR = Path(os.environ.get("SLUICE_TEST_PGJDBC_JAR", "/usr/share/java/postgresql.jar"))
FETCH_ROWS = 10_000
JAVA = """
import java.sql.*;
class Rows {
    public static void main(String[] a) throws Exception {
        try (Connection c = DriverManager.getConnection(a[0])) {
            c.setAutoCommit(false);
            for (int run = 0; run < 2; run++) {
                long from = System.nanoTime(), rows = 0;
                try (PreparedStatement s = c.prepareStatement(a[1])) {
                    s.setFetchSize(Integer.parseInt(a[2]));
                    ResultSet r = s.executeQuery();
                    int columns = r.getMetaData().getColumnCount();
                    while (r.next()) { rows++; for (int i = 1; i <= columns; i++) r.getObject(i); }
                }
                if (run == 1) System.out.println(rows + " " + (System.nanoTime() - from) / 1e9);
            }
        }
    }
}
"""


def main() -> int:
    parser = options.shared_parser(__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="of lineitem, about")
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not shutil.which("java") or not JDBC_JAR.is_file():
        raise SystemExit("Java and pgjdbc are needed (Debian: default-jdk-headless, libpostgresql-jdbc-java)")
    machine.pin_to(machine.CORES)
    location = dataset.ensure(chosen.binary, chosen.data_dir, chosen.scale_factor)
    # Four lines an order, and every fourth key of eight is used.
    sql = f"select * from lineitem where l_orderkey <= {chosen.rows}"
    lines = []
    with server.running(chosen.binary, location, chosen.data_dir) as sluice, postgres() as postgres_port:
        load(sluice.port, postgres_port)
        ports = {"Sluice": sluice.port, "PostgreSQL": postgres_port}
        for name, read in drivers(chosen.data_dir).items():
            taken = {server_name: [] for server_name in ports}
            rows = 0
            for _ in range(chosen.runs):
                for server_name, port in ports.items():
                    rows, seconds = read(port, sql)
                    taken[server_name].append(seconds)
            ours, theirs = (statistics.median(taken[one]) for one in ports)
            lines.append([name, str(rows), f"{rows / ours:,.0f}", f"{rows / theirs:,.0f}", f"{theirs / ours:.2f}"])
    about = machine.describe(
        chosen.data_dir,
        chosen.disk,
        [
            machine.sluice_version(chosen.binary),
            *machine.package_versions("psycopg", "adbc-driver-postgresql"),
        ],
    )
    report = "\n\n".join(
        [about, table(["driver", "rows", "Sluice, rows/s", "PostgreSQL, rows/s", "speed ratio"], lines)]
    )
    print(report)
    results.replace_section(
        chosen.results or options.BENCH / "RESULTS.md", f"Drivers, scale factor {chosen.scale_factor}", report
    )
    return 0


def drivers(folder: Path) -> dict[str, Callable[[int, str], tuple[int, float]]]:
    source = folder / "Rows.java"
    source.write_text(JAVA)
    subprocess.run(["javac", "-d", folder, source], check=True)

    def pgjdbc(port: int, sql: str) -> tuple[int, float]:
        url = f"jdbc:postgresql://127.0.0.1:{port}/postgres?user=postgres&prepareThreshold=1"
        command = ["java", "-cp", f"{folder}:{JDBC_JAR}", "Rows", url, sql, str(FETCH_ROWS)]
        rows, seconds = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        return int(rows), float(seconds)

    return {
        "psycopg 3, binary, fetched in pieces": psycopg_binary,
        f"pgjdbc, fetch size {FETCH_ROWS}": pgjdbc,
        "ADBC (binary COPY to Arrow)": adbc,
    }


def psycopg_binary(port: int, sql: str) -> tuple[int, float]:
    with connect(port) as connection, connection.transaction():
        cursor = psycopg.ServerCursor(connection, "rows")
        cursor.itersize = FETCH_ROWS
        started = time.perf_counter()
        cursor.execute(sql, binary=True)
        rows = sum(1 for _ in cursor)
        return rows, time.perf_counter() - started


def adbc(port: int, sql: str) -> tuple[int, float]:
    uri = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    with adbc_driver_postgresql.dbapi.connect(uri) as connection, connection.cursor() as cursor:
        started = time.perf_counter()
        cursor.execute(sql)
        rows = sum(batch.num_rows for batch in cursor.fetch_record_batch())
        return rows, time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
