-- The fingerprints of the log at some places, compacted or not, as rows of syncflow_load. The sequence number stands as
-- the revision, and the fingerprint as the timestamp, which is null for a place behind the head.
CREATE FUNCTION {schema}.syncflow_load_places(of_tenant text, seqs bigint[])
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
        FROM unnest(seqs) AS asked (seq);
END
$$;
