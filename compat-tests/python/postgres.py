"""Clients of PostgreSQL on the flights: each finds the tables and their columns, and the same right answers.

  postgres.py BOOTSTRAP POSTGRES TOPIC
        psql (its commands and queries), psycopg, asyncpg, SQLAlchemy, ADBC and DuckDB; the topic is there and empty
"""

import asyncio
import decimal
import itertools
import json
import os
import subprocess
import sys
import threading

import psycopg
from confluent_kafka import Producer
from flights_data import rows

COUNT = 20_000
NOTE = {"carrier": "ZZ", "flight": 0, "dep_delay": None, "note": {"by": "me", "tags": ["a", 'b"']}, "codes": [1, None]}
BY_CARRIER = "select carrier, count(*) as flights, avg(dep_delay) as delay from {} group by 1 order by 2 desc, 1"


def produce(bootstrap, topic):
    values = [value for _, value in itertools.islice(rows(), COUNT - 1)] + [json.dumps(NOTE).encode()]
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    for value in values:
        producer.produce(topic, value)
        producer.poll(0)
    assert producer.flush(60) == 0
    return [json.loads(value) for value in values]


def by_carrier(records):
    flights = {}
    for record in records:
        count, delays = flights.setdefault(record["carrier"], [0, []])
        flights[record["carrier"]][0] += 1
        if record["dep_delay"] is not None:
            delays.append(record["dep_delay"])
    answer = [(name, count, sum(delays) / len(delays) if delays else None) for name, (count, delays) in flights.items()]
    return sorted(answer, key=lambda row: (-row[1], row[0]))


def same(found, expected, what):
    assert len(found) == len(expected), f"{what}: {found}"
    for one, other in zip(found, expected):
        delay = (one[2] is None and other[2] is None) or abs(float(one[2]) - other[2]) < 1e-6
        assert tuple(one[:2]) == other[:2] and delay, f"{what}: {one}, not {other}"


def with_psql(host, port, topic, expected):
    def psql(*commands, ok=True):
        line = ["psql", "-X", "-h", host, "-p", port, "-U", "anybody", "-d", "flights", "-v", "ON_ERROR_STOP=1"]
        for command in commands:
            line += ["-c", command]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, env={**os.environ, "PGCONNECT_TIMEOUT": "10"})
        assert (done.returncode == 0) == ok, f"psql {commands}: {done.stdout}{done.stderr}"
        complaints = [line for line in done.stderr.splitlines() if not line.startswith("Did not find any")]
        assert not (ok and complaints), f"psql {commands}: {done.stderr}"
        return done.stdout if ok else done.stderr

    for command in ["\\d", "\\dt", "\\dt+", "\\d+", f"\\dt {topic}"]:
        assert topic in psql(command), command
    columns = psql(f"\\d {topic}")
    for column, kind in [("carrier", "text"), ("dep_delay", "bigint"), ("note", "json"), ("codes", "bigint[]"),
                         ("kafka_timestamp", "timestamp with time zone"), ("kafka_key", "bytea")]:
        line = next(line for line in columns.splitlines() if line.split("|")[0].strip() == column)
        assert line.split("|")[1].strip() == kind, line
    for command in [f"\\d+ {topic}", "\\l", "\\dn", "\\du", "\\dv", "\\di", "\\ds", "\\df", "\\dT", "\\dx", "\\conninfo", "\\encoding",
                    "\\dp", "\\db", "\\des", "\\d pg_class", "\\dS pg_type"]:
        psql(command)
    assert "flights" in psql("\\l") and "public" in psql("\\dn")
    table = psql("\\pset format unaligned", "\\pset tuples_only on", BY_CARRIER.format(topic))
    found = [line.split("|") for line in table.splitlines() if "|" in line]
    same([(name, int(count), float(delay) if delay else None) for name, count, delay in found], expected, "psql")
    copied = psql(f"\\copy (select carrier, flight from {topic} order by kafka_partition, kafka_offset) to stdout csv")
    assert len(copied.splitlines()) == COUNT, copied[:200]
    assert psql("begin", f"select count(*) from {topic}", "commit").count(str(COUNT)) == 1
    error = psql(f"select nothing from {topic}", ok=False)
    assert "LINE 1" in error and "^" in error, error
    assert "SQL only reads" in psql(f"delete from {topic}", ok=False)


