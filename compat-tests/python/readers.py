"""Readers of Delta tables that are not ours."""

from pathlib import Path


def connect_duckdb(options):
    import duckdb
    import duckdb_extension_delta
    import duckdb_extension_httpfs

    connection = duckdb.connect()
    # The wheels carry the extensions, so that nothing is fetched at run time.
    for module, name in ((duckdb_extension_httpfs, "httpfs"), (duckdb_extension_delta, "delta")):
        (extension,) = Path(module.__file__).parent.glob(f"extensions/*/{name}.duckdb_extension")
        connection.execute(f"load '{extension}'")
    if options:
        secret = {"key_id": "AWS_ACCESS_KEY_ID", "secret": "AWS_SECRET_ACCESS_KEY", "region": "AWS_REGION"}
        secret = ", ".join(f"{name} '{options[key]}'" for name, key in secret.items())
        endpoint = options["AWS_ENDPOINT_URL"].removeprefix("http://")
        connection.execute(f"create secret (type s3, {secret}, endpoint '{endpoint}', url_style 'path', use_ssl false)")
    return connection


def rows(path, columns, options=None):
    """The rows of a table by reader, some of their columns, each in the order of the first."""
    import polars
    from deltalake import DeltaTable

    table = DeltaTable(path, storage_options=options).to_pyarrow_table(columns=columns)
    found = {
        "deltalake": list(zip(*(table.column(name).to_pylist() for name in columns))),
        "DuckDB": connect_duckdb(options).execute(f"select {', '.join(columns)} from delta_scan('{path}')").fetchall(),
        "Polars": polars.read_delta(path, storage_options=options).select(columns).rows(),
    }
    return {reader: sorted(rows, key=lambda row: row[0]) for reader, rows in found.items()}
