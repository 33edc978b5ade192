-- Machines whose TPM vouches for an agent: by which endorsement key, and what the machine showed.
CREATE TABLE machines (
    agent            TEXT PRIMARY KEY,
    ek_hash          TEXT NOT NULL,
    vendor           TEXT,
    ak_public        BLOB NOT NULL,
    enrolled_at      INTEGER NOT NULL,
    clock            TEXT,
    shown            TEXT,
    shown_at         INTEGER,
    reference        TEXT,
    reference_at     INTEGER,
    reference_by     INTEGER,
    reference_reason TEXT
) STRICT, WITHOUT ROWID;

-- Endorsement keys that an operator lets in although no maker vouches for them, or under another name.
CREATE TABLE allowed_eks (
    ek_hash    TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
