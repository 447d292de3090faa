package streamhouse.suite;

import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

import kafka.server.ControllerServer;
import kafka.server.KafkaBroker;
import kafka.server.KafkaConfig;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.consumer.GroupProtocol;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.network.ListenerName;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.test.ClusterInstance;
import org.apache.kafka.common.test.api.ClusterConfig;
import org.apache.kafka.common.test.api.Type;
import org.apache.kafka.server.authorizer.Authorizer;
import org.apache.kafka.server.common.Feature;
import org.apache.kafka.server.fault.FaultHandlerException;
import org.apache.kafka.test.TestUtils;

/** The cluster that a {@code @ClusterTest} is given. */
public final class Instance implements ClusterInstance {
    private static final int CONTROLLER_ID = 3000;
    private static final long PROPAGATION_MS = 60_000;

    private final ClusterConfig config;
    private final Type type;
    private final Cluster cluster = new Cluster();
    private boolean started;
    private boolean stopped;

    /** An instance that is not started. */
    public Instance(ClusterConfig config, Type type) {
        this.config = config;
        this.type = type;
    }

    @Override
    public void start() {
        if (started) {
            return;
        }
        refuseWhatDoesNotApply();
        started = true;
        for (int id = 0; id < config.numBrokers(); id++) {
            Map<String, String> properties = new HashMap<>(config.serverProperties());
            properties.putAll(config.perServerOverrideProperties().getOrDefault(id, Map.of()));
            cluster.add(kafkaConfig(id, config.brokerListenerName().value(), properties), properties);
        }
        cluster.brokers().values().forEach(KafkaBroker::startup);
    }

    private void refuseWhatDoesNotApply() {
        if (config.brokerSecurityProtocol() != SecurityProtocol.PLAINTEXT) {
            throw NotApplicable.because("security: " + config.brokerSecurityProtocol());
        }
        if (config.numBrokers() == 0) {
            throw NotApplicable.because("KRaft: controllers alone");
        }
        config.features().forEach((feature, level) -> {
            if (level != feature.latestTesting() && feature != Feature.ELIGIBLE_LEADER_REPLICAS_VERSION) {
                throw NotApplicable.because("an older feature level: " + feature.featureName() + "=" + level);
            }
        });
    }

    /** What {@code broker.config()} answers with. */
    public static KafkaConfig kafkaConfig(int id, String listener, Map<String, String> properties) {
        Map<String, String> all = new HashMap<>(properties);
        all.put("process.roles", "broker");
        all.put("node.id", String.valueOf(id));
        all.put("controller.quorum.voters", CONTROLLER_ID + "@localhost:0");
        all.putIfAbsent("controller.listener.names", "CONTROLLER");
        all.putIfAbsent("listeners", listener + "://localhost:0");
        all.putIfAbsent("inter.broker.listener.name", listener);
        all.putIfAbsent("listener.security.protocol.map", listener + ":PLAINTEXT,CONTROLLER:PLAINTEXT");
        all.putIfAbsent("log.dirs", TestUtils.tempDirectory().getAbsolutePath());
        return new KafkaConfig(all, false);
    }

    @Override
    public Type type() {
        return type;
    }

    @Override
    public ClusterConfig config() {
        return config;
    }

    @Override
    public Map<Integer, KafkaBroker> brokers() {
        return new LinkedHashMap<>(cluster.brokers());
    }

    @Override
    public Map<Integer, ControllerServer> controllers() {
        return Map.of(CONTROLLER_ID, cluster.controller());
    }

    @Override
    public Set<Integer> controllerIds() {
        throw NotApplicable.because("KRaft: asks for controllers");
    }

    @Override
    public ListenerName clientListener() {
        return config.brokerListenerName();
    }

    @Override
    public ListenerName controllerListenerName() {
        throw NotApplicable.because("KRaft: asks for the controllers' listener");
    }

    @Override
    public String bootstrapServers() {
        return cluster.bootstrapServers();
    }

    @Override
    public String bootstrapControllers() {
        throw NotApplicable.because("KRaft: connects to a controller");
    }

    @Override
    public Admin admin(Map<String, Object> configs, boolean usingBootstrapControllers) {
        if (usingBootstrapControllers || config.numBrokers() == 1) {
            return ClusterInstance.super.admin(configs, usingBootstrapControllers);
        }
        Map<String, Object> properties = new HashMap<>(configs);
        properties.putIfAbsent(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrapServers());
        return new AssigningAdmin(properties, cluster.brokers().keySet(), cluster.nodeId());
    }

    @Override
    public String clusterId() {
        return cluster.clusterId();
    }

    @Override
    public Set<GroupProtocol> supportedGroupProtocols() {
        return Set.of(GroupProtocol.CLASSIC, GroupProtocol.CONSUMER);
    }

    @Override
    public Optional<FaultHandlerException> firstFatalException() {
        return Optional.empty();
    }

    @Override
    public Optional<FaultHandlerException> firstNonFatalException() {
        return Optional.empty();
    }

    @Override
    public boolean started() {
        return started;
    }

    @Override
    public void stop() {
        if (!stopped) {
            stopped = true;
            cluster.close();
        }
    }

    @Override
    public boolean stopped() {
        return stopped;
    }

    @Override
    public void shutdownBroker(int brokerId) {
        broker(brokerId).shutdown();
    }

    @Override
    public void startBroker(int brokerId) {
        broker(brokerId).startup();
    }

    private KafkaBroker broker(int id) {
        return Optional.ofNullable(cluster.brokers().get(id))
            .orElseThrow(() -> new IllegalArgumentException("Unknown brokerId " + id));
    }

    @Override
    public void waitForReadyBrokers() {
        // A process that started serves.
    }

    @Override
    public void waitTopicCreation(String topic, int partitions) throws InterruptedException {
        if (partitions <= 0) {
            throw new IllegalArgumentException("Partition count must be > 0, but was " + partitions);
        }
        TestUtils.waitForCondition(
            () -> cluster.describe(topic).filter(found -> found.partitions().size() == partitions).isPresent(),
            PROPAGATION_MS, "topic " + topic + " of " + partitions + " partitions");
    }

    @Override
    public void waitTopicDeletion(String topic) throws InterruptedException {
        TestUtils.waitForCondition(() -> cluster.describe(topic).isEmpty(), PROPAGATION_MS, "no topic " + topic);
    }

    @Override
    public void ensureConsistentMetadata() {
        // What one broker has answered, it knows.
    }

    @Override
    public void ensureConsistentMetadata(Collection<KafkaBroker> brokers, Collection<ControllerServer> controllers) {
        // As above.
    }

    @Override
    public List<Authorizer> authorizers() {
        throw NotApplicable.because("access control lists");
    }

    @Override
    public void waitAcls(AclBindingFilter filter, Collection<AccessControlEntry> entries) {
        throw NotApplicable.because("access control lists");
    }
}
