-- Stamps are a column of their documents now, so that they are read and written with these, and a write without stamps
-- removes them. Previous versions of the server read and write the table, and leave the column as it is. Stamps say
-- which revision they are about, so those that the other version has left behind say nothing. Their bytes are a part of
-- the bytes of their tenant.
--
-- There is one function for every load and one for every commit.

-- Servers of previous versions lock the head first, so this does too.
LOCK TABLE {schema}.syncflow_heads, {schema}.syncflow_documents IN ACCESS EXCLUSIVE MODE;

ALTER TABLE {schema}.syncflow_documents ADD COLUMN stamps text COLLATE "C";

UPDATE {schema}.syncflow_documents AS d SET stamps = s.stamps
FROM {schema}.syncflow_stamps AS s
WHERE
    d.tenant = s.tenant AND d.collection = s.collection AND d.doc_id = s.doc_id
    AND starts_with(s.stamps, '{"rev":' || d.rev || ',');

DELETE FROM {schema}.syncflow_stamps;

UPDATE {schema}.syncflow_heads AS h SET bytes = h.bytes + s.bytes
FROM (
    SELECT d.tenant, sum(octet_length(d.stamps)) AS bytes
    FROM {schema}.syncflow_documents AS d
    WHERE d.stamps IS NOT NULL
    GROUP BY d.tenant
) AS s
WHERE h.tenant = s.tenant;

