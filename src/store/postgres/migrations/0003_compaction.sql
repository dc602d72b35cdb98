-- Compaction: what is forgotten of clients, and clocks that ran ahead.

-- Forgets clients that were silent for long. The places of an original client's `since` are kept for ever. A server
-- that forgot which numbers it gave could give one again for another place. Such a client becomes one that was never
-- seen and has pulled more than there is. So neither this function nor the statistics look at it again.
CREATE FUNCTION {schema}.syncflow_forget_clients(of_tenant text, seen_before_ms bigint, max_clients bigint)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
BEGIN
    UPDATE {schema}.syncflow_clients AS c SET seen_at_ms = 0, pulled_seq = (1::bigint << 53) - 1
    WHERE c.tenant = of_tenant AND c.revision > 0 AND c.client_id IN (
        SELECT silent.client_id
        FROM {schema}.syncflow_clients AS silent
        WHERE
            silent.tenant = of_tenant COLLATE "POSIX"
            AND silent.seen_at_ms > 0
            AND silent.seen_at_ms < seen_before_ms
            AND silent.revision > 0
        ORDER BY silent.seen_at_ms
        LIMIT max_clients
    );
    DELETE FROM {schema}.syncflow_clients AS c
    WHERE c.tenant = of_tenant AND c.revision = 0 AND c.client_id IN (
        SELECT silent.client_id
        FROM {schema}.syncflow_clients AS silent
        WHERE
            silent.tenant = of_tenant COLLATE "POSIX"
            AND silent.seen_at_ms > 0
            AND silent.seen_at_ms < seen_before_ms
            AND silent.revision = 0
        ORDER BY silent.seen_at_ms
        LIMIT max_clients
    );
END
$$;

-- Sets times that lie in the future to now: they were written under a clock that ran ahead, and nothing would go until
-- then. Answers whether some entries are left for the next step.
--
-- Times of reception never run backwards in the log, so those are of the newest entries. The head keeps the greatest one
-- until all are done, for the entries to come; its lock keeps these away meanwhile.
CREATE FUNCTION {schema}.syncflow_end_the_future(
    of_tenant text, now_ms bigint, future_after_ms bigint, max_rows bigint
)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
    first_seq bigint;
    behind_seq bigint;
    middle_seq bigint;
    last_seq bigint;
    newest_seq bigint;
BEGIN
    UPDATE {schema}.syncflow_clients AS c SET seen_at_ms = now_ms
    WHERE c.tenant = of_tenant AND c.client_id IN (
        SELECT later.client_id
        FROM {schema}.syncflow_clients AS later
        WHERE later.tenant = of_tenant COLLATE "POSIX" AND later.seen_at_ms > future_after_ms
        ORDER BY later.seen_at_ms
        LIMIT max_rows
    );

    IF NOT EXISTS (
        SELECT FROM {schema}.syncflow_heads AS h WHERE h.tenant = of_tenant AND h.received_at_ms > future_after_ms
    ) THEN
        RETURN false;
    END IF;
    SELECT h.horizon + 1, h.seq + 1, h.seq INTO first_seq, behind_seq, newest_seq
    FROM {schema}.syncflow_heads AS h WHERE h.tenant = of_tenant AND h.received_at_ms > future_after_ms
    FOR UPDATE;
    IF NOT FOUND THEN
        RETURN true;
    END IF;
    -- The first of them, by bisection; behind the newest entry where compaction has removed all of them.
    WHILE first_seq < behind_seq LOOP
        middle_seq := first_seq + (behind_seq - first_seq) / 2;
        IF EXISTS (
            SELECT FROM {schema}.syncflow_operations AS o
            WHERE o.tenant = of_tenant AND o.seq = middle_seq AND o.received_at_ms > now_ms
        ) THEN
            behind_seq := middle_seq;
        ELSE
            first_seq := middle_seq + 1;
        END IF;
    END LOOP;
    last_seq := least(newest_seq, first_seq + max_rows - 1);
    UPDATE {schema}.syncflow_operations AS o SET received_at_ms = now_ms
    WHERE o.tenant = of_tenant AND o.seq >= first_seq AND o.seq <= last_seq;
    IF last_seq = newest_seq THEN
        UPDATE {schema}.syncflow_heads AS h SET received_at_ms = now_ms WHERE h.tenant = of_tenant;
    END IF;
    RETURN last_seq < newest_seq;
END
$$;

-- One step of a compaction; answers how many entries it removed and whether none is left for this cut.
--
-- Pushes add entries after the horizon, so they never wait for the entries that are removed. They wait only for the end
-- of the step, when the horizon moves. Steps of one tenant exclude each other. A step that sets times locks the head
-- before the entries, and a step that removes locks the entries before the head.
CREATE FUNCTION {schema}.syncflow_compact(
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
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('syncflow compaction ' || of_tenant, 0));
    PERFORM {schema}.syncflow_forget_clients(of_tenant, forget_clients_before_ms, max_entries);
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

-- The version before calls this while it is replaced.
CREATE OR REPLACE FUNCTION {schema}.syncflow_compact(
    of_tenant text,
    received_until_ms bigint,
    forget_clients_before_ms bigint,
    max_entries bigint,
    OUT deleted_entries bigint,
    OUT is_finished boolean
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT step.deleted_entries, step.is_finished INTO deleted_entries, is_finished
    FROM {schema}.syncflow_compact(
        of_tenant, received_until_ms, forget_clients_before_ms, max_entries, 9223372036854775807, 9223372036854775807
    ) AS step;
END
$$;
