-- Times are milliseconds since the Unix epoch, in UTC. `application_id` spells "csgn".
PRAGMA application_id = 1668507502;

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Every write adds one row in its own transaction: the sequence is the state's revision.
CREATE TABLE changes (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    subject  TEXT NOT NULL
) STRICT;

-- Only ciphertext: the root key lies in a file of its own.
CREATE TABLE secrets (
    kind       TEXT NOT NULL,
    id         TEXT NOT NULL,
    sealed     TEXT NOT NULL,
    not_before INTEGER NOT NULL,
    not_after  INTEGER,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE bundles (
    version   INTEGER PRIMARY KEY,
    issued_at INTEGER NOT NULL,
    document  BLOB NOT NULL
) STRICT;

CREATE TABLE join_tokens (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    replaces   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_by    BLOB,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE agents (
    name                   TEXT PRIMARY KEY,
    spiffe_id              TEXT NOT NULL,
    spki                   BLOB NOT NULL CHECK (length(spki) = 48),
    previous_spki          BLOB CHECK (length(previous_spki) = 48),
    previous_until         INTEGER,
    serial                 TEXT NOT NULL,
    certificate_expires_at INTEGER NOT NULL,
    enrolled_at            INTEGER NOT NULL,
    last_seen              INTEGER,
    revoked_at             INTEGER,
    revoked_reason         TEXT
) STRICT, WITHOUT ROWID;

-- A revoked key never enrols again, whatever name it asks for.
CREATE TABLE revoked_keys (
    spki       BLOB PRIMARY KEY CHECK (length(spki) = 48),
    name       TEXT NOT NULL,
    revoked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
    principal  TEXT NOT NULL,
    service    TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by INTEGER NOT NULL,
    PRIMARY KEY (principal, service)
) STRICT, WITHOUT ROWID;
