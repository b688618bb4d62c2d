"""What the Python programs share: where the server is, and how a value is printed.

A value is printed with its Python type: a driver that receives another type OID or another
format builds another object, and that is what these programs look for.
"""

import os
import sys
import threading
import time
import traceback
import uuid

HOST = os.environ.get("PGHOST", "127.0.0.1")
PORT = int(os.environ.get("PGPORT", "5432"))
USER = os.environ.get("PGUSER", "postgres")
DATABASE = os.environ.get("PGDATABASE", "postgres")
PASSWORD = os.environ.get("PGPASSWORD", "")
SSLMODE = os.environ.get("PGSSLMODE", "prefer")
OPTIONS = os.environ.get("CLIENT_OPTIONS", "")

TABLES = ("region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem")

# Long enough on any machine that a cancel or a time limit arrives while it runs.
SLOW_QUERY = (
    "select count(*) from generate_series(1, 1000000) a(i), generate_series(1, 1000000) b(j)"
    " where a.i % 7 = b.j % 11"
)


# Keeps labels apart when a section runs again under other settings.
prefix = ""


def libpq_parameters():
    parameters = {"host": HOST, "port": PORT, "user": USER, "dbname": DATABASE, "sslmode": SSLMODE}
    if PASSWORD:
        parameters["password"] = PASSWORD
    if OPTIONS:
        parameters["options"] = OPTIONS
    return parameters


def typed(value):
    if isinstance(value, list):
        return "[" + ", ".join(typed(item) for item in value) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(typed(item) for item in value) + ")"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {typed(item)}" for key, item in value.items()) + "}"
    if isinstance(value, memoryview):
        return f"memoryview {bytes(value)!r}"
    if value is None:
        return "None"
    if isinstance(value, uuid.UUID):
        return f"UUID {value}"
    return f"{type(value).__name__} {value!r}"


def show(label, value):
    print(f"{prefix}{label}: {typed(value)}", flush=True)


def cancel_while(run, cancel, delay=0.5):
    """Calls `cancel` from another thread once `run` has had time to reach the server."""
    timer = threading.Timer(delay, cancel)
    timer.start()
    try:
        return run()
    finally:
        timer.join()


def sqlstate(error):
    """The SQLSTATE of any driver's exception, or None: the driver refused by itself."""
    error = getattr(error, "orig", None) or error
    for name in ("sqlstate", "pgcode"):
        if getattr(error, name, None):
            return getattr(error, name)
    first = error.args[0] if error.args else None
    if isinstance(first, dict):
        return first.get("C")
    if isinstance(first, str) and len(first) == 5:
        return first
    return None


def show_error(label, error):
    show(label, ("error", type(error).__name__, sqlstate(error)))


def attempt(label, action):
    """Shows what `action` returns, or the SQLSTATE it fails with: one failure hides no later line."""
    try:
        show(label, action())
    except Exception as error:
        show_error(label, error)
        if sqlstate(error) is None:
            print(f"{label}: {error}", file=sys.stderr)


def run_sections(connect, sections):
    """Runs each section on a connection of its own and exits with 1 if one of them raised."""
    failed = False
    for section in sections:
        started = time.monotonic()
        connection = None
        try:
            connection = connect()
            section(connection)
            connection.close()
        except Exception as error:
            failed = True
            show_error(f"section {section.__name__}", error)
            traceback.print_exc()
            if connection is not None:
                connection.close()
        print(f"{section.__name__}: {time.monotonic() - started:.1f} s", file=sys.stderr)
    sys.exit(1 if failed else 0)
