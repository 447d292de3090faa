package kafka.server;

import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Stream;

import com.typesafe.scalalogging.Logger;

import kafka.utils.Logging;

import org.apache.kafka.clients.admin.AdminClientUnitTestEnv;
import org.apache.kafka.clients.consumer.GroupProtocol;
import org.apache.kafka.clients.consumer.internals.AbstractCoordinator;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.utils.Exit;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.metadata.storage.Formatter;
import org.apache.kafka.server.common.MetadataVersion;
import org.apache.kafka.server.fault.MockFaultHandler;
import org.apache.kafka.test.TestUtils;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.TestInfo;
import org.junit.jupiter.params.provider.Arguments;

import streamhouse.suite.Cluster;
import streamhouse.suite.NotApplicable;

import scala.Option;
import scala.collection.Seq;
import scala.jdk.javaapi.CollectionConverters;
import scala.jdk.javaapi.OptionConverters;

/**
 * The base of Kafka's tests in Scala, in the shape that its compiler gave them to call: brokers that it creates are
 * stand-ins for one {@code streamhouse} process.
 *
 * <p>Kafka's class of this name starts a KRaft controller and brokers in the JVM of the test; this one is first on the
 * class path. Its subclasses, Kafka's {@code KafkaServerTestHarness} first of all, are unchanged.
 */
@Tag("integration")
public abstract class QuorumTestHarness implements Logging {
    private static final String[] THREADS_THAT_MUST_NOT_STAY = {
        KafkaProducer.NETWORK_THREAD_PREFIX,
        AdminClientUnitTestEnv.kafkaAdminClientNetworkThreadPrefix(),
        AbstractCoordinator.HEARTBEAT_THREAD_PREFIX,
    };

    private final QuorumTestHarnessFaultHandlerFactory faultHandlerFactory =
        new QuorumTestHarnessFaultHandlerFactory(new MockFaultHandler("quorumTestHarnessFaultHandler"));
    private String logIdent;
    private Logger logger;
    private TestInfo testInfo;
    private QuorumImplementation implementation;
    private Cluster cluster;

    /** Starts nothing: there is no controller. */
    @BeforeEach
    public void setUp(TestInfo testInfo) {
        this.testInfo = testInfo;
        Exit.setExitProcedure((code, message) -> {
            throw new IllegalStateException("exit(" + code + ", " + message + ") called");
        });
        Exit.setHaltProcedure((code, message) -> {
            throw new IllegalStateException("halt(" + code + ", " + message + ") called");
        });
        if (testInfo.getDisplayName().contains("isTV2Enabled=false")) {
            throw NotApplicable.because("an older feature level: transaction.version=1");
        }
        cluster = new Cluster();
        implementation = new QuorumImplementation() {
            @Override
            public KafkaBroker createBroker(KafkaConfig config, Time time, boolean startup, Option<String> prefix) {
                return QuorumTestHarness.this.createBroker(config, time, startup, prefix);
            }

            @Override
            public void shutdown() {
                cluster.close();
            }
        };
    }

    /** Ends the process. */
    @AfterEach
    public void tearDown() {
        if (implementation != null) {
            implementation.shutdown();
        }
        Exit.resetExitProcedure();
        Exit.resetHaltProcedure();
        kafka.utils.TestUtils.clearYammerMetrics();
        faultHandler().maybeRethrowFirstException();
    }

    /** A broker of the process, started or not. */
    public KafkaBroker createBroker(KafkaConfig config, Time time, boolean startup, Option<String> threadNamePrefix) {
        if (time != Time.SYSTEM) {
            throw NotApplicable.because("turns the broker's clock");
        }
        Map<String, String> properties = new HashMap<>();
        config.originals().forEach((key, value) -> properties.put(key, String.valueOf(value)));
        BrokerServer broker = cluster.add(config, properties);
        if (startup) {
            broker.startup();
        }
        return broker;
    }

    /** The default of {@code createBroker}'s second parameter. */
    public Time createBroker$default$2() {
        return Time.SYSTEM;
    }

    /** The default of {@code createBroker}'s third parameter. */
    public boolean createBroker$default$3() {
        return true;
    }

    /** The default of {@code createBroker}'s fourth parameter. */
    public Option<String> createBroker$default$4() {
        return Option.empty();
    }

    /** For subclasses to say: the controllers' configuration, which nobody reads here. */
    public Seq<Properties> kraftControllerConfigs(TestInfo testInfo) {
        return CollectionConverters.asScala(java.util.List.of(new Properties())).toSeq();
    }

