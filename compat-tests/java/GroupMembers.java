// Members of consumer groups that say what they own and what they consume.
//
//   GroupMembers BOOTSTRAP TOPIC GROUP[,key=value...]...
//
// Of every group named, this process is one member, on a thread of its own, with the settings given. It prints
//   GROUP owns 0,2                 when what it owns has changed
//   GROUP consumed PARTITION FIRST LAST    offsets, both inclusive, before it commits them
//   GROUP left                     when it has closed
// Offsets are committed after what they cover was printed, so a record is printed at least once, whoever is killed.
// SIGTERM closes every member; SIGKILL is what it is.

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.TimeoutException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class GroupMembers {
    private static final class Member implements Runnable, ConsumerRebalanceListener {
        private final String group;
        private final String topic;
        private final KafkaConsumer<byte[], byte[]> consumer;
        private final CountDownLatch left = new CountDownLatch(1);
        private final TreeSet<Integer> owned = new TreeSet<>();
        private volatile boolean closing;

        Member(String bootstrap, String topic, String specification) {
            String[] parts = specification.split(",");
            this.group = parts[0];
            this.topic = topic;
            Properties settings = new Properties();
            settings.put("bootstrap.servers", bootstrap);
            settings.put("group.id", group);
            settings.put("auto.offset.reset", "earliest");
            settings.put("enable.auto.commit", "false");
            settings.put("fetch.max.wait.ms", "100");
            for (int i = 1; i < parts.length; i++) {
                String[] setting = parts[i].split("=", 2);
                settings.put(setting[0], setting[1]);
            }
            this.consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        }

        @Override
        public void run() {
            try {
                consumer.subscribe(List.of(topic), this);
                while (!closing) {
                    consume(consumer.poll(Duration.ofMillis(100)));
                }
            } catch (WakeupException ignored) {
                // It is told to close.
            } catch (RuntimeException failure) {
                say("failed " + failure);
            } finally {
                consumer.close();
                say("left");
                left.countDown();
            }
        }

        private void consume(ConsumerRecords<byte[], byte[]> records) {
            for (TopicPartition partition : records.partitions()) {
                List<ConsumerRecord<byte[], byte[]>> some = records.records(partition);
                long first = some.get(0).offset();
                long last = some.get(some.size() - 1).offset();
                say("consumed " + partition.partition() + " " + first + " " + last);
            }
            if (records.isEmpty()) {
                return;
            }
            try {
                consumer.commitSync(Duration.ofSeconds(10));
            } catch (CommitFailedException | RebalanceInProgressException | TimeoutException notCommitted) {
                // Somebody else consumes them once more, or the next commit covers them.
            }
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            partitions.forEach(partition -> owned.add(partition.partition()));
            sayOwned();
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            partitions.forEach(partition -> owned.remove(partition.partition()));
            sayOwned();
        }

        private void sayOwned() {
            say("owns " + owned.stream().map(String::valueOf).collect(Collectors.joining(",")));
        }

        private void say(String what) {
            System.out.println(group + " " + what);
        }

        void close() {
            closing = true;
            consumer.wakeup();
        }
    }

    public static void main(String[] arguments) throws InterruptedException {
        List<Member> members = new ArrayList<>();
        for (int i = 2; i < arguments.length; i++) {
            members.add(new Member(arguments[0], arguments[1], arguments[i]));
        }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            members.forEach(Member::close);
            for (Member member : members) {
                try {
                    member.left.await();
                } catch (InterruptedException interrupted) {
                    Thread.currentThread().interrupt();
                }
            }
            System.out.flush();
        }));
        for (Member member : members) {
            new Thread(member, member.group).start();
        }
        for (Member member : members) {
            member.left.await();
        }
    }

    private GroupMembers() {}
}
