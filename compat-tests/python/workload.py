"""One client of a fault test; what it does and is told goes to a history file for the checker in src/history.

  workload.py produce BOOTSTRAP TOPIC PARTITIONS HISTORY PROCESS [librdkafka=setting...]
      an idempotent producer that sends until its standard input ends, then waits for what is still open
  workload.py tail BOOTSTRAP TOPIC PARTITIONS HISTORY PROCESS
      a reader that follows the log until its standard input ends
  workload.py read BOOTSTRAP TOPIC PARTITIONS HISTORY PROCESS
      a reader that reads everything from the start up to the high watermark, and ends
"""

import json
import random
import select
import sys
import time
import zlib

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

COUNTER_BITS = 40  # As in src/history/event.rs.
INVOKE_CHUNK = 50
MESSAGE_TIMEOUT_S = 120
READ_TIMEOUT_S = 60

mode, bootstrap, topic, partitions, history_path, process = sys.argv[1:7]
partitions, process = int(partitions), int(process)
history = open(history_path, "w", buffering=1 << 16)


def event(kind, f, partition=0, values=(), offsets=(), **more):
    line = {"process": process, "kind": kind, "f": f, "topic": topic, "partition": partition}
    history.write(json.dumps({**line, "values": values, "offsets": offsets, **more}) + "\n")


def stopped():
    return select.select([sys.stdin], [], [], 0)[0] and sys.stdin.readline() == ""


def payload(value, padding):
    head = value.to_bytes(8, "big") + padding
    return zlib.crc32(head).to_bytes(4, "big") + head


def value_of(message):
    body = message.value()
    where = f"{topic}-{message.partition()} offset {message.offset()}"
    assert zlib.crc32(body[4:]) == int.from_bytes(body[:4], "big"), f"{where}: payload damaged"
    value = int.from_bytes(body[4:12], "big")
    assert message.key() == b"%d" % value, f"{where}: key {message.key()} of value {value}"
    return value


def produce():
    dice = random.Random(process)
    settings = dict(argument.split("=", 1) for argument in sys.argv[7:])
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "message.timeout.ms": MESSAGE_TIMEOUT_S * 1000,
            "queue.buffering.max.messages": 1000,
            "linger.ms": 2,
            # Else it forgets the cluster when its only broker is away, and stays away longer than that.
            "metadata.recovery.strategy": "none",
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 100,
            "retry.backoff.ms": 20,
            "retry.backoff.max.ms": 100,
            "log_level": 2,
            **settings,
        }
    )
    counts = {"ok": 0, "error": 0}

    def delivered(error, message):
        value = int(message.key())
        if error is None:
            counts["ok"] += 1
            event("ok", "send", message.partition(), [value], [message.offset()])
        else:
            counts["error"] += 1
            event("error", "send", message.partition(), [value], error=error.name())

    counter = 0
    while not stopped():
        values = [process << COUNTER_BITS | counter + at for at in range(INVOKE_CHUNK)]
        event("invoke", "send", values=values)
        for value in values:
            body = payload(value, dice.randbytes(dice.randrange(400)))
            while True:
                try:
                    where = value % partitions
                    producer.produce(topic, body, b"%d" % value, where, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
        counter += INVOKE_CHUNK
        producer.poll(0.001)
    producer.flush(MESSAGE_TIMEOUT_S + 10)
    history.close()
    print(f"process {process}: {counter} sent, {counts['ok']} acknowledged, {counts['error']} failed")


def consumer():
    made = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": mode == "read",
            "check.crcs": True,
            "fetch.wait.max.ms": 100,
            # Else it forgets the cluster when its only broker is away, and stays away longer than that.
            "metadata.recovery.strategy": "none",
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 100,
            "log_level": 2,
        }
    )
    made.assign([TopicPartition(topic, at, OFFSET_BEGINNING) for at in range(partitions)])
    return made


def polls(reader, timeout):
    """Polls once, writes what came as events; returns the partitions whose end was reached and the records read."""
    ended, by_partition = set(), {}
    for message in reader.consume(2000, timeout):
        error = message.error()
        if error is None:
            values, offsets = by_partition.setdefault(message.partition(), ([], []))
            values.append(value_of(message))
            offsets.append(message.offset())
        elif error.code() == KafkaError._PARTITION_EOF:
            ended.add(message.partition())
        else:
            # A broker that is away is what this test is about; wrong data or positions are not.
            assert error.retriable() or error.code() in (
                KafkaError._TRANSPORT,
                KafkaError._ALL_BROKERS_DOWN,
                KafkaError._TIMED_OUT,
            ), error
    for partition, (values, offsets) in by_partition.items():
        # What was read is below the high watermark, and must stay so.
        event("ok", "poll", partition, values, offsets, high_watermark=offsets[-1] + 1)
    return ended, sum(len(values) for values, _ in by_partition.values())


def watermarks(reader):
    for partition in range(partitions):
        low, high = watermarks_of(reader, TopicPartition(topic, partition))
        event("ok", "list_offsets", partition, log_start=low, high_watermark=high)


def watermarks_of(reader, where):
    deadline = time.monotonic() + READ_TIMEOUT_S
    while True:
        try:
            return reader.get_watermark_offsets(where, timeout=READ_TIMEOUT_S, cached=False)
        except KafkaException as error:
            # The client may not have found its way back to the broker yet.
            if time.monotonic() > deadline:
                raise error
            time.sleep(0.05)


def tail():
    reader, total = consumer(), 0
    while not stopped():
        total += polls(reader, 0.1)[1]
    watermarks(reader)
    reader.close()
    history.close()
    print(f"process {process}: followed {total} records")


def read():
    reader, ended, total = consumer(), set(), 0
    deadline = time.monotonic() + READ_TIMEOUT_S
    while len(ended) < partitions:
        now_ended, count = polls(reader, 1)
        ended |= now_ended
        total += count
        assert time.monotonic() < deadline, f"partitions {ended} of {partitions} read in time"
    watermarks(reader)
    reader.close()
    history.close()
    print(f"process {process}: read {total} records")


{"produce": produce, "tail": tail, "read": read}[mode]()
