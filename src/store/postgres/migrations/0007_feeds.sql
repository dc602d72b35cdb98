-- Pulls may be limited to some collections, and documents have their revisions.
--
-- Previous versions of the server call `syncflow_changes`, which stays as it is.

-- The tombstones of a collection, in the order in which they are pulled.
CREATE INDEX syncflow_documents_deleted_of_collection
ON {schema}.syncflow_documents (tenant COLLATE "POSIX", collection, seq) WHERE body IS NULL;

CREATE FUNCTION {schema}.syncflow_feed(
    of_tenant text,
    in_log boolean,
    after_seq bigint,
    tombstones_after bigint,
    max_rows bigint,
    max_bytes bigint,
    pulling_client text,
    -- The only collections whose documents are read; null for all.
    of_collections text[]
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
    -- In the first row, which rows follow: 'log' or 'state'.
    kind text,
    collection text,
    doc_id text,
    data text,
    "timestamp" bigint,
    client_id text,
    clock text,
    -- Of a document; null for an operation.
    rev bigint
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
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

    in_log := in_log AND after_seq >= head.horizon;
    tombstones_after := coalesce(tombstones_after, head.seq);
    RETURN QUERY
        SELECT
            head.seq, head.fingerprint, head.horizon, there, client.pulled_seq, client.seen_at_ms,
            NULL::bigint, NULL::bigint, NULL, CASE WHEN in_log THEN 'log' ELSE 'state' END, NULL, NULL, NULL,
            NULL::bigint, NULL, NULL, NULL::bigint;
    IF in_log THEN
        RETURN QUERY
            SELECT
                NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint,
                p.seq, p.fingerprint, p.id, p.kind, p.collection, p.doc_id, p.data, p."timestamp", p.client_id, p.clock,
                NULL::bigint
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
    ELSIF of_collections IS NULL THEN
        RETURN QUERY
            SELECT
                NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint,
                p.seq, p.fingerprint, p.operation_id, CASE WHEN p.body IS NULL THEN 'delete' ELSE 'insert' END,
                p.collection, p.doc_id, p.body, p."timestamp", p.client_id, p.clock, p.rev
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
    ELSE
        -- A search for each collection finds at most a page of places. Rows are compared as (collection, seq), since
        -- only the indexes of collections serve that. A planner that misjudges the number of documents could otherwise
        -- read over those of all other collections.
        RETURN QUERY
            SELECT
                NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint,
                p.seq, p.fingerprint, p.operation_id, CASE WHEN p.body IS NULL THEN 'delete' ELSE 'insert' END,
                p.collection, p.doc_id, p.body, p."timestamp", p.client_id, p.clock, p.rev
            FROM (
                SELECT
                    d.*,
                    sum(octet_length(coalesce(d.body, '')) + octet_length(d.clock)) OVER (
                        ORDER BY d.seq ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING
                    ) AS bytes_before
                FROM (
                    SELECT place.collection, place.seq, place.is_live
                    FROM unnest(of_collections) AS wanted (collection)
                    CROSS JOIN LATERAL (
                        (
                            SELECT live.collection, live.seq, true AS is_live
                            FROM {schema}.syncflow_documents AS live
                            WHERE
                                live.tenant = of_tenant COLLATE "POSIX"
                                AND (live.collection, live.seq) > (wanted.collection, after_seq)
                                AND (live.collection, live.seq) <= (wanted.collection, head.seq)
                                AND live.body IS NOT NULL
                            ORDER BY live.collection, live.seq
                            LIMIT max_rows + 1
                        )
                        UNION ALL
                        (
                            SELECT gone.collection, gone.seq, false
                            FROM {schema}.syncflow_documents AS gone
                            WHERE
                                gone.tenant = of_tenant COLLATE "POSIX"
                                AND (gone.collection, gone.seq)
                                    > (wanted.collection, greatest(after_seq, tombstones_after))
                                AND (gone.collection, gone.seq) <= (wanted.collection, head.seq)
                                AND gone.body IS NULL
                            ORDER BY gone.collection, gone.seq
                            LIMIT max_rows + 1
                        )
                    ) AS place
                    ORDER BY place.seq
                    LIMIT max_rows + 1
                ) AS chosen
                CROSS JOIN LATERAL (
                    SELECT *
                    FROM {schema}.syncflow_documents AS live
                    WHERE
                        chosen.is_live
                        AND live.tenant = of_tenant COLLATE "POSIX"
                        AND live.collection = chosen.collection
                        AND live.seq = chosen.seq
                        AND live.body IS NOT NULL
                    UNION ALL
                    SELECT *
                    FROM {schema}.syncflow_documents AS gone
                    WHERE
                        NOT chosen.is_live
                        AND gone.tenant = of_tenant COLLATE "POSIX"
                        AND gone.collection = chosen.collection
                        AND gone.seq = chosen.seq
                        AND gone.body IS NULL
                ) AS d
            ) AS p
            WHERE coalesce(p.bytes_before, 0) <= max_bytes
            ORDER BY p.seq;
    END IF;
END
$$;
