-- For archive.kind = "component": archives that only the server's companion module reaches.

-- What each host's module has told us, and what must be listed because it may not have.
CREATE TABLE ephemerd.feeds (
    host        text        PRIMARY KEY,
    -- The first start: what was archived before is backlog.
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    boot        text        NOT NULL,            -- the module's start that the number belongs to
    number      bigint      NOT NULL,            -- every notice up to here was recorded
    -- Everything archived up to here was told or listed.
    good_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The catch-up that is due or under way.
    since       timestamptz,                     -- it lists what was archived from here on
    begun_at    timestamptz,
    again       boolean     NOT NULL DEFAULT false, -- more was lost since it began
    step        smallint    NOT NULL DEFAULT 0,
    after_owner text        NOT NULL DEFAULT ''
);

-- Owners whose archive is to be listed: their offline queue was handed out, and timers start.
CREATE TABLE ephemerd.relists (
    host        text        NOT NULL,
    owner       text        NOT NULL,
    since       timestamptz NOT NULL,
    PRIMARY KEY (host, owner)
);

-- A sweep by owners goes on after this one.
ALTER TABLE ephemerd.sweeps ADD COLUMN after_owner text NOT NULL DEFAULT '';

COMMENT ON COLUMN ephemerd.expiries.digest IS
    'What else tells the row from others: a digest of its words (ejabberd), or its stamp as the companion module wrote it';
