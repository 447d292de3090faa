package streamhouse.suite;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * One {@code streamhouse} process over a directory of its own. It keeps its port over restarts.
 *
 * <p>None outlives this JVM, unless the JVM is killed; then whoever killed it ends the children too.
 */
final class BrokerProcess {
    private static final long START_TIMEOUT_MS = 60_000;
    private static final long STOP_TIMEOUT_MS = 60_000;
    private static final long POLL_INTERVAL_MS = 5;
    private static final Pattern ADDRESS = Pattern.compile("\"kafka\":\"([^\"]*):(\\d+)\"");
    private static final Set<Process> RUNNING = ConcurrentHashMap.newKeySet();

    static {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> RUNNING.forEach(Process::destroyForcibly)));
    }

    private Path directory;
    private Process process;
    private int port;

    /** Where clients connect to. */
    int port() {
        if (port == 0) {
            throw new IllegalStateException("streamhouse was not started");
        }
        return port;
    }

    /** Starts it with options {@code key=value}, and waits until it serves. */
    void start(List<String> options) {
        if (directory == null) {
            directory = newDirectory();
        }
        Path ready = directory.resolve("ready.json");
        List<String> command = new ArrayList<>(List.of(
            System.getProperty("suite.binary"), "start",
            "--data", directory.resolve("data").toString(),
            "--kafka", "localhost:" + port,
            "--http", "127.0.0.1:0",
            "--postgres", "127.0.0.1:0",
            "--ready-file", ready.toString()));
        options.forEach(option -> command.addAll(List.of("-o", option)));
        File log = directory.resolve("log").toFile();
        try {
            Files.deleteIfExists(ready);
            process = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(log))
                .start();
            RUNNING.add(process);
            long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(START_TIMEOUT_MS);
            while (!Files.exists(ready)) {
                if (!process.isAlive() || System.nanoTime() > deadline) {
                    throw new IllegalStateException("streamhouse did not start: " + Files.readString(log.toPath()));
                }
                TimeUnit.MILLISECONDS.sleep(POLL_INTERVAL_MS);
            }
            Matcher address = ADDRESS.matcher(Files.readString(ready));
            if (!address.find()) {
                throw new IllegalStateException("no address in " + Files.readString(ready));
            }
            port = Integer.parseInt(address.group(2));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while streamhouse starts", error);
        }
    }

    /** Asks it to stop and waits until it has. */
    void stop() {
        if (process == null) {
            return;
        }
        process.destroy();
        boolean ended = false;
        try {
            ended = process.waitFor(STOP_TIMEOUT_MS, TimeUnit.MILLISECONDS);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
        end();
        if (!ended) {
            throw new IllegalStateException("streamhouse did not stop:\n" + log());
        }
    }

    /** Ends it however it is, and removes its directory; prints its log if the test wants it. */
    void discard() {
        if (directory == null) {
            return;
        }
        end();
        if (Boolean.getBoolean("suite.logs")) {
            System.err.println("--- log of streamhouse ---\n" + log());
        }
        try (Stream<Path> files = Files.walk(directory)) {
            files.sorted(Comparator.reverseOrder()).map(Path::toFile).forEach(File::delete);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** What it has logged over all its starts. */
    String log() {
        try {
            Path log = directory.resolve("log");
            return Files.exists(log) ? Files.readString(log) : "";
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private static Path newDirectory() {
        try {
            return Files.createTempDirectory("streamhouse-suite-");
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private void end() {
        if (process != null) {
            process.destroyForcibly();
            RUNNING.remove(process);
            process = null;
        }
    }
}
