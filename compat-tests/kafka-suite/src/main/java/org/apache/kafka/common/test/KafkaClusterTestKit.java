package org.apache.kafka.common.test;

import java.util.HashMap;
import java.util.Map;

import kafka.server.BrokerServer;

import streamhouse.suite.Cluster;
import streamhouse.suite.Instance;

/**
 * The class by which the {@code EmbeddedKafkaCluster} of Kafka Streams' tests gets its brokers: in our place, a
 * {@code streamhouse} process.
 *
 * <p>Kafka's class of this name starts brokers and controllers in the JVM of the test; this one is first on the class
 * path and has what {@code EmbeddedKafkaCluster} calls. The other tests that call it are about KRaft's controllers.
 */
public class KafkaClusterTestKit implements AutoCloseable {
    /** What the brokers are to be. */
    public static class Builder {
        private final TestKitNodes nodes;
        private final Map<String, String> properties = new HashMap<>();

        /** As many brokers, with properties of their own. */
        public Builder(TestKitNodes nodes) {
            this.nodes = nodes;
        }

        /** A property of every broker. */
        public Builder setConfigProp(String key, Object value) {
            properties.put(key, String.valueOf(value));
            return this;
        }

        /** Brokers that are not started. */
        public KafkaClusterTestKit build() {
            return new KafkaClusterTestKit(nodes, properties);
        }
    }

    private final Cluster cluster = new Cluster();
    private final MockFaultHandler nonFatalFaultHandler = new MockFaultHandler("nonFatalFaultHandler");

    private KafkaClusterTestKit(TestKitNodes nodes, Map<String, String> properties) {
        nodes.brokerNodes().forEach((id, node) -> {
            Map<String, String> own = new HashMap<>(properties);
            own.putAll(node.propertyOverrides());
            cluster.add(Instance.kafkaConfig(id, nodes.brokerListenerName().value(), own), own);
        });
    }

    /** The process formats its directory itself. */
    public void format() {
    }

    /** Starts the process. */
    public void startup() {
        cluster.brokers().values().forEach(BrokerServer::startup);
    }

    /** A process that started serves. */
    public void waitForReadyBrokers() {
    }

    /** The brokers, as far as a test in another process can see them. */
    public Map<Integer, BrokerServer> brokers() {
        return cluster.brokers();
    }

    /** Where clients connect to. */
    public String bootstrapServers() {
        return cluster.bootstrapServers();
    }

    /** Where Kafka's own threads would report to. */
    public MockFaultHandler nonFatalFaultHandler() {
        return nonFatalFaultHandler;
    }

    /** Ends the process. */
    @Override
    public void close() {
        cluster.close();
    }
}
