-- What somebody asked to be erased of one owner, whatever its timers. A request stands until all of it is gone; what is on
-- hold stays, and so does the request.
CREATE TABLE ephemerd.requests (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host       text        NOT NULL,
    owner      text        NOT NULL,
    -- Only the chat with this bare address; '' means all.
    peer       text        NOT NULL,
    -- Only rows archived before then: no later than when it was asked for.
    before     timestamptz NOT NULL,
    -- Of the queue also rows up to this number, whose time may not be known: the newest when it was asked for. 0 if it was
    -- asked for what is older.
    queued_upto bigint     NOT NULL DEFAULT 0,
    asked_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    by_whom    text        NOT NULL,
    -- When a daemon began with it.
    begun_at   timestamptz,
    -- The walk through the owner's stores, as in age_walks: no walk begins before this, and all up to here was looked at.
    next_at    timestamptz NOT NULL DEFAULT '-infinity',
    at_host    text        NOT NULL DEFAULT '',
    at_owner   text        NOT NULL DEFAULT '',
    store      text        NOT NULL DEFAULT '',
    stamp      bigint      NOT NULL DEFAULT 0,
    row_number bigint      NOT NULL DEFAULT 0,
    -- Rows that went, in all walks.
    erased     bigint      NOT NULL DEFAULT 0,
    -- Rows of this walk that were left: on hold, or because they could not be erased.
    on_hold    bigint      NOT NULL DEFAULT 0,
    failed     bigint      NOT NULL DEFAULT 0,
    -- The same of the last walk that came to its end, and how many did.
    walks      bigint      NOT NULL DEFAULT 0,
    left_on_hold bigint    NOT NULL DEFAULT 0,
    left_failed  bigint    NOT NULL DEFAULT 0,
    -- Made twice, it is one.
    UNIQUE (owner, host, peer)
);
CREATE INDEX requests_next ON ephemerd.requests (next_at, id);

-- Who asked for what to be erased, when, and how that ended. Rows are only ever added.
CREATE TABLE ephemerd.request_log (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    request bigint      NOT NULL,
    event   text        NOT NULL CHECK (event IN ('asked', 'done', 'withdrawn')),
    by_whom text        NOT NULL,
    role    text        NOT NULL DEFAULT session_user,
    host    text        NOT NULL,
    owner   text        NOT NULL,
    peer    text        NOT NULL,
    before  timestamptz NOT NULL,
    -- Rows that went by then.
    erased  bigint      NOT NULL
);
CREATE INDEX request_log_request ON ephemerd.request_log (request, id);

CREATE FUNCTION ephemerd.refuse_to_forget_requests() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log of requests only grows' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER request_log_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON ephemerd.request_log
    FOR EACH STATEMENT EXECUTE FUNCTION ephemerd.refuse_to_forget_requests();
