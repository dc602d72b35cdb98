-- The functions for erasing subtract the bytes of stamps, and the clients of a tenant are read by their index.

-- The clients of a tenant after one of them, in the order of the bytes of their ids. The index has this order, whatever
-- the statistics say about the table.
CREATE FUNCTION {schema}.syncflow_clients_after(of_tenant text, after_client text, max_rows bigint)
RETURNS TABLE (client_id text, places text, pulled_seq bigint, seen_at_ms bigint)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT c.client_id, c.places, c.pulled_seq, c.seen_at_ms
    FROM {schema}.syncflow_clients AS c
    WHERE c.tenant = of_tenant AND c.client_id > after_client
    ORDER BY c.client_id
    LIMIT max_rows;
END
$$;

-- Replaces the data of a document's entries in a part of the log, and removes what is kept beside them. Returns how
-- many had others, or had something beside them.
--
-- It excludes the steps of compactions, so that no entry is removed between its sum and its change.
CREATE OR REPLACE FUNCTION {schema}.syncflow_scrub(
    of_tenant text,
    of_collection text,
    of_doc_id text,
    after_seq bigint,
    up_to_seq bigint
)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    scrubbed bigint;
    bytes_removed bigint;
    bytes_of_stamps bigint;
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('syncflow compaction ' || of_tenant, 0));
    -- A commit holds the head when it writes stamps.
    PERFORM 1 FROM {schema}.syncflow_heads AS h WHERE h.tenant = of_tenant FOR UPDATE;

    SELECT
        count(*),
        coalesce(sum(greatest(octet_length(coalesce(o.data, '')) - 2, 0) + octet_length(coalesce(o.kept, ''))), 0)
    INTO scrubbed, bytes_removed
    FROM {schema}.syncflow_operations AS o
    WHERE
        o.tenant = of_tenant AND o.seq > after_seq AND o.seq <= up_to_seq
        AND o.collection = of_collection AND o.doc_id = of_doc_id
        AND (o.data <> '{}' OR o.kept IS NOT NULL);

    UPDATE {schema}.syncflow_operations AS o SET data = CASE WHEN o.data IS NOT NULL THEN '{}' END, kept = NULL
    WHERE
        o.tenant = of_tenant AND o.seq > after_seq AND o.seq <= up_to_seq
        AND o.collection = of_collection AND o.doc_id = of_doc_id
        AND (o.data <> '{}' OR o.kept IS NOT NULL);

    -- Stamps have the names of keys. The stamps of an earlier state say nothing any more, nor do damaged ones.
    SELECT coalesce(sum(octet_length(d.stamps)), 0) INTO bytes_of_stamps
    FROM {schema}.syncflow_documents AS d
    WHERE
        d.tenant = of_tenant AND d.collection = of_collection AND d.doc_id = of_doc_id
        AND NOT starts_with(d.stamps, '{"rev":' || d.rev || ',');
    IF bytes_of_stamps > 0 THEN
        UPDATE {schema}.syncflow_documents AS d SET stamps = NULL
        WHERE d.tenant = of_tenant AND d.collection = of_collection AND d.doc_id = of_doc_id;
    END IF;
    -- The stamps that a previous version of the server may have written are not counted.
    DELETE FROM {schema}.syncflow_stamps AS s
    WHERE s.tenant = of_tenant AND s.collection = of_collection AND s.doc_id = of_doc_id;

    UPDATE {schema}.syncflow_heads AS h SET bytes = h.bytes - bytes_removed - bytes_of_stamps
    WHERE h.tenant = of_tenant;
    RETURN scrubbed;
END
$$;

