package streamhouse.suite;

import java.util.HashMap;
import java.util.Map;
import java.util.Optional;

import kafka.cluster.Partition;
import kafka.log.LogManager;
import kafka.server.ReplicaManager;

import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.server.config.ServerTopicConfigSynonyms;
import org.apache.kafka.storage.internals.log.LogCleaner;
import org.apache.kafka.storage.internals.log.LogConfig;
import org.apache.kafka.storage.internals.log.ProducerStateManagerConfig;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.mockito.invocation.InvocationOnMock;

import scala.Option;
import scala.jdk.javaapi.OptionConverters;

import static streamhouse.suite.StandIn.inside;
import static streamhouse.suite.StandIn.standIn;

/** A broker's partitions and their logs, as far as a client sees them. */
final class LogView {
    private final Cluster cluster;
    private final LogCleaner cleaner;
    private final LogManager logManager;
    private final ReplicaManager replicaManager;

    LogView(Cluster cluster) {
        this.cluster = cluster;
        this.cleaner = standIn(LogCleaner.class, (call, name) -> switch (name) {
            case "awaitCleaned" -> new Cleaning(cluster)
                .await(call.getArgument(0), call.<Long>getArgument(1), call.<Long>getArgument(2));
            default -> inside(call);
        });
        this.logManager = standIn(LogManager.class, this::logManager);
        this.replicaManager = standIn(ReplicaManager.class, this::replicaManager);
    }

    /** The log manager that a broker holds. */
    LogManager logManager() {
        return logManager;
    }

    /** The replica manager that a broker holds. */
    ReplicaManager replicaManager() {
        return replicaManager;
    }

    private Object replicaManager(InvocationOnMock call, String name) {
        return switch (name) {
            case "logManager" -> logManager;
            case "onlinePartition" -> OptionConverters.toScala(partition(call.getArgument(0)));
            case "localLog", "getLog" -> OptionConverters.toScala(log(call.getArgument(0)));
            default -> inside(call);
        };
    }

    private Object logManager(InvocationOnMock call, String name) {
        return switch (name) {
            case "cleaner" -> cleaner;
            case "getLog" -> OptionConverters.toScala(log(call.getArgument(0)));
            case "getLog$default$2", "getOrCreateLog$default$2", "getOrCreateLog$default$3" -> false;
            case "getOrCreateLog$default$5" -> Option.empty();
            case "getOrCreateLog" -> log(call.getArgument(0)).orElseGet(() -> (UnifiedLog) inside(call));
            case "initialDefaultConfig" -> new LogConfig(topicDefaults());
            case "producerStateManagerConfig" -> new ProducerStateManagerConfig(
                Integer.parseInt(cluster.brokerConfig().get("producer.id.expiration.ms").value()),
                Boolean.parseBoolean(cluster.brokerConfig().get("transaction.partition.verification.enable").value()));
            // Where Kafka's log cleaner keeps its checkpoints: a process of another kind has none.
            case "liveLogDirs" -> scala.collection.immutable.Seq$.MODULE$.empty();
            default -> inside(call);
        };
    }

    /** What the broker's configuration says for topics that do not say otherwise. */
    private Map<String, String> topicDefaults() {
        Map<String, String> defaults = new HashMap<>();
        var broker = cluster.brokerConfig();
        ServerTopicConfigSynonyms.TOPIC_CONFIG_SYNONYMS.forEach((topicKey, brokerKey) -> {
            if (broker.get(brokerKey) != null && broker.get(brokerKey).value() != null) {
                defaults.put(topicKey, broker.get(brokerKey).value());
            }
        });
        return defaults;
    }

    private Optional<Partition> partition(TopicPartition partition) {
        return cluster.partition(partition).map(found -> standIn(Partition.class, (call, name) -> switch (name) {
            case "leaderLogIfLocal" -> OptionConverters.toScala(log(partition));
            case "isLeader" -> true;
            case "leaderReplicaIdOpt", "leaderIdIfLocal" ->
                Option.apply(cluster.partition(partition).orElseThrow().leader().id());
            case "getLeaderEpoch" -> cluster.leaderEpoch(partition);
            default -> inside(call);
        }));
    }

    private Optional<UnifiedLog> log(TopicPartition partition) {
        return cluster.partition(partition).map(found -> new PartitionLog(cluster, partition).standsIn());
    }
}
