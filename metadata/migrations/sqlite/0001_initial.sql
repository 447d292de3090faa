-- The metadata schema, format version 1. See docs/rfcs/0004-metadata.md.
-- UUIDs are BLOBs of 16 bytes; offsets, bytes and milliseconds are INTEGERs; ends are exclusive.

-- What a release must understand to open the store; checked before any migration runs.
CREATE TABLE format (
    id                    INTEGER PRIMARY KEY CHECK (id = 1),
    version               INTEGER NOT NULL,
    compatible_features   INTEGER NOT NULL,
    incompatible_features INTEGER NOT NULL
) STRICT;
INSERT INTO format VALUES (1, 1, 0, 0);

-- One row, written by the first session.
CREATE TABLE cluster (
    id               INTEGER PRIMARY KEY CHECK (id = 1),
    cluster_id       TEXT    NOT NULL,
    next_producer_id INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    node_id       INTEGER PRIMARY KEY,
    session_epoch INTEGER NOT NULL
) STRICT;

-- configs: a JSON object of strings.
CREATE TABLE topics (
    topic_id           BLOB    NOT NULL PRIMARY KEY,
    name               TEXT    NOT NULL UNIQUE,
    internal           INTEGER NOT NULL,
    configs            TEXT    NOT NULL,
    config_version     INTEGER NOT NULL,
    created_ms         INTEGER NOT NULL,
    replication_factor INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- replicas: [node id, …]; epoch_starts: [[epoch, start offset], …], ascending.
CREATE TABLE partitions (
    topic_id             BLOB    NOT NULL REFERENCES topics ON DELETE CASCADE,
    partition            INTEGER NOT NULL,
    replicas             TEXT    NOT NULL,
    owner                INTEGER NOT NULL,
    leader_epoch         INTEGER NOT NULL,
    epoch_starts         TEXT    NOT NULL,
    log_start_offset     INTEGER NOT NULL,
    committed_end_offset INTEGER NOT NULL,
    PRIMARY KEY (topic_id, partition)
) STRICT, WITHOUT ROWID;

-- level: 0 or 1; state: 0 registered, 1 committed, 2 dead. extents: of L0 objects, packed.
CREATE TABLE objects (
    object_id       BLOB    NOT NULL PRIMARY KEY,
    object_key      TEXT    NOT NULL UNIQUE,
    level           INTEGER NOT NULL,
    state           INTEGER NOT NULL,
    size            INTEGER NOT NULL,
    footer_position INTEGER NOT NULL,
    created_ms      INTEGER NOT NULL,
    origin_file_id  INTEGER,
    origin_from     INTEGER,
    origin_to       INTEGER,
    extents         BLOB
) STRICT;
CREATE INDEX objects_by_state ON objects (state, created_ms, object_id);

-- The extent of each L1 object, found by partition.
CREATE TABLE l1_extents (
    topic_id       BLOB    NOT NULL,
    partition      INTEGER NOT NULL,
    base_offset    INTEGER NOT NULL,
    end_offset     INTEGER NOT NULL,
    leader_epoch   INTEGER NOT NULL,
    bytes          INTEGER NOT NULL,
    first_position INTEGER NOT NULL,
    min_timestamp  INTEGER NOT NULL,
    max_timestamp  INTEGER NOT NULL,
    object_id      BLOB    NOT NULL UNIQUE REFERENCES objects ON DELETE CASCADE,
    PRIMARY KEY (topic_id, partition, base_offset)
) STRICT, WITHOUT ROWID;

-- node_id: -1 holds what applies to all brokers.
CREATE TABLE broker_configs (
    node_id INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    configs TEXT    NOT NULL
) STRICT;

CREATE TABLE pointers (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
