-- The labels that documents had and no longer have, as JSON. Most documents have no row, and no server without rules
-- reads or writes any.
CREATE TABLE {schema}.syncflow_former_labels (
    tenant text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    doc_id text COLLATE "C" NOT NULL,
    -- Null if the document has all of its labels again.
    labels text,
    PRIMARY KEY (tenant, collection, doc_id)
);
