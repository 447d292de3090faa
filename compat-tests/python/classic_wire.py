"""The classic group protocol byte by byte, with an encoder of its own. Usage: classic_wire.py BOOTSTRAP

JoinGroup v5, SyncGroup v3, Heartbeat v3, LeaveGroup v3: the last versions before compact encodings,
and the first ones with static members.
"""

import socket
import struct
import sys
import time

host, port = sys.argv[1].rsplit(":", 1)
UNKNOWN_MEMBER, ILLEGAL_GENERATION, INCONSISTENT, INVALID_GROUP = 25, 22, 23, 24
INVALID_SESSION, REBALANCING, ID_REQUIRED, FENCED = 26, 27, 79, 82


def string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text)) + text.encode()


def data(content):
    return struct.pack(">i", len(content)) + content


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


class Reader:
    def __init__(self, content):
        self.content, self.at = content, 0

    def number(self, form):
        (value,) = struct.unpack_from(">" + form, self.content, self.at)
        self.at += struct.calcsize(">" + form)
        return value

    def bytes(self, length):
        self.at += max(length, 0)
        return None if length < 0 else self.content[self.at - length : self.at]

    def string(self):
        text = self.bytes(self.number("h"))
        return None if text is None else text.decode()

    def data(self):
        return self.bytes(self.number("i"))


class Connection:
    def __init__(self):
        self.socket = socket.create_connection((host, int(port)), timeout=30)

    def send(self, key, version, body):
        frame = struct.pack(">hhi", key, version, 7) + string("wire") + body
        self.socket.sendall(data(frame))

    def exactly(self, length):
        content = b""
        while len(content) < length:
            more = self.socket.recv(length - len(content))
            assert more, "the broker closed the connection"
            content += more
        return content

    def receive(self):
        reader = Reader(self.exactly(struct.unpack(">i", self.exactly(4))[0]))
        assert reader.number("i") == 7
        return reader

    def coordinator(self, group):
        self.send(10, 1, string(group) + b"\0")
        reader = self.receive()
        reader.number("i")
        return reader.number("h")

    def begin_join(self, group, member="", instance=None, type_="consumer", protocols=(("range", b"m"),), session=10_000):
        offered = array([string(name) + data(metadata) for name, metadata in protocols])
        sizes = struct.pack(">ii", session, 20_000)
        self.send(11, 5, string(group) + sizes + string(member) + string(instance) + string(type_) + offered)

    def end_join(self):
        reader = self.receive()
        reader.number("i")
        names = ("error", "generation", "protocol", "leader", "member", "members")
        answer = [reader.number("h"), reader.number("i"), reader.string(), reader.string(), reader.string()]
        roster = [(reader.string(), reader.string(), reader.data()) for _ in range(reader.number("i"))]
        return dict(zip(names, [*answer, roster]))

    def join(self, group, *arguments, **named):
        self.begin_join(group, *arguments, **named)
        return self.end_join()

    def sync(self, group, member, generation, instance=None, parts=()):
        assigned = array([string(name) + data(part) for name, part in parts])
        self.send(14, 3, string(group) + struct.pack(">i", generation) + string(member) + string(instance) + assigned)
        reader = self.receive()
        reader.number("i")
        return reader.number("h"), reader.data()

    def heartbeat(self, group, member, generation, instance=None):
        self.send(12, 3, string(group) + struct.pack(">i", generation) + string(member) + string(instance))
        reader = self.receive()
        reader.number("i")
        return reader.number("h")

    def leave(self, group, *members):
        self.send(13, 3, string(group) + array([string(member) + string(instance) for member, instance in members]))
        reader = self.receive()
        reader.number("i")
        error = reader.number("h")
        return error, [(reader.string(), reader.string(), reader.number("h")) for _ in range(reader.number("i"))]


def same(seen, expected):
    assert seen == expected, f"{seen} instead of {expected}"


def refused(answer, error, member=""):
    same({key: answer[key] for key in ("error", "generation", "protocol", "leader", "member", "members")},
         {"error": error, "generation": -1, "protocol": "", "leader": "", "member": member, "members": []})


one, two = Connection(), Connection()
deadline = time.monotonic() + 30
while one.coordinator("g") != 0 or one.heartbeat("g", "m", 1) != UNKNOWN_MEMBER:
    assert time.monotonic() < deadline, "no coordinator"
    time.sleep(0.1)

