-- Timers that start at reading. While an entry waits for its owner to read the message (started_by = 'unread'), it has
-- what finds it again by a marker: keyed digests of the chat and of the message's id, and how long its timer is. They are
-- emptied as soon as the timer starts, and go with the entry.
ALTER TABLE ephemerd.expiries
    ADD COLUMN chat     bytea,
    ADD COLUMN message  bytea,
    ADD COLUMN timer_us bigint;
CREATE INDEX expiries_unread ON ephemerd.expiries (owner, chat, host) WHERE chat IS NOT NULL;

-- The key of these digests never leaves the database.
ALTER TABLE ephemerd.control
    ADD COLUMN reading_key bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid());

CREATE FUNCTION ephemerd.reading_digest(VARIADIC parts text[]) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT substring(sha256(reading_key || convert_to(array_to_string(parts, E'\n'), 'UTF8')) for 16)
      FROM ephemerd.control
$$;

-- timers.start = "auto": the last day on which an account's client showed that something was read. One date for each
-- account, forgotten after 30 days.
CREATE TABLE ephemerd.readers (
    host    text NOT NULL,
    owner   text NOT NULL,
    seen_on date NOT NULL,
    PRIMARY KEY (owner, host)
);
