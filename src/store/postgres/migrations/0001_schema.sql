-- The tables of the store.
--
-- The steps run with the search path "pg_catalog, pg_temp". Our own objects are named with their schema, and any other
-- name is one of PostgreSQL's own.
--
-- Every key begins with the tenant, so that the schema can be distributed by it as it stands.
-- Texts of keys are compared by their bytes: no index depends on the collations of the operating system.
--
-- Every index but the primary keys compares the tenant by the collation "POSIX", which is "C" by another name. A query
-- that is made for the index says so. Several indexes begin with the tenant, and the planner knows little of a table
-- that was empty a moment ago. With the collation it cannot take the wrong one.

DO $$
BEGIN
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'the database must have the encoding UTF8, not %', current_setting('server_encoding');
    END IF;
END
$$;

-- One row for each tenant: its newest position, its horizon and its counters. Every commit updates it, so its page
-- keeps room for the versions that are not yet cleaned up.
CREATE TABLE {schema}.syncflow_heads (
    tenant text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    fingerprint bigint NOT NULL,
    horizon bigint NOT NULL,
    live_documents bigint NOT NULL,
    received_at_ms bigint NOT NULL,
    PRIMARY KEY (tenant)
) WITH (fillfactor = 20);

-- The log. The data and the clock are texts, for they are answered byte for byte.
CREATE TABLE {schema}.syncflow_operations (
    tenant text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    fingerprint bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    doc_id text COLLATE "C" NOT NULL,
    data text COLLATE "C",
    "timestamp" bigint NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    clock text COLLATE "C" NOT NULL,
    received_at_ms bigint NOT NULL,
    PRIMARY KEY (tenant, seq)
);

-- Pulls by the rule of the original protocol.
CREATE INDEX syncflow_operations_by_time ON {schema}.syncflow_operations (tenant COLLATE "POSIX", "timestamp", seq);

-- The ids of all operations that ever took effect: compaction leaves them.
CREATE TABLE {schema}.syncflow_operation_ids (
    tenant text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, id)
);

-- The fingerprints of the log entries that compaction has removed: cursors from before the horizon still verify.
CREATE TABLE {schema}.syncflow_fingerprints (
    tenant text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    fingerprint bigint NOT NULL,
    PRIMARY KEY (tenant, seq)
);

-- The documents, tombstones included: those have neither `body` nor `data`.
-- `body` is the document byte for byte and what is answered; `data` is the same for indexes and for people who look.
-- It leaves out numbers that PostgreSQL cannot hold.
CREATE TABLE {schema}.syncflow_documents (
    tenant text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    doc_id text COLLATE "C" NOT NULL,
    rev bigint NOT NULL,
    seq bigint NOT NULL,
    fingerprint bigint NOT NULL,
    body text COLLATE "C",
    data jsonb,
    operation_id text COLLATE "C" NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    "timestamp" bigint NOT NULL,
    clock text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant, collection, doc_id)
);

-- Pulls in state mode.
CREATE INDEX syncflow_documents_by_seq ON {schema}.syncflow_documents (tenant COLLATE "POSIX", seq);

-- Pulls by the rule of the original protocol after history has been compacted.
CREATE INDEX syncflow_documents_by_time ON {schema}.syncflow_documents (tenant COLLATE "POSIX", "timestamp", seq);

-- Queries, newest first.
CREATE INDEX syncflow_documents_of_collection ON {schema}.syncflow_documents (tenant COLLATE "POSIX", collection, seq)
WHERE body IS NOT NULL;

-- Queries whose filter leaves little of a collection.
CREATE INDEX syncflow_documents_data ON {schema}.syncflow_documents USING gin (data jsonb_path_ops) WHERE data IS NOT NULL;

-- The clients that pull: what an original client's `since` stands for, and how far each has pulled.
CREATE TABLE {schema}.syncflow_clients (
    tenant text COLLATE "C" NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    places text COLLATE "C" NOT NULL,
    pulled_seq bigint NOT NULL,
    seen_at_ms bigint NOT NULL,
    PRIMARY KEY (tenant, client_id)
);

-- The client that is farthest behind.
CREATE INDEX syncflow_clients_by_pulled ON {schema}.syncflow_clients (tenant COLLATE "POSIX", pulled_seq, seen_at_ms);

-- Clients that were silent for long enough to be forgotten.
CREATE INDEX syncflow_clients_by_seen ON {schema}.syncflow_clients (tenant COLLATE "POSIX", seen_at_ms);
