-- Dynamic configurations of groups. See docs/rfcs/0004-metadata.md.

-- configs: a JSON object of strings.
CREATE TABLE group_configs (
    group_id TEXT    NOT NULL PRIMARY KEY,
    version  INTEGER NOT NULL,
    configs  TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
