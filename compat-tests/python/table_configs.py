"""What the configuration of a topic makes of its table.

  table_configs.py rows HTTP TABLE RECORDS EXPECTED
        once the table has RECORDS offsets, its rows are EXPECTED (JSON: columns, then rows by the first of them) for deltalake,
        DuckDB, Polars and SQL; prints where it lies
  table_configs.py sql HTTP STATEMENT
        prints the rows
  table_configs.py location HTTP TABLE
        prints where it lies
  table_configs.py gone PATH
        waits until nothing of a table and of its dead letters is left
"""

import json
import os
import sys
import time
import urllib.request
from pathlib import Path

from readers import rows as read

TIMEOUT_S = 120


def table_named(http, name):
    with urllib.request.urlopen(f"http://{http}/api/v1/tables", timeout=TIMEOUT_S) as answer:
        return next((table for table in json.load(answer)["tables"] if table["name"] == name), None)


def ask(http, statement):
    body = json.dumps({"sql": statement}).encode()
    request = urllib.request.Request(f"http://{http}/api/v1/query", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return [tuple(row.values()) for row in json.load(answer)["rows"]]


def location(http, name):
    print(table_named(http, name)["location"])


def sql(http, statement):
    print(json.dumps(ask(http, statement)))


def rows(http, name, records, expected):
    columns, *expected = [tuple(row) for row in json.loads(expected)]
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        table = table_named(http, name)
        if table and sum(table["offsets"].values()) >= int(records):
            break
        assert time.monotonic() < deadline, table
        time.sleep(0.05)
    path = table["location"].removeprefix("file://")
    for reader, found in read(path, list(columns)).items():
        assert found == expected, f"{reader}: {found}"
    found = ask(http, f"select {', '.join(columns)} from {name} order by 1")
    assert found == expected, f"SQL: {found}"
    print(path)


def gone(path):
    deadline = time.monotonic() + TIMEOUT_S
    while left := [file for end in ("", "__dlq") for file in Path(path + end).rglob("*") if file.is_file()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


{"rows": rows, "sql": sql, "location": location, "gone": gone}[sys.argv[1]](*sys.argv[2:])
# pyarrow's threads do not always survive the interpreter's own end (std::terminate).
sys.stdout.flush()
os._exit(0)
