package streamhouse.suite;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.common.utils.Exit;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.discovery.DiscoverySelectors;
import org.junit.platform.launcher.Launcher;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/**
 * Runs classes of tests one after the other and says how each test ended.
 *
 * <p>Each line of standard input is a class and, behind tabs, what to run of it: {@code +id} only that, {@code -id} not
 * that. Standard output has {@code begin id}, {@code end id status milliseconds detail} and, after each class,
 * {@code done class}, with tabs between; logs and what tests print go to standard error. {@code list} as the first
 * argument names the classes of the suite in the jars that follow.
 */
public final class Worker {
    private static final String NO_SUCH_BROKER = "The manual partition assignment includes broker";

    private final PrintStream results;

    private Worker(PrintStream results) {
        this.results = results;
    }

    /** See above. */
    public static void main(String[] arguments) throws IOException {
        PrintStream results = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        System.setOut(System.err);
        if (arguments.length > 0 && arguments[0].equals("list")) {
            for (String jar : Arrays.asList(arguments).subList(1, arguments.length)) {
                Suite.classes(jar).forEach(results::println);
            }
            return;
        }
        Worker worker = new Worker(results);
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            worker.run(line.split("\t"));
        }
        // Threads that a test left behind must not keep the process.
        System.exit(0);
    }

    private void run(String[] words) {
        Set<String> only = new LinkedHashSet<>();
        Set<String> never = new LinkedHashSet<>();
        for (String word : Arrays.asList(words).subList(1, words.length)) {
            (word.startsWith("+") ? only : never).add(word.substring(1));
        }
        Selection.set(only, never);
        Launcher launcher = LauncherFactory.create();
        var request = LauncherDiscoveryRequestBuilder.request()
            .selectors(DiscoverySelectors.selectClass(words[0]))
            .build();
        launcher.execute(request, new Reporter());
        say("done", words[0]);
    }

    private void say(String... fields) {
        synchronized (results) {
            results.println(String.join("\t", fields));
        }
    }

    private final class Reporter implements TestExecutionListener {
        private final ConcurrentHashMap<String, Long> begun = new ConcurrentHashMap<>();

        @Override
        public void executionStarted(TestIdentifier test) {
            begun.put(test.getUniqueId(), System.nanoTime());
            if (test.isTest()) {
                String id = TestIds.of(test.getUniqueIdObject());
                NotApplicable.take();
                // A tool that fails ends its process, which is ours.
                Exit.setExitProcedure((code, message) -> {
                    throw new AssertionError("exit with status " + code + ": " + message);
                });
                System.err.println("=== " + id + " (" + test.getDisplayName() + ")");
                say("begin", id);
            }
        }

        @Override
        public void executionFinished(TestIdentifier test, TestExecutionResult result) {
            Throwable thrown = result.getThrowable().orElse(null);
            boolean ended = result.getStatus() == TestExecutionResult.Status.SUCCESSFUL;
            if (!test.isTest() && ended) {
                return;
            }
            if (thrown != null && describe(thrown).contains(NO_SUCH_BROKER)) {
                NotApplicable.note("needs several brokers: assigns replicas to them");
            }
            String reason = NotApplicable.take();
            String status = reason != null ? "not-applicable" : ended ? "pass" : "fail";
            if (!ended) {
                System.err.println("--- " + status + ": " + (reason == null ? "" : reason));
                if (thrown != null) {
                    thrown.printStackTrace();
                }
            }
            long nanos = System.nanoTime() - begun.getOrDefault(test.getUniqueId(), System.nanoTime());
            String detail = reason != null ? reason : thrown == null ? "" : describe(thrown);
            say("end", TestIds.of(test.getUniqueIdObject()), status,
                String.valueOf(TimeUnit.NANOSECONDS.toMillis(nanos)), detail);
        }
    }

    private static String describe(Throwable thrown) {
        Throwable cause = thrown;
        while (cause.getCause() != null && cause.getCause() != cause) {
            cause = cause.getCause();
        }
        String text = thrown == cause ? String.valueOf(thrown) : thrown + " because of " + cause;
        text = text.replaceAll("\\s+", " ");
        return text.length() > 400 ? text.substring(0, 400) : text;
    }
}
