"""The commands of compat-tests/src/programs.rs, by aiokafka."""

import asyncio
import logging
import random

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError

import contract
from contract import fail, say

ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}


class Owner(ConsumerRebalanceListener):
    """Says what the member is given and gives up, and commits what it has said to have read."""

    def __init__(self, name, topic, consumer):
        self.name, self.topic, self.consumer = name, topic, consumer
        self.owned, self.positions = set(), {}

    def say(self, event, partitions):
        say(member=self.name, event=event, partitions=sorted(p.partition for p in partitions))

    def read(self, at, messages):
        # What was fetched for an assignment that has ended belongs to another member now.
        if at.partition not in self.owned:
            return
        records = [[m.offset, m.value.decode()] for m in messages]
        say(member=self.name, event="read", partition=at.partition, records=records)
        self.positions[at] = records[-1][0] + 1

    async def commit(self):
        positions = dict(self.positions)
        if positions:
            await self.consumer.commit(positions)

    async def on_partitions_revoked(self, revoked):
        # Before anything is waited for, or the reader would go on meanwhile.
        self.owned = set()
        await self.commit()
        self.positions = {}
        self.say("revoked", revoked)

    async def on_partitions_assigned(self, assigned):
        self.owned = {p.partition for p in assigned}
        self.say("assigned", assigned)


async def member(bootstrap, group, topic, name, assignor, instance):
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        client_id=name,
        group_instance_id=None if instance == "-" else instance,
        partition_assignment_strategy=[ASSIGNORS[assignor]],
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=contract.SESSION_MS,
        heartbeat_interval_ms=contract.HEARTBEAT_MS,
        fetch_max_wait_ms=100,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    contract.at_end_of_input(lambda: loop.call_soon_threadsafe(stop.set))
    owner = Owner(name, topic, consumer)
    consumer.subscribe([topic], listener=owner)
    await consumer.start()
    while not stop.is_set():
        for at, messages in (await consumer.getmany(timeout_ms=50, max_records=100)).items():
            owner.read(at, messages)
        try:
            await owner.commit()
        except KafkaError:
            # A rebalance has begun; what it does not take back is committed the next time.
            pass
    # Stopping calls no listener.
    owned, owner.owned = owner.owned, set()
    await owner.commit()
    owner.say("revoked", [TopicPartition(topic, number) for number in owned])
    await consumer.stop()
    say(member=name, event="left")


async def copy(bootstrap, source, target, partitions, group, transactional_id, name, _assignor):
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        transactional_id=transactional_id,
        transaction_timeout_ms=contract.TRANSACTION_MS,
    )
    # Fences the life before, and completes its transaction, before the offsets are asked for.
    await producer.start()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=group,
        enable_auto_commit=False,
        # aiokafka 0.14 does not look at the error of a whole OffsetFetch response: while a coordinator loads, it
        # takes the group for one without offsets, and would begin anew. It must not be without: the test sees to that.
        auto_offset_reset="none",
        isolation_level="read_committed",
        fetch_max_wait_ms=50,
    )
    await consumer.start()
    # aiokafka commits offsets in transactions without its place in the group, which therefore could not be
    # fenced: it takes its partitions itself.
    consumer.assign([TopicPartition(source, number) for number in range(int(partitions))])
    say(member=name, event="copying")
    while True:
        polled = await consumer.getmany(timeout_ms=200, max_records=contract.RECORDS_PER_TRANSACTION)
        count = sum(map(len, polled.values()))
        if not count:
            continue
        await producer.begin_transaction()
        sent = [
            await producer.send(target, m.value, m.key, partition=m.partition)
            for messages in polled.values()
            for m in messages
        ]
        await asyncio.gather(*sent)
        nexts = {at: messages[-1].offset + 1 for at, messages in polled.items()}
        await producer.send_offsets_to_transaction(nexts, group)
        committed = random.random() >= 0.1
        if committed:
            await producer.commit_transaction()
        else:
            await producer.abort_transaction()
            for at, messages in polled.items():
                consumer.seek(at, messages[0].offset)
        say(member=name, event="committed" if committed else "aborted", count=count)


