-- Version 4. A feed of some collections reads the tombstones of these alone.
-- The index of queries serves it for documents.
CREATE INDEX documents_deleted_by_collection ON documents (tenant, collection, seq) WHERE is_deleted = 1;
