-- Messages in users' archives of which the companion module says that nobody has had them: they went only to sessions that
-- wait to be resumed, or to no session and into no offline queue. Ids only, and only for as long as that holds.
CREATE TABLE ephemerd.undelivered (
    host        text        NOT NULL,
    owner       text        NOT NULL,
    archive_id  text        NOT NULL,
    since       timestamptz NOT NULL DEFAULT clock_timestamp(), -- when we first heard of it
    PRIMARY KEY (owner, archive_id, host)
);
