-- Version 1. Every key begins with the tenant.

-- One row a tenant: the newest place of its log, the horizon, and the counters of the statistics.
CREATE TABLE heads (
    tenant         TEXT    NOT NULL PRIMARY KEY,
    seq            INTEGER NOT NULL,
    fingerprint    INTEGER NOT NULL,
    horizon        INTEGER NOT NULL,
    operations     INTEGER NOT NULL,
    documents      INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The log, without what compaction has removed.
CREATE TABLE operations (
    tenant         TEXT    NOT NULL,
    seq            INTEGER NOT NULL,
    fingerprint    INTEGER NOT NULL,
    id             TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    collection     TEXT    NOT NULL,
    document_id    TEXT    NOT NULL,
    data           TEXT,
    timestamp      INTEGER NOT NULL,
    client_id      TEXT    NOT NULL,
    clock          TEXT    NOT NULL,
    received_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, seq)
) STRICT, WITHOUT ROWID;

-- Pulls by the rule of the original protocol while nothing has been compacted.
CREATE INDEX operations_by_time ON operations (tenant, timestamp, seq);

-- The ids of all operations that ever took effect.
CREATE TABLE operation_ids (
    tenant TEXT NOT NULL,
    id     TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

-- Compaction keeps this of each entry that it removes, so that cursors behind the horizon can still be verified.
CREATE TABLE fingerprints (
    tenant      TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    fingerprint INTEGER NOT NULL,
    PRIMARY KEY (tenant, seq)
) STRICT, WITHOUT ROWID;

-- The current documents; a tombstone has no data.
CREATE TABLE documents (
    tenant       TEXT    NOT NULL,
    collection   TEXT    NOT NULL,
    id           TEXT    NOT NULL,
    rev          INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    is_deleted   INTEGER NOT NULL,
    operation_id TEXT    NOT NULL,
    timestamp    INTEGER NOT NULL,
    client_id    TEXT    NOT NULL,
    clock        TEXT    NOT NULL,
    data         TEXT,
    PRIMARY KEY (tenant, collection, id)
) STRICT, WITHOUT ROWID;

-- State mode; tombstones are passed over within the index.
CREATE INDEX documents_by_seq ON documents (tenant, seq, is_deleted);

-- Queries, newest first.
CREATE INDEX documents_by_collection ON documents (tenant, collection, seq) WHERE is_deleted = 0;

-- Pulls by the rule of the original protocol after history has been compacted.
CREATE INDEX documents_by_time ON documents (tenant, timestamp, seq);

-- The memory of the clients that pull.
CREATE TABLE clients (
    tenant     TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    places     TEXT    NOT NULL,
    pulled_seq INTEGER NOT NULL,
    seen_at_ms INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

-- The statistics: the active client that has pulled least.
CREATE INDEX clients_by_pulled_seq ON clients (tenant, pulled_seq, seen_at_ms);

-- Forgetting.
CREATE INDEX clients_by_seen_at ON clients (tenant, seen_at_ms);
