-- Retention by age: the policy that the daemons follow, and how far they have come through the archives' owners.

-- The last policy that a daemon announced: a single row, or none as long as nothing has ever gone by its age.
CREATE TABLE ephemerd.retention (
    only_row     boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    -- A digest of the policy. A daemon with another one erases nothing by age.
    policy       bytea       NOT NULL,
    announced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Until then nothing goes by its age.
    begins_at    timestamptz NOT NULL,
    -- Rows that go at first, when it was announced; counted no further than one more than may go unasked.
    first_rows   bigint      NOT NULL,
    -- So many that the operator must accept them.
    must_accept  boolean     NOT NULL,
    accepted_at  timestamptz
);

-- The walk through each archive table, owner by owner. A daemon locks its row for each transaction.
CREATE TABLE ephemerd.age_walks (
    archive     text        PRIMARY KEY,
    -- No walk begins before this.
    next_at     timestamptz NOT NULL DEFAULT '-infinity',
    -- Everything up to here was looked at: these owners, and of the last one, unless the store is empty, what comes
    -- before this stamp and number, both in the table's own units.
    host        text        NOT NULL DEFAULT '',
    owner       text        NOT NULL DEFAULT '',
    store       text        NOT NULL DEFAULT '',
    stamp       bigint      NOT NULL DEFAULT 0,
    row_number  bigint      NOT NULL DEFAULT 0,
    -- Rows of this walk that could not be erased: it is repeated sooner.
    failed      bigint      NOT NULL DEFAULT 0,
    finished_at timestamptz
);
