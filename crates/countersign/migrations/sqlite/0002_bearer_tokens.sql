-- Bearer tokens that operators issued: never the tokens, only what is needed to list and to revoke them.
CREATE TABLE bearer_tokens (
    id             TEXT PRIMARY KEY,
    subject        TEXT NOT NULL,
    service        TEXT NOT NULL,
    issued_at      INTEGER NOT NULL,
    issued_by      INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    revoked_at     INTEGER,
    revoked_reason TEXT
) STRICT, WITHOUT ROWID;
