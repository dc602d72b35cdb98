-- Version 5. Client ids belong to subjects, and the log keeps the subject that pushed each operation.

-- The owners of client ids; compaction leaves them. A client id without a subject belongs to nobody yet. The counter is
-- the greatest one that the server has given the client.
CREATE TABLE client_owners (
    tenant    TEXT    NOT NULL,
    client_id TEXT    NOT NULL,
    subject   TEXT,
    counter   INTEGER NOT NULL,
    PRIMARY KEY (tenant, client_id)
) STRICT, WITHOUT ROWID;

ALTER TABLE operations ADD COLUMN subject TEXT;
