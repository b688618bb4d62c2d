import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

/** pgjdbc: DatabaseMetaData, portals of a fetch size, the switch to named binary statements, cancel. */
class Jdbc {
    static final List<String> TABLES =
            List.of("region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem");
    static final String SLOW_QUERY =
            "select count(*) from generate_series(1, 1000000) a(i), generate_series(1, 1000000) b(j) where a.i % 7 = b.j % 11";

    interface Action {
        Object run() throws Exception;
    }

    interface Section {
        void run(Connection connection) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        boolean failed = false;
        Map<String, Section> sections = new LinkedHashMap<>();
        sections.put("metadata", Jdbc::metadata);
        sections.put("values", Jdbc::values);
        sections.put("prepared", Jdbc::prepared);
        sections.put("parameters", Jdbc::parameters);
        sections.put("fetch", Jdbc::fetch);
        sections.put("transactions", Jdbc::transactions);
        sections.put("limits", Jdbc::limits);
        sections.put("copy", Jdbc::copy);
        for (var section : sections.entrySet()) {
            try (Connection connection = connect(Map.of())) {
                section.getValue().run(connection);
            } catch (Exception error) {
                failed = true;
                show("section " + section.getKey(), code(error));
                error.printStackTrace();
            }
        }
        for (String mode : List.of("simple", "extendedForPrepared", "extendedCacheEverything")) {
            attempt("query mode " + mode, () -> {
                try (Connection connection = connect(Map.of("preferQueryMode", mode))) {
                    return query(connection, "select n_nationkey, n_name from nation where n_nationkey < ? order by 1", 3L);
                }
            });
        }
        System.exit(failed ? 1 : 0);
    }

    static Connection connect(Map<String, String> extra) throws SQLException {
        var properties = new Properties();
        properties.putAll(extra);
        properties.setProperty("user", environment("PGUSER", "postgres"));
        properties.setProperty("password", environment("PGPASSWORD", ""));
        properties.setProperty("sslmode", environment("PGSSLMODE", "prefer"));
        String options = environment("CLIENT_OPTIONS", "");
        if (!options.isEmpty()) properties.setProperty("options", options);
        return DriverManager.getConnection(
                "jdbc:postgresql://" + environment("PGHOST", "127.0.0.1") + ":" + environment("PGPORT", "5432") + "/"
                        + environment("PGDATABASE", "postgres"),
                properties);
    }

