-- The bytes of stamps are a part of the bytes of their tenant.
UPDATE heads SET bytes = bytes + (
    SELECT coalesce(sum(octet_length(stamps)), 0) FROM documents WHERE documents.tenant = heads.tenant
);
