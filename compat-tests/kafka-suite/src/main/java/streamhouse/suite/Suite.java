package streamhouse.suite;

import java.io.IOException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.util.ArrayList;
import java.util.List;
import java.util.jar.JarFile;
import java.util.stream.Stream;

import kafka.server.QuorumTestHarness;

import org.apache.kafka.streams.integration.utils.EmbeddedKafkaCluster;

import org.apache.kafka.common.test.api.ClusterTemplate;
import org.apache.kafka.common.test.api.ClusterTest;
import org.apache.kafka.common.test.api.ClusterTests;

/** Which classes of Kafka's test jars belong to the suite: those whose tests start brokers in a way that we replace. */
final class Suite {
    private Suite() {
    }

    /** The names of a jar's classes, sorted. */
    static List<String> classes(String jar) throws IOException {
        try (JarFile file = new JarFile(jar)) {
            List<String> names = new ArrayList<>();
            for (String entry : file.stream().map(Object::toString).sorted().toList()) {
                if (entry.endsWith("Test.class")) {
                    String name = entry.substring(0, entry.length() - ".class".length()).replace('/', '.');
                    if (starts(name)) {
                        names.add(name);
                    }
                }
            }
            return names;
        }
    }

    private static boolean starts(String name) {
        try {
            Class<?> type = Class.forName(name, false, Suite.class.getClassLoader());
            if (Modifier.isAbstract(type.getModifiers())) {
                return false;
            }
            return QuorumTestHarness.class.isAssignableFrom(type) || hasEmbeddedCluster(type)
                || Stream.of(type.getMethods(), type.getDeclaredMethods()).flatMap(Stream::of).anyMatch(Suite::isTest);
        } catch (ClassNotFoundException | LinkageError error) {
            System.err.println("left out, because it cannot be loaded: " + name + ": " + error);
            return false;
        }
    }

    /** Whether a class of Streams' tests, or one that it extends, holds the cluster. */
    private static boolean hasEmbeddedCluster(Class<?> type) {
        return type != null && (hasEmbeddedCluster(type.getSuperclass())
            || Stream.of(type.getDeclaredFields()).anyMatch(field -> field.getType() == EmbeddedKafkaCluster.class));
    }

    private static boolean isTest(Method method) {
        return method.isAnnotationPresent(ClusterTest.class) || method.isAnnotationPresent(ClusterTests.class)
            || method.isAnnotationPresent(ClusterTemplate.class);
    }
}
