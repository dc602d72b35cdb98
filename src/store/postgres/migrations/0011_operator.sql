-- Functions for an operator: transfers from other stores, and erasing.

-- Makes ids and owners known that another store knew.
CREATE FUNCTION {schema}.syncflow_learn(
    of_tenant text,
    ids text[],
    owner_client_ids text[],
    owner_subjects text[],
    owner_counters bigint[]
)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    INSERT INTO {schema}.syncflow_operation_ids (tenant, id)
    SELECT of_tenant, e.id FROM unnest(ids) AS e (id) ORDER BY e.id COLLATE "C"
    ON CONFLICT DO NOTHING;

    INSERT INTO {schema}.syncflow_owners AS o (tenant, client_id, subject, counter)
    SELECT of_tenant, w.client_id, w.subject, w.counter
    FROM unnest(owner_client_ids, owner_subjects, owner_counters) AS w (client_id, subject, counter)
    ORDER BY w.client_id COLLATE "C"
    ON CONFLICT (tenant, client_id) DO UPDATE SET
        subject = coalesce(o.subject, excluded.subject),
        counter = greatest(o.counter, excluded.counter);
END
$$;

-- Replaces the data of a document's entries in a part of the log, and returns how many had others.
--
-- It excludes the steps of compactions, so that no entry is removed between its sum and its change.
CREATE FUNCTION {schema}.syncflow_scrub(
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
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('syncflow compaction ' || of_tenant, 0));

    SELECT count(*), coalesce(sum(octet_length(o.data) - 2), 0) INTO scrubbed, bytes_removed
    FROM {schema}.syncflow_operations AS o
    WHERE
        o.tenant = of_tenant AND o.seq > after_seq AND o.seq <= up_to_seq
        AND o.collection = of_collection AND o.doc_id = of_doc_id AND o.data <> '{}';

    UPDATE {schema}.syncflow_operations AS o SET data = '{}'
    WHERE
        o.tenant = of_tenant AND o.seq > after_seq AND o.seq <= up_to_seq
        AND o.collection = of_collection AND o.doc_id = of_doc_id AND o.data <> '{}';

    UPDATE {schema}.syncflow_heads AS h SET bytes = h.bytes - bytes_removed WHERE h.tenant = of_tenant;
    RETURN scrubbed;
END
$$;

-- One step that removes rows of a tenant, at most so many.
--
-- The head is locked first, so no commit comes between. A commit that waits for it finds a whole tenant, or none. It
-- holds the owners that it changes while it waits for the head, so locked owners are left for the next step.
-- Documents go before entries, since a page of documents needs their fingerprints.
CREATE FUNCTION {schema}.syncflow_erase(
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
        RETURNING d.body, d.clock
    )
    SELECT count(*), count(g.body), coalesce(sum(octet_length(coalesce(g.body, '')) + octet_length(g.clock)), 0)
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
        RETURNING o.data, o.clock
    )
    SELECT count(*), coalesce(sum(octet_length(coalesce(g.data, '')) + octet_length(g.clock)), 0)
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
