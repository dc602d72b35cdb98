-- The id of a resolution follows from that of the operation, so only the latter becomes known.
--
-- Previous versions of the server make both known, and find an operation by either.

-- The commit of a batch with resolutions, of which the log has other ids than become known.
CREATE FUNCTION {schema}.syncflow_commit_known(
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
    -- The text that is kept beside each entry, null for most.
    entry_kept text[],
    -- The ids that become known.
    known_ids text[],
    stamped_collections text[],
    stamped_ids text[],
    stamped_texts text[],
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
    SELECT of_tenant, k.id FROM unnest(known_ids) AS k (id) ORDER BY k.id COLLATE "C";

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

    IF cardinality(stamped_ids) > 0 THEN
        INSERT INTO {schema}.syncflow_stamps (tenant, collection, doc_id, stamps)
        SELECT of_tenant, s.collection, s.doc_id, s.stamps
        FROM unnest(stamped_collections, stamped_ids, stamped_texts) AS s (collection, doc_id, stamps)
        ON CONFLICT (tenant, collection, doc_id) DO UPDATE SET stamps = excluded.stamps;
    END IF;
    IF cardinality(labelled_ids) > 0 THEN
        INSERT INTO {schema}.syncflow_former_labels (tenant, collection, doc_id, labels)
        SELECT of_tenant, l.collection, l.doc_id, l.labels
        FROM unnest(labelled_collections, labelled_ids, labelled_texts) AS l (collection, doc_id, labels)
        ON CONFLICT (tenant, collection, doc_id) DO UPDATE SET labels = excluded.labels;
    END IF;
END
$$;