# Nobody there yet.
same(one.sync("g", "m", 1), (UNKNOWN_MEMBER, b""))
same(one.leave("g", ("m", None), ("", "i")), (0, [("m", None, UNKNOWN_MEMBER), ("", "i", UNKNOWN_MEMBER)]))
refused(one.join("g", "m"), UNKNOWN_MEMBER, "m")
refused(one.join("g", "m", session=100), INVALID_SESSION, "m")
refused(one.join("g", protocols=()), INCONSISTENT)
refused(one.join("g", type_=""), INCONSISTENT)
refused(one.join("", "m"), INVALID_GROUP, "m")
same(one.heartbeat("", "m", 1), INVALID_GROUP)
same(one.sync("", "m", 1), (INVALID_GROUP, b""))
same(one.leave("", ("m", None)), (INVALID_GROUP, []))

# A member comes in two steps.
first = one.join("g")
refused(first, ID_REQUIRED, first["member"])
a = first["member"]
assert a.startswith("wire-") and len(a) == len("wire-") + 36, a
refused(one.join("g", a[:-1]), UNKNOWN_MEMBER, a[:-1])
joined = one.join("g", a)
same(joined, {"error": 0, "generation": 1, "protocol": "range", "leader": a, "member": a, "members": [(a, None, b"m")]})
same(one.join("g", a), joined)
same(one.heartbeat("g", a, 1), 0)
same(one.sync("g", a, 2), (ILLEGAL_GENERATION, b""))
same(one.sync("g", "m", 2), (UNKNOWN_MEMBER, b""))
same(one.sync("g", a, 1, parts=[(a, b"p"), ("stranger", b"q")]), (0, b"p"))
same(one.sync("g", a, 1, parts=[(a, b"other")]), (0, b"p"))
same(one.heartbeat("g", a, 1), 0)
same(one.heartbeat("g", a, 0), ILLEGAL_GENERATION)
same(one.heartbeat("g", a, 1, "i"), UNKNOWN_MEMBER)
refused(two.join("g", type_="connect"), INCONSISTENT)
refused(two.join("g", protocols=(("sticky", b"m"),)), INCONSISTENT)

# A leader that joins again gets a new generation.
same(one.join("g", a)["generation"], 2)
same(one.sync("g", a, 2, parts=[(a, b"p2")]), (0, b"p2"))

# A second member makes the first one join again.
b = two.join("g")["member"]
same(one.heartbeat("g", a, 2), 0)
two.begin_join("g", b)
deadline = time.monotonic() + 10
while one.heartbeat("g", a, 2) != REBALANCING:
    assert time.monotonic() < deadline
same(one.sync("g", a, 2), (REBALANCING, b""))
led = one.join("g", a)
followed = two.end_join()
same((led["generation"], led["leader"], sorted(m[0] for m in led["members"])), (3, a, sorted([a, b])))
same((followed["generation"], followed["leader"], followed["members"]), (3, a, []))
same(one.sync("g", a, 3, parts=[(a, b"x"), (b, b"y")]), (0, b"x"))
same(two.sync("g", b, 3), (0, b"y"))
# A follower with nothing new keeps its generation.
same(two.join("g", b)["generation"], 3)
same(two.heartbeat("g", b, 3), 0)
pending = two.join("g")["member"]
same(two.leave("g", (pending, None), (b, "i"), (b, None)), (0, [(pending, None, 0), (b, "i", UNKNOWN_MEMBER), (b, None, 0)]))
same(one.heartbeat("g", a, 3), REBALANCING)
same(one.join("g", a)["generation"], 4)
same(one.leave("g", (a, None)), (0, [(a, None, 0)]))
same(one.heartbeat("g", a, 5), UNKNOWN_MEMBER)

# A static member.
old = one.join("s", instance="i")
same((old["error"], old["generation"], old["leader"] == old["member"]), (0, 1, True))
assert old["member"].startswith("i-"), old
same(one.sync("s", old["member"], 1, "i", [(old["member"], b"p")]), (0, b"p"))
new = two.join("s", instance="i")
same((new["error"], new["generation"], new["leader"], new["members"]), (0, 1, old["member"], []))
assert new["member"] != old["member"]
same(two.sync("s", new["member"], 1, "i"), (0, b"p"))
same(one.heartbeat("s", old["member"], 1, "i"), FENCED)
same(one.heartbeat("s", old["member"], 1), UNKNOWN_MEMBER)
same(one.sync("s", old["member"], 1, "i"), (FENCED, b""))
refused(one.join("s", old["member"], "i"), FENCED, old["member"])
same(one.leave("s", (old["member"], "i"), ("", "j")), (0, [(old["member"], "i", FENCED), ("", "j", UNKNOWN_MEMBER)]))
same(two.heartbeat("s", new["member"], 1, "i"), 0)
same(one.leave("s", ("", "i")), (0, [("", "i", 0)]))
same(two.heartbeat("s", new["member"], 1, "i"), UNKNOWN_MEMBER)
print("all answers are those of Apache Kafka")
