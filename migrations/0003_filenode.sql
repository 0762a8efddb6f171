-- Where PostgreSQL kept the archive's table at the last poll. Another file means that the table was restored, or
-- emptied, or written anew: only a sweep tells what it holds.
ALTER TABLE ephemerd.cursors ADD COLUMN filenode bigint;
