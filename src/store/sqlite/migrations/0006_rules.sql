-- The labels that a document had and no longer has, as JSON; null if there are none.
ALTER TABLE documents ADD COLUMN former_labels TEXT;
