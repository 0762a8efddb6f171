-- Holds: what an operator keeps, whatever asks for it to go. A hold beats everything.

-- The other side of the chat: a keyed digest of its bare address, which goes with the entry. Rooms have none; entries
-- from before do not have it until a sweep has seen their rows, and count as any chat meanwhile.
ALTER TABLE ephemerd.expiries ADD COLUMN peer bytea;

CREATE FUNCTION ephemerd.peer_digest(key bytea, host text, owner text, peer text) RETURNS bytea
    LANGUAGE sql STABLE
    RETURN substring(sha256(key || convert_to(concat_ws(E'\n', 'peer', host, owner, peer), 'UTF8')) FOR 8);

CREATE TABLE ephemerd.holds (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope       text        NOT NULL CHECK (scope IN ('all', 'host', 'user', 'conversation', 'room')),
    -- Whose rows: '' means any.
    host        text        NOT NULL,
    owner       text        NOT NULL,
    target      text        COLLATE "C" NOT NULL GENERATED ALWAYS AS (owner || '@' || host) STORED,
    -- Of a conversation: the other side's bare address, and its digest.
    peer        text,
    peer_digest bytea,
    -- Rows archived from here on and before then; NULL means any time.
    since       timestamptz,
    before      timestamptz,
    reason      text        NOT NULL,
    placed_by   text        NOT NULL,
    placed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- NULL: until it is released, which makes this the time of the release. When everything that it kept is free again,
    -- the hold is deleted.
    ends_at     timestamptz,
    CHECK ((peer IS NULL) = (peer_digest IS NULL) AND (peer IS NOT NULL) = (scope = 'conversation')),
    CHECK ((host = '') = (scope = 'all') AND (owner = '') = (scope IN ('all', 'host')))
);
CREATE INDEX holds_target ON ephemerd.holds (target);
CREATE INDEX holds_end ON ephemerd.holds (ends_at) WHERE ends_at IS NOT NULL;

-- Who placed and released holds, when and why. Rows are only ever added.
CREATE TABLE ephemerd.hold_log (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    hold    bigint      NOT NULL,
    event   text        NOT NULL CHECK (event IN ('placed', 'released', 'ended')),
    by_whom text        NOT NULL,
    role    text        NOT NULL DEFAULT session_user,
    reason  text        NOT NULL,
    scope   text        NOT NULL,
    host    text        NOT NULL,
    owner   text        NOT NULL,
    peer    text,
    since   timestamptz,
    before  timestamptz,
    ends_at timestamptz
);

CREATE FUNCTION ephemerd.refuse_to_forget() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log of holds only grows' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER hold_log_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON ephemerd.hold_log
    FOR EACH STATEMENT EXECUTE FUNCTION ephemerd.refuse_to_forget();

-- The holds in force on this target of which a row is part. A digest that is not known may be that of any chat. The time
-- is the statement's, not the transaction's: a claim whose transaction began before a hold ended must not see it when it
-- gets its lock after that.
CREATE FUNCTION ephemerd.holds_at(target text, peer bytea, stamped_at timestamptz)
    RETURNS SETOF ephemerd.holds LANGUAGE sql STABLE AS $$
    SELECT h.*
      FROM ephemerd.holds AS h
     WHERE h.target = $1
       AND (h.peer_digest IS NULL OR $2 IS NULL OR h.peer_digest = $2)
       AND (h.since IS NULL OR h.since <= $3)
       AND (h.before IS NULL OR h.before > $3)
       AND (h.ends_at IS NULL OR h.ends_at > statement_timestamp())
$$;

-- The holds in force on a row.
CREATE FUNCTION ephemerd.holds_on(host text, owner text, peer bytea, stamped_at timestamptz)
    RETURNS SETOF ephemerd.holds LANGUAGE sql STABLE AS $$
    SELECT * FROM ephemerd.holds_at($2 || '@' || $1, $3, $4)
     UNION ALL SELECT * FROM ephemerd.holds_at('@' || $1, $3, $4)
     UNION ALL SELECT * FROM ephemerd.holds_at('@', $3, $4)
$$;

-- Entries, and whether a hold keeps their rows: holds_on, but what does not depend on the row is asked once.
CREATE VIEW ephemerd.entries AS
    SELECT e.*,
           (SELECT EXISTS (SELECT FROM ephemerd.holds))
           AND (EXISTS (SELECT FROM ephemerd.holds_at(e.owner || '@' || e.host, e.peer, e.stamped_at))
                OR ((SELECT EXISTS (SELECT FROM ephemerd.holds WHERE owner = ''))
                    AND (EXISTS (SELECT FROM ephemerd.holds_at('@' || e.host, e.peer, e.stamped_at))
                         OR EXISTS (SELECT FROM ephemerd.holds_at('@', e.peer, e.stamped_at))))) AS on_hold
      FROM ephemerd.expiries AS e;

-- What may be claimed, but for the time, the listed hosts and holds: one predicate for claim and wake-up. An entry that
-- was claimed and is on hold is put aside: retry_at is infinity until the hold has ended.
CREATE VIEW ephemerd.candidates AS
    SELECT *
      FROM ephemerd.entries
     WHERE NOT backlog
       AND next_at < 'infinity'
       AND NOT EXISTS (SELECT FROM ephemerd.control WHERE paused_until > now());

-- For daemons of earlier versions, during an upgrade.
CREATE OR REPLACE VIEW ephemerd.claimable AS
    SELECT id, store, host, owner, archive_id, row_number, stamped_at, digest, copy_of, runs_from, due_at, reason,
           phase, backlog, retry_at, attempts, next_at, started_by
      FROM ephemerd.candidates
     WHERE NOT on_hold;

-- Owners of rows that a companion module was asked to erase, and has not answered. The request may still be carried out
-- until then.
CREATE TABLE ephemerd.asked (
    id    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host  text        NOT NULL,
    owner text        NOT NULL,
    until timestamptz NOT NULL
);
