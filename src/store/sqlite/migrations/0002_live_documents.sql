-- Version 2. Documents and tombstones are apart in the order of their last operations. So state mode does not look at
-- tombstones that it does not show.
CREATE INDEX documents_live_by_seq ON documents (tenant, seq) WHERE is_deleted = 0;
CREATE INDEX documents_deleted_by_seq ON documents (tenant, seq) WHERE is_deleted = 1;
DROP INDEX documents_by_seq;
