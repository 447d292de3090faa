package streamhouse.suite;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * From a test's server properties to options of {@code streamhouse start}.
 *
 * <p>Every property reaches the broker, which refuses what it does not know, except those that {@code settings.tsv}
 * names: the reviewed list of what is left out, and of what makes a test not applicable.
 */
final class Settings {
    private static final TreeMap<String, Rule> RULES = load();

    private record Rule(boolean applies, String reason) {
    }

    private Settings() {
    }

    /** The options, as {@code key=value}. */
    static List<String> options(Map<String, String> properties) {
        List<String> options = new ArrayList<>();
        new TreeMap<>(properties).forEach((key, value) -> {
            Rule rule = rule(key);
            if (rule == null) {
                options.add(key + "=" + value);
            } else if (!rule.applies && !value.isEmpty()) {
                throw NotApplicable.because(rule.reason + ": " + key);
            }
        });
        return options;
    }

    /** The rule for a key: of its own name, or of the longest prefix, which ends in a star. */
    private static Rule rule(String key) {
        Rule exact = RULES.get(key);
        for (int length = key.length(); exact == null && length > 0; length--) {
            exact = RULES.get(key.substring(0, length) + "*");
        }
        return exact;
    }

    private static TreeMap<String, Rule> load() {
        TreeMap<String, Rule> rules = new TreeMap<>();
        try (var stream = Settings.class.getResourceAsStream("/settings.tsv");
             var lines = new BufferedReader(new InputStreamReader(stream, StandardCharsets.UTF_8))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (line.isBlank() || line.startsWith("#")) {
                    continue;
                }
                String[] fields = line.split("\t");
                boolean applies = switch (fields[1]) {
                    case "left-out" -> true;
                    case "not-applicable" -> false;
                    default -> throw new IllegalStateException("settings.tsv: " + line);
                };
                rules.put(fields[0], new Rule(applies, fields[2]));
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return rules;
    }
}
