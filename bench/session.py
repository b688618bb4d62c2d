"""A session with the server, as every measurement through the wire opens it, and proof of its route."""

import psycopg


class WrongRoute(Exception):
    pass


def connect(port: int) -> psycopg.Connection:
    # No prepare_threshold: psycopg would otherwise switch to prepared statements at a query's sixth run,
    # and the rounds would not measure the same thing.
    return psycopg.connect(
        host="127.0.0.1",
        port=port,
        user="postgres",
        dbname="postgres",
        connect_timeout=10,
        autocommit=True,
        prepare_threshold=None,
    )


def confirm_route(connection: psycopg.Connection, route: str) -> None:
    """Raises unless the last query ran on `route`; a query that cannot run on the cluster stays local."""
    row = connection.execute("SHOW sluice.last_route").fetchone()
    last_route = row[0] if row else None
    if not str(last_route).startswith(route):
        raise WrongRoute(f"asked for the {route} route, ran on {last_route!r}")
