package streamhouse.suite;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;

import kafka.server.BrokerServer;
import kafka.server.ControllerServer;
import kafka.server.KafkaConfig;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AdminClientConfig;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.requests.MetadataRequest;
import org.apache.kafka.common.requests.MetadataResponse;
import org.apache.kafka.server.IntegrationTestUtils;

/**
 * The brokers of a test: however many it asks for, one process stands for all of them, at one address.
 *
 * <p>The process is the broker of the lowest id: it leads all partitions, and stops when a test stops that broker, or
 * all of them. A test that ends with some of its brokers stopped is noted as not applicable: it went on with the others.
 */
public final class Cluster {
    private final Map<Integer, BrokerServer> brokers = new TreeMap<>();
    private final Set<Integer> down = new TreeSet<>();
    private final BrokerProcess process = new BrokerProcess();
    private final ControllerServer controller = Facade.controller(this);
    private Map<String, String> properties = Map.of();
    private boolean running;
    private Admin admin;

    /**
     * Adds a broker, or replaces the one of its id. The process gets the properties of the broker of the lowest id.
     *
     * @param config     what a test reads
     * @param properties what the broker is to be told
     */
    public synchronized BrokerServer add(KafkaConfig config, Map<String, String> properties) {
        BrokerServer broker = Facade.broker(this, config);
        down.add(config.brokerId());
        brokers.put(config.brokerId(), broker);
        if (nodeId() == config.brokerId()) {
            this.properties = Map.copyOf(properties);
        }
        return broker;
    }

    /** The brokers that were added, as far as a test in another process can see them. */
    public Map<Integer, BrokerServer> brokers() {
        return brokers;
    }

    /** The controller, as far as a test in another process can see it. */
    public ControllerServer controller() {
        return controller;
    }

    /** Starts the process with the first of its brokers. */
    synchronized void start(int id) {
        if (!running && id == nodeId()) {
            Map<String, String> all = new HashMap<>(properties);
            all.put("node.id", String.valueOf(nodeId()));
            // Most tests write little, and the file is filled before it is used.
            all.put("streamhouse.wal.file.bytes", "8388608");
            // A test that waits for compaction should not wait for its turn.
            all.putIfAbsent("log.cleaner.backoff.ms", "1000");
            process.start(Settings.options(all));
            running = true;
        }
        down.remove(id);
    }

    /** Stops the process with the broker that leads everything, or with the last. */
    synchronized void stop(int id) {
        if (down.add(id) && running && (id == nodeId() || down.containsAll(brokers.keySet()))) {
            process.stop();
            running = false;
        }
    }

    /** The broker that the process says it is. */
    synchronized int nodeId() {
        return brokers.keySet().iterator().next();
    }

    synchronized boolean isDown(int id) {
        return down.contains(id);
    }

    /** Ends everything. */
    public synchronized void close() {
        if (!down.isEmpty() && !down.containsAll(brokers.keySet())) {
            NotApplicable.note("needs several brokers: it stops some and goes on with the others");
        }
        if (admin != null) {
            admin.close();
            admin = null;
        }
        process.discard();
        running = false;
    }

    /** Where clients connect to. */
    public String bootstrapServers() {
        return "localhost:" + port();
    }

    int port() {
        return process.port();
    }

    /** What the process has logged. */
    String log() {
        return process.log();
    }

    /** For questions of the test's own. */
    synchronized Admin admin() {
        if (admin == null) {
            Properties config = new Properties();
            config.put(AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrapServers());
            // On another thread, where no test counts the clients that it makes.
            admin = CompletableFuture.supplyAsync(() -> Admin.create(config)).join();
        }
        return admin;
    }

    /** A topic as a client sees it. */
    Optional<TopicDescription> describe(String topic) {
        try {
            return Optional.of(ask("topic " + topic, admin().describeTopics(List.of(topic)).topicNameValues().get(topic)));
        } catch (IllegalStateException error) {
            if (error.getCause() instanceof UnknownTopicOrPartitionException
                || error.getCause() instanceof InvalidTopicException) {
                return Optional.empty();
            }
            throw error;
        }
    }

    /** A partition as a client sees it. */
    Optional<TopicPartitionInfo> partition(TopicPartition partition) {
        return describe(partition.topic()).flatMap(topic ->
            topic.partitions().stream().filter(info -> info.partition() == partition.partition()).findFirst());
    }

    /** The epoch of a partition's leader, which no admin client tells. */
    int leaderEpoch(TopicPartition partition) {
        try {
            MetadataResponse response = IntegrationTestUtils.connectAndReceive(
                new MetadataRequest.Builder(List.of(partition.topic()), false).build(), port());
            return response.topicMetadata().stream()
                .flatMap(topic -> topic.partitionMetadata().stream())
                .filter(found -> found.topicPartition.equals(partition))
                .map(found -> found.leaderEpoch.orElseThrow())
                .findFirst()
                .orElseThrow(() -> new IllegalStateException("no partition " + partition));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** An end of a partition as a client sees it. */
    ListOffsetsResultInfo offset(TopicPartition partition, OffsetSpec spec) {
        return ask("the offsets of " + partition, admin().listOffsets(Map.of(partition, spec)).all()).get(partition);
    }

    /** A configuration as a client sees it. */
    Config config(ConfigResource.Type type, String name) {
        var resource = new ConfigResource(type, name);
        return ask("the configuration of " + resource, admin().describeConfigs(List.of(resource)).all()).get(resource);
    }

    /** The broker's configuration as a client sees it. */
    Config brokerConfig() {
        return config(ConfigResource.Type.BROKER, String.valueOf(nodeId()));
    }

    /** A transactional id's state as a client sees it. */
    TransactionDescription transaction(String transactionalId) {
        return ask("the transaction of " + transactionalId,
            admin().describeTransactions(List.of(transactionalId)).description(transactionalId));
    }

    /** A partition's producers as a client sees them. */
    List<ProducerState> producers(TopicPartition partition) {
        return ask("the producers of " + partition,
            admin().describeProducers(List.of(partition)).partitionResult(partition)).activeProducers();
    }

    /** All topics and their ids. */
    Map<String, Uuid> topics() {
        Map<String, Uuid> ids = new HashMap<>();
        ask("the topics", admin().listTopics(new ListTopicsOptions().listInternal(true)).listings())
            .forEach(topic -> ids.put(topic.name(), topic.topicId()));
        return ids;
    }

    /** The cluster's id as a client sees it. */
    String clusterId() {
        return ask("the cluster's id", admin().describeCluster().clusterId());
    }

    private static <T> T ask(String what, KafkaFuture<T> answer) {
        try {
            return answer.get();
        } catch (ExecutionException error) {
            throw new IllegalStateException(what, error.getCause());
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while asking for " + what, error);
        }
    }
}
