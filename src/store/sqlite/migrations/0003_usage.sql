-- Version 3. The head counts the bytes of a tenant's documents and log: data and clocks, as texts in UTF-8.
ALTER TABLE heads ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE heads SET bytes =
    (
        SELECT coalesce(sum(octet_length(coalesce(data, '')) + octet_length(clock)), 0)
        FROM documents WHERE documents.tenant = heads.tenant
    )
    + (
        SELECT coalesce(sum(octet_length(coalesce(data, '')) + octet_length(clock)), 0)
        FROM operations WHERE operations.tenant = heads.tenant
    );
