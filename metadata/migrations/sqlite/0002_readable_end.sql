-- Below it a record may be read as soon as the owner's write-ahead log has synced it, from it on
-- only once an object holds it; NULL where the former holds for all records.
ALTER TABLE partitions ADD COLUMN readable_end_offset INTEGER;
