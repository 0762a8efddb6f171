-- A reply may quote words of the message that it replies to. When that one goes they are cut out of the reply, which stays:
-- so this is no expiry, and the row may have one of its own.
CREATE TABLE ephemerd.quotes (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The reply's row, as in expiries.
    store      text        NOT NULL,
    host       text        NOT NULL,
    owner      text        NOT NULL,
    archive_id text        NOT NULL,
    row_number bigint      NOT NULL,
    stamped_at timestamptz NOT NULL,
    digest     bytea       NOT NULL,
    -- Tells whether its text is the one that was read: no other is changed.
    text_hash  bytea       NOT NULL,
    peer       bytea,
    -- The entry of the message that it quotes; 0: that one is gone.
    follows    bigint      NOT NULL,
    due_at     timestamptz NOT NULL,
    backlog    boolean     NOT NULL,
    retry_at   timestamptz,
    attempts   smallint    NOT NULL DEFAULT 0,
    next_at    timestamptz NOT NULL GENERATED ALWAYS AS (greatest(due_at, retry_at)) STORED,
    UNIQUE (owner, archive_id, store, host, digest)
);
CREATE INDEX quotes_next ON ephemerd.quotes (next_at, id) WHERE NOT backlog;
CREATE INDEX quotes_followers ON ephemerd.quotes (follows);
CREATE INDEX quotes_rows ON ephemerd.quotes (row_number, id);

CREATE VIEW ephemerd.quote_entries AS
    SELECT q.id, (SELECT EXISTS (SELECT FROM ephemerd.holds))
           AND (EXISTS (SELECT FROM ephemerd.holds_at(q.owner || '@' || q.host, q.peer, q.stamped_at))
                OR ((SELECT EXISTS (SELECT FROM ephemerd.holds WHERE owner = ''))
                    AND (EXISTS (SELECT FROM ephemerd.holds_at('@' || q.host, q.peer, q.stamped_at))
                         OR EXISTS (SELECT FROM ephemerd.holds_at('@', q.peer, q.stamped_at))))) AS on_hold,
           q.store, q.host, q.owner, q.archive_id, q.row_number, q.stamped_at, q.digest, q.text_hash, q.peer,
           q.follows, q.due_at, q.backlog, q.retry_at, q.attempts, q.next_at
      FROM ephemerd.quotes AS q;