    static String environment(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    static String typed(Object value) throws SQLException {
        if (value == null) return "null";
        if (value instanceof List<?> list) {
            var parts = new StringJoiner(", ", "[", "]");
            for (Object item : list) parts.add(typed(item));
            return parts.toString();
        }
        if (value instanceof byte[] bytes) return "bytes " + HexFormat.of().formatHex(bytes);
        if (value instanceof Array array) {
            return "array of " + array.getBaseTypeName() + " " + typed(Arrays.asList((Object[]) array.getArray()));
        }
        return value.getClass().getSimpleName() + " " + value.toString().replace("\n", "\\n");
    }

    static void show(String label, Object value) throws SQLException {
        System.out.println(label + ": " + typed(value));
    }

    static void attempt(String label, Action action) throws SQLException {
        Object value;
        try {
            value = action.run();
        } catch (SQLException error) {
            value = List.of("error", code(error));
            System.err.println(label + ": " + error);
        } catch (Exception error) {
            value = List.of("error", error.getClass().getSimpleName());
            System.err.println(label + ": " + error);
        }
        show(label, value);
    }

    static String code(Exception error) {
        return error instanceof SQLException sql ? String.valueOf(sql.getSQLState()) : error.getClass().getSimpleName();
    }

    static List<Object> rows(ResultSet results, String... columns) throws SQLException {
        var rows = new ArrayList<Object>();
        int width = columns.length == 0 ? results.getMetaData().getColumnCount() : columns.length;
        while (results.next()) {
            var row = new ArrayList<Object>();
            for (int column = 1; column <= width; column++) {
                row.add(columns.length == 0 ? results.getObject(column) : results.getObject(columns[column - 1]));
            }
            rows.add(row);
        }
        results.close();
        return rows;
    }

    static List<Object> query(Connection connection, String text, Object... values) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(text)) {
            for (int index = 0; index < values.length; index++) statement.setObject(index + 1, values[index]);
            return rows(statement.executeQuery());
        }
    }

    static void metadata(Connection connection) throws SQLException {
        DatabaseMetaData data = connection.getMetaData();
        show("product", List.of(data.getDatabaseProductName(), data.getDatabaseMajorVersion()));
        attempt("catalogs", () -> rows(data.getCatalogs()).stream().anyMatch(row -> row.equals(List.of("postgres"))));
        attempt("schemas", () -> rows(data.getSchemas(null, "public")));
        attempt("table types", () -> rows(data.getTableTypes()));
        attempt("tables", () -> rows(data.getTables(null, "public", "%", new String[] {"TABLE"})));
        attempt("tables by name", () -> rows(data.getTables("postgres", "public", "n%", null)).stream()
                .filter(row -> !row.toString().contains("INDEX")).toList());
        attempt("views", () -> rows(data.getTables(null, "public", "%", new String[] {"VIEW"})));
        for (String table : TABLES) {
            attempt("columns of " + table, () -> rows(data.getColumns(null, "public", table, "%")));
            attempt("primary key of " + table, () -> rows(data.getPrimaryKeys(null, "public", table)));
            // Pages and cardinality are statistics of each server's storage.
            attempt("index of " + table, () -> rows(data.getIndexInfo(null, "public", table, true, true),
                    "TABLE_SCHEM", "TABLE_NAME", "NON_UNIQUE", "INDEX_NAME", "ORDINAL_POSITION", "COLUMN_NAME", "ASC_OR_DESC"));
            attempt("imported keys of " + table, () -> rows(data.getImportedKeys(null, "public", table)));
            attempt("exported keys of " + table, () -> rows(data.getExportedKeys(null, "public", table)));
            attempt("best row of " + table, () -> rows(data.getBestRowIdentifier(null, "public", table, 0, true)));
            attempt("version columns of " + table, () -> rows(data.getVersionColumns(null, "public", table)));
        }
        attempt("column by name", () -> rows(data.getColumns(null, null, "nation", "n\\_n%")));
        attempt("cross reference", () -> rows(data.getCrossReference(null, "public", "region", null, "public", "nation")));
        attempt("table privileges", () -> rows(data.getTablePrivileges(null, "public", "nation")).size() > 0);
        attempt("column privileges", () -> rows(data.getColumnPrivileges(null, "public", "nation", "n_name")).size() > 0);
        attempt("procedures", () -> rows(data.getProcedures(null, "public", "%")));
        attempt("functions", () -> rows(data.getFunctions(null, "public", "%")));
        attempt("function columns", () -> rows(data.getFunctionColumns(null, "public", "%", "%")));
        attempt("user types", () -> rows(data.getUDTs(null, "public", "%", null)));
        var common = Set.of("bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "bpchar", "date",
                "time", "timestamp", "timestamptz", "bytea", "interval", "json", "jsonb", "uuid", "name", "oid");
        attempt("types", () -> {
            var names = new TreeMap<String, Object>();
            for (Object row : rows(data.getTypeInfo())) {
                var name = (String) ((List<?>) row).get(0);
                if (common.contains(name)) names.put(name, ((List<?>) row).subList(0, 3));
            }
            return new ArrayList<>(names.values());
        });
        attempt("client information", () -> rows(data.getClientInfoProperties()));
        attempt("functions known", () -> List.of(data.getNumericFunctions(), data.getSystemFunctions()));
        attempt("keywords", () -> !data.getSQLKeywords().isEmpty());
        attempt("name length", () -> data.getMaxColumnNameLength());
        attempt("user", () -> data.getUserName());
        attempt("isolation", () -> connection.getTransactionIsolation());
        attempt("schema", () -> connection.getSchema());
        attempt("catalog", () -> connection.getCatalog());
        attempt("set schema", () -> {
            connection.setSchema("information_schema");
            Object schema = connection.getSchema();
            connection.setSchema("public");
            return schema;
        });
        attempt("valid", () -> connection.isValid(5));
        attempt("application", () -> {
            connection.setClientInfo("ApplicationName", "jdbc test");
            return List.of(connection.getClientInfo("ApplicationName"), query(connection, "show application_name"));
        });
    }

    static void values(Connection connection) throws SQLException {
        for (String expression : List.of("1::int2", "1::int4", "1::int8", "1.5::float4", "1.5::float8", "1.50::numeric(10,2)",
                "'a'::text", "'a'::varchar(3)", "'a'::char(3)", "'a'::name", "true", "'\\x00ff'::bytea", "'1996-02-29'::date",
                "'01:02:03'::time", "'1996-02-29 01:02:03.5'::timestamp", "'1996-02-29 01:02:03+00'::timestamptz",
                "interval '1 day'", "'{\"a\":1}'::jsonb", "42::oid", "array[1,2]::int4[]", "array[1,2]::int8[]",
                "array['a',null]::text[]", "null::int4", "null", "'untyped'", "count(*)", "sum(1::int4)", "sum(1::int8)",
                "avg(1::float8)", "sum(1.5::numeric(10,2))", "now() is null", "current_date is null")) {
            attempt("value " + expression, () -> {
                try (Statement statement = connection.createStatement()) {
                    ResultSet results = statement.executeQuery("select " + expression + " as v");
                    ResultSetMetaData data = results.getMetaData();
                    results.next();
                    var row = new ArrayList<Object>();
                    row.add(results.getObject(1));
                    row.addAll(List.of(data.getColumnTypeName(1), data.getColumnType(1), data.getPrecision(1), data.getScale(1),
                            data.getColumnDisplaySize(1), data.getColumnClassName(1), data.isSigned(1)));
                    return row;
                }
            });
        }
        for (String table : TABLES) {
            attempt("result of " + table, () -> {
                try (Statement statement = connection.createStatement()) {
                    ResultSetMetaData data = statement.executeQuery("select * from " + table + " limit 0").getMetaData();
                    var columns = new ArrayList<Object>();
                    for (int column = 1; column <= data.getColumnCount(); column++) {
                        columns.add(List.of(data.getColumnLabel(column), data.getColumnTypeName(column), data.getPrecision(column),
                                data.getScale(column), data.getTableName(column), data.getSchemaName(column),
                                data.isNullable(column), data.isAutoIncrement(column)));
                    }
                    return columns;
                }
            });
        }
        attempt("getters", () -> {
            try (Statement statement = connection.createStatement()) {
                ResultSet results = statement.executeQuery(
                        "select o_orderkey, o_totalprice, o_orderdate, o_clerk, o_orderdate::timestamp as t from orders where o_orderkey = 1");
                results.next();
                return List.of(results.getLong(1), results.getInt(1), results.getBigDecimal(2), results.getDouble(2),
                        results.getDate(3).toString(), results.getObject(3, java.time.LocalDate.class), results.getString(4),
                        results.getTimestamp(5).toString(), results.getObject(5, java.time.LocalDateTime.class), results.wasNull());
            }
        });
        attempt("array", () -> query(connection, "select array_agg(n_name order by n_name) from nation where n_nationkey < 3"));
        attempt("array of bigint", () -> query(connection, "select array_agg(n_nationkey order by n_name) from nation where n_nationkey < 3"));
        attempt("two results", () -> {
            try (Statement statement = connection.createStatement()) {
                statement.execute("select 'a'; select 'b'");
                Object first = rows(statement.getResultSet());
                statement.getMoreResults();
                return List.of(first, rows(statement.getResultSet()));
            }
        });
        attempt("escapes", () -> query(connection, "select {fn ucase('abc')}, {d '1996-02-29'}, {fn concat('a','b')}"));
        attempt("max rows", () -> {
            try (Statement statement = connection.createStatement()) {
                statement.setMaxRows(3);
                return rows(statement.executeQuery("select n_name from nation order by 1"));
            }
        });
        attempt("scroll", () -> {
            try (Statement statement = connection.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_READ_ONLY)) {
                ResultSet results = statement.executeQuery("select n_name from nation order by 1");
                results.absolute(5);
                Object fifth = results.getObject(1);
                results.last();
                return List.of(fifth, results.getRow());
            }
        });
    }

    static void prepared(Connection connection) throws SQLException {
        // The fifth execution names the statement and asks for binary results.
        String text = "select ?::int4 as a, ?::int8 as b, ?::float8 as c, ?::numeric(12,3) as d, ?::text as e, ?::date as f,"
                + " ?::timestamp as g, ?::bool as h, ?::int2 as i, ?::float4 as j, ?::varchar as k, ?::bytea as l";
        try (PreparedStatement statement = connection.prepareStatement(text)) {
            attempt("prepared parameters", () -> {
                var names = new ArrayList<Object>();
                ParameterMetaData data = statement.getParameterMetaData();
                for (int index = 1; index <= data.getParameterCount(); index++) names.add(data.getParameterTypeName(index));
                return names;
            });
            for (int round = 0; round < 10; round++) {
                final int n = round;
                attempt("prepared " + n, () -> {
                    statement.setInt(1, n);
                    statement.setLong(2, n * 10_000_000_000L);
                    statement.setDouble(3, n / 4.0);
                    statement.setBigDecimal(4, new BigDecimal(n).movePointLeft(2));
                    statement.setString(5, "text " + n);
                    statement.setDate(6, java.sql.Date.valueOf("1996-02-0" + (n % 9 + 1)));
                    statement.setTimestamp(7, Timestamp.valueOf("1996-02-29 01:02:0" + n));
                    statement.setBoolean(8, n % 2 == 0);
                    statement.setShort(9, (short) n);
                    statement.setFloat(10, n / 2f);
                    if (n == 7) statement.setNull(11, Types.VARCHAR);
                    else statement.setString(11, "v" + n);
                    statement.setBytes(12, new byte[] {0, (byte) n});
                    return rows(statement.executeQuery());
                });
            }
        }
        try (PreparedStatement statement = connection.prepareStatement(
                "select o_orderkey, o_totalprice, o_orderdate, o_clerk, o_shippriority from orders where o_orderkey = ? and o_orderdate > ?")) {
            for (long key = 1; key <= 7; key++) {
                final long n = key;
                attempt("orders prepared " + n, () -> {
                    statement.setLong(1, n);
                    statement.setDate(2, java.sql.Date.valueOf("1992-01-01"));
                    return rows(statement.executeQuery());
                });
            }
            attempt("metadata before execute", () -> statement.getMetaData().getColumnCount());
        }
        attempt("change of type", () -> {
            try (PreparedStatement statement = connection.prepareStatement("select n_name from nation where n_nationkey = ?")) {
                var names = new ArrayList<Object>();
                for (int round = 0; round < 7; round++) {
                    statement.setInt(1, round);
                    names.addAll(rows(statement.executeQuery()));
                }
                statement.setLong(1, 8);
                names.addAll(rows(statement.executeQuery()));
                return names;
            }
        });
    }

    static void parameters(Connection connection) throws SQLException {
        Map<String, Object[]> queries = new LinkedHashMap<>();
        queries.put("select n_name from nation where n_nationkey = ?", new Object[] {7});
        queries.put("select n_nationkey from nation where n_name = ?", new Object[] {"PERU"});
        queries.put("select count(*) from orders where o_orderdate < ?", new Object[] {java.sql.Date.valueOf("1993-01-01")});
        queries.put("select count(*) from orders where o_orderdate <= ?", new Object[] {Timestamp.valueOf("1993-01-01 00:00:00")});
        queries.put("select count(*) from orders where o_orderdate >= ?", new Object[] {java.time.LocalDate.of(1998, 1, 1)});
        queries.put("select count(*) from orders where o_totalprice > ?", new Object[] {new BigDecimal("400000.5")});
        queries.put("select count(*) from orders where o_totalprice >= ?", new Object[] {400000.5});
        queries.put("select n_name from nation where n_name like ? order by 1", new Object[] {"U%"});
        queries.put("select n_name from nation order by 1 limit ? offset ?", new Object[] {2, 1});
        queries.put("select n_name from nation where n_nationkey in (?, ?) order by 1", new Object[] {1, 2L});
        queries.put("select n_name from nation where n_nationkey = any(?) order by 1",
                new Object[] {connection.createArrayOf("int8", new Object[] {1L, 2L})});
        queries.put("select n_nationkey from nation where n_name = any(?) order by 1",
                new Object[] {connection.createArrayOf("text", new Object[] {"PERU", "CHINA"})});
        queries.put("select ?", new Object[] {"text"});
        queries.put("select ? + 1::int4", new Object[] {2});
        queries.put("select ?::uuid", new Object[] {new UUID(0, 5)});
        queries.put("select case when n_nationkey > ? then ? else ? end from nation order by n_nationkey limit 2",
                new Object[] {0, "a", "b"});
        queries.put("select coalesce(?, n_name) from nation where n_nationkey = 0", new Object[] {"x"});
        queries.put("select sum(case when o_orderstatus = ? then 1::int8 else 0::int8 end) from orders", new Object[] {"F"});
        for (var entry : queries.entrySet()) {
            attempt("parameter " + entry.getKey(), () -> {
                try (PreparedStatement statement = connection.prepareStatement(entry.getKey())) {
                    Object result = null;
                    for (int round = 0; round < 6; round++) {
                        for (int index = 0; index < entry.getValue().length; index++) {
                            statement.setObject(index + 1, entry.getValue()[index]);
                        }
                        result = rows(statement.executeQuery());
                    }
                    return result;
                }
            });
        }
    }

    static void fetch(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        for (int size : List.of(1, 100, 10000)) {
            attempt("fetch size " + size, () -> {
                try (PreparedStatement statement = connection.prepareStatement(
                        "select o_orderkey, o_totalprice from orders where o_orderkey < ? order by o_orderkey")) {
                    statement.setFetchSize(size);
                    statement.setLong(1, 5000);
                    ResultSet results = statement.executeQuery();
                    var total = BigDecimal.ZERO;
                    long count = 0;
                    while (results.next()) {
                        total = total.add(results.getBigDecimal(2));
                        count++;
                    }
                    return List.of(count, total);
                }
            });
        }
        attempt("all orders", () -> {
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(1000);
                ResultSet results = statement.executeQuery("select o_orderkey from orders");
                long total = 0;
                while (results.next()) total += results.getLong(1);
                return total;
            }
        });
        attempt("two portals", () -> {
            try (Statement one = connection.createStatement(); Statement two = connection.createStatement()) {
                one.setFetchSize(2);
                two.setFetchSize(3);
                ResultSet nations = one.executeQuery("select n_name from nation order by 1");
                ResultSet regions = two.executeQuery("select r_name from region order by 1");
                var pairs = new ArrayList<Object>();
                while (nations.next() && regions.next()) pairs.add(List.of(nations.getString(1), regions.getString(1)));
                return pairs;
            }
        });
        attempt("closed early", () -> {
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(10);
                return statement.executeQuery("select l_orderkey from lineitem").next();
            }
        });
        connection.rollback();
    }

    static void transactions(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        attempt("error", () -> query(connection, "select * from no_such_table"));
        attempt("after error", () -> query(connection, "select 1"));
        connection.rollback();
        attempt("savepoint", () -> {
            Savepoint savepoint = connection.setSavepoint("s");
            try {
                query(connection, "select 1/0");
            } catch (SQLException error) {
                connection.rollback(savepoint);
            }
            return query(connection, "select 'alive'");
        });
        connection.commit();
        connection.setReadOnly(true);
        connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        attempt("serializable", () -> List.of(query(connection, "show transaction_isolation"), query(connection, "show transaction_read_only")));
        connection.rollback();
        connection.setAutoCommit(true);
        for (String text : List.of("select 1/0", "select 'x'::int4", "select no_such_column from nation", "selec",
                "select no_such_function()", "select n_name, count(*) from nation")) {
            attempt("error of " + text, () -> query(connection, text));
        }
        try (Connection saved = connect(Map.of("autosave", "always"))) {
            saved.setAutoCommit(false);
            attempt("autosave error", () -> query(saved, "select 1/0"));
            attempt("autosave after", () -> query(saved, "select 'alive'"));
        }
    }

    static void limits(Connection connection) throws SQLException {
        attempt("cancel", () -> {
            try (Statement statement = connection.createStatement()) {
                var timer = new java.util.Timer(true);
                timer.schedule(new TimerTask() {
                    public void run() {
                        try {
                            statement.cancel();
                        } catch (SQLException error) {
                            error.printStackTrace();
                        }
                    }
                }, 500);
                return rows(statement.executeQuery(SLOW_QUERY));
            }
        });
        attempt("after cancel", () -> query(connection, "select 'alive'"));
        attempt("query timeout", () -> {
            try (Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(1);
                return rows(statement.executeQuery(SLOW_QUERY));
            }
        });
        attempt("after timeout", () -> query(connection, "select 'alive'"));
    }

    static void copy(Connection connection) throws SQLException {
        CopyManager copies = connection.unwrap(PGConnection.class).getCopyAPI();
        attempt("copy", () -> {
            var output = new StringWriter();
            long count = copies.copyOut("copy (select r_regionkey, r_name from region order by 1) to stdout with csv header", output);
            return List.of(count, output.toString());
        });
        attempt("copy error", () -> copies.copyOut("copy no_such_table to stdout", new StringWriter()));
        attempt("after copy error", () -> query(connection, "select 'alive'"));
    }
}
