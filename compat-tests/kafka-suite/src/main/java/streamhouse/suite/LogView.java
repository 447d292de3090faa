package streamhouse.suite;

import kafka.cluster.Partition;

import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.storage.internals.log.UnifiedLog;
import org.mockito.invocation.InvocationOnMock;

import scala.Option;

import static streamhouse.suite.StandIn.inside;
import static streamhouse.suite.StandIn.standIn;

/** A broker's partitions and their logs, as far as a client sees them: whether there is one, its ends, its epoch. */
final class LogView {
    private final Cluster cluster;

    LogView(Cluster cluster) {
        this.cluster = cluster;
    }

    /** Answers for a replica manager. */
    Object replicaManager(InvocationOnMock call, String name) {
        return switch (name) {
            case "onlinePartition" -> partition(call.getArgument(0));
            case "localLog", "getLog" -> log(call.getArgument(0));
            default -> inside(call);
        };
    }

    /** Answers for a log manager. */
    Object logManager(InvocationOnMock call, String name) {
        return switch (name) {
            case "getLog" -> log(call.getArgument(0));
            case "getLog$default$2" -> false;
            // Where Kafka's log cleaner keeps its checkpoints: a process of another kind has none.
            case "liveLogDirs" -> scala.collection.immutable.Seq$.MODULE$.empty();
            default -> inside(call);
        };
    }

    private Option<Partition> partition(TopicPartition partition) {
        if (cluster.partition(partition).isEmpty()) {
            return Option.empty();
        }
        return Option.apply(standIn(Partition.class, (call, name) -> switch (name) {
            case "leaderLogIfLocal" -> log(partition);
            case "isLeader" -> true;
            case "leaderReplicaIdOpt", "leaderIdIfLocal" ->
                Option.apply(cluster.partition(partition).orElseThrow().leader().id());
            case "getLeaderEpoch" -> cluster.leaderEpoch(partition);
            default -> inside(call);
        }));
    }

    private Option<UnifiedLog> log(TopicPartition partition) {
        if (cluster.partition(partition).isEmpty()) {
            return Option.empty();
        }
        return Option.apply(standIn(UnifiedLog.class, (call, name) -> switch (name) {
            case "logStartOffset" -> cluster.offset(partition, OffsetSpec.earliest());
            case "logEndOffset", "highWatermark" -> cluster.offset(partition, OffsetSpec.latest());
            default -> inside(call);
        }));
    }
}
