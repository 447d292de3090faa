package streamhouse.suite;

import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;

import kafka.raft.KafkaRaftManager;
import kafka.server.BrokerServer;
import kafka.server.ControllerServer;
import kafka.server.KafkaApis;
import kafka.server.KafkaConfig;
import kafka.server.SharedServer;

import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.controller.Controller;
import org.apache.kafka.controller.ResultOrError;
import org.apache.kafka.coordinator.group.GroupConfig;
import org.apache.kafka.coordinator.group.GroupCoordinator;
import org.apache.kafka.metadata.BrokerState;
import org.apache.kafka.metadata.KRaftMetadataCache;
import org.apache.kafka.raft.LogOffsetMetadata;
import org.apache.kafka.raft.RaftLog;
import org.apache.kafka.server.BrokerLifecycleManager;

import static streamhouse.suite.StandIn.inside;
import static streamhouse.suite.StandIn.standIn;

/**
 * Stands in for the broker and controller objects that Kafka's tests hold, since the broker is another process.
 *
 * <p>What a client could find out is asked as a client; everything else is {@link NotApplicable}, by the name of what
 * was called. Nothing is made up.
 */
final class Facade {
    private Facade() {
    }

    /** A broker of the cluster. */
    static BrokerServer broker(Cluster cluster, KafkaConfig config) {
        int id = config.brokerId();
        var sockets = standIn(kafka.network.SocketServer.class, (call, name) -> switch (name) {
            case "boundPort" -> cluster.port();
            default -> inside(call);
        });
        var metadata = standIn(KRaftMetadataCache.class, new MetadataView(cluster));
        var logs = new LogView(cluster);
        var groups = standIn(GroupCoordinator.class, (call, name) -> switch (name) {
            case "groupMetadataTopicConfigs" -> groupMetadataTopicConfigs();
            case "groupConfig" -> groupConfig(cluster, call.getArgument(0));
            default -> inside(call);
        });
        var transactions = new TransactionsView(cluster).coordinator();
        var requests = standIn(KafkaApis.class, (call, name) -> switch (name) {
            case "clusterId" -> cluster.clusterId();
            case "metadataCache" -> metadata;
            case "isConsumerGroupProtocolEnabled" -> true;
            default -> inside(call);
        });
        var lifecycle = standIn(BrokerLifecycleManager.class, (call, name) -> switch (name) {
            // A process that started serves.
            case "initialUnfenceFuture", "initialCatchUpFuture" -> CompletableFuture.completedFuture(null);
            default -> inside(call);
        });
        var shared = standIn(SharedServer.class, (call, name) -> switch (name) {
            // The tests allow for a broker without a metadata loader, and then do not wait for it.
            case "loader" -> null;
            default -> inside(call);
        });
        return standIn(BrokerServer.class, (call, name) -> switch (name) {
            case "config" -> config;
            case "startup" -> {
                cluster.start(id);
                yield null;
            }
            case "shutdown" -> {
                cluster.stop(id);
                yield null;
            }
            case "awaitShutdown" -> null;
            case "isShutdown" -> cluster.isDown(id);
            case "brokerState" -> cluster.isDown(id) ? BrokerState.NOT_RUNNING : BrokerState.RUNNING;
            case "boundPort" -> cluster.port();
            case "clusterId" -> cluster.clusterId();
            case "dataPlaneRequestProcessor" -> requests;
            case "groupCoordinator" -> groups;
            case "lifecycleManager" -> lifecycle;
            case "logManager" -> logs.logManager();
            case "metadataCache" -> metadata;
            case "replicaManager" -> logs.replicaManager();
            case "sharedServer" -> shared;
            case "socketServer" -> sockets;
            case "transactionCoordinator" -> transactions;
            default -> inside(call);
        });
    }

    /** The controller: it knows topics, and its log has nothing that a broker would have to catch up with. */
    static ControllerServer controller(Cluster cluster) {
        var controller = standIn(Controller.class, (call, name) -> switch (name) {
            case "findTopicIds" -> CompletableFuture.completedFuture(topicIds(cluster, call.getArgument(1)));
            case "findAllTopicIds" -> CompletableFuture.completedFuture(cluster.topics());
            default -> inside(call);
        });
        var log = standIn(RaftLog.class, (call, name) -> switch (name) {
            case "endOffset" -> new LogOffsetMetadata(0);
            default -> inside(call);
        });
        var raft = standIn(KafkaRaftManager.class, (call, name) -> switch (name) {
            case "raftLog" -> log;
            default -> inside(call);
        });
        return standIn(ControllerServer.class, (call, name) -> switch (name) {
            case "clusterId" -> cluster.clusterId();
            case "controller" -> controller;
            case "raftManager" -> raft;
            default -> inside(call);
        });
    }

    private static Map<String, ResultOrError<Uuid>> topicIds(Cluster cluster, Iterable<String> names) {
        Map<String, ResultOrError<Uuid>> ids = new HashMap<>();
        for (String name : names) {
            ids.put(name, cluster.describe(name)
                .map(topic -> new ResultOrError<>(topic.topicId()))
                .orElseGet(() -> new ResultOrError<>(Errors.UNKNOWN_TOPIC_OR_PARTITION, null)));
        }
        return ids;
    }

    /** What was set for a group itself, if anything. */
    private static Optional<GroupConfig> groupConfig(Cluster cluster, String groupId) {
        Map<String, String> own = new HashMap<>();
        for (ConfigEntry entry : cluster.config(ConfigResource.Type.GROUP, groupId).entries()) {
            if (entry.source() == ConfigEntry.ConfigSource.DYNAMIC_GROUP_CONFIG) {
                own.put(entry.name(), entry.value());
            }
        }
        return own.isEmpty() ? Optional.empty() : Optional.of(new GroupConfig(own));
    }

    /** With what Kafka's tests create the topic of offsets themselves: what a broker would give it. */
    private static Properties groupMetadataTopicConfigs() {
        Properties properties = new Properties();
        properties.put("cleanup.policy", "compact");
        properties.put("compression.type", "producer");
        return properties;
    }
}