async def produce(bootstrap, topic, prefix, count):
    for codec in contract.CODECS:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            compression_type=None if codec == "none" else codec,
            linger_ms=20,
        )
        await producer.start()
        sent = []
        for at in range(int(count)):
            key, value, headers = contract.made(prefix, codec, at)
            sent.append(await producer.send(topic, value, key, partition=0, headers=headers))
        offsets = [each.offset for each in await asyncio.gather(*sent)]
        await producer.stop()
        say(event="produced", codec=codec, last=offsets[-1])


async def read(bootstrap, topic, partitions, marker, isolation):
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        isolation_level=f"read_{isolation}",
        fetch_max_wait_ms=50,
    )
    await consumer.start()
    consumer.assign([TopicPartition(topic, number) for number in range(int(partitions))])
    ended = set()
    while len(ended) < int(partitions):
        for at, messages in (await consumer.getmany(timeout_ms=200)).items():
            for m in messages:
                contract.say_record(at.partition, m.offset, m.key, m.value, m.headers)
                if m.value == marker.encode():
                    ended.add(at.partition)
    await consumer.stop()


async def admin(bootstrap, topic, group):
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    found = {}

    async def described():
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": None})
        [answer] = await client.describe_configs([resource])
        [(error, _, _, _, entries)] = answer.resources
        assert not error, answer
        return entries[0][1]

    async def partitions():
        [answer] = await client.describe_topics([topic])
        return len(answer["partitions"])

    def no_error(codes):
        if any(codes):
            fail(f"error codes {codes}")

    new = NewTopic(topic, 3, 1, topic_configs={"retention.ms": "7654321"})
    no_error([error[1] for error in (await client.create_topics([new])).topic_errors])
    again = await client.create_topics([NewTopic(topic, 3, 1)])
    found["again"] = again.topic_errors[0][1]
    found["partitions"] = await contract.eventually_async(partitions, 3)
    found["retention"] = await contract.eventually_async(described, "7654321")
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "1234567"})
    for answer in await client.alter_configs([resource]):
        no_error([error[0] for error in answer.resources])
    found["altered"] = await contract.eventually_async(described, "1234567")
    grown = await client.create_partitions({topic: NewPartitions(total_count=5)})
    no_error([error[1] for error in grown.topic_errors])
    found["grown"] = await contract.eventually_async(partitions, 5)

    at = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    consumer.assign([at])
    await consumer.commit({at: 7})
    await consumer.stop()
    found["group_listed"] = group in [each[0] for each in await client.list_consumer_groups()]
    [state] = await client.describe_consumer_groups([group])
    found["group_state"] = state.groups[0][2]
    found["group_offset"] = (await client.list_consumer_group_offsets(group))[at].offset

    no_error([error[1] for error in (await client.delete_topics([topic])).topic_error_codes])

    async def deleted():
        return topic not in await client.list_topics()

    found["topic_deleted"] = await contract.eventually_async(deleted, True)
    say(event="admin", **found)
    await client.close()


async def lag(bootstrap, group, topic):
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap)
    await consumer.start()
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    all_of_them = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
    ends = await consumer.end_offsets(all_of_them)
    committed = await client.list_consumer_group_offsets(group, partitions=all_of_them)
    say(event="lag", partitions=[[at.partition, committed[at].offset, ends[at]] for at in all_of_them])
    await client.close()
    await consumer.stop()


async def main():
    try:
        commands = {"member": member, "copy": copy, "produce": produce, "read": read, "admin": admin, "lag": lag}
        await contract.run(commands)
    except KafkaError as failure:
        fail(repr(failure))


# A rebalance is no error here, and failures are raised besides.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
asyncio.run(main())
