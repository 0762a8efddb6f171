-- Timers of rooms' messages that start when every member has read them. While such an entry waits, `readers` has keyed
-- digests of whoever has shown that they read it: of the real address, and of the room's own id (XEP-0421), as far as
-- they are known. `read_at` and `read_by` are the time and kind of the latest of what they showed; `judged` says that the
-- room's members were asked for since then, and that somebody was missing. These are columns and no table, so that none
-- of it can outlive the entry: they are emptied as soon as the timer starts, and go with the entry.
ALTER TABLE ephemerd.expiries
    ADD COLUMN readers bytea[],
    ADD COLUMN read_at timestamptz,
    ADD COLUMN read_by text,
    ADD COLUMN judged  boolean NOT NULL DEFAULT false;
-- Rooms in which something waits: those with something new first.
CREATE INDEX expiries_in_rooms ON ephemerd.expiries (judged, owner, host) WHERE store = 'room' AND chat IS NOT NULL;
