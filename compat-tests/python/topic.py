"""Makes a topic. Usage: topic.py BOOTSTRAP NAME PARTITIONS [config=value...]"""

import sys

from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, name, partitions, *configs = sys.argv[1:]
topic = NewTopic(name, int(partitions), 1, config=dict(c.split("=", 1) for c in configs))
admin = AdminClient({"bootstrap.servers": bootstrap})
admin.create_topics([topic], operation_timeout=10)[name].result(30)
