-- The head counts the bytes that a tenant keeps: data and clocks of its documents and of its log, as texts in UTF-8.

-- The usage of a tenant is one more row of syncflow_load. It has the documents that are not deleted, the ids of
-- operations as a text, and the bytes. The commit below is that of the second step, but it counts bytes. The one of the
-- previous version finds out itself how many they are.

ALTER TABLE {schema}.syncflow_heads ADD COLUMN bytes bigint NOT NULL DEFAULT 0;

CREATE FUNCTION {schema}.syncflow_usage(of_tenant text)
RETURNS TABLE (
    known_id text,
    collection text,
    doc_id text,
    live_documents bigint,
    body text,
    operation_ids text,
    client_id text,
    bytes bigint,
    clock text
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        NULL, NULL, NULL, coalesce(h.live_documents, 0), NULL, coalesce(h.seq, 0)::text, NULL, coalesce(h.bytes, 0), NULL
    FROM (SELECT) AS one
    LEFT JOIN {schema}.syncflow_heads AS h ON h.tenant = of_tenant
$$;

CREATE FUNCTION {schema}.syncflow_commit(
    of_tenant text,
    live_documents_delta bigint,
    bytes_delta bigint,
    batch_received_at_ms bigint,
    entry_ids text[],
    entry_kinds text[],
    entry_collections text[],
    entry_doc_ids text[],
    entry_data text[],
    entry_timestamps bigint[],
    entry_client_ids text[],
    entry_clocks text[],
    -- The fingerprints behind the entries, were the log empty before them.
    entry_fingerprints bigint[],
    -- The documents in the order of their keys.
    document_collections text[],
    document_ids text[],
    -- The revision that the decision saw, null where it saw no document.
    document_seen_revs bigint[],
    document_revs bigint[],
    -- The place in the batch, from 1, of the entry that wrote the document last.
    document_entries bigint[],
    document_bodies text[],
    -- The text for `data`, if it is not the same as `body`.
    document_data text[],
    document_operation_ids text[],
    document_client_ids text[],
    document_timestamps bigint[],
    document_clocks text[]
)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    fingerprint_mask CONSTANT bigint := (1::bigint << 48) - 1;
    entry_count CONSTANT bigint := cardinality(entry_ids);
    known_documents CONSTANT bigint := cardinality(array_remove(document_seen_revs, NULL));
    guard_holds boolean;
    seq_before bigint;
    fingerprint_before bigint;
    received bigint;
BEGIN
    -- A write must be on disk before it is answered, whatever the server's default is.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    INSERT INTO {schema}.syncflow_operation_ids (tenant, id)
    SELECT of_tenant, e.id FROM unnest(entry_ids) AS e (id) ORDER BY e.id COLLATE "C";

    INSERT INTO {schema}.syncflow_heads AS h (tenant, seq, fingerprint, horizon, live_documents, bytes, received_at_ms)
    VALUES (
        of_tenant, entry_count, entry_fingerprints[entry_count], 0, live_documents_delta, bytes_delta,
        batch_received_at_ms
    )
    ON CONFLICT (tenant) DO UPDATE SET
        seq = h.seq + excluded.seq,
        fingerprint = (h.fingerprint + excluded.fingerprint) & fingerprint_mask,
        live_documents = h.live_documents + excluded.live_documents,
        bytes = h.bytes + excluded.bytes,
        received_at_ms = greatest(h.received_at_ms, excluded.received_at_ms)
    RETURNING h.seq - entry_count, h.fingerprint - entry_fingerprints[entry_count], h.received_at_ms
    INTO seq_before, fingerprint_before, received;

    IF known_documents > 0 THEN
        SELECT count(*) = known_documents AND coalesce(bool_and(found.rev = w.seen_rev), true)
        INTO guard_holds
        FROM unnest(document_collections, document_ids, document_seen_revs) AS w (collection, doc_id, seen_rev)
        CROSS JOIN LATERAL (
            SELECT d.rev
            FROM {schema}.syncflow_documents AS d
            WHERE d.tenant = of_tenant AND d.collection = w.collection AND d.doc_id = w.doc_id
            OFFSET 0
        ) AS found
        WHERE w.seen_rev IS NOT NULL;
        IF NOT guard_holds THEN
            RAISE serialization_failure USING MESSAGE = 'a document of the batch is no longer as it was seen';
        END IF;

        -- They are there, so all of them conflict and are updated, by the very key that they are looked up by.
        INSERT INTO {schema}.syncflow_documents (
            tenant, collection, doc_id, rev, seq, fingerprint, body, data, operation_id, client_id, "timestamp", clock
        )
        SELECT
            of_tenant, w.collection, w.doc_id, w.rev, seq_before + w.entry,
            (fingerprint_before + entry_fingerprints[w.entry]) & fingerprint_mask,
            w.body, coalesce(w.data, w.body)::jsonb, w.operation_id, w.client_id, w."timestamp", w.clock
        FROM unnest(
            document_collections, document_ids, document_seen_revs, document_revs, document_entries, document_bodies,
            document_data, document_operation_ids, document_client_ids, document_timestamps, document_clocks
        ) AS w (
            collection, doc_id, seen_rev, rev, entry, body, data, operation_id, client_id, "timestamp", clock
        )
        WHERE w.seen_rev IS NOT NULL
        ON CONFLICT (tenant, collection, doc_id) DO UPDATE SET
            rev = excluded.rev,
            seq = excluded.seq,
            fingerprint = excluded.fingerprint,
            body = excluded.body,
            data = excluded.data,
            operation_id = excluded.operation_id,
            client_id = excluded.client_id,
            "timestamp" = excluded."timestamp",
            clock = excluded.clock;
    END IF;
    IF known_documents < cardinality(document_ids) THEN
        INSERT INTO {schema}.syncflow_documents (
            tenant, collection, doc_id, rev, seq, fingerprint, body, data, operation_id, client_id, "timestamp", clock
        )
        SELECT
            of_tenant, w.collection, w.doc_id, w.rev, seq_before + w.entry,
            (fingerprint_before + entry_fingerprints[w.entry]) & fingerprint_mask,
            w.body, coalesce(w.data, w.body)::jsonb, w.operation_id, w.client_id, w."timestamp", w.clock
        FROM unnest(
            document_collections, document_ids, document_seen_revs, document_revs, document_entries, document_bodies,
            document_data, document_operation_ids, document_client_ids, document_timestamps, document_clocks
        ) AS w (
            collection, doc_id, seen_rev, rev, entry, body, data, operation_id, client_id, "timestamp", clock
        )
        WHERE w.seen_rev IS NULL;
    END IF;

    INSERT INTO {schema}.syncflow_operations (
        tenant, seq, fingerprint, id, kind, collection, doc_id, data, "timestamp", client_id, clock, received_at_ms
    )
    SELECT
        of_tenant, seq_before + e.place, (fingerprint_before + e.fingerprint) & fingerprint_mask,
        e.id, e.kind, e.collection, e.doc_id, e.data, e."timestamp", e.client_id, e.clock, received
    FROM unnest(
        entry_ids, entry_kinds, entry_collections, entry_doc_ids, entry_data, entry_timestamps, entry_client_ids,
        entry_clocks, entry_fingerprints
    ) WITH ORDINALITY AS e (
        id, kind, collection, doc_id, data, "timestamp", client_id, clock, fingerprint, place
    );
END
$$;

CREATE OR REPLACE FUNCTION {schema}.syncflow_commit(
    of_tenant text,
    live_documents_delta bigint,
    batch_received_at_ms bigint,
    entry_ids text[],
    entry_kinds text[],
    entry_collections text[],
    entry_doc_ids text[],
    entry_data text[],
    entry_timestamps bigint[],
    entry_client_ids text[],
    entry_clocks text[],
    -- The fingerprints behind the entries, were the log empty before them.
    entry_fingerprints bigint[],
    -- The documents in the order of their keys.
    document_collections text[],
    document_ids text[],
    -- The revision that the decision saw, null where it saw no document.
    document_seen_revs bigint[],
    document_revs bigint[],
    -- The place in the batch, from 1, of the entry that wrote the document last.
    document_entries bigint[],
    document_bodies text[],
    -- The text for `data`, if it is not the same as `body`.
    document_data text[],
    document_operation_ids text[],
    document_client_ids text[],
    document_timestamps bigint[],
    document_clocks text[]
)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    bytes_written bigint;
    bytes_before bigint;
BEGIN
    SELECT coalesce(sum(octet_length(coalesce(w.data, '')) + octet_length(w.clock)), 0) INTO bytes_written
    FROM (
        SELECT e.data, e.clock FROM unnest(entry_data, entry_clocks) AS e (data, clock)
        UNION ALL
        SELECT d.body, d.clock FROM unnest(document_bodies, document_clocks) AS d (body, clock)
    ) AS w;
    -- A document that changes before the commit holds the head makes the commit fail.
    SELECT coalesce(sum(octet_length(coalesce(found.body, '')) + octet_length(found.clock)), 0) INTO bytes_before
    FROM unnest(document_collections, document_ids) AS w (collection, doc_id)
    CROSS JOIN LATERAL (
        SELECT d.body, d.clock
        FROM {schema}.syncflow_documents AS d
        WHERE d.tenant = of_tenant AND d.collection = w.collection AND d.doc_id = w.doc_id
        OFFSET 0
    ) AS found;
    PERFORM {schema}.syncflow_commit(
        of_tenant, live_documents_delta, bytes_written - bytes_before, batch_received_at_ms, entry_ids, entry_kinds,
        entry_collections, entry_doc_ids, entry_data, entry_timestamps, entry_client_ids, entry_clocks,
        entry_fingerprints, document_collections, document_ids, document_seen_revs, document_revs, document_entries,
        document_bodies, document_data, document_operation_ids, document_client_ids, document_timestamps,
        document_clocks
    );
END
$$;

-- As in the step before, but it counts the bytes that go.
CREATE OR REPLACE FUNCTION {schema}.syncflow_compact(
    of_tenant text,
    received_until_ms bigint,
    forget_clients_before_ms bigint,
    max_entries bigint,
    now_ms bigint,
    future_after_ms bigint,
    OUT deleted_entries bigint,
    OUT is_finished boolean
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
    horizon_before bigint;
    last_seq bigint;
    are_clients_left boolean;
    bytes_gone bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('syncflow compaction ' || of_tenant, 0));
    are_clients_left := {schema}.syncflow_forget_some_clients(of_tenant, forget_clients_before_ms, max_entries);
    IF {schema}.syncflow_end_the_future(of_tenant, now_ms, future_after_ms, max_entries) THEN
        deleted_entries := 0;
        is_finished := false;
        RETURN;
    END IF;

    SELECT h.horizon INTO horizon_before FROM {schema}.syncflow_heads AS h WHERE h.tenant = of_tenant;

    -- Times of reception never run backwards in the log, so the entries that go are its first ones.
    SELECT coalesce(max(o.seq), horizon_before) INTO last_seq
    FROM (
        SELECT o.seq, o.received_at_ms
        FROM {schema}.syncflow_operations AS o
        WHERE o.tenant = of_tenant AND o.seq > horizon_before
        ORDER BY o.seq
        LIMIT max_entries
    ) AS o
    WHERE o.received_at_ms <= received_until_ms;

    WITH gone AS (
        DELETE FROM {schema}.syncflow_operations AS o
        WHERE o.tenant = of_tenant AND o.seq > horizon_before AND o.seq <= last_seq
        RETURNING o.seq, o.fingerprint, octet_length(coalesce(o.data, '')) + octet_length(o.clock) AS bytes
    ), kept AS (
        INSERT INTO {schema}.syncflow_fingerprints (tenant, seq, fingerprint)
        SELECT of_tenant, gone.seq, gone.fingerprint FROM gone
    )
    SELECT count(*), coalesce(sum(gone.bytes), 0) INTO deleted_entries, bytes_gone FROM gone;

    UPDATE {schema}.syncflow_heads AS h SET horizon = last_seq, bytes = h.bytes - bytes_gone
    WHERE h.tenant = of_tenant AND h.horizon < last_seq;

    are_clients_left := are_clients_left OR EXISTS (
        SELECT FROM {schema}.syncflow_clients AS c
        WHERE c.tenant = of_tenant COLLATE "POSIX" AND c.seen_at_ms > future_after_ms
    );
    is_finished := NOT are_clients_left AND NOT coalesce(
        (
            SELECT o.received_at_ms <= received_until_ms
            FROM {schema}.syncflow_operations AS o
            WHERE o.tenant = of_tenant AND o.seq > last_seq
            ORDER BY o.seq
            LIMIT 1
        ),
        false
    );
END
$$;

-- The length of a text is known without reading it. No other transaction commits meanwhile, because the table of heads
-- is locked.
UPDATE {schema}.syncflow_heads AS h SET bytes = kept.bytes
FROM (
    SELECT rows.tenant, sum(rows.bytes)::bigint AS bytes
    FROM (
        SELECT o.tenant, octet_length(coalesce(o.data, '')) + octet_length(o.clock) AS bytes
        FROM {schema}.syncflow_operations AS o
        UNION ALL
        SELECT d.tenant, octet_length(coalesce(d.body, '')) + octet_length(d.clock)
        FROM {schema}.syncflow_documents AS d
    ) AS rows
    GROUP BY rows.tenant
) AS kept
WHERE h.tenant = kept.tenant;
