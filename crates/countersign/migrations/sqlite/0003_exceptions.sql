-- Exceptions that operators made while the gateway ran. One that was ended has its end at that moment.
CREATE TABLE exceptions (
    id         TEXT PRIMARY KEY,
    listener   TEXT,
    network    TEXT,
    sni        TEXT,
    owner      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    ends       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    created_by INTEGER NOT NULL,
    ended_by   INTEGER,
    CHECK (network IS NOT NULL OR sni IS NOT NULL)
) STRICT, WITHOUT ROWID;
