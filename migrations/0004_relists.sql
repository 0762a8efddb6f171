-- Lists that are asked for wait for each other in turn, and a second hand-out of a queue while its owner's archive is listed asks for another list.
ALTER TABLE ephemerd.relists
    ADD COLUMN asked_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- not before; the first asked for comes first
    ADD COLUMN begun    boolean     NOT NULL DEFAULT false,
    ADD COLUMN again    timestamptz,                                    -- asked for since it began: from here on
    ADD COLUMN attempts smallint    NOT NULL DEFAULT 0;
