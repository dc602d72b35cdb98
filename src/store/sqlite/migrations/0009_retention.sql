-- Version 9. Retention removes tombstones and the remains of compacted entries.

-- The place before which cursors are refused, and the number up to which tombstones may be gone.
ALTER TABLE heads ADD COLUMN floor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE heads ADD COLUMN floor_fingerprint INTEGER NOT NULL DEFAULT 0;
ALTER TABLE heads ADD COLUMN tombstones_gone INTEGER NOT NULL DEFAULT 0;

-- The id and the time of reception of a compacted entry; null if an earlier version has compacted it.
ALTER TABLE fingerprints ADD COLUMN id TEXT;
ALTER TABLE fingerprints ADD COLUMN received_at_ms INTEGER;
