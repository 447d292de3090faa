// Runs Apache Kafka's command-line tools one after the other in one JVM, so that tests pay for one start only.
//
// A request is one line of hexadecimal words separated by spaces: main class, standard input, then the arguments ("-" stands for
// the empty string). The answer is one line: exit status, standard output, standard error (hexadecimal, "-" when empty).
// Invariant: nothing but answers reaches the real standard output, whatever a tool prints and whenever it prints it.

import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

public final class ToolRunner {
    /** Thrown instead of ending the JVM when a tool exits. */
    private static final class Exited extends Error {
        final int status;

        Exited(int status) {
            super("exit " + status, null, false, false);
            this.status = status;
        }
    }

    /** A stream whose bytes go to the buffer of the tool that is running. Tools may keep a reference to it for ever. */
    private static final class Capture extends OutputStream {
        private ByteArrayOutputStream buffer = new ByteArrayOutputStream();
        private boolean closed;

        @Override
        public synchronized void write(int b) {
            if (!closed) {
                buffer.write(b);
            }
        }

        @Override
        public synchronized void write(byte[] bytes, int from, int length) {
            if (!closed) {
                buffer.write(bytes, from, length);
            }
        }

        /** Drops what follows: the JVM would have ended here. */
        synchronized void end() {
            closed = true;
        }

        synchronized byte[] take() {
            byte[] taken = buffer.toByteArray();
            buffer = new ByteArrayOutputStream();
            closed = false;
            return taken;
        }
    }

    private static final Capture out = new Capture();
    private static final Capture err = new Capture();
    private static final List<Runnable> shutdownHooks = new ArrayList<>();
    /** The status that the running tool exited with; a tool that catches Exited and exits once more cannot change it. */
    private static volatile Integer exitStatus;

    public static void main(String[] unused) throws Exception {
        PrintStream answers = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
        Exit.setExitProcedure((status, message) -> exit(status));
        Exit.setHaltProcedure((status, message) -> exit(status));
        Exit.setShutdownHookAdder((name, hook) -> {
            synchronized (shutdownHooks) {
                shutdownHooks.add(hook);
            }
        });
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            String[] words = line.split(" ");
            String[] arguments = new String[words.length - 2];
            for (int i = 0; i < arguments.length; i++) {
                arguments[i] = new String(decode(words[i + 2]), StandardCharsets.UTF_8);
            }
            int status = run(new String(decode(words[0]), StandardCharsets.UTF_8), decode(words[1]), arguments);
            System.out.flush();
            System.err.flush();
            answers.println(status + " " + encode(out.take()) + " " + encode(err.take()));
        }
    }

    private static int run(String className, byte[] input, String[] arguments) {
        InputStream realInput = System.in;
        System.setIn(new ByteArrayInputStream(input));
        int status = 0;
        exitStatus = null;
        try {
            Class.forName(className).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (InvocationTargetException thrown) {
            status = statusOf(thrown.getCause());
        } catch (ReflectiveOperationException thrown) {
            status = statusOf(thrown);
        } finally {
            System.setIn(realInput);
        }
        if (exitStatus != null) {
            status = exitStatus;
        }
        List<Runnable> hooks;
        synchronized (shutdownHooks) {
            hooks = new ArrayList<>(shutdownHooks);
            shutdownHooks.clear();
        }
        for (Runnable hook : hooks) {
            try {
                hook.run();
            } catch (Throwable thrown) {
                status = status == 0 ? statusOf(thrown) : status;
            }
        }
        return status;
    }

    private static void exit(int status) {
        if (exitStatus == null) {
            exitStatus = status;
            System.out.flush();
            System.err.flush();
            out.end();
            err.end();
        }
        throw new Exited(exitStatus);
    }

    /** The exit status that the JVM would have had: a tool's own, or 1 with the trace on standard error. */
    private static int statusOf(Throwable thrown) {
        if (thrown instanceof Exited) {
            return ((Exited) thrown).status;
        }
        StringWriter trace = new StringWriter();
        thrown.printStackTrace(new PrintWriter(trace));
        System.err.print(trace);
        return 1;
    }

    private static byte[] decode(String word) {
        return word.equals("-") ? new byte[0] : HexFormat.of().parseHex(word);
    }

    private static String encode(byte[] bytes) {
        return bytes.length == 0 ? "-" : HexFormat.of().formatHex(bytes);
    }

    private ToolRunner() {}
}
