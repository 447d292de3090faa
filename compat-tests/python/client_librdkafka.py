"""The commands of compat-tests/src/programs.rs, by librdkafka (confluent-kafka)."""

import random
import threading

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

import contract
from contract import fail, say

WAIT_S = 30


def group_settings(bootstrap, group, assignor, session_ms):
    settings = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 50,
        "reconnect.backoff.max.ms": 200,
        # librdkafka 2.16 gives its only broker up when that goes down ("re-bootstrap").
        "metadata.recovery.strategy": "none",
    }
    if assignor == "consumer":
        settings["group.protocol"] = "consumer"
    else:
        settings["group.protocol"] = "classic"
        settings["partition.assignment.strategy"] = assignor
        settings["session.timeout.ms"] = session_ms
        settings["heartbeat.interval.ms"] = contract.HEARTBEAT_MS
    return settings


class Member:
    """A consumer in a group that gives a partition up when what it read there is handled."""

    def __init__(self, settings, topic, assignor, say_event):
        self.incremental = assignor in ("cooperative-sticky", "consumer")
        self.say_event = say_event
        self.owned = set()
        # What was read and not handled yet: (topic, partition, offset, key, value).
        self.unhandled = []
        self.consumer = Consumer(settings)
        self.consumer.subscribe([topic], on_assign=self.assign, on_revoke=self.revoke, on_lost=self.lose)

    def assign(self, _, partitions):
        self.owned.update(p.partition for p in partitions)
        (self.consumer.incremental_assign if self.incremental else self.consumer.assign)(partitions)
        self.say_event("assigned", partitions)

    def revoke(self, _, partitions):
        self.commit(partitions)
        self.give_up(partitions, "revoked")

    def lose(self, _, partitions):
        self.give_up(partitions, "lost")

    def commit(self, partitions):
        """Overridden where offsets are committed by the consumer."""

    def give_up(self, partitions, event):
        gone = {p.partition for p in partitions}
        self.owned -= gone
        self.unhandled = [m for m in self.unhandled if m.partition() not in gone]
        if self.incremental:
            self.consumer.incremental_unassign(partitions)
        else:
            self.consumer.unassign()
        self.say_event(event, partitions)

    def gather(self, most, wait_s):
        """Reads up to `most` records, and waits for the first only."""
        while len(self.unhandled) < most:
            message = self.consumer.poll(0 if self.unhandled else wait_s)
            if message is None:
                break
            if message.error():
                if message.error().fatal():
                    raise KafkaException(message.error())
                continue
            self.unhandled.append(message)


class Committing(Member):
    """Commits what was said to be read."""

    def __init__(self, *arguments):
        self.positions = {}
        super().__init__(*arguments)

    def commit(self, partitions):
        wanted = {p.partition for p in partitions}
        offsets = [at for number, at in self.positions.items() if number in wanted]
        if offsets:
            self.consumer.commit(offsets=offsets, asynchronous=False)
        for number in wanted:
            self.positions.pop(number, None)


def member(bootstrap, group, topic, name, assignor, instance):
    settings = group_settings(bootstrap, group, assignor, contract.SESSION_MS)
    settings["client.id"] = name
    if instance != "-":
        settings["group.instance.id"] = instance

    def say_event(event, partitions):
        say(member=name, event=event, partitions=sorted(p.partition for p in partitions))

    stop = threading.Event()
    contract.at_end_of_input(stop.set)
    one = Committing(settings, topic, assignor, say_event)
    while not stop.is_set():
        one.gather(100, 0.05)
        batch, one.unhandled = one.unhandled, []
        said = {}
        for message in batch:
            said.setdefault(message.partition(), []).append([message.offset(), message.value().decode()])
        for number, records in said.items():
            say(member=name, event="read", partition=number, records=records)
            one.positions[number] = TopicPartition(topic, number, records[-1][0] + 1)
        if batch:
            one.consumer.commit(offsets=list(one.positions.values()), asynchronous=True)
    # librdkafka 2.16 aborts the process (an assertion in rd_kafka_cgrp_terminated) where a consumer closes
    # before its assignment has come to rest: partitions are given up first. Not by a static member, which
    # would leave its group for good.
    if instance == "-":
        one.consumer.unsubscribe()
        while one.owned:
            one.consumer.poll(0.05)
    one.consumer.close()
    say(member=name, event="left")


