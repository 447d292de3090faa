package streamhouse.suite;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;

import kafka.coordinator.transaction.CoordinatorEpochAndTxnMetadata;
import kafka.coordinator.transaction.TransactionCoordinator;
import kafka.coordinator.transaction.TransactionStateManager;

import org.apache.kafka.clients.admin.TransactionDescription;
import org.apache.kafka.common.errors.TransactionalIdNotFoundException;
import org.apache.kafka.common.message.InitProducerIdRequestData;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.requests.InitProducerIdRequest;
import org.apache.kafka.common.requests.InitProducerIdResponse;
import org.apache.kafka.coordinator.transaction.TransactionMetadata;
import org.apache.kafka.server.IntegrationTestUtils;

import scala.Option;
import scala.util.Right;

import static streamhouse.suite.StandIn.inside;
import static streamhouse.suite.StandIn.standIn;

/** The transaction coordinator, as far as a client sees it, with the epochs that a client can reach. */
final class TransactionsView {
    /** Many at a time, so that they share syncs. */
    private static final int CONNECTIONS = 32;

    private final Cluster cluster;

    TransactionsView(Cluster cluster) {
        this.cluster = cluster;
    }

    /** The coordinator that a broker holds. */
    TransactionCoordinator coordinator() {
        var manager = standIn(TransactionStateManager.class, (call, name) -> switch (name) {
            case "getTransactionState" -> new Right<Errors, Option<CoordinatorEpochAndTxnMetadata>>(
                state(call.getArgument(0)));
            default -> inside(call);
        });
        return standIn(TransactionCoordinator.class, (call, name) -> switch (name) {
            case "transactionManager" -> manager;
            default -> inside(call);
        });
    }

    private Option<CoordinatorEpochAndTxnMetadata> state(String transactionalId) {
        try {
            cluster.transaction(transactionalId);
        } catch (IllegalStateException error) {
            if (error.getCause() instanceof TransactionalIdNotFoundException) {
                return Option.empty();
            }
            throw error;
        }
        var metadata = standIn(TransactionMetadata.class, (call, name) -> switch (name) {
            case "inLock" -> call.<Supplier<?>>getArgument(0).get();
            case "producerEpoch" -> (short) cluster.transaction(transactionalId).producerEpoch();
            case "setProducerEpoch" -> {
                raiseEpoch(transactionalId, call.<Short>getArgument(0));
                yield null;
            }
            default -> inside(call);
        });
        // Nobody looks at the epoch of the coordinator.
        return Option.apply(new CoordinatorEpochAndTxnMetadata(0, metadata));
    }

    /** Where Kafka's tests write the epoch into the coordinator's memory, producers begin anew until it is reached. */
    private void raiseEpoch(String transactionalId, int epoch) {
        TransactionDescription found = cluster.transaction(transactionalId);
        AtomicInteger left = new AtomicInteger(epoch - found.producerEpoch());
        List<CompletableFuture<Void>> connections = new ArrayList<>();
        for (int n = 0; n < CONNECTIONS; n++) {
            connections.add(CompletableFuture.runAsync(
                () -> beginAnew(transactionalId, found.transactionTimeoutMs(), left), task -> new Thread(task).start()));
        }
        connections.forEach(CompletableFuture::join);
        int reached = cluster.transaction(transactionalId).producerEpoch();
        if (reached != epoch) {
            throw new IllegalStateException("the epoch of " + transactionalId + " is " + reached + ", not " + epoch);
        }
    }

    private void beginAnew(String transactionalId, long timeoutMs, AtomicInteger left) {
        var request = new InitProducerIdRequest.Builder(new InitProducerIdRequestData()
            .setTransactionalId(transactionalId)
            .setTransactionTimeoutMs((int) timeoutMs)).build();
        try (var socket = IntegrationTestUtils.connect(cluster.port())) {
            while (left.getAndDecrement() > 0) {
                InitProducerIdResponse response = IntegrationTestUtils.sendAndReceive(request, socket);
                if (response.error() == Errors.CONCURRENT_TRANSACTIONS) {
                    left.incrementAndGet();
                } else if (response.error() != Errors.NONE) {
                    throw response.error().exception();
                }
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
