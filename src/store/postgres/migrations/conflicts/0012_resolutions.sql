-- Conflicts may be resolved by the server.
--
-- Previous versions of the server read and write none of this. Their functions for compaction and erasing are replaced
-- by ones that also count and remove what is kept beside resolutions.

-- The writers of the parts of a document, as JSON. The text is only about the revision that it names. Most documents
-- have no row, and no server that resolves no conflicts reads or writes any.
CREATE TABLE {schema}.syncflow_stamps (
    tenant text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    doc_id text COLLATE "C" NOT NULL,
    stamps text NOT NULL,
    PRIMARY KEY (tenant, collection, doc_id)
);

-- The object that is kept beside a resolution, as JSON; null for most entries.
ALTER TABLE {schema}.syncflow_operations ADD COLUMN kept text;

-- The commit of the step of owners for a batch with resolutions. The ids of the pushed operations are written first, in
-- their order, so that commits wait for each other in one order.
CREATE FUNCTION {schema}.syncflow_commit_resolved(
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
    -- The ids of the operations that were resolved.
    pushed_ids text[],
    -- The places in the batch, from 1, of the entries beside which something is kept, and the texts.
    kept_entries bigint[],
    kept_texts text[],
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
    seq_before bigint;
BEGIN
    INSERT INTO {schema}.syncflow_operation_ids (tenant, id)
    SELECT of_tenant, p.id FROM unnest(pushed_ids) AS p (id) ORDER BY p.id COLLATE "C";

    PERFORM {schema}.syncflow_commit(
        of_tenant, live_documents_delta, bytes_delta, batch_received_at_ms, entry_ids, entry_kinds,
        entry_collections, entry_doc_ids, entry_data, entry_timestamps, entry_client_ids, entry_clocks,
        entry_fingerprints, document_collections, document_ids, document_seen_revs, document_revs,
        document_entries, document_bodies, document_data, document_operation_ids, document_client_ids,
        document_timestamps, document_clocks, entry_subjects, owner_client_ids, owner_subjects, owner_counters,
        owner_seen_subjects, owner_seen_counters
    );

    -- The head is locked until the end of the transaction.
    SELECT h.seq - cardinality(entry_ids) INTO seq_before FROM {schema}.syncflow_heads AS h WHERE h.tenant = of_tenant;
    FOR place IN 1 .. cardinality(kept_entries) LOOP
        UPDATE {schema}.syncflow_operations AS o SET kept = kept_texts[place]
        WHERE o.tenant = of_tenant AND o.seq = seq_before + kept_entries[place];
    END LOOP;

    INSERT INTO {schema}.syncflow_stamps (tenant, collection, doc_id, stamps)
    SELECT of_tenant, s.collection, s.doc_id, s.stamps
    FROM unnest(stamped_collections, stamped_ids, stamped_texts) AS s (collection, doc_id, stamps)
    ON CONFLICT (tenant, collection, doc_id) DO UPDATE SET stamps = excluded.stamps;

    INSERT INTO {schema}.syncflow_former_labels (tenant, collection, doc_id, labels)
    SELECT of_tenant, l.collection, l.doc_id, l.labels
    FROM unnest(labelled_collections, labelled_ids, labelled_texts) AS l (collection, doc_id, labels)
    ON CONFLICT (tenant, collection, doc_id) DO UPDATE SET labels = excluded.labels;
END
$$;

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
        RETURNING
            o.seq, o.fingerprint,
            octet_length(coalesce(o.data, '')) + octet_length(o.clock) + octet_length(coalesce(o.kept, '')) AS bytes
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

-- Replaces the data of a document's entries in a part of the log, and removes what is kept beside them. Returns how many
-- had others, or had something beside them.
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
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('syncflow compaction ' || of_tenant, 0));

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

    -- Stamps have the names of keys. The stamps of an earlier state say nothing any more.
    DELETE FROM {schema}.syncflow_stamps AS s
    USING {schema}.syncflow_documents AS d
    WHERE
        s.tenant = of_tenant AND s.collection = of_collection AND s.doc_id = of_doc_id
        AND d.tenant = of_tenant AND d.collection = of_collection AND d.doc_id = of_doc_id
        AND (s.stamps::json ->> 'rev')::bigint <> d.rev;

    UPDATE {schema}.syncflow_heads AS h SET bytes = h.bytes - bytes_removed WHERE h.tenant = of_tenant;
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
