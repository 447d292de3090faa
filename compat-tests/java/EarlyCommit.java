// A transactional producer whose commit overtakes the records of its transaction.
//
//   EarlyCommit BOOTSTRAP TOPIC
//
// The thread that sends first asks whether records wait (RecordAccumulator#hasIncomplete) and then, as a separate step,
// takes the next request (TransactionManager#nextRequest). Here it is held between the two, as a processor that is busy
// with something else holds it, while the program sends a record and commits. Nothing of Kafka's is changed for that: the
// set of incomplete batches is one that can wait before it answers. It prints how each commit ended.

import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.util.Collection;
import java.util.HashSet;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.clients.producer.internals.Sender;
import org.apache.kafka.common.serialization.StringSerializer;

public final class EarlyCommit {
    /** Holds the thread that sends at the moment at which it has seen that nothing waits. Kafka's code locks it. */
    private static final class Incomplete extends HashSet<Object> {
        private static final long serialVersionUID = 1;
        private boolean holds;
        private boolean held;

        Incomplete(Collection<?> batches) {
            super(batches);
        }

        synchronized void hold() {
            holds = true;
        }

        synchronized void awaitHeld() throws InterruptedException {
            while (!held) {
                wait();
            }
        }

        synchronized void release() {
            holds = false;
            held = false;
            notifyAll();
        }

        @Override
        public synchronized boolean isEmpty() {
            boolean empty = super.isEmpty();
            if (holds && empty && Thread.currentThread() instanceof Sender.SenderThread) {
                held = true;
                notifyAll();
                try {
                    while (holds) {
                        wait();
                    }
                } catch (InterruptedException interrupted) {
                    Thread.currentThread().interrupt();
                }
            }
            return empty;
        }
    }

    private final KafkaProducer<String, String> producer;
    private final String topic;
    private final Sender sender;
    private final Object transactions;
    private final Method isCompleting;
    private final Incomplete incomplete;

    private EarlyCommit(String bootstrap, String topic) throws ReflectiveOperationException {
        this.topic = topic;
        this.producer = new KafkaProducer<>(
            Map.of("bootstrap.servers", bootstrap, "transactional.id", "early"), new StringSerializer(), new StringSerializer());
        this.sender = (Sender) field(producer, "sender").get(producer);
        this.transactions = field(producer, "transactionManager").get(producer);
        this.isCompleting = transactions.getClass().getDeclaredMethod("isCompleting");
        isCompleting.setAccessible(true);
        Object accumulator = field(producer, "accumulator").get(producer);
        Object batches = field(accumulator, "incomplete").get(accumulator);
        Field set = field(batches, "incomplete");
        this.incomplete = new Incomplete((Collection<?>) set.get(batches));
        set.set(batches, incomplete);
    }

    private static Field field(Object object, String name) throws NoSuchFieldException {
        Field field = object.getClass().getDeclaredField(name);
        field.setAccessible(true);
        return field;
    }

    private Future<RecordMetadata> send(String value) {
        return producer.send(new ProducerRecord<>(topic, value));
    }

    /** Sends a record and commits while the thread that sends is held. */
    private Future<RecordMetadata> sendAndCommitUnseen(String value) throws Exception {
        incomplete.hold();
        sender.wakeup();
        incomplete.awaitHeld();
        Future<RecordMetadata> record = send(value);
        CompletableFuture<Void> commit = CompletableFuture.runAsync(producer::commitTransaction);
        while (!(boolean) isCompleting.invoke(transactions)) {
            Thread.sleep(1);
        }
        incomplete.release();
        String ended = "committed";
        try {
            commit.join();
        } catch (CompletionException failed) {
            ended = failed.getCause().getClass().getSimpleName();
        }
        System.out.println(value + ": " + ended + ", " + (record.isDone() ? "its record ended" : "its record waits"));
        return record;
    }

    public static void main(String[] arguments) throws Exception {
        EarlyCommit it = new EarlyCommit(arguments[0], arguments[1]);
        it.producer.initTransactions();

        it.producer.beginTransaction();
        it.send("one").get();
        Future<RecordMetadata> second = it.sendAndCommitUnseen("two");

        it.producer.beginTransaction();
        it.send("three");
        it.producer.commitTransaction();
        System.out.println("two: with the next transaction, at offset " + second.get().offset());

        it.producer.beginTransaction();
        it.sendAndCommitUnseen("four");
        it.producer.close();
    }
}
