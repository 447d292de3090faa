"""Tables and SQL measured: what the sink writes per core, how soon, in how many files, and how quick queries are.

  bench/tables.py BINARY WORK [MIB]   figures as RESULT lines, for MIB (default 256) of each kind of value
  bench/tables.py isolation BINARY WORK [ROUNDS [SCHEDULING]]   produce latency alone, beside the sink, beside queries and beside both, in
        turn; the load generator (streamhouse-bench) is taken from the directory of BINARY; SCHEDULING is streamhouse.query.scheduling

json15 is the flights (15 columns), json200 has 200 columns, raw is 1 KiB of bytes. Beside the sink runs what a user would write
otherwise: a consumer of confluent-kafka that parses JSON with Python and appends with deltalake. Queries run beside DuckDB on the
same files, hot, cold (the page cache is dropped, which takes root) and mixed with the log's tail. CPU is the broker's, user and system. Needs the Python environment of scripts/install (bench/tables.sh finds it).
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

sys.path.insert(0, str(Path(__file__).parent.parent / "compat-tests/python"))
PARTITIONS = 4
TICKS = os.sysconf("SC_CLK_TCK")
QUERIES = {
    "count": "select count(*) from {}",
    "group": "select carrier, count(*), avg(dep_delay) from {} group by 1 order by 2 desc",
    "filter": "select count(*) from {} where origin = 'JFK' and distance > 1000 and arr_delay > 60",
    "top": "select tailnum, count(*) as n from {} group by 1 order by n desc limit 10",
}


def result(**figures):
    print("RESULT " + " ".join(f"{name}={value}" for name, value in figures.items()), flush=True)


class Broker:
    def __init__(self, binary, work, *settings):
        self.binary, self.work, self.process, self.settings = binary, Path(work), None, settings
        self.start()

    def start(self):
        ready = self.work / "ready"
        ready.unlink(missing_ok=True)
        command = [self.binary, "start", "--data", str(self.work / "data"), "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        command += ["--ready-file", str(ready)]
        for setting in self.settings:
            command += ["-o", setting]
        log = (self.work / "broker.log").open("ab")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not ready.exists():
            assert self.process.poll() is None, "the broker ended; see broker.log"
            time.sleep(0.02)
        addresses = json.loads(ready.read_text())
        self.kafka, self.http = addresses["kafka"], addresses["http"]

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mib(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) // 1024

    def table(self, topic):
        with urllib.request.urlopen(f"http://{self.http}/api/v1/tables") as answer:
            return next((t for t in json.load(answer)["tables"] if t["topic"] == topic), None)

    def sql(self, sql):
        body = json.dumps({"sql": sql, "timeout_ms": 600_000}).encode()
        request = urllib.request.Request(f"http://{self.http}/api/v1/query", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["rows"]


def configure(broker, topic, **values):
    entries = [ConfigEntry(k.replace("_", "."), v, incremental_operation=AlterConfigOpType.SET) for k, v in values.items()]
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
    # The client has to live until its futures are done.
    admin = AdminClient({"bootstrap.servers": broker.kafka})
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()


def create(broker, topic):
    admin = AdminClient({"bootstrap.servers": broker.kafka})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result()


def values_of(kind):
    if kind == "json15":
        from flights_data import rows

        return [value if isinstance(value, bytes) else value.encode() for _, value in rows()][:100_000]
    numbers = random.Random(1)
    if kind == "raw":
        return [numbers.randbytes(1024) for _ in range(2000)]
    def field(at):
        return numbers.choice([numbers.randrange(1_000_000), numbers.random(), "abcdefgh"[: at % 8], at % 2 == 0][at % 4 : at % 4 + 1])

    return [json.dumps({f"field_{at}": field(at) for at in range(200)}).encode() for _ in range(2000)]


def fill(broker, topic, values, mib):
    """Produces about `mib` MiB; returns records and bytes."""
    producer = Producer({"bootstrap.servers": broker.kafka, "linger.ms": 20, "batch.size": 262_144, "acks": "all"})
    records, size = 0, 0
    while size < mib << 20:
        value = values[records % len(values)]
        while True:
            try:
                producer.produce(topic, value, partition=records // 500 % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
        records, size = records + 1, size + len(value)
        if records % 1000 == 0:
            producer.poll(0)
    producer.flush()
    return records, size


def caught_up(broker, topic, records):
    while True:
        table = broker.table(topic)
        if table and sum(table.get("offsets", {}).values()) >= records:
            return table
        time.sleep(0.02)


def sink(broker, kind, mib):
    topic = f"bench_{kind}"
    create(broker, topic)
    records, size = fill(broker, topic, values_of(kind), mib)
    time.sleep(1)
    cpu, begun = broker.cpu(), time.monotonic()
    configure(broker, topic, table_enable="true", table_value_convert="raw" if kind == "raw" else "json")
    table = caught_up(broker, topic, records)
    seconds, cpu = time.monotonic() - begun, broker.cpu() - cpu
    path = table["location"].removeprefix("file://")
    parquet = sum(file.stat().st_size for file in Path(path).rglob("*.parquet"))
    mib = size / (1 << 20)
    result(
        test="sink", values=kind, records=records, mib=round(mib), seconds=round(seconds, 2), mib_per_s=round(mib / seconds, 1),
        mib_per_cpu_s=round(mib / cpu, 1), cpu_s_per_gib=round(cpu / mib * 1024, 2), parquet_mib=round(parquet / (1 << 20), 1),
        files=len(list(Path(path).rglob("*.parquet"))), peak_rss_mib=broker.rss_mib(),
    )
    return topic, records, size, path


def by_hand(broker, topic, kind, records, size, work):
    """What a user would write: consume, parse, append, then commit the offsets."""
    import pyarrow
    from deltalake import write_deltalake

    consumer = Consumer({"bootstrap.servers": broker.kafka, "group.id": f"hand-{topic}", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    path = str(Path(work) / f"hand-{kind}")
    begun, cpu, done = time.monotonic(), sum(os.times()[:2]), 0
    while done < records:
        rows = []
        while len(rows) < 100_000 and done + len(rows) < records:
            rows.extend(message for message in consumer.consume(10_000, 1.0) if message.error() is None)
        meta = [(m.partition(), m.offset(), m.timestamp()[1]) for m in rows]
        if kind == "raw":
            table = pyarrow.table({"value": [m.value() for m in rows]})
        else:
            table = pyarrow.Table.from_pylist([json.loads(m.value()) for m in rows])
        for at, name in enumerate(("kafka_partition", "kafka_offset", "kafka_timestamp")):
            table = table.append_column(name, pyarrow.array([row[at] for row in meta]))
        write_deltalake(path, table, mode="append")
        done += len(rows)
    consumer.close()
    seconds, cpu, mib = time.monotonic() - begun, sum(os.times()[:2]) - cpu, size / (1 << 20)
    result(
        test="by-hand", values=kind, records=records, mib=round(mib), seconds=round(seconds, 2), mib_per_s=round(mib / seconds, 1),
        mib_per_cpu_s=round(mib / cpu, 1), cpu_s_per_gib=round(cpu / mib * 1024, 2),
    )


def timed(run, times=5):
    found = []
    for _ in range(times):
        begun = time.monotonic()
        run()
        found.append((time.monotonic() - begun) * 1000)
    return sorted(found)[len(found) // 2]


def duckdb_connection():
    from readers import connect_duckdb

    duck = connect_duckdb(None)
    # As many threads as the broker gives to SQL by default.
    duck.execute("set threads = 1")
    return duck


def queries(broker, topic, path, state):
    duck = duckdb_connection()
    for name, sql in QUERIES.items():
        ours = timed(lambda: broker.sql(sql.format(topic)))
        theirs = timed(lambda: duck.execute(sql.format(f"delta_scan('{path}')")).fetchall())
        result(test="query", query=name, state=state, streamhouse_ms=round(ours, 1), duckdb_ms=round(theirs, 1))


def drop_page_cache():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def cold(broker, topic, path, rounds=5):
    """Each query with nothing in the page cache (`cold`), and as the first of a broker (`first`); DuckDB by a new connection."""
    for state in ("cold", "first"):
        for name, sql in QUERIES.items():
            ours, theirs = [], []
            for _ in range(rounds):
                if state == "first":
                    broker.stop()
                    broker.start()
                else:
                    drop_page_cache()
                ours.append(timed(lambda: broker.sql(sql.format(topic)), 1))
                duck = duckdb_connection()
                if state == "cold":
                    drop_page_cache()
                theirs.append(timed(lambda: duck.execute(sql.format(f"delta_scan('{path}')")).fetchall(), 1))
            middle = rounds // 2
            ours, theirs = sorted(ours)[middle], sorted(theirs)[middle]
            result(test="query", query=name, state=state, streamhouse_ms=round(ours, 1), duckdb_ms=round(theirs, 1))


def freshness(broker):
    """How long after its acknowledgement a record is in the answer, and in the table."""
    topic = "bench_fresh"
    create(broker, topic)
    configure(broker, topic, table_enable="true", table_commit_interval_ms="1000", table_schema_sample_ms="0")
    producer = Producer({"bootstrap.servers": broker.kafka, "acks": "all"})
    seen, committed = [], []
    for n in range(20):
        producer.produce(topic, json.dumps({"n": n}), partition=0)
        producer.flush()
        begun = time.monotonic()
        while broker.sql(f"select count(*) as c from {topic}")[0]["c"] <= n:
            pass
        seen.append((time.monotonic() - begun) * 1000)
        while (broker.table(topic) or {}).get("offsets", {}).get("0", 0) <= n:
            time.sleep(0.005)
        committed.append((time.monotonic() - begun) * 1000)
    result(test="freshness", answer_p50_ms=round(sorted(seen)[10], 1), commit_interval_ms=1000, table_p50_ms=round(sorted(committed)[10]))


def trickle(broker, seconds=60):
    """A record now and then: as many commits as in an hour at one per six seconds."""
    topic = "bench_trickle"
    create(broker, topic)
    configure(broker, topic, table_enable="true", table_commit_interval_ms="100", table_schema_sample_ms="0")
    producer = Producer({"bootstrap.servers": broker.kafka, "acks": "all"})
    cpu, begun, n = broker.cpu(), time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        producer.produce(topic, json.dumps({"n": n, "text": "x" * 100}), partition=n % PARTITIONS)
        producer.flush()
        n += 1
        time.sleep(0.05)
    table = caught_up(broker, topic, n)
    cpu = broker.cpu() - cpu
    from deltalake import DeltaTable

    active = len(DeltaTable(table["location"].removeprefix("file://")).file_uris())
    result(
        test="trickle", records=n, commits=table["version"], merged_files=table["merged_files"], files=active,
        cpu_ms_per_commit=round(cpu * 1000 / max(table["version"], 1), 1),
    )


class Asking:
    """Two clients that ask one query after the other."""

    def __init__(self, broker, topic):
        self.broker, self.topic, self.ended, self.answers = broker, topic, threading.Event(), 0
        self.threads = [threading.Thread(target=self.run) for _ in range(2)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()

    def run(self):
        while not self.ended.is_set():
            for sql in QUERIES.values():
                self.broker.sql(sql.format(self.topic))
                self.answers += 1


def isolation(binary, work, rounds="5", scheduling="low", rate="5000", seconds="6"):
    os.makedirs(work, exist_ok=True)
    broker, p99 = Broker(binary, work, f"streamhouse.query.scheduling={scheduling}"), {}
    try:
        flights, records, *_ = sink(broker, "json15", 64)
        caught_up(broker, flights, records)
        for turn in range(int(rounds)):
            for state in ("alone", "sink", "queries", "both"):
                topic = f"latency_{turn}_{state}"
                create(broker, topic)
                if state in ("sink", "both"):
                    configure(broker, topic, table_enable="true", table_value_convert="raw", table_commit_interval_ms="1000")
                line = [str(Path(binary).parent / "streamhouse-bench"), "--bootstrap", broker.kafka, "--pid", str(broker.process.pid), "--topic", topic]
                line += ["--partitions", str(PARTITIONS), "latency", "--rate", rate, "--record-bytes", "1024", "--seconds", seconds]
                asking = Asking(broker, flights)
                with asking if state in ("queries", "both") else contextlib.nullcontext():
                    said = subprocess.run(line, check=True, capture_output=True, text=True).stdout
                found = dict(word.split("=", 1) for word in said.split() if "=" in word)
                p99.setdefault(state, []).append(float(found["ack_p99_ms"]))
                result(test="isolation", turn=turn, state=state, answers=asking.answers, **{k: v for k, v in found.items() if k.startswith("ack_")})
        median = {state: sorted(times)[len(times) // 2] for state, times in p99.items()}
        result(test="isolation-median", **{f"{state}_p99_ms": time for state, time in median.items()})
    finally:
        broker.stop()


def main(binary, work, mib="256"):
    os.makedirs(work, exist_ok=True)
    broker = Broker(binary, work)
    try:
        for kind in ("json15", "json200", "raw"):
            topic, records, size, path = sink(broker, kind, int(mib))
            by_hand(broker, topic, kind, records, size, work)
            if kind == "json15":
                queries(broker, topic, path, "hot")
                if os.access("/proc/sys/vm/drop_caches", os.W_OK):
                    cold(broker, topic, path)
                else:
                    print("cold queries are left out: only root may drop the page cache")
                # Mixed: a part of the rows is in the log's tail only.
                configure(broker, topic, table_commit_interval_ms="900000")
                time.sleep(2)
                fill(broker, topic, values_of(kind), 16)
                queries(broker, topic, path, "mixed-16-mib-of-tail")
        freshness(broker)
        trickle(broker)
    finally:
        broker.stop()


if sys.argv[1] == "isolation":
    isolation(*sys.argv[2:])
else:
    main(*sys.argv[1:])
