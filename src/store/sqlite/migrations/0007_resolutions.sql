-- The writers of the parts of a document, as JSON; null if its last operation wrote all of it. The text is only about
-- the revision that it names.
ALTER TABLE documents ADD COLUMN stamps TEXT;

-- The object that is kept beside a resolution, as JSON; null for most entries.
ALTER TABLE operations ADD COLUMN kept TEXT;
