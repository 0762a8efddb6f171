-- What started an entry's timer: archived, delivered, or a name that only newer versions know. Entries from before do
-- not know it and say archived; their time (runs_from) is right all the same.
ALTER TABLE ephemerd.expiries ADD COLUMN started_by text NOT NULL DEFAULT 'archived';

-- Daemons of two versions run side by side during an upgrade: a reason or a start that one of them does not know is
-- no error.
ALTER TABLE ephemerd.expiries DROP CONSTRAINT expiries_reason_check;

CREATE OR REPLACE VIEW ephemerd.claimable AS
    SELECT *
      FROM ephemerd.expiries
     WHERE NOT backlog
       AND NOT EXISTS (SELECT FROM ephemerd.control WHERE paused_until > now());
