#!/usr/bin/env python3
"""Records Kafka frames between clients and a broker, for the golden files beside this script.

    record.py LISTEN_PORT BROKER_PORT OUTPUT

The broker must advertise 127.0.0.1:LISTEN_PORT. Each output line is `request|response API_KEY VERSION HEX`, the frame
without its length; of each direction, key and version the first few frames of different length are kept. Stop it with
SIGINT or SIGTERM.
"""

import asyncio
import contextlib
import signal
import struct
import sys

KEPT = 3  # frames per direction, key and version
BYTES_MAX = 2048  # longer frames are not kept
BETWEEN_BROKERS = {34, 64, 80, 81, 83, 84, 85, 86, 87}  # a broker talks to itself through its advertised address

kept = {}


def keep(direction, key, version, frame):
    frames = kept.setdefault((key, version, direction), [])
    if key not in BETWEEN_BROKERS and len(frame) <= BYTES_MAX and len(frames) < KEPT and len(frame) not in map(len, frames):
        frames.append(frame)


async def pump(reader, writer, on_frame):
    try:
        while True:
            prefix = await reader.readexactly(4)
            frame = await reader.readexactly(struct.unpack(">i", prefix)[0])
            on_frame(frame)
            writer.write(prefix + frame)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve(broker_port, client_reader, client_writer):
    broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", broker_port)
    in_flight = {}

    def on_request(frame):
        key, version, correlation_id = struct.unpack(">hhi", frame[:8])
        in_flight[correlation_id] = (key, version)
        keep("request", key, version, frame)

    def on_response(frame):
        key, version = in_flight.pop(struct.unpack(">i", frame[:4])[0])
        keep("response", key, version, frame)

    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(
            pump(client_reader, broker_writer, on_request),
            pump(broker_reader, client_writer, on_response),
        )


async def main(listen_port, broker_port, output):
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(lambda r, w: serve(broker_port, r, w), "127.0.0.1", listen_port)
    async with server:
        await stop.wait()
    with open(output, "w") as file:
        for (key, version, direction), frames in sorted(kept.items()):
            for frame in frames:
                print(direction, key, version, frame.hex(), file=file)


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
