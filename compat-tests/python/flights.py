"""The flights of 2013 out of New York: each row a JSON record keyed by its tail number.

  flights.py produce BOOTSTRAP TOPIC ACKS    idempotent; prints a line with the number acknowledged now and then
  flights.py verify BOOTSTRAP TOPIC ACKS     every row is there exactly once, in order, where it was acknowledged
"""

import struct
import sys
import time
from functools import partial
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition
from flights_data import ROWS, rows

PARTITIONS = 12
ACK = struct.Struct("<iiq")  # row, partition, offset
TIMEOUT_S = 120


def produce(bootstrap, topic, acks_path):
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "message.timeout.ms": TIMEOUT_S * 1000,
            "reconnect.backoff.max.ms": 200,
            "linger.ms": 5,
            "log_level": 2,
        }
    )
    acked = 0
    with open(acks_path, "wb") as acks:

        def delivered(error, message, row):
            nonlocal acked
            if error is not None:
                raise KafkaException(error)
            acks.write(ACK.pack(row, message.partition(), message.offset()))
            acked += 1
            if acked % 5000 == 0:
                print(acked, flush=True)

        for number, (key, value) in enumerate(rows()):
            header = [("row", b"%d" % number)]
            callback = partial(delivered, row=number)
            while True:
                try:
                    producer.produce(topic, value, key, headers=header, on_delivery=callback)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        left = producer.flush(TIMEOUT_S)
    assert left == 0, f"{left} records were never acknowledged"
    assert acked == ROWS, f"{acked} of {ROWS} acknowledged"
    print(acked, flush=True)


def verify(bootstrap, topic, acks_path):
    acked = {}
    for row, partition, offset in ACK.iter_unpack(Path(acks_path).read_bytes()):
        assert row not in acked, f"row {row} acknowledged twice"
        acked[row] = (partition, offset)
    expected = list(rows())
    assert len(acked) == len(expected) == ROWS, (len(acked), len(expected))
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "check.crcs": True,
        }
    )
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
    seen, last_row, next_offset, home = set(), {}, dict.fromkeys(range(PARTITIONS), 0), {}
    ended, deadline = set(), time.monotonic() + TIMEOUT_S
    while len(ended) < PARTITIONS:
        assert time.monotonic() < deadline, f"{len(seen)} of {ROWS} rows read in time"
        for message in consumer.consume(5000, 1):
            partition, offset = message.partition(), message.offset()
            if message.error():
                if message.error().code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(message.error())
                ended.add(partition)
                continue
            row = int(message.headers()[0][1])
            where = f"row {row} at {partition}/{offset}"
            assert row not in seen, f"{where}: there twice"
            assert acked[row] == (partition, offset), f"{where}: acknowledged at {acked[row]}"
            assert offset == next_offset[partition], f"{where}: offset {next_offset[partition]} is missing"
            assert row > last_row.get(partition, -1), f"{where}: after row {last_row[partition]}"
            key, value = expected[row]
            assert message.key() == key and message.value() == value, f"{where}: bytes differ"
            assert key is None or home.setdefault(key, partition) == partition, f"{where}: key moved"
            seen.add(row)
            last_row[partition], next_offset[partition] = row, offset + 1
    consumer.close()
    assert len(seen) == ROWS, f"{len(seen)} of {ROWS} rows are there"
    nulls = sum(key is None for key, _ in expected)
    print(f"{len(seen)} rows verified, {nulls} of them with a null key, {len(home)} keys")


if __name__ == "__main__":
    {"produce": produce, "verify": verify}[sys.argv[1]](*sys.argv[2:])
