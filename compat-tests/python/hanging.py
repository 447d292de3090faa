"""Leaves a transaction open in a partition that no coordinator knows: a "hanging" one.

Usage: hanging.py BOOTSTRAP TOPIC PARTITION PRODUCER_ID

One batch of one record, an hour old, through Produce v3: a version from before the broker verified
transactions. The broker must run with transaction.partition.verification.enable=false.
"""

import socket
import struct
import sys
import time

bootstrap, topic, partition, producer_id = sys.argv[1:]
host, port = bootstrap.rsplit(":", 1)
PRODUCE = 0
TRANSACTIONAL = 0x10


def crc32c(content):
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


def data(content):
    return struct.pack(">i", len(content)) + content


def batch():
    then = int((time.time() - 3600) * 1000)
    value = b"hanging"
    # Attributes, timestamp delta, offset delta, no key, the value, no headers; zigzag varints.
    record = bytes([0, 0, 0, 1, len(value) * 2]) + value + bytes([0])
    records = bytes([len(record) * 2]) + record
    signed = struct.pack(
        ">hiqqqhii", TRANSACTIONAL, 0, then, then, int(producer_id), 0, 0, 1
    ) + records
    after_length = struct.pack(">ibI", -1, 2, crc32c(signed)) + signed
    return struct.pack(">qi", 0, len(after_length)) + after_length


body = string("hanging") + struct.pack(">hi", -1, 30_000)
body += struct.pack(">i", 1) + string(topic)
body += struct.pack(">ii", 1, int(partition)) + data(batch())
with socket.create_connection((host, int(port)), timeout=30) as connection:
    connection.sendall(data(struct.pack(">hhi", PRODUCE, 3, 7) + string("hanging") + body))
    answer = connection.makefile("rb")
    (length,) = struct.unpack(">i", answer.read(4))
    response = answer.read(length)
# Correlation, one topic with its name, one partition with its index, then the error.
at = 4 + 4 + 2 + len(topic) + 4 + 4
(error,) = struct.unpack_from(">h", response, at)
assert error == 0, f"produce: error {error}"