def with_psycopg(host, port, topic, expected, records):
    with psycopg.connect(host=host, port=port, user="me", dbname="flights") as connection:
        same(connection.execute(BY_CARRIER.format(topic)).fetchall(), expected, "psycopg")
        # Parameters, in text and binary; prepared after a few times.
        delayed = sum(1 for record in records if (record["dep_delay"] or 0) > 60)
        for _ in range(8):
            sql = f"select count(*) from {topic} where dep_delay > %s and carrier <> %s"
            assert connection.execute(sql, (60, "ZZ")).fetchone() == (delayed,)
        with connection.cursor(binary=True) as cursor:
            sql = f"select note, codes, kafka_key, kafka_timestamp, dep_delay from {topic} where carrier = %s"
            note, codes, key, at, delay = cursor.execute(sql, ("ZZ",)).fetchone()
            assert (note, codes, key, delay) == (NOTE["note"], NOTE["codes"], None, None), (note, codes, key, delay)
            assert at.tzinfo is not None, at
            row = cursor.execute("select 1::smallint, 2.5::real, 'x'::bytea, date '2013-01-02', 12.340::numeric(10, 3), true").fetchone()
            assert row[1:3] == (2.5, b"x") and str(row[3]) == "2013-01-02" and row[4] == decimal.Decimal("12.340") and row[5] is True, row
        with connection.cursor() as cursor, cursor.copy(f"copy (select carrier, flight from {topic}) to stdout (format binary)") as copy:
            copy.set_types(["text", "int8"])
            assert sum(1 for _ in copy.rows()) == COUNT
        connection.rollback()
        try:
            connection.execute(f"insert into {topic} values (1)")
            raise AssertionError("a write was accepted")
        except psycopg.errors.ReadOnlySqlTransaction:
            connection.rollback()
    # A long statement is cancelled from another thread.
    with psycopg.connect(host=host, port=port, user="me", autocommit=True) as connection:
        timer = threading.Timer(0.5, connection.cancel)
        timer.start()
        try:
            connection.execute("select count(*) from generate_series(1, 10000000) a, generate_series(1, 10000000) b where a.value * b.value % 7 = 8")
            raise AssertionError("not cancelled")
        except psycopg.errors.QueryCanceled:
            pass
        assert connection.execute("select 1").fetchone() == (1,)


async def with_asyncpg(host, port, topic, expected):
    import asyncpg

    connection = await asyncpg.connect(host=host, port=int(port), user="me", database="flights")
    same([tuple(row) for row in await connection.fetch(BY_CARRIER.format(topic))], expected, "asyncpg")
    zz = await connection.fetchrow(f"select * from {topic} where carrier = $1 and flight < $2", "ZZ", 5)
    assert json.loads(zz["note"]) == NOTE["note"] and zz["codes"] == NOTE["codes"], zz
    async with connection.transaction(readonly=True, isolation="repeatable_read"):
        # A cursor fetches a part at a time.
        cursor = await connection.cursor(f"select flight from {topic} order by kafka_partition, kafka_offset")
        assert len(await cursor.fetch(100)) == 100 and len(await cursor.fetch(50)) == 50
        seen = 0
        async for _ in connection.cursor(f"select flight from {topic}", prefetch=1000):
            seen += 1
        assert seen == COUNT, seen
    assert await connection.fetchval("select $1::int8 + $2::int8", 1, 2) == 3
    assert await connection.fetchval(f"select count(*) from {topic} where carrier = any($1::text[])", ["ZZ", "none"]) == 1
    try:
        await connection.fetch(f"select nothing from {topic}")
        raise AssertionError("no error")
    except asyncpg.UndefinedColumnError:
        pass
    await connection.close()