    /** For subclasses to say: the security of the controllers' listener. */
    public SecurityProtocol controllerListenerSecurityProtocol() {
        return SecurityProtocol.PLAINTEXT;
    }

    /** For subclasses to say: further listeners of the controllers. */
    public Seq<SecurityProtocol> extraControllerSecurityProtocols() {
        return CollectionConverters.asScala(java.util.List.<SecurityProtocol>of()).toSeq();
    }

    /** For subclasses to say: the version of the metadata log. */
    public MetadataVersion metadataVersion() {
        return MetadataVersion.latestTesting();
    }

    /** For subclasses to say: what a log is formatted with. */
    public void addFormatterSettings(Formatter formatter) {
    }

    /** The group protocol that the test's display name tells. */
    public Option<GroupProtocol> maybeGroupProtocolSpecified() {
        String name = testInfo.getDisplayName();
        return OptionConverters.toScala(Stream.of(GroupProtocol.CLASSIC, GroupProtocol.CONSUMER)
            .filter(protocol -> name.contains("groupProtocol=" + protocol.name().toLowerCase(java.util.Locale.ROOT)))
            .findFirst());
    }

    /** As above, for tests that have one. */
    public GroupProtocol groupProtocolFromTestParameters() {
        return OptionConverters.toJava(maybeGroupProtocolSpecified())
            .orElseThrow(() -> new IllegalStateException("no groupProtocol among the test's parameters"));
    }

    /** The controller, as far as a client sees it. */
    public ControllerServer controllerServer() {
        return cluster.controller();
    }

    /** As above. */
    public Seq<ControllerServer> controllerServers() {
        return CollectionConverters.asScala(java.util.List.of(cluster.controller())).toSeq();
    }

    /** There is no controller to stop. */
    public void shutdownKRaftController() {
        throw NotApplicable.because("KRaft: stops a controller");
    }

    /** There is no second quorum. */
    public KRaftQuorumImplementation newKRaftQuorum(TestInfo testInfo, Properties overridingProps) {
        throw NotApplicable.because("KRaft: starts a quorum");
    }

    /** What creates brokers. */
    public QuorumImplementation implementation() {
        return implementation;
    }

    /** Sets what creates brokers. */
    public void implementation_$eq(QuorumImplementation implementation) {
        this.implementation = implementation;
    }

    /** Where Kafka's own threads would report to. */
    public QuorumTestHarnessFaultHandlerFactory faultHandlerFactory() {
        return faultHandlerFactory;
    }

    /** As above. */
    public MockFaultHandler faultHandler() {
        return faultHandlerFactory.faultHandler();
    }

    @Override
    public synchronized Logger logger() {
        if (logger == null) {
            logger = Logging.super.logger();
        }
        return logger;
    }

    @Override
    public String logIdent() {
        return logIdent;
    }

    @Override
    public void logIdent_$eq(String ident) {
        logIdent = ident;
    }

    /** No test may leave clients behind, which would connect to the next one's broker. */
    @BeforeAll
    public static void setUpClass() throws InterruptedException {
        verifyNoUnexpectedThreads("@BeforeAll");
    }

    /** As above. */
    @AfterAll
    public static void tearDownClass() throws InterruptedException {
        verifyNoUnexpectedThreads("@AfterAll");
    }

    /** Waits until the threads of clients are gone. */
    public static void verifyNoUnexpectedThreads(String context) throws InterruptedException {
        TestUtils.waitForCondition(
            () -> Thread.getAllStackTraces().keySet().stream().map(Thread::getName).noneMatch(name ->
                Stream.of(THREADS_THAT_MUST_NOT_STAY).anyMatch(name::contains)),
            () -> "threads of clients are left " + context + ": " + Thread.getAllStackTraces().keySet());
    }

    /** Both group protocols, as parameters of a test. */
    public static Stream<Arguments> getTestGroupProtocolParametersAll() {
        return Stream.of(Arguments.of("classic"), Arguments.of("consumer"));
    }

    /** The classic group protocol, as parameter of a test. */
    public static Stream<Arguments> getTestGroupProtocolParametersClassicGroupProtocolOnly() {
        return Stream.of(Arguments.of("classic"));
    }

    /** The consumer group protocol, as parameter of a test. */
    public static Stream<Arguments> getTestGroupProtocolParametersConsumerGroupProtocolOnly() {
        return Stream.of(Arguments.of("consumer"));
    }
}