-- One step that removes rows of a tenant, at most so many.
--
-- The head is locked first, so no commit comes between. A commit that waits for it finds a whole tenant, or none. It
-- holds the owners that it changes while it waits for the head, so locked owners are left for the next step.
-- Documents go before entries, since a page of documents needs their fingerprints.
CREATE OR REPLACE FUNCTION {schema}.syncflow_erase(
    of_tenant text,
    max_rows bigint,
    OUT removed_documents bigint,
    OUT removed_entries bigint,
    OUT removed_ids bigint,
    OUT removed_clients bigint,
    OUT is_finished boolean
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    rows_left bigint := max_rows;
    removed bigint;
    removed_live bigint;
    bytes_of_documents bigint;
    bytes_of_entries bigint;
    last_seq bigint;
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('syncflow compaction ' || of_tenant, 0));
    PERFORM 1 FROM {schema}.syncflow_heads AS h WHERE h.tenant = of_tenant FOR UPDATE;

    -- The stamps that a previous version of the server may have written are not counted.
    DELETE FROM {schema}.syncflow_stamps AS s
    USING (
        SELECT f.collection, f.doc_id
        FROM {schema}.syncflow_stamps AS f
        WHERE f.tenant = of_tenant
        ORDER BY f.collection, f.doc_id
        LIMIT rows_left
    ) AS f
    WHERE s.tenant = of_tenant AND s.collection = f.collection AND s.doc_id = f.doc_id;
    GET DIAGNOSTICS removed = ROW_COUNT;
    rows_left := rows_left - removed;

    WITH gone AS (
        DELETE FROM {schema}.syncflow_documents AS d
        USING (
            SELECT f.collection, f.doc_id
            FROM {schema}.syncflow_documents AS f
            WHERE f.tenant = of_tenant
            ORDER BY f.collection, f.doc_id
            LIMIT rows_left
        ) AS f
        WHERE d.tenant = of_tenant AND d.collection = f.collection AND d.doc_id = f.doc_id
        RETURNING d.body, d.clock, d.stamps
    )
    SELECT
        count(*),
        count(g.body),
        coalesce(
            sum(octet_length(coalesce(g.body, '')) + octet_length(g.clock) + octet_length(coalesce(g.stamps, ''))), 0
        )
    INTO removed_documents, removed_live, bytes_of_documents
    FROM gone AS g;
    rows_left := rows_left - removed_documents;

    SELECT max(f.seq) INTO last_seq
    FROM (
        SELECT o.seq FROM {schema}.syncflow_operations AS o WHERE o.tenant = of_tenant ORDER BY o.seq LIMIT rows_left
    ) AS f;
    WITH gone AS (
        DELETE FROM {schema}.syncflow_operations AS o
        WHERE o.tenant = of_tenant AND o.seq <= last_seq
        RETURNING o.data, o.clock, o.kept
    )
    SELECT
        count(*),
        coalesce(
            sum(octet_length(coalesce(g.data, '')) + octet_length(g.clock) + octet_length(coalesce(g.kept, ''))), 0
        )
    INTO removed_entries, bytes_of_entries
    FROM gone AS g;
    rows_left := rows_left - removed_entries;

    UPDATE {schema}.syncflow_heads AS h SET
        horizon = greatest(h.horizon, last_seq),
        live_documents = h.live_documents - removed_live,
        bytes = h.bytes - bytes_of_documents - bytes_of_entries
    WHERE h.tenant = of_tenant;

    DELETE FROM {schema}.syncflow_operation_ids AS i
    USING (
        SELECT f.id FROM {schema}.syncflow_operation_ids AS f WHERE f.tenant = of_tenant ORDER BY f.id LIMIT rows_left
    ) AS f
    WHERE i.tenant = of_tenant AND i.id = f.id;
    GET DIAGNOSTICS removed_ids = ROW_COUNT;
    rows_left := rows_left - removed_ids;

    DELETE FROM {schema}.syncflow_fingerprints AS p
    USING (
        SELECT f.seq FROM {schema}.syncflow_fingerprints AS f WHERE f.tenant = of_tenant ORDER BY f.seq LIMIT rows_left
    ) AS f
    WHERE p.tenant = of_tenant AND p.seq = f.seq;
    GET DIAGNOSTICS removed = ROW_COUNT;
    rows_left := rows_left - removed;

    DELETE FROM {schema}.syncflow_former_labels AS l
    USING (
        SELECT f.collection, f.doc_id
        FROM {schema}.syncflow_former_labels AS f
        WHERE f.tenant = of_tenant
        ORDER BY f.collection, f.doc_id
        LIMIT rows_left
    ) AS f
    WHERE l.tenant = of_tenant AND l.collection = f.collection AND l.doc_id = f.doc_id;
    GET DIAGNOSTICS removed = ROW_COUNT;
    rows_left := rows_left - removed;

    DELETE FROM {schema}.syncflow_clients AS c
    USING (
        SELECT f.client_id
        FROM {schema}.syncflow_clients AS f
        WHERE f.tenant = of_tenant
        ORDER BY f.client_id
        LIMIT rows_left
    ) AS f
    WHERE c.tenant = of_tenant AND c.client_id = f.client_id;
    GET DIAGNOSTICS removed_clients = ROW_COUNT;
    rows_left := rows_left - removed_clients;

    DELETE FROM {schema}.syncflow_owners AS o
    USING (
        SELECT f.client_id
        FROM {schema}.syncflow_owners AS f
        WHERE f.tenant = of_tenant
        ORDER BY f.client_id
        LIMIT rows_left
        FOR UPDATE SKIP LOCKED
    ) AS f
    WHERE o.tenant = of_tenant AND o.client_id = f.client_id;
    GET DIAGNOSTICS removed = ROW_COUNT;
    removed_clients := removed_clients + removed;
    rows_left := rows_left - removed;

    is_finished := rows_left > 0
        AND NOT EXISTS (SELECT FROM {schema}.syncflow_owners AS o WHERE o.tenant = of_tenant);
    IF is_finished THEN
        DELETE FROM {schema}.syncflow_heads AS h WHERE h.tenant = of_tenant;
    END IF;
END
$$;
