"""ADBC: Arrow results built from binary COPY, parameters, and the objects of the catalog."""

from urllib.parse import quote

import pyarrow
import pyarrow.compute
from adbc_driver_postgresql import StatementOptions, dbapi

from client import DATABASE, HOST, OPTIONS, PASSWORD, PORT, SSLMODE, TABLES, USER, attempt, run_sections, show


def connect():
    password = f":{quote(PASSWORD)}" if PASSWORD else ""
    uri = f"postgresql://{quote(USER)}{password}@{HOST}:{PORT}/{quote(DATABASE)}?sslmode={SSLMODE}"
    if OPTIONS:
        uri += f"&options={quote(OPTIONS)}"
    return dbapi.connect(uri, autocommit=True)


def table_of(connection, statement, parameters=None, **options):
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_options(**options)
        cursor.execute(statement, parameters)
        return cursor.fetch_arrow_table()


def schema(table):
    return [(field.name, str(field.type)) for field in table.schema]


def results(connection):
    for name in TABLES:
        attempt(f"schema of {name}", lambda: schema(table_of(connection, f"select * from {name} limit 1")))
    whole = table_of(connection, "select o_orderkey, o_custkey, o_orderdate, o_clerk from orders")
    show("rows", whole.num_rows)
    show("sum", pyarrow.compute.sum(whole["o_orderkey"]).as_py())
    show("maximum date", pyarrow.compute.max(whole["o_orderdate"]).as_py())
    for name, expression in {
        "int2": "1::int2", "int4": "1::int4", "int8": "1::int8", "float4": "1.5::float4", "float8": "1.5::float8",
        "numeric": "1.50::numeric(10,2)", "text": "'a'::text", "varchar": "'a'::varchar", "bool": "true",
        "date": "'1996-02-29'::date", "time": "'01:02:03'::time", "timestamp": "'1996-02-29 01:02:03'::timestamp",
        "timestamptz": "'1996-02-29 01:02:03+00'::timestamptz", "interval": "interval '1 day'",
        "bytea": r"'\x00ff'::bytea", "array": "array[1,2]::int4[]", "text array": "array['a']::text[]",
        "null": "null::int4", "count": "count(*)", "sum": "sum(1::int4)", "average": "avg(1::int4)::numeric(10,2)",
    }.items():
        attempt(f"value {name}", lambda: described(table_of(connection, f"select {expression} as v")))
    # Without COPY the driver reads the rows of the extended protocol in binary.
    attempt("without copy", lambda: described(table_of(
        connection, "select n_nationkey, n_name from nation where n_nationkey < 2 order by 1",
        **{StatementOptions.USE_COPY.value: "false"})))
    attempt("decimals", lambda: described(table_of(
        connection, "select l_quantity, l_extendedprice from lineitem where l_orderkey = 1 order by l_linenumber")))
    attempt("hint", lambda: described(table_of(
        connection, "select n_nationkey from nation where n_nationkey < 4 order by 1",
        **{StatementOptions.BATCH_SIZE_HINT_BYTES.value: "16"})))


def described(table):
    return schema(table), table.to_pylist()


def parameters(connection):
    for name, statement, values in (
        ("bigint", "select n_name from nation where n_nationkey = $1", (7,)),
        ("text", "select n_nationkey from nation where n_name = $1", ("PERU",)),
        ("float", "select $1::float8 * 2 as v", (1.5,)),
        ("bool", "select not $1::bool as v", (True,)),
        ("two", "select n_name from nation where n_nationkey > $1 and n_regionkey = $2 order by 1", (5, 1)),
    ):
        attempt(f"parameter {name}", lambda: described(table_of(connection, statement, values)))
    attempt("many", lambda: many(connection))
    attempt("schema only", lambda: executed_schema(connection))


def many(connection):
    with connection.cursor() as cursor:
        batch = pyarrow.RecordBatch.from_pydict({"k": pyarrow.array([1, 2, 3], pyarrow.int64())})
        cursor.execute("select n_name from nation where n_nationkey = $1", batch)
        return cursor.fetchall()


def executed_schema(connection):
    with connection.cursor() as cursor:
        return [(field.name, str(field.type)) for field in cursor.adbc_execute_schema(
            "select o_orderkey, o_totalprice, o_orderdate, o_clerk from orders")]


def objects(connection):
    for depth in ("catalogs", "db_schemas", "tables"):
        attempt(f"objects by {depth}", lambda: tree(connection, depth=depth))
    attempt("objects", lambda: tree(connection, depth="all"))
    attempt("objects by name", lambda: tree(connection, depth="all", table_name_filter="nat%"))
    attempt("objects by column", lambda: tree(connection, depth="all", column_name_filter="%comment"))
    attempt("table types", lambda: sorted(connection.adbc_get_table_types()))
    attempt("table schema", lambda: [
        (field.name, str(field.type)) for field in connection.adbc_get_table_schema("orders", db_schema_filter="public")])
    attempt("info", lambda: sorted(
        key for key in connection.adbc_get_info() if isinstance(key, str) and key.startswith("vendor")))
    attempt("current", lambda: (connection.adbc_current_catalog, connection.adbc_current_db_schema))


def tree(connection, depth, **filters):
    if depth not in ("catalogs",):
        filters["db_schema_filter"] = "public"
    read = connection.adbc_get_objects(depth=depth, catalog_filter=DATABASE, **filters).read_all().to_pylist()
    for catalog in read:
        for space in catalog["catalog_db_schemas"] or ():
            tables = space["db_schema_tables"]
            if tables:
                # An index is a relation to this driver; which exist is the storage's business.
                tables[:] = sorted(
                    (table for table in tables if table["table_type"] == "table"), key=lambda table: table["table_name"])
    return read


def errors(connection):
    for label, statement in (("no table", "select * from no_such_table"), ("division", "select 1/0")):
        attempt(f"error {label}", lambda: table_of(connection, statement).num_rows)
    attempt("after error", lambda: table_of(connection, "select 'alive' as v").to_pylist())


run_sections(connect, (results, parameters, objects, errors))
