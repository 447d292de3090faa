"""A member of a consumer group that says what it owns.

Usage: group_member.py BOOTSTRAP GROUP TOPIC consumer|classic [config=value...]

Prints `owns 0,2` whenever its assignment changes, and `consumed N` when it has consumed N more
records since it last said so. It leaves the group when its standard input ends, prints `left` and
ends.
"""

import sys
import threading

from confluent_kafka import Consumer

bootstrap, group, topic, protocol, *configs = sys.argv[1:]
settings = {
    "bootstrap.servers": bootstrap,
    "group.id": group,
    "group.protocol": protocol,
    "auto.offset.reset": "earliest",
    "auto.commit.interval.ms": "200",
}
if protocol == "classic":
    settings["session.timeout.ms"] = "6000"
    settings["heartbeat.interval.ms"] = "300"
settings.update(config.split("=", 1) for config in configs)

consumer = Consumer(settings)
if topic.startswith("^"):
    consumer.subscribe([topic])
else:
    consumer.subscribe(topic.split(","))

stop = threading.Event()


def wait_for_the_end_of_input():
    sys.stdin.read()
    stop.set()


threading.Thread(target=wait_for_the_end_of_input, daemon=True).start()

owned = None
consumed = 0
while not stop.is_set():
    messages = consumer.consume(100, timeout=0.05)
    consumed += sum(1 for message in messages if message.error() is None)
    if consumed and len(messages) < 100:
        print(f"consumed {consumed}")
        consumed = 0
    now = sorted(f"{at.topic}-{at.partition}" for at in consumer.assignment())
    if now != owned:
        owned = now
        print("owns " + ",".join(owned))
consumer.close()
print("left")