def copy(bootstrap, source, target, _partitions, group, transactional_id, name, assignor):
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": contract.TRANSACTION_MS,
            "retry.backoff.ms": 20,
            "metadata.recovery.strategy": "none",
        }
    )
    # Fences the life before, and completes its transaction, before the offsets are asked for.
    producer.init_transactions(WAIT_S)
    settings = group_settings(bootstrap, group, assignor, contract.COPY_SESSION_MS)
    settings["isolation.level"] = "read_committed"
    one = Member(settings, source, assignor, lambda *_: None)
    say(member=name, event="copying")
    while True:
        one.gather(contract.RECORDS_PER_TRANSACTION, 0.2)
        # From here to the end of the transaction nothing is polled, so that nothing is revoked.
        batch, one.unhandled = one.unhandled, []
        if not batch:
            continue
        producer.begin_transaction()
        firsts, nexts = {}, {}
        for message in batch:
            number = message.partition()
            producer.produce(target, message.value(), message.key(), partition=number)
            firsts.setdefault(number, TopicPartition(source, number, message.offset()))
            nexts[number] = TopicPartition(source, number, message.offset() + 1)
        committed = False
        try:
            producer.send_offsets_to_transaction(list(nexts.values()), one.consumer.consumer_group_metadata(), 10)
            committed = random.random() >= 0.1
        except KafkaException as failure:
            # A rebalance that has begun: the generation may not commit any more.
            if not failure.args[0].txn_requires_abort():
                raise
        if committed:
            producer.commit_transaction(WAIT_S)
        else:
            producer.abort_transaction(WAIT_S)
            for first in firsts.values():
                if first.partition in one.owned:
                    one.consumer.seek(first)
        say(member=name, event="committed" if committed else "aborted", count=len(batch))


def produce(bootstrap, topic, prefix, count):
    for codec in contract.CODECS:
        producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 20})
        offsets = []

        def delivered(error, message):
            if error:
                fail(error)
            offsets.append(message.offset())

        for at in range(int(count)):
            key, value, headers = contract.made(prefix, codec, at)
            producer.produce(topic, value, key, partition=0, headers=headers, on_delivery=delivered)
        if producer.flush(WAIT_S):
            fail("not everything was delivered")
        say(event="produced", codec=codec, last=offsets[-1])


def read(bootstrap, topic, partitions, marker, isolation):
    settings = group_settings(bootstrap, "reads-without-a-group", "range", contract.SESSION_MS)
    settings["isolation.level"] = f"read_{isolation}"
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, number, 0) for number in range(int(partitions))])
    ended = set()
    while len(ended) < int(partitions):
        for message in consumer.consume(500, 0.2):
            if message.error():
                fail(message.error())
            contract.say_record(
                message.partition(), message.offset(), message.key(), message.value(), message.headers()
            )
            if message.value() == marker.encode():
                ended.add(message.partition())
    consumer.close()


def admin(bootstrap, topic, group):
    client = AdminClient({"bootstrap.servers": bootstrap})
    found = {}

    def described():
        resource = ConfigResource(ResourceType.TOPIC, topic)
        return client.describe_configs([resource])[resource].result(WAIT_S)["retention.ms"].value

    def partitions():
        return len(client.list_topics(topic, WAIT_S).topics[topic].partitions)

    new = NewTopic(topic, 3, 1, config={"retention.ms": "7654321"})
    client.create_topics([new], operation_timeout=10)[topic].result(WAIT_S)
    try:
        client.create_topics([NewTopic(topic, 3, 1)])[topic].result(WAIT_S)
    except KafkaException as refused:
        found["again"] = refused.args[0].code()
    found["partitions"] = contract.eventually(partitions, 3)
    found["retention"] = contract.eventually(described, "7654321")
    entry = ConfigEntry("retention.ms", "1234567", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    client.incremental_alter_configs([resource])[resource].result(WAIT_S)
    found["altered"] = contract.eventually(described, "1234567")
    client.create_partitions([NewPartitions(topic, 5)])[topic].result(WAIT_S)
    found["grown"] = contract.eventually(partitions, 5)

    offsets = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 7)])]
    altered = client.alter_consumer_group_offsets(offsets)[group].result(WAIT_S)
    assert altered.topic_partitions[0].error is None, altered

    def listed():
        return group in [each.group_id for each in client.list_consumer_groups().result(WAIT_S).valid]

    found["group_listed"] = listed()
    state = client.describe_consumer_groups([group])[group].result(WAIT_S).state
    found["group_state"] = state.name.title()
    wanted = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])]
    committed = client.list_consumer_group_offsets(wanted)[group].result(WAIT_S)
    found["group_offset"] = committed.topic_partitions[0].offset
    client.delete_consumer_groups([group])[group].result(WAIT_S)
    found["group_deleted"] = not listed()

    client.delete_topics([topic], operation_timeout=10)[topic].result(WAIT_S)

    def deleted():
        return topic not in client.list_topics(timeout=WAIT_S).topics

    found["topic_deleted"] = contract.eventually(deleted, True)
    say(event="admin", **found)


def lag(bootstrap, group, topic):
    client = AdminClient({"bootstrap.servers": bootstrap})
    numbers = sorted(client.list_topics(topic, WAIT_S).topics[topic].partitions)
    all_of_them = [TopicPartition(topic, number) for number in numbers]
    ends = client.list_offsets({at: OffsetSpec.latest() for at in all_of_them})
    wanted = [ConsumerGroupTopicPartitions(group, all_of_them)]
    committed = client.list_consumer_group_offsets(wanted)[group].result(WAIT_S)
    offsets = {at.partition: at.offset for at in committed.topic_partitions}
    found = [[at.partition, offsets[at.partition], end.result(WAIT_S).offset] for at, end in ends.items()]
    say(event="lag", partitions=sorted(found))


try:
    contract.run({"member": member, "copy": copy, "produce": produce, "read": read, "admin": admin, "lag": lag})
except KafkaException as failure:
    fail(failure)
