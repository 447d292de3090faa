package streams;

import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.zip.CRC32;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;

import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.WindowedSerdes;

/**
 * A Kafka Streams application over the flights of 2013, exactly once, to be killed at any time.
 *
 * <pre>
 *  planes  ──────────────► table ──┐
 *  flights ┬──────────────────── join ───────────────────────────────────► joined      flight and plane
 *          ├─ by plane and route ─► repartition ─► aggregate ────────────► plane-routes a line of figures
 *          └─ by destination ─────► repartition ─► count of each day ────► departures   1, 2, 3, ...
 * </pre>
 *
 * <p>What it writes does not depend on how its tasks take turns, so that two runs can be compared record by record.
 * All flights of a plane are in one partition, so each key of {@code joined} and {@code plane-routes} sees its flights
 * in their order. Each key of {@code departures} counts from 1 on, whichever flight comes first. Nothing is cached:
 * each record in is a record out.
 *
 * <p>Arguments: bootstrap servers, directory of the state, then {@code key=value} for StreamsConfig. Standard error
 * has logs; standard output says {@code running} and {@code closed}. SIGTERM closes it. An error that no thread
 * survives ends it with status 1.
 */
public final class FlightStreams {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Duration DAY = Duration.ofDays(1);
    /** No flight is ever late, and no changelog so old that a broker would delete it. */
    private static final Duration GRACE = Duration.ofDays(36_500);
    private static final Duration CLOSE_TIMEOUT = Duration.ofSeconds(90);

    private FlightStreams() {
    }

    /** See above. */
    public static void main(String[] arguments) throws InterruptedException {
        KafkaStreams streams = new KafkaStreams(topology(), config(arguments));
        CountDownLatch failed = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            failed.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) {
                System.out.println("running");
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            System.out.println(streams.close(CLOSE_TIMEOUT) ? "closed" : "not closed in " + CLOSE_TIMEOUT);
        }));
        streams.start();
        failed.await();
        System.exit(1);
    }

    private static Properties config(String[] arguments) {
        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, "flight-streams");
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        config.put(StreamsConfig.STATE_DIR_CONFIG, arguments[1]);
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        config.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        config.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        for (int i = 2; i < arguments.length; i++) {
            String[] setting = arguments[i].split("=", 2);
            config.put(setting[0], setting[1]);
        }
        return config;
    }

    private static Topology topology() {
        StreamsBuilder builder = new StreamsBuilder();
        KTable<String, String> planes = builder.table("planes", Materialized.as("planes"));
        KStream<String, String> flights = builder.stream("flights");
        // Flights without a tail number have no plane to join, and no plane's figures to add to.
        KStream<String, String> flightsOfPlanes = flights.filter((tailNumber, flight) -> tailNumber != null);

        flightsOfPlanes
            .leftJoin(planes, (flight, plane) -> "{\"flight\":" + flight + ",\"plane\":" + plane + "}")
            .to("joined");

        flightsOfPlanes
            .selectKey((tailNumber, flight) -> tailNumber + " " + text(flight, "origin") + ">" + text(flight, "dest"))
            .groupByKey(Grouped.as("plane-routes"))
            .aggregate(() -> "0 0 0", (route, flight, figures) -> added(figures, flight), Materialized.as("plane-routes"))
            .toStream()
            .to("plane-routes");

        flights
            .groupBy((tailNumber, flight) -> text(flight, "dest"), Grouped.as("departures"))
            .windowedBy(TimeWindows.ofSizeAndGrace(DAY, GRACE))
            .count(Materialized.as("departures"))
            .toStream()
            .to("departures", Produced.with(
                WindowedSerdes.timeWindowedSerdeFrom(String.class, DAY.toMillis()), Serdes.Long()));
        return builder.build();
    }

    /** Number of flights, sum of their distances, and a checksum over all of them in their order. */
    private static String added(String figures, String flight) {
        String[] before = figures.split(" ");
        CRC32 checksum = new CRC32();
        checksum.update((before[2] + flight).getBytes(StandardCharsets.UTF_8));
        long number = Long.parseLong(before[0]) + 1;
        long distance = Long.parseLong(before[1]) + parse(flight).get("distance").asLong();
        return number + " " + distance + " " + Long.toHexString(checksum.getValue());
    }

    private static String text(String flight, String field) {
        return parse(flight).get(field).asText();
    }

    private static JsonNode parse(String flight) {
        try {
            return JSON.readTree(flight);
        } catch (JsonProcessingException error) {
            throw new UncheckedIOException(error);
        }
    }
}
