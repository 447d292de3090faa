"""Topic and cluster administration through librdkafka's AdminClient. Usage: admin.py BOOTSTRAP"""

import sys
import time

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
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

WAIT_S = 30
bootstrap = sys.argv[1]
admin = AdminClient({"bootstrap.servers": bootstrap})


def one(futures):
    """The result of a call on one thing."""
    (future,) = futures.values()
    return future.result(WAIT_S)


def refused(code, call):
    try:
        one(call())
    except KafkaException as error:
        assert error.args[0].code() == code, error
        return
    raise AssertionError(f"expected error {code}")


def topics():
    return set(admin.list_topics(timeout=WAIT_S).topics)


def eventually(condition, what):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def create(*new, **options):
    return lambda: admin.create_topics(list(new), **options)


one(create(NewTopic("dry", 1), validate_only=True)())
assert "dry" not in topics()
one(create(NewTopic("plain", 3, 1, config={"retention.ms": "123456"}))())
refused(KafkaError.TOPIC_ALREADY_EXISTS, create(NewTopic("plain", 1)))
refused(KafkaError.TOPIC_ALREADY_EXISTS, create(NewTopic("plain", 1), validate_only=True))
refused(KafkaError.TOPIC_EXCEPTION, create(NewTopic("not/valid", 1)))
refused(KafkaError.INVALID_PARTITIONS, create(NewTopic("none", 0)))
refused(KafkaError.INVALID_CONFIG, create(NewTopic("odd", 1, config={"retention.ms": "soon"})))

cluster = admin.describe_cluster(include_authorized_operations=False).result(WAIT_S)
assert cluster.cluster_id and len(cluster.nodes) == 1, cluster
assert cluster.controller is not None
node = cluster.nodes[0].id
assert f"{cluster.nodes[0].host}:{cluster.nodes[0].port}" == bootstrap

one(create(NewTopic("assigned", 2, replica_assignment=[[node], [node]]))())
eventually(lambda: len(admin.list_topics("assigned").topics["assigned"].partitions) == 2, "assigned")

described = one(admin.describe_topics(TopicCollection(["plain"])))
assert [p.id for p in described.partitions] == [0, 1, 2] and described.topic_id is not None
assert all(p.leader.id == node and [r.id for r in p.isr] == [node] for p in described.partitions)
refused(
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    lambda: admin.describe_topics(TopicCollection(["gone"])),
)

one(admin.create_partitions([NewPartitions("plain", 6)]))
eventually(lambda: len(admin.list_topics("plain").topics["plain"].partitions) == 6, "6 partitions")
refused(KafkaError.INVALID_PARTITIONS, lambda: admin.create_partitions([NewPartitions("plain", 2)]))

resource = ConfigResource(ResourceType.TOPIC, "plain")
config = one(admin.describe_configs([resource]))
assert config["retention.ms"].value == "123456" and not config["retention.ms"].is_default
assert config["max.message.bytes"].is_default
change = ConfigResource(
    ResourceType.TOPIC,
    "plain",
    incremental_configs=[
        ConfigEntry("segment.bytes", "2097152", incremental_operation=AlterConfigOpType.SET),
        ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE),
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND),
    ],
)
one(admin.incremental_alter_configs([change], validate_only=True))
assert one(admin.describe_configs([resource]))["retention.ms"].value == "123456"
one(admin.incremental_alter_configs([change]))
config = one(admin.describe_configs([resource]))
assert config["segment.bytes"].value == "2097152"
assert config["retention.ms"].is_default and config["retention.ms"].value == "604800000"
assert sorted(config["cleanup.policy"].value.split(",")) == ["compact", "delete"]
broker = one(admin.describe_configs([ConfigResource(ResourceType.BROKER, str(node))]))
assert broker["log.retention.hours"].value == "168" and broker["node.id"].is_read_only

producer = Producer({"bootstrap.servers": bootstrap})
for at in range(30):
    producer.produce("assigned", b"%d" % at, partition=0, timestamp=1_700_000_000_000 + at * 1000)
assert producer.flush(WAIT_S) == 0
where = TopicPartition("assigned", 0)


def offset(spec, **options):
    return one(admin.list_offsets({where: spec}, **options))


assert offset(OffsetSpec.earliest()).offset == 0
assert offset(OffsetSpec.latest()).offset == 30
assert offset(OffsetSpec.latest(), isolation_level=IsolationLevel.READ_COMMITTED).offset == 30
assert offset(OffsetSpec.for_timestamp(1_700_000_010_000)).offset == 10
assert offset(OffsetSpec.for_timestamp(1_700_000_009_001)).offset == 10
assert offset(OffsetSpec.for_timestamp(1_800_000_000_000)).offset == -1
newest = offset(OffsetSpec.max_timestamp())
assert (newest.offset, newest.timestamp) == (29, 1_700_000_029_000), newest

assert one(admin.delete_records([TopicPartition("assigned", 0, 12)])).low_watermark == 12
assert offset(OffsetSpec.earliest()).offset == 12
refused(
    KafkaError.OFFSET_OUT_OF_RANGE,
    lambda: admin.delete_records([TopicPartition("assigned", 0, 31)]),
)

# Auto-creation comes with Metadata, as Kafka's default is.
producer.produce("made-by-use", b"first")
assert producer.flush(WAIT_S) == 0
assert "made-by-use" in topics()

one(admin.delete_topics(["plain"]))
eventually(lambda: "plain" not in topics(), "plain is deleted")
refused(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: admin.delete_topics(["plain"]))
print("admin: all calls answered as expected")
