package streamhouse.suite;

import org.mockito.Mockito;
import org.mockito.invocation.InvocationOnMock;
import org.mockito.stubbing.Answer;

/** Objects of Kafka's classes that answer what they can and are {@link NotApplicable} for the rest. */
final class StandIn {
    private StandIn() {
    }

    /** What a stand-in answers. */
    interface Reply {
        /** The answer to a call of the method of that name. */
        Object to(InvocationOnMock call, String name) throws Throwable;
    }

    /** A stand-in for an object of that class. */
    static <T> T standIn(Class<T> type, Reply reply) {
        Answer<Object> answer = call -> {
            String name = call.getMethod().getName();
            return name.equals("toString") ? "stand-in for " + type.getSimpleName() : reply.to(call, name);
        };
        return Mockito.mock(type, Mockito.withSettings().stubOnly().defaultAnswer(answer));
    }

    /** For calls that a client of the broker has no answer to. */
    static Object inside(InvocationOnMock call) {
        var method = call.getMethod();
        throw NotApplicable.because(
            "looks inside a broker's JVM: " + method.getDeclaringClass().getSimpleName() + "." + method.getName());
    }
}
