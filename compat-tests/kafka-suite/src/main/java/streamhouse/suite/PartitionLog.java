package streamhouse.suite;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Collectors;

import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.record.internal.FileRecords.TimestampAndOffset;
import org.apache.kafka.common.requests.ListOffsetsRequest;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.LogSegment;
import org.apache.kafka.storage.internals.log.OffsetResultHolder;
import org.apache.kafka.storage.internals.log.ProducerStateEntry;
import org.apache.kafka.storage.internals.log.ProducerStateManager;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.mockito.invocation.InvocationOnMock;

import static streamhouse.suite.StandIn.inside;
import static streamhouse.suite.StandIn.standIn;

/** One partition's log, as far as a client can look into it, append to it and delete from it. */
final class PartitionLog {
    private final Cluster cluster;
    private final TopicPartition partition;
    private final Batches batches;

    PartitionLog(Cluster cluster, TopicPartition partition) {
        this.cluster = cluster;
        this.partition = partition;
        this.batches = new Batches(cluster, partition);
    }

    /** What a test holds. */
    UnifiedLog standsIn() {
        return standIn(UnifiedLog.class, this::log);
    }

    private Object log(InvocationOnMock call, String name) throws Exception {
        return switch (name) {
            case "logStartOffset" -> cluster.offset(partition, OffsetSpec.earliest()).offset();
            case "logEndOffset", "highWatermark" -> end();
            case "fetchOffsetByTimestamp" -> new OffsetResultHolder(offset(call.getArgument(0)));
            case "config" -> new LogConfig(cluster.config(ConfigResource.Type.TOPIC, partition.topic()).entries().stream()
                .filter(entry -> entry.value() != null)
                .collect(Collectors.toMap(ConfigEntry::name, ConfigEntry::value)));
            case "logSegments" -> List.of(segment());
            case "producerStateManager" -> producers();
            case "appendAsLeader" -> {
                batches.append(call.getArgument(0));
                // Where in the log that was: nobody asks.
                yield null;
            }
            // What was acknowledged is synced, and below the high watermark.
            case "flush" -> null;
            case "updateHighWatermark" -> call.getArgument(0).equals(end()) ? end() : inside(call);
            case "maybeIncrementLogStartOffset" -> {
                var records = RecordsToDelete.beforeOffset(call.<Long>getArgument(0));
                cluster.admin().deleteRecords(Map.of(partition, records)).all().get();
                yield true;
            }
            // What is below the log's start goes by itself, and no client sees when.
            case "deleteOldSegments" -> 0;
            case "roll" -> {
                new Cleaning(cluster).allow(partition);
                // The segment that Kafka begins: nobody looks at it.
                yield null;
            }
            default -> inside(call);
        };
    }

    private long end() {
        return cluster.offset(partition, OffsetSpec.latest()).offset();
    }

    private Optional<TimestampAndOffset> offset(long timestamp) {
        OffsetSpec spec = timestamp == ListOffsetsRequest.MAX_TIMESTAMP ? OffsetSpec.maxTimestamp()
            : timestamp == ListOffsetsRequest.EARLIEST_TIMESTAMP ? OffsetSpec.earliest()
            : timestamp == ListOffsetsRequest.LATEST_TIMESTAMP ? OffsetSpec.latest()
            : OffsetSpec.forTimestamp(timestamp);
        ListOffsetsResultInfo found = cluster.offset(partition, spec);
        return found.offset() < 0
            ? Optional.empty()
            : Optional.of(new TimestampAndOffset(found.timestamp(), found.offset(), found.leaderEpoch()));
    }

    /** Everything that a client can fetch, as one segment. */
    private LogSegment segment() {
        var records = batches.all();
        return standIn(LogSegment.class, (call, name) -> switch (name) {
            case "log" -> records;
            case "size" -> records.sizeInBytes();
            default -> inside(call);
        });
    }

    private ProducerStateManager producers() {
        return standIn(ProducerStateManager.class, (call, name) -> switch (name) {
            case "activeProducers" -> cluster.producers(partition).stream().collect(Collectors.toMap(
                ProducerState::producerId, producer -> new ProducerStateEntry(
                    producer.producerId(), (short) producer.producerEpoch(), producer.coordinatorEpoch().orElse(-1),
                    producer.lastTimestamp(), producer.currentTransactionStartOffset())));
            default -> inside(call);
        });
    }
}
