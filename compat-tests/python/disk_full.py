"""A client of a broker whose disk fills up. Acknowledged records are noted in ACKED, one JSON line each.

  disk_full.py produce BOOTSTRAP TOPIC ACKED COUNT   COUNT records, all of which must be acknowledged
  disk_full.py fill BOOTSTRAP TOPIC ACKED            until the broker refuses, which must be with KAFKA_STORAGE_ERROR
  disk_full.py recover BOOTSTRAP TOPIC ACKED         produces again: must be accepted within RECOVERY_S
  disk_full.py verify BOOTSTRAP TOPIC ACKED          every acknowledged record is where it was acknowledged
"""

import hashlib
import json
import random
import sys
import time
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition

PARTITIONS = 2
RECORD_BYTES = 500_000
FILL_BYTES_MAX = 1 << 30
RECOVERY_S = 60
mode, bootstrap, topic, acked_path = sys.argv[1:5]
dice = random.Random(time.time_ns())


def send(settings, count, stop=lambda failed: False):
    """Sends up to `count` records one batch at a time; returns the number acknowledged and the errors' names."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 0, "log_level": 2, **settings}
    )
    acked, errors = 0, []
    with open(acked_path, "a") as log:

        def delivered(error, message):
            nonlocal acked
            if error is not None:
                errors.append(error.name())
                return
            acked += 1
            digest = hashlib.sha256(message.value()).hexdigest()
            log.write(json.dumps([message.partition(), message.offset(), digest]) + "\n")

        for at in range(count):
            body = dice.randbytes(RECORD_BYTES)
            producer.produce(topic, body, partition=at % PARTITIONS, on_delivery=delivered)
            producer.flush(60)
            if stop(errors):
                break
    assert producer.flush(60) == 0
    return acked, errors


def produce():
    acked, errors = send({}, int(sys.argv[5]))
    assert not errors, errors
    print(f"{acked} acknowledged")


def fill():
    # No retry, so that the broker's own answer is what is seen.
    settings = {"retries": 0, "message.timeout.ms": 30_000}
    acked, errors = send(settings, FILL_BYTES_MAX // RECORD_BYTES, lambda failed: len(failed) >= 4)
    assert errors, f"{acked} records were accepted and the disk did not fill"
    assert set(errors) == {"KAFKA_STORAGE_ERROR"}, errors
    print(f"{acked} acknowledged before the disk was full, then {errors}")


def recover():
    began = time.monotonic()
    settings = {"enable.idempotence": True, "message.timeout.ms": RECOVERY_S * 1000}
    acked, errors = send(settings, 40)
    assert not errors and acked == 40, (acked, errors)
    print(f"{acked} acknowledged within {time.monotonic() - began:.1f} s of space being there again")


def verify():
    acked = {}
    for line in Path(acked_path).read_text().splitlines():
        partition, offset, digest = json.loads(line)
        assert (partition, offset) not in acked, f"two records acknowledged at {partition}/{offset}"
        acked[partition, offset] = digest
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(PARTITIONS)])
    found, ended, deadline = 0, set(), time.monotonic() + 60
    while len(ended) < PARTITIONS:
        assert time.monotonic() < deadline, f"{found} read in time"
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            if message.error().code() != KafkaError._PARTITION_EOF:
                raise KafkaException(message.error())
            ended.add(message.partition())
            continue
        where = (message.partition(), message.offset())
        digest = acked.pop(where, None)
        if digest is not None:
            assert digest == hashlib.sha256(message.value()).hexdigest(), f"{where} differs"
            found += 1
    consumer.close()
    assert not acked, f"{len(acked)} acknowledged records are missing: {sorted(acked)[:5]}"
    print(f"{found} acknowledged records verified")


{"produce": produce, "fill": fill, "recover": recover, "verify": verify}[mode]()
