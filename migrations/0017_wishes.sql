-- What users wish for their own archives: how long messages stay there at most, a timer for encrypted messages, and that
-- messages with a timer go once they were read. A wish only ever shortens; it stands until its user takes it back.
CREATE TABLE ephemerd.wishes (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host       text        NOT NULL,
    owner      text        NOT NULL,
    -- Only the chat with this bare address; '' means all.
    peer       text        NOT NULL,
    -- How long messages stay in the archive, in seconds; NULL if that is not wished.
    archive_for   bigint      CHECK (archive_for > 0),
    -- Messages with a timer that were archived from then on go once they were read; NULL if that is not wished.
    once_since timestamptz,
    -- Encrypted messages without a visible timer that were archived from then on have this one, in seconds; NULL if that is not
    -- wished.
    encrypted_for   bigint CHECK (encrypted_for > 0),
    encrypted_since timestamptz,
    -- The timer of those that were archived before that, but from then on: the longest one that was wished for them. NULL if there
    -- was none.
    earlier_for   bigint,
    earlier_since timestamptz,
    wished_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The walk through the owner's archive: no walk begins before this, and all up to this stamp and number, in the table's own
    -- units, was looked at.
    next_at    timestamptz NOT NULL DEFAULT '-infinity',
    stamp      bigint      NOT NULL DEFAULT '-9223372036854775808',
    row_number bigint      NOT NULL DEFAULT '-9223372036854775808',
    -- Rows of this walk that could not be erased: it is repeated sooner.
    failed     bigint      NOT NULL DEFAULT 0,
    UNIQUE (owner, host, peer),
    CHECK (num_nonnulls(archive_for, once_since, encrypted_for) > 0),
    CHECK ((encrypted_for IS NULL) = (encrypted_since IS NULL)),
    CHECK ((earlier_for IS NULL) = (earlier_since IS NULL)),
    CHECK (earlier_for >= encrypted_for AND earlier_since <= encrypted_since)
);
-- Who wishes a timer for encrypted messages: only of them these are looked for.
CREATE INDEX wishes_encrypted ON ephemerd.wishes ((hashtext(owner) & 1023)) WHERE encrypted_for IS NOT NULL;
CREATE INDEX wishes_next ON ephemerd.wishes (next_at, id) WHERE archive_for IS NOT NULL;
