import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.util.ArrayList;
import java.util.List;
import org.postgresql.PGConnection;

/**
 * pgjdbc on a table of flights, in its extended and its simple mode: what DBeaver, Metabase and other Java tools stand on.
 *
 * <p>JdbcClient HOST:PORT TABLE COUNT
 */
public final class JdbcClient {
    private static final String ENDLESS =
            "select count(*) from generate_series(1, 10000000) a, generate_series(1, 10000000) b where a.value * b.value % 7 = 8";

    private final Connection connection;
    private final String table;
    private final int count;

    private JdbcClient(Connection connection, String table, int count) {
        this.connection = connection;
        this.table = table;
        this.count = count;
    }

    public static void main(String[] arguments) throws Exception {
        for (String mode : List.of("extended", "simple")) {
            String url = "jdbc:postgresql://" + arguments[0] + "/flights?user=me&connectTimeout=20&socketTimeout=60&preferQueryMode=" + mode;
            try (Connection connection = DriverManager.getConnection(url)) {
                JdbcClient client = new JdbcClient(connection, arguments[1], Integer.parseInt(arguments[2]));
                client.metadata();
                client.queries();
                client.refused();
            }
            System.out.println("pgjdbc, " + mode + ": right");
        }
    }

    private static void check(boolean holds, Object what) {
        if (!holds) throw new AssertionError(what);
    }

    /** Rows, each as its columns joined; every column is read. */
    private static List<String> rows(ResultSet result, String... columns) throws SQLException {
        List<String> rows = new ArrayList<>();
        try (result) {
            while (result.next()) {
                for (int column = 1; column <= result.getMetaData().getColumnCount(); column++) result.getObject(column);
                List<String> cells = new ArrayList<>();
                for (String column : columns) cells.add(result.getString(column));
                rows.add(String.join("|", cells));
            }
        }
        return rows;
    }

    private void metadata() throws SQLException {
        var metadata = connection.getMetaData();
        check(rows(metadata.getCatalogs(), "TABLE_CAT").equals(List.of("flights")), "catalogs");
        check(rows(metadata.getSchemas(), "TABLE_SCHEM").contains("public"), "schemas");
        check(rows(metadata.getTables(null, "public", table, new String[] {"TABLE"}), "TABLE_NAME").equals(List.of(table)), "tables");
        List<String> columns = rows(metadata.getColumns(null, "public", table, "%"), "COLUMN_NAME", "TYPE_NAME");
        check(columns.containsAll(List.of("carrier|text", "dep_delay|int8", "kafka_timestamp|timestamptz", "kafka_key|bytea")), columns);
        check(rows(metadata.getTypeInfo(), "TYPE_NAME").contains("int8"), "types");
        check(rows(metadata.getPrimaryKeys(null, "public", table)).isEmpty(), "primary keys");
        check(rows(metadata.getImportedKeys(null, "public", table)).isEmpty(), "imported keys");
        check(rows(metadata.getExportedKeys(null, "public", table)).isEmpty(), "exported keys");
        check(rows(metadata.getIndexInfo(null, "public", table, false, false)).isEmpty(), "indexes");
        check(rows(metadata.getBestRowIdentifier(null, "public", table, 0, true)).isEmpty(), "identifiers");
        check(!rows(metadata.getFunctions(null, null, "lower"), "FUNCTION_NAME").isEmpty(), "functions");
        rows(metadata.getFunctionColumns(null, null, "lower", "%"), "COLUMN_NAME");
        rows(metadata.getTablePrivileges(null, "public", table), "PRIVILEGE");
        check(metadata.getSQLKeywords().contains("analyze"), "keywords");
    }

    private void queries() throws Exception {
        String sql = "select carrier, flight, dep_delay, kafka_timestamp, kafka_key from " + table
                + " where dep_delay > ? and carrier <> ? and kafka_timestamp > ? limit 3";
        try (var statement = connection.prepareStatement(sql)) {
            // After five times it is prepared on the server, and its results come in binary.
            for (int time = 0; time < 8; time++) {
                statement.setInt(1, 10);
                statement.setString(2, "ZZ");
                statement.setTimestamp(3, new Timestamp(0));
                check(rows(statement.executeQuery(), "carrier").size() == 3, time);
            }
        }
        try (var statement = connection.prepareStatement("select count(*) as n from " + table + " where carrier = any(?)")) {
            statement.setArray(1, connection.createArrayOf("text", new String[] {"ZZ", "no \"such\", carrier"}));
            check(rows(statement.executeQuery(), "n").equals(List.of("1")), "any");
        }
        connection.setAutoCommit(false);
        try (var statement = connection.prepareStatement("select flight from " + table)) {
            statement.setFetchSize(500);
            check(rows(statement.executeQuery(), "flight").size() == count, "a cursor");
        }
        connection.commit();
        connection.setAutoCommit(true);
        var copy = connection.unwrap(PGConnection.class).getCopyAPI();
        check(copy.copyOut("copy (select carrier from " + table + ") to stdout csv", new StringWriter()) == count, "copy");
    }

    private void refused() throws SQLException {
        check(state("insert into " + table + " values (1)", 0).equals("25006"), "insert");
        check(state("select nothing from " + table, 0).equals("42703"), "a column that is not there");
        check(state(ENDLESS, 1).equals("57014"), "a timeout");
        check(rows(connection.createStatement().executeQuery("select 1 as one"), "one").equals(List.of("1")), "after that");
    }

    private String state(String sql, int seconds) throws SQLException {
        try (var statement = connection.createStatement()) {
            statement.setQueryTimeout(seconds);
            statement.execute(sql);
            return "none";
        } catch (SQLException error) {
            return error.getSQLState();
        }
    }
}
