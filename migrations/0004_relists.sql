-- A second hand-out of a queue while its owner's archive is listed asks for another list, which the end of the first must not take for done.
ALTER TABLE ephemerd.relists ADD COLUMN asked_at timestamptz NOT NULL DEFAULT clock_timestamp();
