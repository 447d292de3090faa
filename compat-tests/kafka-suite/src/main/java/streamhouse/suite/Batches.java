package streamhouse.suite;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.Map;
import java.util.Optional;

import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.message.ProduceRequestData.PartitionProduceData;
import org.apache.kafka.common.message.ProduceRequestData.TopicProduceData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.internal.FileRecords;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.requests.FetchRequest;
import org.apache.kafka.common.requests.FetchResponse;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.requests.ProduceResponse;
import org.apache.kafka.server.IntegrationTestUtils;

/** A partition's batches, byte for byte as a client fetches and produces them. */
final class Batches {
    private static final int FETCH_BYTES_MAX = 1 << 20;
    private static final int TIMEOUT_MS = 30_000;

    private final Cluster cluster;
    private final TopicPartition partition;
    private final Uuid topicId;

    Batches(Cluster cluster, TopicPartition partition) {
        this.cluster = cluster;
        this.partition = partition;
        this.topicId = cluster.describe(partition.topic()).orElseThrow().topicId();
    }

    /** All of them, in a file. */
    FileRecords all() {
        long offset = cluster.offset(partition, OffsetSpec.earliest()).offset();
        long end = cluster.offset(partition, OffsetSpec.latest()).offset();
        try {
            File file = File.createTempFile("streamhouse-suite-", ".log");
            file.deleteOnExit();
            FileRecords records = FileRecords.open(file);
            while (offset < end) {
                MemoryRecords fetched = fetch(offset);
                for (RecordBatch batch : fetched.batches()) {
                    offset = batch.nextOffset();
                }
                records.append(fetched);
            }
            return records;
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** Produces them, as they are. */
    void append(MemoryRecords records) throws IOException {
        var partitions = List.of(new PartitionProduceData().setIndex(partition.partition()).setRecords(records));
        var topic = new TopicProduceData().setTopicId(topicId).setName(partition.topic()).setPartitionData(partitions);
        var data = new ProduceRequestData()
            .setAcks((short) -1)
            .setTimeoutMs(TIMEOUT_MS)
            .setTopicData(new ProduceRequestData.TopicProduceDataCollection(List.of(topic).iterator()));
        ProduceResponse response =
            IntegrationTestUtils.connectAndReceive(ProduceRequest.builder(data).build(), cluster.port());
        response.data().responses().forEach(answer -> answer.partitionResponses().forEach(
            appended -> Errors.forCode(appended.errorCode()).maybeThrow()));
    }

    private MemoryRecords fetch(long offset) throws IOException {
        short version = ApiKeys.FETCH.latestVersion();
        var from = new FetchRequest.PartitionData(topicId, offset, 0, FETCH_BYTES_MAX, Optional.empty());
        var request = FetchRequest.Builder.forConsumer(version, 0, 1, Map.of(partition, from)).build(version);
        FetchResponse response = IntegrationTestUtils.connectAndReceive(request, cluster.port());
        var data = response.responseData(Map.of(topicId, partition.topic()), version).get(partition);
        return (MemoryRecords) FetchResponse.recordsOrFail(data);
    }
}
