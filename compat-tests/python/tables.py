"""The flights as a table: what SQL says of them, and what readers of Delta tables find.

  tables.py watch READY TOPIC FAILURE until standard input ends: counts never go back, no row is there twice;
        READY is the broker's ready file, whose addresses change with each restart; answers that fail with FAILURE are passed over
  tables.py verify HTTP BOOTSTRAP TOPIC ACKS OPTIONS
        SQL gives the right answer at once and when the table has everything; deltalake, Polars and DuckDB find each acknowledged
        record once, deltalake with its values and Kafka's metadata; OPTIONS (JSON) is how to reach S3
  tables.py moments HTTP BOOTSTRAP TOPIC
        earlier versions are what deltalake finds in them; a producer reads what it just wrote; a query is cancelled
  tables.py replay HTTP BOOTSTRAP TOPIC
        of two dead letters the one that an expression mends becomes a row at its own offset, once
  tables.py steps HTTP TOPIC ROUNDS OPTIONS
        of ROUNDS times ten numbered records and one that is no JSON, deltalake finds each once: rows and dead letters
  tables.py rebuild HTTP TOPIC
        a dry run says what a configuration would do; a rebuild leaves every row, in files that deltalake reads
"""

import http.client as http_client
import json
import os
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

from flights_data import ROWS, rows
from readers import connect_duckdb

ACK = struct.Struct("<iiq")  # row, partition, offset
TIMEOUT_S = 240
BY_CARRIER = "select carrier, count(*) as flights, avg(dep_delay) as delay from {} group by 1 order by 2 desc, 1"


