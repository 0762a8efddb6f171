-- Timers of rooms' messages that start when somebody reads them. While such an entry waits, it has what tells its sender
-- from who reads it: keyed digests of the sender's address in the room, of the real address, and of the room's own id of
-- the sender, as far as they are known. They are emptied as soon as the timer starts, and go with the entry. Who reads is
-- never recorded.
ALTER TABLE ephemerd.expiries
    ADD COLUMN sender_nick bytea,
    ADD COLUMN sender_jid  bytea,
    ADD COLUMN sender_id   bytea;
