-- What belongs to a message, such as a correction or a reaction, goes with it. It names the message by an id, which is in
-- no column: a keyed digest of owner, chat and id finds the entry, and another one tells its sender from others. Both are
-- emptied when the text goes, and go with the entry.
ALTER TABLE ephemerd.expiries
    ADD COLUMN name    bytea,
    ADD COLUMN sender  bytea,
    -- The entry whose row this one goes with, and over how many messages it names that row; 0: that one is gone.
    ADD COLUMN follows bigint,
    ADD COLUMN links   smallint;

-- Owners are told apart by one of 1,024 groups first, in the server's tables too: only in groups in which something is
-- named is it worth while to search rows for what may belong to it. Somebody may give any number of messages one id:
-- whoever looks for another sender's, or older ones, passes none of them.
CREATE INDEX expiries_named ON ephemerd.expiries ((hashtext(owner) & 1023), name, sender, stamped_at, id)
    WHERE name IS NOT NULL;
CREATE INDEX expiries_followers ON ephemerd.expiries (follows) WHERE follows IS NOT NULL;

CREATE FUNCTION ephemerd.message_digest(key bytea, VARIADIC parts text[]) RETURNS bytea LANGUAGE sql STABLE
    -- No stanza can have the separator in an attribute.
    RETURN substring(sha256(key || convert_to(array_to_string(parts, E'\x1f'), 'UTF8')) FOR 8);

-- The names of messages that were erased within a day, for what belongs to them and comes late. Almost none is ever
-- looked up, so what matters is that writing them is cheap: one row for all that one transaction erased of the owners in
-- one of 128 groups, each of which is eight of the groups above, and a single index.
CREATE TABLE ephemerd.gone (
    owner_group integer       NOT NULL,
    names       bytea[]       NOT NULL,
    senders     bytea[]       NOT NULL,
    stamps      timestamptz[] NOT NULL,          -- when they were archived: what belongs to them is newer
    gone_at     timestamptz   NOT NULL DEFAULT clock_timestamp()
);
-- Digests cannot be compressed.
ALTER TABLE ephemerd.gone ALTER COLUMN names SET STORAGE EXTERNAL, ALTER COLUMN senders SET STORAGE EXTERNAL;
CREATE INDEX gone_by_group ON ephemerd.gone (owner_group, gone_at);

-- Whoever erases a message remembers its name, and so claims it too.
CREATE OR REPLACE VIEW ephemerd.entries AS
    SELECT e.id, e.store, e.host, e.owner, e.archive_id, e.row_number, e.stamped_at, e.digest, e.copy_of, e.runs_from,
           e.due_at, e.reason, e.phase, e.backlog, e.retry_at, e.attempts, e.next_at, e.started_by, e.chat, e.message,
           e.timer_us, e.peer,
           (SELECT EXISTS (SELECT FROM ephemerd.holds))
           AND (EXISTS (SELECT FROM ephemerd.holds_at(e.owner || '@' || e.host, e.peer, e.stamped_at))
                OR ((SELECT EXISTS (SELECT FROM ephemerd.holds WHERE owner = ''))
                    AND (EXISTS (SELECT FROM ephemerd.holds_at('@' || e.host, e.peer, e.stamped_at))
                         OR EXISTS (SELECT FROM ephemerd.holds_at('@', e.peer, e.stamped_at))))) AS on_hold,
           e.name, e.sender
      FROM ephemerd.expiries AS e;
CREATE OR REPLACE VIEW ephemerd.candidates AS
    SELECT *
      FROM ephemerd.entries
     WHERE NOT backlog
       AND next_at < 'infinity'
       AND NOT EXISTS (SELECT FROM ephemerd.control WHERE paused_until > now());