def post(http, sql, form="json"):
    body = json.dumps({"sql": sql, "format": form, "timeout_ms": TIMEOUT_S * 1000}).encode()
    request = urllib.request.Request(f"http://{http}/api/v1/query", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{sql}: {error.code} {error.read().decode()}") from error


def ask(http, sql):
    answer = json.loads(post(http, sql))
    assert not answer["truncated"], sql
    return [tuple(row.values()) for row in answer["rows"]]


def table_of(http, topic):
    with urllib.request.urlopen(f"http://{http}/api/v1/tables", timeout=TIMEOUT_S) as answer:
        tables = json.load(answer)
    assert not tables["refused"], tables["refused"]
    return next(table for table in tables["tables"] if table["topic"] == topic)


def watch(ready, topic, failure):
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    last, answers = 0, 0
    while not ended.is_set():
        try:
            http = json.loads(Path(ready).read_text())["http"]
            sql = f"select count(*), count(distinct kafka_partition * 10000000 + kafka_offset) from {topic}"
            ((count, distinct),) = ask(http, sql)
        except (OSError, http_client.HTTPException, ValueError, AssertionError) as error:
            # The broker is being killed, or starts; anything else is an error of the answer.
            expected = "starting" in str(error) or (failure and failure in str(error))
            if isinstance(error, AssertionError) and not expected:
                raise
            time.sleep(0.05)
            continue
        assert count == distinct, f"{count} rows, {distinct} of them distinct"
        assert count >= last, f"{count} rows after {last}"
        last, answers = count, answers + 1
    print(f"{answers} answers, the last of {last} rows")


def by_carrier():
    flights = {}
    for _, value in rows():
        record = json.loads(value)
        count, delays = flights.setdefault(record["carrier"], [0, []])
        flights[record["carrier"]][0] += 1
        if record["dep_delay"] is not None:
            delays.append(record["dep_delay"])
    answer = [(carrier, count, sum(delays) / len(delays)) for carrier, (count, delays) in flights.items()]
    return sorted(answer, key=lambda row: (-row[1], row[0]))


def same(found, expected, what):
    assert len(found) == len(expected), f"{what}: {len(found)} rows"
    for one, other in zip(found, expected):
        assert tuple(one[:2]) == other[:2] and abs(one[2] - other[2]) < 1e-6, f"{what}: {one}, not {other}"


def verify(http, bootstrap, topic, acks_path, options):
    expected = by_carrier()
    same(ask(http, BY_CARRIER.format(topic)), expected, "at once")
    acked = {(p, o): row for row, p, o in ACK.iter_unpack(Path(acks_path).read_bytes())}
    assert len(acked) == ROWS, len(acked)
    ends = {}
    for partition, offset in acked:
        ends[str(partition)] = max(ends.get(str(partition), 0), offset + 1)
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        table = table_of(http, topic)
        if all(table["offsets"].get(p, 0) >= end for p, end in ends.items()):
            break
        assert time.monotonic() < deadline, table
        time.sleep(0.1)
    same(ask(http, BY_CARRIER.format(topic)), expected, "when everything is committed")
    path = table["location"].removeprefix("file://")
    print(f"{table['name']} version {table['version']}: {table['columns'][8:]}")
    values = [json.loads(value) for _, value in rows()]
    options = json.loads(options)
    with_deltalake(path, options, acked, values)
    same(with_duckdb(path, options), expected, "DuckDB")
    same(with_polars(path, options), expected, "Polars")
    csv = post(http, f"select count(*) as n from {topic}", "csv").decode()
    assert csv.split() == ["n", str(ROWS)], csv
    print(f"{ROWS} rows, each once, in SQL and for other readers")


def with_deltalake(path, options, acked, values):
    from deltalake import DeltaTable

    found = set()
    table = DeltaTable(path, storage_options=options)
    for record in table.to_pyarrow_table().to_pylist():
        where = (record["kafka_partition"], record["kafka_offset"])
        assert where not in found, f"{where} is there twice"
        found.add(where)
        value = values[acked[where]]
        assert {name: record[name] for name in value} == value, f"{where}: {record}, not {value}"
        assert record["kafka_rescued"] is None, record
        row = dict((header["key"], header["value"]) for header in record["kafka_headers"])["row"]
        assert int(row) == acked[where], f"{where}: header row {row}"
        key = record["kafka_key"]
        assert (key and key.decode()) == value["tailnum"], record
    assert found == acked.keys(), f"{len(acked.keys() - found)} rows are missing"


def with_duckdb(path, options):
    return connect_duckdb(options).execute(BY_CARRIER.format(f"delta_scan('{path}')")).fetchall()


def with_polars(path, options):
    import polars

    frame = polars.read_delta(path, storage_options=options or None).group_by("carrier").agg(polars.len(), polars.col("dep_delay").mean())
    return sorted(frame.rows(), key=lambda row: (-row[1], row[0]))


def moments(http, bootstrap, topic):
    versions(http, topic)
    read_your_writes(http, bootstrap, topic)
    cancel(http)


def versions(http, topic):
    from deltalake import DeltaTable

    path = table_of(http, topic)["location"].removeprefix("file://")
    table = DeltaTable(path)
    newest = table.version()
    moments = [(version, f"version as of {version}") for version in sorted({0, 1, newest // 2, newest})]
    history = {entry["version"]: entry["timestamp"] for entry in table.history()}
    # A second after a commit its file is there in any case.
    for time_ms in (history[newest // 2] + 1000, history[newest] + 1000):
        moments.append((iso(time_ms), f"timestamp as of '{iso(time_ms)}'"))
    for moment, clause in moments:
        table.load_as_version(moment)
        rows = table.to_pyarrow_table(columns=["kafka_offset"]).num_rows
        ((count,),) = ask(http, f"select count(*) from {topic} {clause}")
        assert count == rows, f"{clause}: {count} rows in SQL, {rows} in deltalake"


def iso(milliseconds):
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat()


def read_your_writes(http, bootstrap, topic):
    from confluent_kafka import Producer

    acked = []
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, b'{"carrier":"ZZ"}', on_delivery=lambda error, message: acked.append((error, message)))
    producer.flush()
    ((error, message),) = acked
    assert error is None, error
    place = f"{message.partition()}:{message.offset()}"
    ((count,),) = ask(http, f"select count(*) from {topic} at least offset '{place}' where carrier = 'ZZ'")
    assert count == 1, count
    below = f"select count(*) from {topic} as of offset '{place}' where kafka_partition = {message.partition()}"
    assert ask(http, below) == [(message.offset(),)], below
    status, failure = failing(http, f"select 1 from {topic} at least offset '{message.partition()}:99999999'", 200)
    assert status == 408 and failure["sql_state"] == "57014", failure


def failing(http, sql, timeout_ms=TIMEOUT_S * 1000):
    connection = http_client.HTTPConnection(http, timeout=TIMEOUT_S)
    connection.request("POST", f"/api/v1/query?timeout_ms={timeout_ms}", sql)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def cancel(http):
    endless = "select count(*) from generate_series(1, 1000000000000) a(n) where n % 3 = 0"
    answers = []
    thread = threading.Thread(target=lambda: answers.append(failing(http, endless)))
    thread.start()
    api = http_client.HTTPConnection(http, timeout=TIMEOUT_S)
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        api.request("GET", "/api/v1/queries")
        running = [query["id"] for query in json.loads(api.getresponse().read())["queries"] if query["sql"] == endless]
        if running:
            break
        assert time.monotonic() < deadline, "the query is not listed"
        time.sleep(0.02)
    api.request("DELETE", f"/api/v1/queries/{running[0]}")
    gone = api.getresponse()
    gone.read()
    assert gone.status == 204, gone.status
    thread.join()
    ((status, failure),) = answers
    assert status == 408 and failure == {"error": "the query was cancelled", "sql_state": "57014"}, failure
    api.request("DELETE", f"/api/v1/queries/{running[0]}")
    assert api.getresponse().status == 404


def send(http, path, body):
    request = urllib.request.Request(f"http://{http}{path}", json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        text = answer.read()
        return json.loads(text) if text else None


def replay(http, bootstrap, topic):
    from confluent_kafka import Producer
    from deltalake import DeltaTable

    places = []
    producer = Producer({"bootstrap.servers": bootstrap})
    for value in (b"beyond repair", b'!{"carrier":"YY","flight":7}!'):
        producer.produce(topic, value, partition=3, on_delivery=lambda error, message: places.append((message.partition(), message.offset())))
        producer.flush()
    deadline = time.monotonic() + TIMEOUT_S
    while (table := table_of(http, topic))["offsets"].get("3", 0) <= places[-1][1]:
        assert time.monotonic() < deadline, table
        time.sleep(0.1)
    dead = f"select kafka_partition, kafka_offset from {topic}__dlq order by 2"
    assert ask(http, dead) == places, ask(http, dead)
    fix = {"fix": "trim(text, '!')"}
    done = send(http, f"/api/v1/tables/{topic}/replay", fix)
    assert (done["rows"], done["left"]) == (1, 1), done
    assert send(http, f"/api/v1/tables/{topic}/replay", fix)["rows"] == 0
    assert ask(http, dead) == places[:1], ask(http, dead)
    mended = f"select kafka_partition, kafka_offset, flight from {topic} where carrier = 'YY'"
    assert ask(http, mended) == [(*places[1], 7)], ask(http, mended)
    found = DeltaTable(table["location"].removeprefix("file://")).to_pyarrow_table(filters=[("carrier", "=", "YY")]).to_pylist()
    assert [(row["kafka_partition"], row["kafka_offset"], row["flight"]) for row in found] == [(*places[1], 7)], found
    print("of two dead letters one was mended")


def steps(http, topic, rounds, options):
    from deltalake import DeltaTable

    rounds, options = int(rounds), json.loads(options)
    deadline = time.monotonic() + TIMEOUT_S
    while sum((table := table_of(http, topic))["offsets"].values()) < 11 * rounds:
        assert time.monotonic() < deadline, table
        time.sleep(0.1)
    read = lambda path, column: DeltaTable(path, storage_options=options).to_pyarrow_table().column(column).to_pylist()
    numbers = sorted(read(table["location"], "n"))
    assert numbers == list(range(10 * rounds)), numbers
    dead = read(table["location"] + "__dlq", "value")
    assert dead == [b"nonsense"] * rounds, dead
    assert ask(http, f"select count(*), count(distinct n) from {topic}") == [(10 * rounds, 10 * rounds)]
    print(f"{len(numbers)} rows and {rounds} dead letters, each once")


def rebuild(http, topic):
    from deltalake import DeltaTable

    by_text = send(http, f"/api/v1/tables/{topic}/dry-run", {"configs": {"table.value.convert": "string"}, "records": 500})
    assert by_text["needs_rebuild"] and by_text["columns"] == ["value Utf8"] and by_text["dead"] == 0, by_text
    ((rows,),) = ask(http, f"select count(*) from {topic}")
    before = table_of(http, topic)
    send(http, f"/api/v1/tables/{topic}/rebuild", {})
    deadline = time.monotonic() + TIMEOUT_S
    while (table := table_of(http, topic))["incarnation"] == before["incarnation"]:
        assert ask(http, f"select count(*) from {topic}") == [(rows,)]
        assert time.monotonic() < deadline, table
        time.sleep(0.1)
    assert ask(http, f"select count(*) from {topic}") == [(rows,)]
    assert table["location"] != before["location"], table
    found = DeltaTable(table["location"].removeprefix("file://")).to_pyarrow_table().num_rows
    assert found == rows, f"{found} rows, not {rows}"
    print(f"{rows} rows, built anew")


{"watch": watch, "verify": verify, "steps": steps, "replay": replay, "rebuild": rebuild, "moments": moments}[sys.argv[1]](*sys.argv[2:])
# pyarrow's threads do not always survive the interpreter's own end (std::terminate).
sys.stdout.flush()
os._exit(0)
