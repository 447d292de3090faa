package streamhouse.suite;

import java.util.Set;

import org.junit.jupiter.api.extension.ConditionEvaluationResult;
import org.junit.jupiter.api.extension.ExecutionCondition;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.platform.engine.UniqueId;

/** Lets those tests run that the worker was asked for. JUnit finds it among the services. */
public final class Selection implements ExecutionCondition {
    private static volatile Set<String> only = Set.of();
    private static volatile Set<String> never = Set.of();

    /** Only tests that the first set covers, all if it is empty; never one that the second covers. */
    static void set(Set<String> only, Set<String> never) {
        Selection.only = only;
        Selection.never = never;
    }

    @Override
    public ConditionEvaluationResult evaluateExecutionCondition(ExtensionContext context) {
        String id = TestIds.of(UniqueId.parse(context.getUniqueId()));
        if (never.stream().anyMatch(entry -> TestIds.covers(entry, id))) {
            return ConditionEvaluationResult.disabled("expected not to apply");
        }
        // A class or a method is let in for the sake of what is below it.
        boolean wanted = only.isEmpty()
            || only.stream().anyMatch(entry -> TestIds.covers(entry, id) || TestIds.covers(id, entry));
        return wanted ? ConditionEvaluationResult.enabled("") : ConditionEvaluationResult.disabled("not asked for");
    }
}