-- The reads for a decision: ids and documents, and all that may be asked for beside them. This is a row for the usage of
-- the tenant, one for each owner and each place, and the former labels and stamps of documents.
--
-- A document that has former labels also has the place of its last operation. The bytes of its stamps are always there.
-- Before the stamps, and the text that is kept beside the last operation of a tombstone, is the number of their bytes.
-- They are missing if these texts have more than `max_bytes` together. Through a pooler a session may have JIT
-- compilation, which would take longer than the reads.
CREATE FUNCTION {schema}.syncflow_load_all(
    of_tenant text,
    ids text[],
    collections text[],
    doc_ids text[],
    max_bytes bigint,
    client_ids text[],
    places bigint[],
    with_usage boolean,
    with_labels boolean,
    with_stamps boolean
)
RETURNS TABLE (
    known_id text,
    collection text,
    doc_id text,
    rev bigint,
    body text,
    operation_id text,
    client_id text,
    "timestamp" bigint,
    clock text,
    labels text,
    seq bigint,
    stamps_bytes bigint,
    bytes bigint,
    stamps text,
    kept text
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    IF with_usage THEN
        RETURN QUERY
            SELECT u.*, NULL, NULL::bigint, NULL::bigint, NULL::bigint, NULL, NULL
            FROM {schema}.syncflow_usage(of_tenant) AS u;
    END IF;
    IF cardinality(client_ids) > 0 THEN
        RETURN QUERY
            SELECT o.*, NULL, NULL::bigint, NULL::bigint, NULL::bigint, NULL, NULL
            FROM {schema}.syncflow_load_owners(of_tenant, client_ids) AS o;
    END IF;
    IF cardinality(places) > 0 THEN
        RETURN QUERY
            SELECT p.*, NULL, NULL::bigint, NULL::bigint, NULL::bigint, NULL, NULL
            FROM {schema}.syncflow_load_places(of_tenant, places) AS p;
    END IF;
    RETURN QUERY
        SELECT
            known.id, NULL, NULL, NULL::bigint, NULL, NULL, NULL, NULL::bigint, NULL,
            NULL, NULL::bigint, NULL::bigint, NULL::bigint, NULL, NULL
        FROM unnest(ids) AS asked (id)
        CROSS JOIN LATERAL (
            SELECT k.id
            FROM {schema}.syncflow_operation_ids AS k
            WHERE k.tenant = of_tenant AND k.id = asked.id
            OFFSET 0
        ) AS known;
    RETURN QUERY
        SELECT
            NULL, d.collection, d.doc_id, d.rev, d.body, d.operation_id, d.client_id, d."timestamp", d.clock,
            d.labels, CASE WHEN d.labels IS NOT NULL THEN d.seq END, octet_length(d.stamps)::bigint, d.bytes,
            CASE WHEN with_stamps AND d.bytes_so_far <= max_bytes THEN d.stamps END,
            CASE WHEN d.bytes_so_far <= max_bytes THEN d.kept END
        FROM (
            SELECT
                w.*,
                sum(w.own_bytes) OVER so_far - w.own_bytes AS bytes_before,
                sum(w.bytes) OVER so_far AS bytes_so_far
            FROM (
                SELECT
                    found.*, of_former.labels, of_entry.kept,
                    octet_length(coalesce(found.body, '')) + octet_length(found.clock) AS own_bytes,
                    CASE WHEN with_stamps THEN
                        (coalesce(octet_length(found.stamps), 0) + coalesce(octet_length(of_entry.kept), 0))::bigint
                    END AS bytes
                FROM unnest(collections, doc_ids) AS asked (collection, doc_id)
                CROSS JOIN LATERAL (
                    SELECT *
                    FROM {schema}.syncflow_documents AS d
                    WHERE d.tenant = of_tenant AND d.collection = asked.collection AND d.doc_id = asked.doc_id
                    OFFSET 0
                ) AS found
                LEFT JOIN LATERAL (
                    SELECT f.labels
                    FROM {schema}.syncflow_former_labels AS f
                    WHERE
                        with_labels
                        AND f.tenant = of_tenant AND f.collection = asked.collection AND f.doc_id = asked.doc_id
                    OFFSET 0
                ) AS of_former ON true
                LEFT JOIN LATERAL (
                    SELECT o.kept
                    FROM {schema}.syncflow_operations AS o
                    WHERE with_stamps AND found.body IS NULL AND o.tenant = of_tenant AND o.seq = found.seq
                    OFFSET 0
                ) AS of_entry ON true
            ) AS w
            WINDOW so_far AS (ROWS UNBOUNDED PRECEDING)
        ) AS d
        WHERE d.bytes_before <= max_bytes;
END
$$;

-- The commit of every batch. The commits of previous versions of the server stay as they are.
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
    document_clocks text[],
    entry_subjects text[],
    -- The owners in the order of their client ids.
    owner_client_ids text[],
    owner_subjects text[],
    owner_counters bigint[],
    owner_seen_subjects text[],
    -- The counter that the decision saw, null where it saw no owner.
    owner_seen_counters bigint[],
    -- The text that is kept beside each entry, null for most. The array is null if there is none.
    entry_kept text[],
    -- The ids that become known; null if these are the ids of the entries.
    known_ids text[],
    -- The stamps of each document, null for most. The array is null if there are none.
    document_stamps text[],
    labelled_collections text[],
    labelled_ids text[],
    labelled_texts text[]
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
    SELECT of_tenant, k.id FROM unnest(coalesce(known_ids, entry_ids)) AS k (id) ORDER BY k.id COLLATE "C";

    FOR place IN 1 .. cardinality(owner_client_ids) LOOP
        IF owner_seen_counters[place] IS NULL THEN
            INSERT INTO {schema}.syncflow_owners (tenant, client_id, subject, counter)
            VALUES (of_tenant, owner_client_ids[place], owner_subjects[place], owner_counters[place])
            ON CONFLICT DO NOTHING;
        ELSE
            UPDATE {schema}.syncflow_owners AS o SET subject = owner_subjects[place], counter = owner_counters[place]
            WHERE
                o.tenant = of_tenant
                AND o.client_id = owner_client_ids[place]
                AND o.subject IS NOT DISTINCT FROM owner_seen_subjects[place]
                AND o.counter = owner_seen_counters[place];
        END IF;
        IF NOT FOUND THEN
            RAISE serialization_failure USING MESSAGE = 'an owner of the batch is no longer as it was seen';
        END IF;
    END LOOP;

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
            tenant, collection, doc_id, rev, seq, fingerprint, body, data, operation_id, client_id, "timestamp", clock,
            stamps
        )
        SELECT
            of_tenant, w.collection, w.doc_id, w.rev, seq_before + w.entry,
            (fingerprint_before + entry_fingerprints[w.entry]) & fingerprint_mask,
            w.body, coalesce(w.data, w.body)::jsonb, w.operation_id, w.client_id, w."timestamp", w.clock,
            w.stamps
        FROM unnest(
            document_collections, document_ids, document_seen_revs, document_revs, document_entries, document_bodies,
            document_data, document_operation_ids, document_client_ids, document_timestamps, document_clocks,
            document_stamps
        ) AS w (
            collection, doc_id, seen_rev, rev, entry, body, data, operation_id, client_id, "timestamp", clock,
            stamps
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
            clock = excluded.clock,
            stamps = excluded.stamps;
    END IF;
    IF known_documents < cardinality(document_ids) THEN
        INSERT INTO {schema}.syncflow_documents (
            tenant, collection, doc_id, rev, seq, fingerprint, body, data, operation_id, client_id, "timestamp", clock,
            stamps
        )
        SELECT
            of_tenant, w.collection, w.doc_id, w.rev, seq_before + w.entry,
            (fingerprint_before + entry_fingerprints[w.entry]) & fingerprint_mask,
            w.body, coalesce(w.data, w.body)::jsonb, w.operation_id, w.client_id, w."timestamp", w.clock,
            w.stamps
        FROM unnest(
            document_collections, document_ids, document_seen_revs, document_revs, document_entries, document_bodies,
            document_data, document_operation_ids, document_client_ids, document_timestamps, document_clocks,
            document_stamps
        ) AS w (
            collection, doc_id, seen_rev, rev, entry, body, data, operation_id, client_id, "timestamp", clock,
            stamps
        )
        WHERE w.seen_rev IS NULL;
    END IF;

    INSERT INTO {schema}.syncflow_operations (
        tenant, seq, fingerprint, id, kind, collection, doc_id, data, "timestamp", client_id, clock, received_at_ms,
        subject, kept
    )
    SELECT
        of_tenant, seq_before + e.place, (fingerprint_before + e.fingerprint) & fingerprint_mask,
        e.id, e.kind, e.collection, e.doc_id, e.data, e."timestamp", e.client_id, e.clock, received, e.subject, e.kept
    FROM unnest(
        entry_ids, entry_kinds, entry_collections, entry_doc_ids, entry_data, entry_timestamps, entry_client_ids,
        entry_clocks, entry_fingerprints, entry_subjects, entry_kept
    ) WITH ORDINALITY AS e (
        id, kind, collection, doc_id, data, "timestamp", client_id, clock, fingerprint, subject, kept, place
    );

    IF cardinality(labelled_ids) > 0 THEN
        INSERT INTO {schema}.syncflow_former_labels (tenant, collection, doc_id, labels)
        SELECT of_tenant, l.collection, l.doc_id, l.labels
        FROM unnest(labelled_collections, labelled_ids, labelled_texts) AS l (collection, doc_id, labels)
        ON CONFLICT (tenant, collection, doc_id) DO UPDATE SET labels = excluded.labels;
    END IF;
END
$$;
