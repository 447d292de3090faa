package streamhouse.suite;

import org.junit.platform.engine.UniqueId;

/**
 * How the suite names tests: {@code package.Class#method}, with {@code [3]} behind for the third invocation of one
 * that has parameters or several clusters.
 */
final class TestIds {
    private TestIds() {
    }

    /** The name of a test, of a method with invocations, or of a class. */
    static String of(UniqueId unique) {
        StringBuilder id = new StringBuilder();
        for (UniqueId.Segment segment : unique.getSegments()) {
            String value = segment.getValue();
            switch (segment.getType()) {
                case "class" -> id.append(value);
                case "nested-class" -> id.append('$').append(value);
                case "method", "test-template", "test-factory" ->
                    id.append('#').append(value, 0, value.indexOf('('));
                case "test-template-invocation", "dynamic-test" ->
                    id.append('[').append(value.substring(1)).append(']');
                default -> { }
            }
        }
        return id.toString();
    }

    /** Whether an entry names the test, its method or its class. */
    static boolean covers(String entry, String id) {
        return id.startsWith(entry)
            && (id.length() == entry.length() || id.charAt(entry.length()) == '#' || id.charAt(entry.length()) == '['
                || id.charAt(entry.length()) == '$');
    }
}
