-- The work of the server for one request is bounded.

-- Pulls in state mode: documents and tombstones apart, so that tombstones that are not shown are not looked at.
CREATE INDEX syncflow_documents_live_by_seq ON {schema}.syncflow_documents (tenant COLLATE "POSIX", seq)
WHERE body IS NOT NULL;
CREATE INDEX syncflow_documents_deleted_by_seq ON {schema}.syncflow_documents (tenant COLLATE "POSIX", seq)
WHERE body IS NULL;

-- The known ids and the documents that a decision needs, as syncflow_load without its last argument. Documents are
-- returned until their bytes exceed a limit. The first one beyond it is returned too, which shows that the limit was
-- reached. The length of a text is known without reading it.
CREATE FUNCTION {schema}.syncflow_load(
    of_tenant text,
    ids text[],
    collections text[],
    doc_ids text[],
    max_bytes bigint
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
        FROM (
            SELECT
                found.*,
                sum(octet_length(coalesce(found.body, '')) + octet_length(found.clock)) OVER (
                    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                ) AS bytes_before
            FROM unnest(collections, doc_ids) AS asked (collection, doc_id)
            CROSS JOIN LATERAL (
                SELECT *
                FROM {schema}.syncflow_documents AS d
                WHERE d.tenant = of_tenant AND d.collection = asked.collection AND d.doc_id = asked.doc_id
                OFFSET 0
            ) AS found
        ) AS d
        WHERE coalesce(d.bytes_before, 0) <= max_bytes;
END
$$;

-- As in the second step, but for the rows of documents, which are read by the indexes above.
CREATE OR REPLACE FUNCTION {schema}.syncflow_changes(
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
                FROM (
                    (
                        SELECT *
                        FROM {schema}.syncflow_documents AS live
                        WHERE
                            live.tenant = of_tenant COLLATE "POSIX" AND live.seq > after_seq AND live.body IS NOT NULL
                        ORDER BY live.seq
                        LIMIT max_rows + 1
                    )
                    UNION ALL
                    (
                        SELECT *
                        FROM {schema}.syncflow_documents AS gone
                        WHERE
                            gone.tenant = of_tenant COLLATE "POSIX"
                            AND gone.seq > greatest(after_seq, tombstones_after)
                            AND gone.body IS NULL
                        ORDER BY gone.seq
                        LIMIT max_rows + 1
                    )
                ) AS d
                ORDER BY d.seq
                LIMIT max_rows + 1
            ) AS p
            WHERE coalesce(p.bytes_before, 0) <= max_bytes
            ORDER BY p.seq;
    END IF;
END
$$;

-- Forgets clients that were silent for long, the most silent ones first; answers whether some are left. The places of
-- an original client's `since` are kept for ever. A server that forgot which numbers it gave could give one again for
-- another place. Such a client becomes one that was never seen and has pulled more than there is. So neither this
-- function nor the statistics look at it again.
CREATE FUNCTION {schema}.syncflow_forget_some_clients(of_tenant text, seen_before_ms bigint, max_clients bigint)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
    silent text[];
BEGIN
    SELECT coalesce(array_agg(found.client_id), '{}') INTO silent
    FROM (
        SELECT c.client_id
        FROM {schema}.syncflow_clients AS c
        WHERE c.tenant = of_tenant COLLATE "POSIX" AND c.seen_at_ms > 0 AND c.seen_at_ms < seen_before_ms
        ORDER BY c.seen_at_ms
        LIMIT max_clients
    ) AS found;
    UPDATE {schema}.syncflow_clients AS c SET seen_at_ms = 0, pulled_seq = (1::bigint << 53) - 1
    WHERE c.tenant = of_tenant AND c.client_id = ANY (silent) AND c.revision > 0 AND c.seen_at_ms < seen_before_ms;
    DELETE FROM {schema}.syncflow_clients AS c
    WHERE c.tenant = of_tenant AND c.client_id = ANY (silent) AND c.revision = 0 AND c.seen_at_ms < seen_before_ms;
    RETURN EXISTS (
        SELECT FROM {schema}.syncflow_clients AS c
        WHERE c.tenant = of_tenant COLLATE "POSIX" AND c.seen_at_ms > 0 AND c.seen_at_ms < seen_before_ms
    );
END
$$;

-- As in the step before, but not finished as long as clients are left.
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
        RETURNING o.seq, o.fingerprint
    )
    INSERT INTO {schema}.syncflow_fingerprints (tenant, seq, fingerprint)
    SELECT of_tenant, gone.seq, gone.fingerprint FROM gone;
    GET DIAGNOSTICS deleted_entries = ROW_COUNT;

    UPDATE {schema}.syncflow_heads AS h SET horizon = last_seq WHERE h.tenant = of_tenant AND h.horizon < last_seq;

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

-- An index over every path of every document took longer for one large document than a statement may. Its list of
-- pending entries made pushes wait. A filter is now checked over documents as they stand in the index of their
-- collection, a bounded number of them for each request.
DROP INDEX IF EXISTS {schema}.syncflow_documents_data;

-- The two indexes above serve the searches of this one. These come last, since from here on nobody else can read.
DROP INDEX IF EXISTS {schema}.syncflow_documents_by_seq;
