package streamhouse.suite;

import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.ForwardingAdmin;
import org.apache.kafka.clients.admin.NewTopic;

/**
 * The admin client of a test that has several brokers: where it assigns a topic's replicas to some of them, they go to
 * the process that stands for all. What it names beside them stays, and is refused.
 */
final class AssigningAdmin extends ForwardingAdmin {
    private final Set<Integer> brokers;
    private final int nodeId;

    AssigningAdmin(Map<String, Object> config, Set<Integer> brokers, int nodeId) {
        super(config);
        this.brokers = Set.copyOf(brokers);
        this.nodeId = nodeId;
    }

    @Override
    public CreateTopicsResult createTopics(Collection<NewTopic> topics, CreateTopicsOptions options) {
        return super.createTopics(topics.stream().map(this::assigned).toList(), options);
    }

    private NewTopic assigned(NewTopic topic) {
        if (topic.replicasAssignments() == null) {
            return topic;
        }
        Map<Integer, List<Integer>> assignments = new HashMap<>();
        topic.replicasAssignments().forEach((partition, replicas) -> assignments.put(partition, assigned(replicas)));
        return new NewTopic(topic.name(), assignments).configs(topic.configs());
    }

    private List<Integer> assigned(List<Integer> replicas) {
        boolean known = !replicas.isEmpty() && brokers.containsAll(replicas)
            && Set.copyOf(replicas).size() == replicas.size();
        return known ? List.of(nodeId) : replicas;
    }
}
