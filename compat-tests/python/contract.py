"""What the Python programs share of the command line that compat-tests/src/programs.rs describes."""

import asyncio
import json
import os
import sys
import threading
import time

SESSION_MS = 10_000
COPY_SESSION_MS = 3_000
HEARTBEAT_MS = 300
RECORDS_PER_TRANSACTION = 25
TRANSACTION_MS = 10_000
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def say(**event):
    """Prints one event as one line in one write, so that the lines of several processes in one file stand in
    the order in which they were said."""
    os.write(1, (json.dumps(event) + "\n").encode())


def fail(reason):
    """Ends the program at once: clean-up of a client whose broker was killed may take long."""
    print("ends:", reason, file=sys.stderr, flush=True)
    os._exit(3)


def at_end_of_input(call):
    """Calls from a thread of its own when standard input has ended: the program is to finish."""

    def wait():
        # Not through sys.stdin, whose lock the end of the interpreter would meet.
        while os.read(0, 4096):
            pass
        call()

    threading.Thread(target=wait, daemon=True).start()


def made(prefix, codec, at):
    """What every program writes as record number `at`: key, value, headers."""
    key = None if at % 3 == 0 else f"k{at}".encode()
    value = None if at % 5 == 4 and key else f"{prefix}-{codec}-{at}{' padding' * 40}".encode()
    return key, value, [("client", prefix.encode()), ("n", str(at).encode())]


def say_record(partition, offset, key, value, headers):
    def text(it):
        return None if it is None else it.decode()

    say(
        event="record",
        partition=partition,
        offset=offset,
        key=text(key),
        value=text(value),
        headers=[[name, text(of)] for name, of in headers or []],
    )


def eventually(look, expected):
    """What `look` returns, `expected` if that comes: what was changed may be seen a little later, for Apache
    Kafka's brokers learn of it from their controller."""
    end = time.monotonic() + 30
    while True:
        try:
            seen = look()
        except Exception as error:
            seen = repr(error)
        if seen == expected or time.monotonic() > end:
            return seen
        time.sleep(0.02)


async def eventually_async(look, expected):
    """As `eventually`."""
    end = time.monotonic() + 30
    while True:
        try:
            seen = await look()
        except Exception as error:
            seen = repr(error)
        if seen == expected or time.monotonic() > end:
            return seen
        await asyncio.sleep(0.02)


def run(commands):
    """Runs the command that the command line names."""
    command, *words = sys.argv[1:]
    return commands[command](*words)
