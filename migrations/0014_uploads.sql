-- Uploaded files that messages name by their URLs, and that go with the last of them. A file is here only while something
-- that is to go names it; then it is removed, or forgotten because something else names it, too.
CREATE TABLE ephemerd.files (
    id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- A keyed digest of the place, by which rows find the file.
    digest    bytea       NOT NULL,
    -- What the server calls it: the part of its URL that the server gave out, without the file's own name.
    place     text        NOT NULL,
    -- The bare address of whoever sent a message that names it and is to go: the server must know the file as theirs.
    uploader  text        NOT NULL,
    -- Rows of the archive's table up to this number were not looked at for what names the file; NULL: none was.
    unseen_upto bigint,
    -- A row that nothing asks to go names it: it stays.
    kept      boolean     NOT NULL DEFAULT false,
    -- When to look whether something still names it: the latest due time known, or the next attempt.
    next_at   timestamptz NOT NULL,
    attempts  integer     NOT NULL DEFAULT 0,
    UNIQUE (digest, uploader)
);
CREATE INDEX files_next ON ephemerd.files (next_at, id);

-- Which entries name which files. A row of this table may be left over when its entry is gone; it goes with the file.
CREATE TABLE ephemerd.file_names (
    file  bytea  NOT NULL,
    entry bigint NOT NULL,
    PRIMARY KEY (entry, file)
);
CREATE INDEX file_names_file ON ephemerd.file_names (file);

-- Up to where the tail of an archive table has looked for what names files, and which. If another daemon, or this one with
-- other settings, has gone further, the rows in between are searched before a file goes.
CREATE TABLE ephemerd.file_tails (
    archive text   PRIMARY KEY,
    upto    bigint NOT NULL,
    urls    text   NOT NULL
);
