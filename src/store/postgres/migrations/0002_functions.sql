-- The functions of the store: each is one request of the port in one round trip, and one transaction.
--
-- Their plans are made once in a connection and must not depend on statistics. A plan that was made for an empty table
-- must still be right when the table has grown. So they read by index. Rows that are looked up key by key come from a
-- lateral subquery with `OFFSET 0`, which leaves no other way.

-- Each function has a search path of its own, in which only what belongs to PostgreSQL is found. Functions and operators
-- of other roles do not matter then, not even those that suit the arguments better. So what is ours is named with its
-- schema.

-- The known ids and the documents that a decision needs. One statement sees one moment, and the statements of a
-- function that is STABLE see the moment of the statement that called it.
CREATE FUNCTION {schema}.syncflow_load(of_tenant text, ids text[], collections text[], doc_ids text[])
RETURNS TABLE (
    known_id text,
    collection text,
    doc_id text,
    rev bigint,
    body text,
    operation_id text,
    client_id text,
    "timestamp" bigint,
    clock text
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
        SELECT known.id, NULL, NULL, NULL::bigint, NULL, NULL, NULL, NULL::bigint, NULL
        FROM unnest(ids) AS asked (id)
        CROSS JOIN LATERAL (
            SELECT k.id FROM {schema}.syncflow_operation_ids AS k WHERE k.tenant = of_tenant AND k.id = asked.id OFFSET 0
        ) AS known;
    RETURN QUERY
        SELECT NULL, d.collection, d.doc_id, d.rev, d.body, d.operation_id, d.client_id, d."timestamp", d.clock
        FROM unnest(collections, doc_ids) AS asked (collection, doc_id)
        CROSS JOIN LATERAL (
            SELECT *
            FROM {schema}.syncflow_documents AS d
            WHERE d.tenant = of_tenant AND d.collection = asked.collection AND d.doc_id = asked.doc_id
            OFFSET 0
        ) AS d;
END
$$;

-- Writes a batch, all of it or nothing; a guard that fails raises serialization_failure or unique_violation, which takes
-- back what was written.
--
-- Everything that may have to wait for another commit comes first and in one order for all: the ids in theirs, then the
-- head. A transaction that waits for the head therefore holds nothing that its holder still wants.
--
-- Only the holder of the tenant's head writes documents, so none of them is waited for or must be locked. A row that
-- is read after the head is final until the commit.
--
-- The lock on the head is held until the commit is visible. So the next commit takes its numbers only when all lower
-- ones are visible, and numbers become visible in order.
CREATE FUNCTION {schema}.syncflow_commit(
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
    -- The revision that the decision saw, null if it saw no document.
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

    INSERT INTO {schema}.syncflow_heads AS h (tenant, seq, fingerprint, horizon, live_documents, received_at_ms)
    VALUES (of_tenant, entry_count, entry_fingerprints[entry_count], 0, live_documents_delta, batch_received_at_ms)
    ON CONFLICT (tenant) DO UPDATE SET
        seq = h.seq + excluded.seq,
        fingerprint = (h.fingerprint + excluded.fingerprint) & fingerprint_mask,
        live_documents = h.live_documents + excluded.live_documents,
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

-- Rows for a page in log order after a place, with the head of the same moment. They are operations if the client is in
-- the log and the horizon has not passed it, and otherwise documents. Tombstones up to `tombstones_after` are left out,
-- or up to the head if it is null. The first row has the head and what goes with it, the others have the page, in its
-- order.
--
-- The reader of the page cuts it. This leaves out only rows that surely exceed it: the rows before their predecessor
-- have more bytes than a page. So a row beyond the page always travels, which tells that there is more, and hardly more
-- than one does. The length of a text is known without reading it.
CREATE FUNCTION {schema}.syncflow_changes(
    of_tenant text,
    in_log boolean,
    after_seq bigint,
    tombstones_after bigint,
    max_rows bigint,
    max_bytes bigint,
    pulling_client text
)
RETURNS TABLE (
    head_seq bigint,
    head_fingerprint bigint,
    horizon bigint,
    -- At the place `after_seq`; null if the log has no such place.
    fingerprint_there bigint,
    -- The noted progress of the client that pulls; null if nothing is noted.
    pulled_seq bigint,
    seen_at_ms bigint,
    seq bigint,
    fingerprint bigint,
    id text,
    kind text,
    collection text,
    doc_id text,
    data text,
    "timestamp" bigint,
    client_id text,
    clock text
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    head {schema}.syncflow_heads;
    there bigint;
    client {schema}.syncflow_clients;
BEGIN
    SELECT * INTO head FROM {schema}.syncflow_heads AS h WHERE h.tenant = of_tenant;
    head.seq := coalesce(head.seq, 0);
    head.fingerprint := coalesce(head.fingerprint, 0);
    head.horizon := coalesce(head.horizon, 0);
    IF after_seq = 0 THEN
        there := 0;
    ELSE
        SELECT coalesce(
            (SELECT o.fingerprint FROM {schema}.syncflow_operations AS o WHERE o.tenant = of_tenant AND o.seq = after_seq),
            (SELECT f.fingerprint FROM {schema}.syncflow_fingerprints AS f WHERE f.tenant = of_tenant AND f.seq = after_seq)
        ) INTO there;
    END IF;
    SELECT * INTO client FROM {schema}.syncflow_clients AS c WHERE c.tenant = of_tenant AND c.client_id = pulling_client;

    RETURN QUERY
        SELECT
            head.seq, head.fingerprint, head.horizon, there, client.pulled_seq, client.seen_at_ms,
            NULL::bigint, NULL::bigint, NULL, NULL, NULL, NULL, NULL, NULL::bigint, NULL, NULL;
    IF in_log AND after_seq >= head.horizon THEN
        RETURN QUERY
            SELECT
                NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint,
                p.seq, p.fingerprint, p.id, p.kind, p.collection, p.doc_id, p.data, p."timestamp", p.client_id, p.clock
            FROM (
                SELECT
                    o.*,
                    sum(octet_length(coalesce(o.data, '')) + octet_length(o.clock)) OVER (
                        ORDER BY o.seq ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING
                    ) AS bytes_before
                FROM {schema}.syncflow_operations AS o
                WHERE o.tenant = of_tenant AND o.seq > after_seq
                ORDER BY o.seq
                LIMIT max_rows + 1
            ) AS p
            WHERE coalesce(p.bytes_before, 0) <= max_bytes
            ORDER BY p.seq;
    ELSE
        tombstones_after := coalesce(tombstones_after, head.seq);
        RETURN QUERY
            SELECT
                NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint,
                p.seq, p.fingerprint, p.operation_id, CASE WHEN p.body IS NULL THEN 'delete' ELSE 'insert' END,
                p.collection, p.doc_id, p.body, p."timestamp", p.client_id, p.clock
            FROM (
                SELECT
                    d.*,
                    sum(octet_length(coalesce(d.body, '')) + octet_length(d.clock)) OVER (
                        ORDER BY d.seq ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING
                    ) AS bytes_before
                FROM {schema}.syncflow_documents AS d
                WHERE
                    d.tenant = of_tenant COLLATE "POSIX"
                    AND d.seq > after_seq
                    AND (d.body IS NOT NULL OR d.seq > tombstones_after)
                ORDER BY d.seq
                LIMIT max_rows + 1
            ) AS p
            WHERE coalesce(p.bytes_before, 0) <= max_bytes
            ORDER BY p.seq;
    END IF;
END
$$;

-- Rows for a page by the rule of the original protocol, after a place in the order of (timestamp, sequence number). The
-- head is of the same moment. The rows are operations, or documents after history has been compacted. Cut as in
-- syncflow_changes.
CREATE FUNCTION {schema}.syncflow_changes_by_time(
    of_tenant text,
    after_timestamp bigint,
    after_seq bigint,
    max_rows bigint,
    max_bytes bigint
)
RETURNS TABLE (
    head_seq bigint,
    head_fingerprint bigint,
    horizon bigint,
    seq bigint,
    fingerprint bigint,
    id text,
    kind text,
    collection text,
    doc_id text,
    data text,
    "timestamp" bigint,
    client_id text,
    clock text
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    head {schema}.syncflow_heads;
BEGIN
    SELECT * INTO head FROM {schema}.syncflow_heads AS h WHERE h.tenant = of_tenant;
    head.seq := coalesce(head.seq, 0);
    head.fingerprint := coalesce(head.fingerprint, 0);
    head.horizon := coalesce(head.horizon, 0);
    RETURN QUERY
        SELECT
            head.seq, head.fingerprint, head.horizon,
            NULL::bigint, NULL::bigint, NULL, NULL, NULL, NULL, NULL, NULL::bigint, NULL, NULL;
    IF head.horizon = 0 THEN
        RETURN QUERY
            SELECT
                NULL::bigint, NULL::bigint, NULL::bigint,
                p.seq, p.fingerprint, p.id, p.kind, p.collection, p.doc_id, p.data, p."timestamp", p.client_id, p.clock
            FROM (
                SELECT
                    o.*,
                    sum(octet_length(coalesce(o.data, '')) + octet_length(o.clock)) OVER (
                        ORDER BY o."timestamp", o.seq ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING
                    ) AS bytes_before
                FROM {schema}.syncflow_operations AS o
                WHERE o.tenant = of_tenant COLLATE "POSIX" AND (o."timestamp", o.seq) > (after_timestamp, after_seq)
                ORDER BY o."timestamp", o.seq
                LIMIT max_rows + 1
            ) AS p
            WHERE coalesce(p.bytes_before, 0) <= max_bytes
            ORDER BY p."timestamp", p.seq;
    ELSE
        RETURN QUERY
            SELECT
                NULL::bigint, NULL::bigint, NULL::bigint,
                p.seq, p.fingerprint, p.operation_id, CASE WHEN p.body IS NULL THEN 'delete' ELSE 'insert' END,
                p.collection, p.doc_id, p.body, p."timestamp", p.client_id, p.clock
            FROM (
                SELECT
                    d.*,
                    sum(octet_length(coalesce(d.body, '')) + octet_length(d.clock)) OVER (
                        ORDER BY d."timestamp", d.seq ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING
                    ) AS bytes_before
                FROM {schema}.syncflow_documents AS d
                WHERE d.tenant = of_tenant COLLATE "POSIX" AND (d."timestamp", d.seq) > (after_timestamp, after_seq)
                ORDER BY d."timestamp", d.seq
                LIMIT max_rows + 1
            ) AS p
            WHERE coalesce(p.bytes_before, 0) <= max_bytes
            ORDER BY p."timestamp", p.seq;
    END IF;
END
$$;

-- Replaces what is remembered of a client if it still has the revision that the caller saw (0 for none); answers
-- whether it was replaced.
CREATE FUNCTION {schema}.syncflow_remember(
    of_tenant text,
    of_client text,
    seen_revision bigint,
    new_places text,
    new_pulled_seq bigint,
    new_seen_at_ms bigint
)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    UPDATE {schema}.syncflow_clients AS c SET
        revision = c.revision + 1,
        places = new_places,
        pulled_seq = new_pulled_seq,
        seen_at_ms = new_seen_at_ms
    WHERE c.tenant = of_tenant AND c.client_id = of_client AND c.revision = seen_revision;
    IF NOT FOUND AND seen_revision = 0 THEN
        INSERT INTO {schema}.syncflow_clients (tenant, client_id, revision, places, pulled_seq, seen_at_ms)
        VALUES (of_tenant, of_client, 1, new_places, new_pulled_seq, new_seen_at_ms)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN FOUND;
END
$$;

-- One step of a compaction; answers how many entries it removed and whether none is left for this cut.
--
-- Pushes add entries after the horizon, so they never wait for the entries that are removed. They wait only for the end
-- of the step, when the horizon moves. Two steps at once wait for each other's entries, and each counts those that it
-- removed itself.
CREATE FUNCTION {schema}.syncflow_compact(
    of_tenant text,
    received_until_ms bigint,
    forget_clients_before_ms bigint,
    max_entries bigint,
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
BEGIN
    DELETE FROM {schema}.syncflow_clients AS c
    WHERE c.tenant = of_tenant AND c.client_id IN (
        SELECT silent.client_id
        FROM {schema}.syncflow_clients AS silent
        WHERE silent.tenant = of_tenant COLLATE "POSIX" AND silent.seen_at_ms < forget_clients_before_ms
        ORDER BY silent.seen_at_ms
        LIMIT max_entries
    );

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
        RETURNING o.seq, o.fingerprint
    )
    INSERT INTO {schema}.syncflow_fingerprints (tenant, seq, fingerprint)
    SELECT of_tenant, gone.seq, gone.fingerprint FROM gone;
    GET DIAGNOSTICS deleted_entries = ROW_COUNT;

    UPDATE {schema}.syncflow_heads AS h SET horizon = last_seq WHERE h.tenant = of_tenant AND h.horizon < last_seq;

    is_finished := NOT coalesce(
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
