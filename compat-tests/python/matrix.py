"""Byte for byte through librdkafka: codec x size x key x headers x null x timestamp, written and read back.

Usage: matrix.py BOOTSTRAP [full]
"""

import os
import random
import sys
import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

MIB = 1 << 20
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
SIZES = [0, 1, 100, 1000, 16 * 1024, MIB - 1000, 10 * MIB]
KEYS = [None, b"", b"key", bytes(range(256))]
HEADERS = [
    None,
    [("one", b"1")],
    [("same", b"a"), ("same", b"b"), ("", b"empty name"), ("null", None), ("empty", b"")],
    [("ünïcode", bytes(range(256)))],
]
TIMESTAMPS = [1_600_000_000_123, 1]  # And none, which librdkafka fills in.
WAIT_S = 60

bootstrap, full = sys.argv[1], "full" in sys.argv[2:]
random_bytes = random.Random(7)
base = {"bootstrap.servers": bootstrap}
admin = AdminClient(base)


def create(name, **configs):
    config = {key.replace("_", "."): value for key, value in configs.items()}
    topic = NewTopic(name, num_partitions=1, replication_factor=1, config=config)
    admin.create_topics([topic], operation_timeout=10)[name].result(WAIT_S)


def value_of(size, compressible):
    if compressible:
        return (b"StreamHouse keeps what it acknowledged. " * (size // 40 + 1))[:size]
    return random_bytes.randbytes(size)


def records(codec):
    """The records of one codec: every size once in both textures, every other dimension at least once per value."""
    at = 0
    for size in SIZES:
        for compressible in (False, True):
            yield make(at, value_of(size, compressible))
            at += 1
    variants = len(KEYS) * len(HEADERS) * (len(TIMESTAMPS) + 1)
    for at in range(variants if full else variants // 2):
        yield make(at, None if at % 5 == 0 else value_of(at * 7 % 300, at % 2 == 0))


def make(at, value):
    times = [None, *TIMESTAMPS]
    return {
        "key": KEYS[at % len(KEYS)],
        "headers": HEADERS[at // len(KEYS) % len(HEADERS)],
        "timestamp": times[at % len(times)],
        "value": value,
    }


def produce(topic, batch, **settings):
    """Produces `batch` and returns the offsets that were acknowledged, in order."""
    settings = {key.replace("_", "."): value for key, value in settings.items()}
    producer = Producer({**base, "message.max.bytes": 12 * MIB, "linger.ms": 5, **settings})
    offsets = []

    def delivered(error, message):
        if error is not None:
            raise KafkaException(error)
        offsets.append(message.offset())

    for record in batch:
        extra = {} if record["timestamp"] is None else {"timestamp": record["timestamp"]}
        producer.produce(
            topic,
            record["value"],
            record["key"],
            partition=0,
            headers=record["headers"],
            on_delivery=delivered,
            **extra,
        )
        producer.poll(0)
    left = producer.flush(WAIT_S)
    assert left == 0, f"{left} records were not acknowledged within {WAIT_S} s"
    return offsets


def consume(topic, count, **settings):
    """Reads `count` records from the beginning."""
    consumer = Consumer(
        {
            **base,
            "group.id": f"unused-{topic}",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 12 * MIB,
            "receive.message.max.bytes": 100 * MIB,
            "check.crcs": True,
            **settings,
        }
    )
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    found, deadline = [], time.monotonic() + WAIT_S
    while len(found) < count and time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        found.append(message)
    consumer.close()
    assert len(found) == count, f"{topic}: {len(found)} of {count} records came back"
    return found


def compare(topic, sent, offsets, found, timestamp_type, began_ms):
    for record, offset, message in zip(sent, offsets, found, strict=True):
        where = f"{topic} offset {offset}"
        assert message.offset() == offset, f"{where}: read at {message.offset()}"
        assert message.key() == record["key"], f"{where}: key {message.key()!r}"
        assert message.value() == record["value"], f"{where}: value differs"
        assert (message.headers() or None) == record["headers"], f"{where}: {message.headers()!r}"
        kind, millis = message.timestamp()
        assert kind == timestamp_type, f"{where}: timestamp type {kind}"
        if timestamp_type == TIMESTAMP_CREATE_TIME and record["timestamp"] is not None:
            assert millis == record["timestamp"], f"{where}: timestamp {millis}"
        else:
            now = int(time.time() * 1000)
            assert began_ms - 1000 <= millis <= now + 1000, f"{where}: timestamp {millis}"


for codec in CODECS:
    topic = f"matrix-{codec}"
    create(topic, max_message_bytes=str(11 * MIB))
    sent, began_ms = list(records(codec)), int(time.time() * 1000)
    began = time.monotonic()
    offsets = produce(topic, sent, compression_type=codec, enable_idempotence=True)
    assert offsets == list(range(len(sent))), f"{topic}: {offsets}"
    compare(topic, sent, offsets, consume(topic, len(sent)), TIMESTAMP_CREATE_TIME, began_ms)
    read_committed = consume(topic, len(sent), **{"isolation.level": "read_committed"})
    assert [message.offset() for message in read_committed] == offsets
    print(f"{codec}: {len(sent)} records identical ({time.monotonic() - began:.1f} s)")

create("stamped", message_timestamp_type="LogAppendTime")
sent, began_ms = [make(at, value_of(at, True)) for at in range(40)], int(time.time() * 1000)
for codec in CODECS:
    first = produce("stamped", sent, compression_type=codec)[0]
found = consume("stamped", 5 * len(sent))
for at in range(5):
    part = found[at * len(sent) : (at + 1) * len(sent)]
    offsets = range(at * len(sent), (at + 1) * len(sent))
    compare("stamped", sent, offsets, part, TIMESTAMP_LOG_APPEND_TIME, began_ms)
print(f"LogAppendTime: {len(found)} records identical but for their time")

for codec in CODECS:
    topic = f"recompressed-{codec}"
    create(topic, compression_type="uncompressed" if codec == "none" else codec)
    sent = [make(at, value_of(200, True)) for at in range(60)]
    began_ms = int(time.time() * 1000)
    offsets = produce(topic, sent, compression_type="zstd" if codec != "zstd" else "gzip")
    compare(topic, sent, offsets, consume(topic, len(sent)), TIMESTAMP_CREATE_TIME, began_ms)
print("compression.type of the topic: records identical")

create("acks")
sent = [make(at, value_of(100, False)) for at in range(50)]
for acks in ("0", "1", "all"):
    produce("acks", sent, acks=acks, enable_idempotence=False)
assert len(consume("acks", 150)) == 150
print("acks 0, 1, all: all there")

create("small", max_message_bytes="1000")
try:
    produce("small", [make(0, os.urandom(2000))])
    raise AssertionError("a record above max.message.bytes was accepted")
except KafkaException as error:
    assert error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE, error
assert produce("small", [make(0, b"fits")]) == [0]
print("max.message.bytes: too large refused, the next one accepted at offset 0")
