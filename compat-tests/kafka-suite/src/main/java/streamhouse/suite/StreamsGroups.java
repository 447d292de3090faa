package streamhouse.suite;

import java.util.List;

import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/**
 * Ends those runs of a test of Kafka Streams at once that are for streams groups (KIP-1071), which StreamHouse does not
 * have: they would wait for their time-outs. JUnit finds it among the services.
 */
public final class StreamsGroups implements BeforeEachCallback {
    /** How the tests name the parameter. */
    private static final List<String> MARKS =
        List.of("groupProtocol=streams", "STREAMS protocol", "streamsProtocolEnabled=true",
            "streamsRebalanceProtocolEnabled=true", "useNewProtocol=true");

    @Override
    public void beforeEach(ExtensionContext context) {
        String name = context.getDisplayName();
        if (MARKS.stream().anyMatch(name::contains)) {
            throw NotApplicable.because("streams groups (KIP-1071)");
        }
    }
}
