package streamhouse.suite;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.config.TopicConfig;

/**
 * The compaction of a partition, which Kafka's tests force and wait for: a topic's configuration makes it due, and the
 * process' log says how far it came.
 */
final class Cleaning {
    private static final long POLL_INTERVAL_MS = 50;
    private static final Pattern CLEANED = Pattern.compile("log cleaned partition=\\S+-(\\d+) .*clean_up_to=(\\d+)");

    private final Cluster cluster;

    Cleaning(Cluster cluster) {
        this.cluster = cluster;
    }

    /** What the partition has can be compacted from now on, as once Kafka has begun another segment. */
    void allow(TopicPartition partition) throws InterruptedException, ExecutionException {
        var topic = new ConfigResource(ConfigResource.Type.TOPIC, partition.topic());
        var age = new ConfigEntry(TopicConfig.SEGMENT_MS_CONFIG, "1");
        cluster.admin().incrementalAlterConfigs(Map.of(topic, List.of(new AlterConfigOp(age, AlterConfigOp.OpType.SET))))
            .all().get();
    }

    /** Whether all below the offset has been compacted in time. Of a test's topics one is compacted. */
    boolean await(TopicPartition partition, long offset, long timeoutMs) throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeoutMs);
        while (!isCleaned(partition.partition(), offset)) {
            if (System.nanoTime() > deadline) {
                return false;
            }
            TimeUnit.MILLISECONDS.sleep(POLL_INTERVAL_MS);
        }
        return true;
    }

    private boolean isCleaned(int partition, long offset) {
        return CLEANED.matcher(cluster.log()).results().anyMatch(passed ->
            Integer.parseInt(passed.group(1)) == partition && Long.parseLong(passed.group(2)) >= offset);
    }
}
