"""Consume, transform, produce: exactly once, whoever is killed.

feed BOOTSTRAP TOPIC PARTITIONS COUNT   writes COUNT numbered records
copy BOOTSTRAP FROM TO PARTITIONS ID    copies them in transactions until it is killed or fails
check BOOTSTRAP FROM TO PARTITIONS COUNT SECONDS
                                        waits until TO holds all of them, each once and in order
abandon BOOTSTRAP TOPIC ID              writes one record in a transaction and is gone
begin BOOTSTRAP TOPIC PARTITIONS GROUP  commits offset 0 of every partition
"""

import os
import random
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

RECORDS_PER_TRANSACTION = 25
# A life that makes no progress for so long ends, as its supervisor would end it.
STUCK_AFTER_S = 6


def feed(bootstrap, topic, partitions, count):
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5})
    failed = []
    for number in range(count):
        producer.produce(
            topic,
            str(number).encode(),
            partition=number % partitions,
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
        producer.poll(0)
    assert producer.flush(60) == 0 and not failed, failed[:3]


def consumer(bootstrap, group, isolation):
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
        }
    )


class Watchdog:
    """Ends the process when nothing has happened for too long, as its supervisor would."""

    def __init__(self):
        self.alive_at = time.monotonic()
        threading.Thread(target=self.watch, daemon=True).start()

    def alive(self):
        self.alive_at = time.monotonic()

    def watch(self):
        while time.monotonic() - self.alive_at < STUCK_AFTER_S:
            time.sleep(0.2)
        print("copy ends: stuck", flush=True)
        os._exit(4)


def copy(bootstrap, source, target, partitions, transactional_id):
    """One life of the program. What it cannot handle ends it: whoever started it starts another."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": 10_000,
            "retry.backoff.ms": 20,
            # librdkafka 2.16 gives its only broker up when that goes down ("re-bootstrap"), and with it
            # a send_offsets_to_transaction that waits for the group's coordinator: for ever.
            "metadata.recovery.strategy": "none",
        }
    )
    # Fences the life before, and completes its transaction, before the offsets are asked for.
    producer.init_transactions(30)
    reader = consumer(bootstrap, transactional_id, "read_committed")
    wanted = [TopicPartition(source, partition) for partition in range(partitions)]
    positions = reader.committed(wanted, 30)
    reader.assign([TopicPartition(p.topic, p.partition, max(p.offset, 0)) for p in positions])
    print("copying from", [p.offset for p in positions], flush=True)
    watchdog = Watchdog()
    while True:
        watchdog.alive()
        messages = [m for m in reader.consume(RECORDS_PER_TRANSACTION, 0.2) if m.error() is None]
        if not messages:
            continue
        producer.begin_transaction()
        for message in messages:
            producer.produce(target, message.value(), partition=message.partition())
        offsets = [p for p in reader.position(wanted) if p.offset >= 0]
        producer.send_offsets_to_transaction(offsets, reader.consumer_group_metadata(), 5)
        if random.random() < 0.1:
            producer.abort_transaction(30)
            rewind(reader, messages)
        else:
            producer.commit_transaction(30)


def rewind(reader, messages):
    first = {}
    for message in messages:
        first.setdefault((message.topic(), message.partition()), message.offset())
    for (topic, partition), offset in first.items():
        reader.seek(TopicPartition(topic, partition, offset))


def check(bootstrap, source, target, partitions, count, seconds):
    reader = consumer(bootstrap, "check", "read_committed")
    reader.assign([TopicPartition(target, partition, 0) for partition in range(partitions)])
    seen = {partition: [] for partition in range(partitions)}
    deadline = time.monotonic() + seconds
    while sum(map(len, seen.values())) < count and time.monotonic() < deadline:
        for message in reader.consume(1000, 0.2):
            if message.error() is None:
                seen[message.partition()].append(int(message.value()))
    for message in reader.consume(1000, 1.0):
        if message.error() is None:
            seen[message.partition()].append(int(message.value()))
    for partition, numbers in seen.items():
        expected = list(range(partition, count, partitions))
        assert numbers == expected, (
            f"partition {partition} of {target}: {len(numbers)} records, {len(set(numbers))} different, "
            f"{len(expected)} expected; in order: {numbers == sorted(numbers)}"
        )
    print(f"{count} records of {source} are in {target}, each once and in order")


def abandon(bootstrap, topic, transactional_id):
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": transactional_id})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"lost")
    assert producer.flush(30) == 0
    os._exit(0)


def begin(bootstrap, topic, partitions, group):
    offsets = [TopicPartition(topic, partition, 0) for partition in range(partitions)]
    consumer(bootstrap, group, "read_committed").commit(offsets=offsets, asynchronous=False)


def main():
    command, *arguments = sys.argv[1:]
    words = [int(word) if word.isdigit() else word for word in arguments]
    try:
        {"feed": feed, "copy": copy, "check": check, "abandon": abandon, "begin": begin}[command](*words)
    except KafkaException as failure:
        print(f"{command} ends: {failure}", flush=True)
        # At once: clean-up of a client whose broker was killed may take long.
        os._exit(3)


main()
