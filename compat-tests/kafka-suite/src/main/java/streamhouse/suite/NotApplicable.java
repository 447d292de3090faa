package streamhouse.suite;

import java.util.concurrent.atomic.AtomicReference;

/**
 * A test asks for something that no client of a broker could ask for, or that StreamHouse does not claim to have.
 *
 * <p>It is an {@link Error}, because Kafka's tests wait for conditions in loops that retry on every exception. The
 * first reason within a test is remembered as well: a test may drop what it catches and fail of the consequences.
 */
public final class NotApplicable extends Error {
    private static final AtomicReference<String> FIRST = new AtomicReference<>();

    private NotApplicable(String reason) {
        super(reason);
    }

    /** Remembers the reason; throw what is returned. */
    public static NotApplicable because(String reason) {
        FIRST.compareAndSet(null, reason);
        return new NotApplicable(reason);
    }

    /** Remembers a reason that shows only when the test is over. */
    static void note(String reason) {
        FIRST.compareAndSet(null, reason);
    }

    /** The first reason since the last call, or null. */
    static String take() {
        return FIRST.getAndSet(null);
    }
}
