"""Groups of the classic protocol through librdkafka. Usage: classic_groups.py BOOTSTRAP SCENARIO

Members come and go in one process, polled in turn, so that what each of them believes to own can be
compared at any moment. Scenarios: range roundrobin cooperative-sticky static fenced churn.
`churn` goes on until a line arrives on standard input: whoever reads it may kill the broker meanwhile.
"""

import select
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

WAIT_S = 45
PARTITIONS = 6
bootstrap, scenario = sys.argv[1:3]
topic = group = f"classic-{scenario}"
owners = {}
read = {}


class Member:
    """A consumer, what it owns, and how often that was taken from it."""

    def __init__(self, name, strategy="range", exclusive=True, **more):
        self.name, self.exclusive, self.revoked, self.fatal = name, exclusive, [], None
        self.static = "group.instance.id" in more
        self.cooperative = strategy == "cooperative-sticky"
        self.owned = set()
        self.consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "client.id": name,
                "group.protocol": "classic",
                "partition.assignment.strategy": strategy,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 200,
                "reconnect.backoff.max.ms": 200,
                "retry.backoff.ms": 50,
                "error_cb": self.failed,
                "log_level": 2,
                **more,
            },
        )
        self.consumer.subscribe([topic], on_assign=self.assign, on_revoke=self.revoke, on_lost=self.lose)

    def assign(self, _, partitions):
        for partition in partitions:
            other = owners.get(partition.partition)
            assert not self.exclusive or other in (None, self), f"{self.name} and {other.name} own {partition}"
            owners[partition.partition] = self
            self.owned.add(partition.partition)
        (self.consumer.incremental_assign if self.cooperative else self.consumer.assign)(partitions)

    def revoke(self, _, partitions):
        self.give_up(partitions)
        try:
            self.consumer.commit(asynchronous=False)
        except KafkaException as error:
            # Nothing to commit, or a member that knows that it goes. Anything goes while a broker dies.
            expected = (KafkaError._NO_OFFSET, KafkaError._DESTROY)
            assert not self.exclusive or error.args[0].code() in expected, error

    def lose(self, _, partitions):
        self.give_up(partitions)

    def give_up(self, partitions):
        numbers = {partition.partition for partition in partitions}
        self.revoked.append(numbers)
        for number in numbers:
            self.owned.discard(number)
            if owners.get(number) is self:
                del owners[number]
        if not self.cooperative:
            self.consumer.unassign()
        else:
            self.consumer.incremental_unassign(partitions)

    def failed(self, error):
        if error.fatal() or error.code() in (KafkaError._FATAL, KafkaError.FENCED_INSTANCE_ID):
            self.fatal = error

    def poll(self):
        message = self.consumer.poll(0.01)
        if message is None:
            return
        if message.error():
            self.failed(message.error())
            return
        read.setdefault(message.value(), set()).add((message.partition(), message.offset()))

    def leave(self):
        # librdkafka 2.16 aborts the process (an assertion in rd_kafka_cgrp_terminated) where a consumer
        # closes before its assignment has come to rest: partitions are given up first. Not by a static
        # member, which would leave its group for good.
        if not self.static:
            self.consumer.unsubscribe()
            deadline = time.monotonic() + WAIT_S
            while self.owned and time.monotonic() < deadline:
                self.poll()
        self.consumer.close()
        for number in list(self.owned):
            if owners.get(number) is self:
                del owners[number]
        self.owned.clear()


def until(members, condition, what):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: " + ", ".join(f"{m.name} owns {sorted(m.owned)}" for m in members))
        for member in members:
            member.poll()
    print(what, {member.name: sorted(member.owned) for member in members}, flush=True)


def share(members):
    """All partitions are owned, evenly."""
    counts = sorted(len(member.owned) for member in members)
    return sum(counts) == PARTITIONS and counts[-1] - counts[0] <= 1


