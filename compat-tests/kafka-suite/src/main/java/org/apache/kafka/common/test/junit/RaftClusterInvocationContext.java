package org.apache.kafka.common.test.junit;

import java.util.List;

import org.apache.kafka.common.test.api.ClusterConfig;
import org.apache.kafka.common.test.api.Type;
import org.junit.jupiter.api.extension.AfterTestExecutionCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ConditionEvaluationResult;
import org.junit.jupiter.api.extension.ExecutionCondition;
import org.junit.jupiter.api.extension.Extension;
import org.junit.jupiter.api.extension.TestTemplateInvocationContext;
import streamhouse.suite.Instance;

/**
 * The class by which Kafka's {@code @ClusterTest} gets its cluster: in our place, a {@code streamhouse} process.
 *
 * <p>Kafka's class of this name starts brokers and controllers in the JVM of the test; this one is first on the class
 * path.
 */
public class RaftClusterInvocationContext implements TestTemplateInvocationContext {
    private final String baseDisplayName;
    private final ClusterConfig config;
    private final Type type;

    /** As Kafka's test extension calls it. */
    public RaftClusterInvocationContext(String baseDisplayName, ClusterConfig config, boolean isCombined) {
        this.baseDisplayName = baseDisplayName;
        this.config = config;
        this.type = isCombined ? Type.CO_KRAFT : Type.KRAFT;
    }

    @Override
    public String getDisplayName(int invocationIndex) {
        return baseDisplayName + " [" + invocationIndex + "] " + String.join(",", config.displayTags());
    }

    @Override
    public List<Extension> getAdditionalExtensions() {
        Instance instance = new Instance(config, type);
        ClusterInstanceParameterResolver parameter = new ClusterInstanceParameterResolver(instance);
        if (type == Type.CO_KRAFT && config.clusterTypes().contains(Type.KRAFT)) {
            // Where controllers run makes no difference here.
            ExecutionCondition condition = context -> ConditionEvaluationResult.disabled("runs as KRAFT");
            return List.of(condition, parameter);
        }
        return List.of(
            (BeforeEachCallback) context -> {
                if (config.isAutoStart()) {
                    instance.start();
                }
            },
            (AfterTestExecutionCallback) context -> instance.stop(),
            parameter);
    }
}
