-- The ledger: what must go, when, and how far inspection came. Nothing here holds a message's words.
-- The schema ephemerd itself is made by deploy/grants.sql.

-- One entry per archived row that must go. It is forgotten in the transaction that erases the row.
CREATE TABLE ephemerd.expiries (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    store       text        NOT NULL CHECK (store IN ('archive', 'room', 'queue')),
    -- The archived row's identity: an erasing statement asserts all of it again.
    host        text        NOT NULL,
    owner       text        NOT NULL,
    archive_id  text        NOT NULL,
    row_number  bigint,                          -- Prosody: sort_id; ejabberd's spool: seq
    stamped_at  timestamptz NOT NULL,            -- the server's own stamp
    digest      bytea       NOT NULL DEFAULT '', -- where the server's ids are not unique
    -- A row of the offline queue: the archive id that it is a copy of.
    copy_of     text,
    -- The verdict.
    runs_from   timestamptz NOT NULL,            -- the timer's start
    due_at      timestamptz NOT NULL,            -- pending: the words go; placeholder: the row goes
    reason      text        NOT NULL CHECK (reason IN ('timer', 'hint', 'negotiation', 'undelivered')),
    phase       text        NOT NULL DEFAULT 'pending' CHECK (phase IN ('pending', 'placeholder')),
    -- From before the first start, and not yet accepted by the operator.
    backlog     boolean     NOT NULL DEFAULT false,
    -- An erasure that failed is put off alone.
    retry_at    timestamptz,
    attempts    smallint    NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL GENERATED ALWAYS AS (greatest(due_at, retry_at)) STORED
);

CREATE UNIQUE INDEX expiries_identity ON ephemerd.expiries (owner, archive_id, store, host, digest);
CREATE INDEX expiries_next ON ephemerd.expiries (next_at, id) WHERE NOT backlog;
CREATE INDEX expiries_row ON ephemerd.expiries (row_number, id);
CREATE INDEX expiries_copies ON ephemerd.expiries (owner, copy_of, host) WHERE store = 'queue';
CREATE INDEX expiries_backlog ON ephemerd.expiries (id) WHERE backlog;
CREATE INDEX expiries_queue ON ephemerd.expiries (id) WHERE store = 'queue';

-- The ledger lives from inserts and deletes: vacuum by rows changed, not by the table's share.
ALTER TABLE ephemerd.expiries SET (
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 1,
    autovacuum_analyze_scale_factor = 0.05
);

-- How far inspection came, by archive table.
CREATE TABLE ephemerd.cursors (
    archive        text        PRIMARY KEY,
    first_position bigint      NOT NULL,         -- the newest row at the first start: what is older is backlog
    position       bigint      NOT NULL,         -- everything up to here was inspected
    frontier       bigint      NOT NULL,         -- the highest row that any poll read
    moved_at       timestamptz NOT NULL DEFAULT now(),
    CHECK (position <= frontier)
);

-- The sweep of each archive table: the one under way, and the last that came to its end.
CREATE TABLE ephemerd.sweeps (
    archive         text        PRIMARY KEY,
    requested_at    timestamptz DEFAULT now(),   -- from the start, at once
    started_at      timestamptz,                 -- the one under way
    after           bigint      NOT NULL DEFAULT 0,
    position        bigint      NOT NULL DEFAULT 0,
    upto            bigint      NOT NULL DEFAULT 0,
    rules           bytea       NOT NULL DEFAULT '', -- the hosts, timers and hints that it judges by
    -- What it did, whichever daemons took part.
    rows_read       bigint      NOT NULL DEFAULT 0,
    added           bigint      NOT NULL DEFAULT 0,
    changed         bigint      NOT NULL DEFAULT 0,
    dropped         bigint      NOT NULL DEFAULT 0,
    adopted         bigint      NOT NULL DEFAULT 0,
    unreadable      bigint      NOT NULL DEFAULT 0,
    completed_at    timestamptz,
    completed_rules bytea       NOT NULL DEFAULT ''
);

-- What the operator says to all daemons at once: a single row.
CREATE TABLE ephemerd.control (
    only_row            boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    paused_until        timestamptz,             -- infinity: until resumed
    backlog_accepted_at timestamptz
);
INSERT INTO ephemerd.control DEFAULT VALUES;

-- What may be claimed, but for the time and the listed hosts: one predicate for claim and wake-up.
CREATE VIEW ephemerd.claimable AS
    SELECT *
      FROM ephemerd.expiries
     WHERE NOT backlog
       AND NOT EXISTS (SELECT FROM ephemerd.control WHERE paused_until > now());