def produce(prefix, count):
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "consistent_random", "linger.ms": 0})
    values = {f"{prefix}-{number}".encode() for number in range(count)}
    for number, value in enumerate(sorted(values)):
        producer.produce(topic, value, partition=number % PARTITIONS)
    assert producer.flush(WAIT_S) == 0
    return values


def consume_all(members, values):
    until(members, lambda: values <= read.keys(), "all records are read by")


def committed(member):
    member.consumer.commit(asynchronous=False)
    partitions = [TopicPartition(topic, number) for number in sorted(member.owned)]
    return {p.partition: p.offset for p in member.consumer.committed(partitions, timeout=WAIT_S)}


def members_come_and_go(strategy):
    first = Member("a", strategy)
    until([first], lambda: share([first]), "one member")
    values = produce("one", 600)
    consume_all([first], values)
    second = Member("b", strategy)
    both = [first, second]
    until(both, lambda: share(both), "a second member came")
    third = Member("c", strategy)
    three = [first, second, third]
    until(three, lambda: share(three), "a third member came")
    if first.cooperative:
        # What stays with a member is never taken from it.
        assert all(len(revoked) < PARTITIONS for revoked in first.revoked), first.revoked
    else:
        assert {len(revoked) for revoked in first.revoked} == {6, 3}, first.revoked
    values = produce("three", 600)
    consume_all(three, values)
    offsets = {}
    for member in three:
        offsets.update(committed(member))
    assert offsets == dict.fromkeys(range(PARTITIONS), 200), offsets
    second.leave()
    left = [first, third]
    until(left, lambda: share(left), "the second member left")
    first.leave()
    until([third], lambda: share([third]), "the first member left")
    values = produce("last", 60)
    consume_all([third], values)
    assert all(len(places) == 1 for places in read.values()), "a record was read twice"
    third.leave()


def static_members():
    def member(name):
        return Member(name, **{"group.instance.id": name})

    first, second = member("a"), member("b")
    until([first, second], lambda: share([first, second]), "two static members")
    consume_all([first, second], produce("both", 60))
    before, revoked = set(second.owned), len(first.revoked)
    committed(second)
    second.leave()
    restarted = member("b")
    until([first, restarted], lambda: share([first, restarted]), "one was restarted")
    assert restarted.owned == before and len(first.revoked) == revoked, "a restart must not rebalance"
    consume_all([first, restarted], produce("restarted", 60))
    # Gone for longer than its session: the other one takes over.
    restarted.leave()
    until([first], lambda: share([first]), "one stayed away")
    first.leave()


def fenced():
    def member(name):
        # Both believe to own the same partitions until the first learns that it is fenced.
        return Member(name, exclusive=False, **{"group.instance.id": "one"})

    first = member("first")
    until([first], lambda: share([first]), "a static member")
    second = member("second")
    until([first, second], lambda: len(second.owned) == PARTITIONS and first.fatal, "another with its instance id")
    assert "fenced" in str(first.fatal).lower(), first.fatal
    second.leave()


def churn():
    names = iter(range(1000))

    def member():
        strategy = "cooperative-sticky"
        return Member(f"m{next(names)}", strategy, exclusive=False)

    members = [member(), member()]
    until(members, lambda: share(members), "two members")
    print("ready", flush=True)
    turns = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        if len(members) < 4:
            members.append(member())
        else:
            members.pop(0).leave()
        turns += 1
        deadline = time.monotonic() + 0.7
        while time.monotonic() < deadline:
            for one in members:
                one.poll()
    print("turns", turns, flush=True)
    until(members, lambda: share(members), "after all of it")
    assert len({id(owner) for owner in owners.values()}) == len(members)
    values = produce("after", 120)
    consume_all(members, values)
    for one in members:
        one.leave()


admin = AdminClient({"bootstrap.servers": bootstrap})
admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(WAIT_S)
if scenario == "static":
    static_members()
elif scenario == "fenced":
    fenced()
elif scenario == "churn":
    churn()
else:
    members_come_and_go(scenario)