def with_sqlalchemy(host, port, topic, expected):
    import sqlalchemy
    from sqlalchemy import func, select

    engine = sqlalchemy.create_engine(f"postgresql+psycopg://me@{host}:{port}/flights")
    inspector = sqlalchemy.inspect(engine)
    assert topic in inspector.get_table_names() and inspector.get_view_names() == [], inspector.get_table_names()
    assert "public" in inspector.get_schema_names()
    kinds = {column["name"]: str(column["type"]) for column in inspector.get_columns(topic)}
    assert (kinds["carrier"], kinds["dep_delay"], kinds["note"]) == ("TEXT", "BIGINT", "JSON"), kinds
    assert inspector.get_pk_constraint(topic)["constrained_columns"] == []
    assert inspector.get_foreign_keys(topic) == [] and inspector.get_indexes(topic) == []
    assert inspector.get_unique_constraints(topic) == [] and inspector.get_check_constraints(topic) == []
    assert inspector.get_table_comment(topic) == {"text": None}
    flights = sqlalchemy.Table(topic, sqlalchemy.MetaData(), autoload_with=engine)
    count = func.count().label("flights")
    query = select(flights.c.carrier, count, func.avg(flights.c.dep_delay)).group_by(flights.c.carrier)
    with engine.connect() as connection:
        found = connection.execute(query.order_by(count.desc(), flights.c.carrier)).all()
        same([tuple(row) for row in found], expected, "SQLAlchemy")
        limited = connection.execute(select(flights.c.flight).where(flights.c.carrier == "ZZ").limit(5)).scalars().all()
        assert limited == [0], limited
    engine.dispose()


def with_adbc(host, port, topic, expected):
    import adbc_driver_postgresql.dbapi as adbc

    with adbc.connect(f"postgresql://me@{host}:{port}/flights") as connection:
        with connection.cursor() as cursor:
            cursor.execute(BY_CARRIER.format(topic))
            same([tuple(row.values()) for row in cursor.fetch_arrow_table().to_pylist()], expected, "ADBC")
            cursor.execute(f"select carrier, flight, dep_delay, kafka_timestamp from {topic}")
            assert cursor.fetch_arrow_table().num_rows == COUNT
            cursor.execute(f"select count(*) from {topic} where carrier = $1", ("ZZ",))
            assert cursor.fetchone() == (1,)
        objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
        schemas = [schema for catalog in objects for schema in catalog["catalog_db_schemas"] or []]
        tables = [table["table_name"] for schema in schemas for table in schema["db_schema_tables"] or []]
        assert topic in tables, objects
        assert connection.adbc_get_table_schema(topic).field("dep_delay").type == "int64"


def with_duckdb(host, port, topic, expected):
    from pathlib import Path

    import duckdb
    import duckdb_extension_postgres_scanner

    # The wheel carries the extension, so that nothing is fetched at run time.
    (extension,) = Path(duckdb_extension_postgres_scanner.__file__).parent.glob("extensions/*/*.duckdb_extension")
    connection = duckdb.connect()
    connection.execute(f"load '{extension}'")
    connection.execute(f"attach 'host={host} port={port} user=me dbname=flights' as remote (type postgres, read_only)")
    assert (topic,) in connection.execute("select table_name from duckdb_tables() where database_name = 'remote'").fetchall()
    same(connection.execute(BY_CARRIER.format(f"remote.{topic}")).fetchall(), expected, "DuckDB")
    zz = connection.execute(f"select note, codes, dep_delay from remote.{topic} where carrier = 'ZZ'").fetchone()
    assert json.loads(zz[0]) == NOTE["note"] and zz[1:] == (NOTE["codes"], None), zz
    everything = connection.execute(f"select * from remote.{topic}").to_arrow_table()
    assert everything.num_rows == COUNT, everything.num_rows
    pushed = connection.execute(f"select * from postgres_query('remote', 'select count(*) from {topic}')").fetchone()
    assert pushed == (COUNT,), pushed
    connection.close()


def main(bootstrap, postgres, topic):
    host, port = postgres.rsplit(":", 1)
    records = produce(bootstrap, topic)
    expected = by_carrier(records)
    only = os.environ.get("ONLY", "psql psycopg asyncpg sqlalchemy adbc duckdb").split()
    clients = {
        "psql": lambda: with_psql(host, port, topic, expected),
        "psycopg": lambda: with_psycopg(host, port, topic, expected, records),
        "asyncpg": lambda: asyncio.run(with_asyncpg(host, port, topic, expected)),
        "sqlalchemy": lambda: with_sqlalchemy(host, port, topic, expected),
        "adbc": lambda: with_adbc(host, port, topic, expected),
        "duckdb": lambda: with_duckdb(host, port, topic, expected),
    }
    for name in only:
        clients[name]()
        print(f"{name}: {COUNT} rows, and the right answers")


main(*sys.argv[1:])
