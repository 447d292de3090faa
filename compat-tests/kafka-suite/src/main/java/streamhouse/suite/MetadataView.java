package streamhouse.suite;

import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Properties;

import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.metadata.LeaderAndIsr;
import org.mockito.invocation.InvocationOnMock;

import static streamhouse.suite.StandIn.inside;

/** A broker's metadata cache, as far as a client sees it. */
final class MetadataView implements StandIn.Reply {
    private final Cluster cluster;

    MetadataView(Cluster cluster) {
        this.cluster = cluster;
    }

    @Override
    public Object to(InvocationOnMock call, String name) throws Throwable {
        return switch (name) {
            case "numPartitions" -> cluster.describe(call.getArgument(0)).map(topic -> topic.partitions().size());
            case "contains" -> call.getArgument(0) instanceof TopicPartition partition
                ? cluster.partition(partition).isPresent()
                : cluster.describe(call.getArgument(0)).isPresent();
            case "getLeaderAndIsr" -> leaderAndIsr(new TopicPartition(call.getArgument(0), call.getArgument(1)));
            case "getPartitionLeaderEndpoint" ->
                cluster.partition(new TopicPartition(call.getArgument(0), call.getArgument(1)))
                    .map(TopicPartitionInfo::leader);
            case "getTopicId" ->
                cluster.describe(call.getArgument(0)).map(TopicDescription::topicId).orElse(Uuid.ZERO_UUID);
            case "getAllTopics" -> new HashSet<>(cluster.topics().keySet());
            case "hasAliveBroker" -> {
                int id = call.getArgument(0);
                yield cluster.brokers().containsKey(id) && !cluster.isDown(id);
            }
            case "topicConfig" -> config(new ConfigResource(ConfigResource.Type.TOPIC, call.getArgument(0)));
            case "config" -> config(call.getArgument(0));
            default -> inside(call);
        };
    }

    private Optional<LeaderAndIsr> leaderAndIsr(TopicPartition partition) {
        return cluster.partition(partition).filter(info -> info.leader() != null).map(info -> {
            List<Integer> isr = info.isr().stream().map(Node::id).toList();
            int epoch = cluster.leaderEpoch(partition);
            return new LeaderAndIsr(
                info.leader().id(), epoch, isr, org.apache.kafka.metadata.LeaderRecoveryState.RECOVERED, epoch);
        });
    }

    /** What was set for the resource itself. */
    private Properties config(ConfigResource resource) throws Exception {
        Properties properties = new Properties();
        for (ConfigEntry entry : cluster.admin().describeConfigs(List.of(resource)).all().get()
            .get(resource).entries()) {
            switch (entry.source()) {
                case DYNAMIC_TOPIC_CONFIG, DYNAMIC_BROKER_CONFIG, DYNAMIC_DEFAULT_BROKER_CONFIG,
                    DYNAMIC_GROUP_CONFIG, DYNAMIC_CLIENT_METRICS_CONFIG ->
                    properties.put(entry.name(), entry.value());
                default -> { }
            }
        }
        return properties;
    }
}
