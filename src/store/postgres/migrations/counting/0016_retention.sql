-- Retention removes tombstones and the remains of compacted entries.
--
-- Previous versions keep no times and ids of the entries that they compact, and do not refuse cursors before the floor.
-- So retention must not be set while such a version runs.

ALTER TABLE {schema}.syncflow_heads
ADD COLUMN floor bigint NOT NULL DEFAULT 0,
ADD COLUMN floor_fingerprint bigint NOT NULL DEFAULT 0,
ADD COLUMN tombstones_gone bigint NOT NULL DEFAULT 0;

-- The id and the time of reception of a compacted entry; null if an earlier version has compacted it.
ALTER TABLE {schema}.syncflow_fingerprints ADD COLUMN id text COLLATE "C", ADD COLUMN received_at_ms bigint;

-- The last place up to `up_to` whose entry was received at the cut or before, as rows of a place. There is none if its
-- remains are gone.
--
-- The time of reception never runs backwards in the log, so the place is found by bisection.
CREATE FUNCTION {schema}.syncflow_aged_place(of_tenant text, received_until_ms bigint, up_to bigint)
RETURNS TABLE (seq bigint, fingerprint bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    old_seq bigint := 0;
    young_seq bigint;
    middle_seq bigint;
BEGIN
    SELECT least(up_to, h.seq) + 1 INTO young_seq FROM {schema}.syncflow_heads AS h WHERE h.tenant = of_tenant;
    WHILE young_seq - old_seq > 1 LOOP
        middle_seq := old_seq + (young_seq - old_seq) / 2;
        IF EXISTS (
            SELECT FROM {schema}.syncflow_operations AS o
            WHERE o.tenant = of_tenant AND o.seq = middle_seq AND o.received_at_ms > received_until_ms
        ) OR EXISTS (
            SELECT FROM {schema}.syncflow_fingerprints AS f
            WHERE f.tenant = of_tenant AND f.seq = middle_seq AND f.received_at_ms > received_until_ms
        ) THEN
            young_seq := middle_seq;
        ELSE
            old_seq := middle_seq;
        END IF;
    END LOOP;
    RETURN QUERY
        SELECT o.seq, o.fingerprint FROM {schema}.syncflow_operations AS o
        WHERE o.tenant = of_tenant AND o.seq = old_seq
        UNION ALL
        SELECT f.seq, f.fingerprint FROM {schema}.syncflow_fingerprints AS f
        WHERE f.tenant = of_tenant AND f.seq = old_seq;
END
$$;

-- One step of retention: moves the floor and removes the oldest tombstones, and then the oldest remains of entries.
--
-- The ids of the operations that were resolved follow from those of their resolutions, which begin with this text.
-- Steps of one tenant exclude each other, and those of compactions. The head is locked first, as in a commit, so that no
-- tombstone is revived meanwhile. A step for a floor after the horizon is one for another log, and changes nothing.
CREATE FUNCTION {schema}.syncflow_expire(
    of_tenant text,
    floor_seq bigint,
    floor_fp bigint,
    tombstones_up_to bigint,
    remains_before bigint,
    max_rows bigint,
    resolved_prefix text,
    OUT removed_tombstones bigint,
    OUT removed_remains bigint
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
    last_seq bigint;
    bytes_gone bigint;
    gone_collections text[];
    gone_ids text[];
BEGIN
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('syncflow compaction ' || of_tenant, 0));
    PERFORM 1 FROM {schema}.syncflow_heads AS h WHERE h.tenant = of_tenant AND h.horizon >= floor_seq FOR UPDATE;
    max_rows := CASE WHEN FOUND THEN max_rows ELSE 0 END;

    SELECT max(f.seq) INTO last_seq
    FROM (
        SELECT d.seq
        FROM {schema}.syncflow_documents AS d
        WHERE d.tenant = of_tenant COLLATE "POSIX" AND d.body IS NULL AND d.seq <= tombstones_up_to
        ORDER BY d.seq
        LIMIT max_rows
    ) AS f;
    WITH gone AS (
        DELETE FROM {schema}.syncflow_documents AS d
        WHERE d.tenant = of_tenant COLLATE "POSIX" AND d.body IS NULL AND d.seq <= last_seq
        RETURNING d.collection, d.doc_id, d.clock, d.stamps
    )
    SELECT
        count(*), coalesce(sum(octet_length(g.clock) + octet_length(coalesce(g.stamps, ''))), 0),
        array_agg(g.collection), array_agg(g.doc_id)
    INTO removed_tombstones, bytes_gone, gone_collections, gone_ids
    FROM gone AS g;
    FOR place IN 1 .. removed_tombstones LOOP
        -- Rows that a previous version of the server may have written are not counted.
        DELETE FROM {schema}.syncflow_stamps AS s
        WHERE s.tenant = of_tenant AND s.collection = gone_collections[place] AND s.doc_id = gone_ids[place];
        DELETE FROM {schema}.syncflow_former_labels AS l
        WHERE l.tenant = of_tenant AND l.collection = gone_collections[place] AND l.doc_id = gone_ids[place];
    END LOOP;

    SELECT max(f.seq) INTO last_seq
    FROM (
        SELECT p.seq
        FROM {schema}.syncflow_fingerprints AS p
        WHERE p.tenant = of_tenant AND p.seq < remains_before
        ORDER BY p.seq
        LIMIT max_rows - removed_tombstones
    ) AS f;
    WITH gone AS (
        DELETE FROM {schema}.syncflow_fingerprints AS p
        WHERE p.tenant = of_tenant AND p.seq <= last_seq
        RETURNING p.id
    )
    SELECT count(*), array_agg(g.id) INTO removed_remains, gone_ids FROM gone AS g;
    DELETE FROM {schema}.syncflow_operation_ids AS i WHERE i.tenant = of_tenant AND i.id = ANY (gone_ids);
    gone_ids := ARRAY(
        SELECT substr(r.id, length(resolved_prefix) + 1)
        FROM unnest(gone_ids) AS r (id)
        WHERE starts_with(r.id, resolved_prefix)
    );
    DELETE FROM {schema}.syncflow_operation_ids AS i WHERE i.tenant = of_tenant AND i.id = ANY (gone_ids);

    UPDATE {schema}.syncflow_heads AS h SET
        floor_fingerprint = CASE WHEN h.floor < floor_seq THEN floor_fp ELSE h.floor_fingerprint END,
        floor = greatest(h.floor, floor_seq),
        tombstones_gone = greatest(h.tombstones_gone, tombstones_up_to),
        bytes = h.bytes - bytes_gone
    WHERE h.tenant = of_tenant AND h.horizon >= floor_seq;
END
$$;

-- How many rows the steps of retention would remove, if the log was compacted up to there before.
CREATE FUNCTION {schema}.syncflow_count_expired(
    of_tenant text,
    tombstones_up_to bigint,
    remains_before bigint,
    OUT old_tombstones bigint,
    OUT old_remains bigint
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
    SELECT count(*) INTO old_tombstones
    FROM {schema}.syncflow_documents AS d
    WHERE d.tenant = of_tenant COLLATE "POSIX" AND d.body IS NULL AND d.seq <= tombstones_up_to;
    SELECT
        (
            SELECT count(*) FROM {schema}.syncflow_fingerprints AS p
            WHERE p.tenant = of_tenant AND p.seq < remains_before
        ) + (
            SELECT count(*) FROM {schema}.syncflow_operations AS o
            WHERE o.tenant = of_tenant AND o.seq < remains_before
        )
    INTO old_remains;
END
$$;

-- As before, but compaction keeps the id and the time of reception of each entry.
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
            o.seq, o.fingerprint, o.id, o.received_at_ms,
            octet_length(coalesce(o.data, '')) + octet_length(o.clock) + octet_length(coalesce(o.kept, '')) AS bytes
    ), kept AS (
        INSERT INTO {schema}.syncflow_fingerprints (tenant, seq, fingerprint, id, received_at_ms)
        SELECT of_tenant, gone.seq, gone.fingerprint, gone.id, gone.received_at_ms FROM gone
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

-- As before, but places before the floor have no fingerprints.
CREATE OR REPLACE FUNCTION {schema}.syncflow_load_places(of_tenant text, seqs bigint[])
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
        SELECT NULL, NULL, NULL, asked.seq, NULL, NULL, NULL, coalesce(
            (
                SELECT o.fingerprint FROM {schema}.syncflow_operations AS o
                WHERE o.tenant = of_tenant AND o.seq = asked.seq
            ),
            (
                SELECT f.fingerprint FROM {schema}.syncflow_fingerprints AS f
                WHERE f.tenant = of_tenant AND f.seq = asked.seq
            )
        ), NULL
        FROM unnest(seqs) AS asked (seq)
        WHERE asked.seq >= coalesce((SELECT h.floor FROM {schema}.syncflow_heads AS h WHERE h.tenant = of_tenant), 0);
END
$$;

-- As before, but the first row also has the floor. A previous version of the server does not read its columns.
CREATE OR REPLACE FUNCTION {schema}.syncflow_feed(
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
    -- In the first row, the floor.
    seq bigint,
    -- In the first row, that of the floor.
    fingerprint bigint,
    id text,
    -- In the first row, which rows follow: 'log' or 'state'.
    kind text,
    collection text,
    doc_id text,
    data text,
    -- In the first row, the sequence number up to which tombstones may be gone.
    "timestamp" bigint,
    client_id text,
    clock text,
    -- Of a document; null for an operation. In the first row, the fingerprint at the place `tombstones_after`, if the
    -- cursor is before the floor and that place is not.
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
    there_began bigint;
    client {schema}.syncflow_clients;
BEGIN
    SELECT * INTO head FROM {schema}.syncflow_heads AS h WHERE h.tenant = of_tenant;
    head.seq := coalesce(head.seq, 0);
    head.fingerprint := coalesce(head.fingerprint, 0);
    head.horizon := coalesce(head.horizon, 0);
    head.floor := coalesce(head.floor, 0);
    head.floor_fingerprint := coalesce(head.floor_fingerprint, 0);
    head.tombstones_gone := coalesce(head.tombstones_gone, 0);
    IF after_seq = 0 THEN
        there := 0;
    ELSE
        SELECT coalesce(
            (SELECT o.fingerprint FROM {schema}.syncflow_operations AS o WHERE o.tenant = of_tenant AND o.seq = after_seq),
            (SELECT f.fingerprint FROM {schema}.syncflow_fingerprints AS f WHERE f.tenant = of_tenant AND f.seq = after_seq)
        ) INTO there;
    END IF;
    -- Before the floor, a cursor is verified at the place where its client began.
    IF after_seq < head.floor AND tombstones_after > head.floor THEN
        SELECT p."timestamp" INTO there_began
        FROM {schema}.syncflow_load_places(of_tenant, ARRAY[tombstones_after]) AS p;
    END IF;
    SELECT * INTO client FROM {schema}.syncflow_clients AS c WHERE c.tenant = of_tenant AND c.client_id = pulling_client;

    in_log := in_log AND after_seq >= head.horizon;
    tombstones_after := coalesce(tombstones_after, head.seq);
    RETURN QUERY
        SELECT
            head.seq, head.fingerprint, head.horizon, there, client.pulled_seq, client.seen_at_ms,
            head.floor, head.floor_fingerprint, NULL, CASE WHEN in_log THEN 'log' ELSE 'state' END, NULL, NULL, NULL,
            head.tombstones_gone, NULL, NULL, there_began;
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
