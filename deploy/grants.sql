-- What ephemerd may do in the XMPP server's database, and nothing else.
--
-- Run once, in the server's database, by a superuser, after the server has created its tables:
--     psql -d prosody -f grants.sql
-- and give the role a password:
--     psql -d prosody -c '\password ephemerd'
-- If the archives are elsewhere (archive.kind = "component"), in a database of ephemerd's own, with any name:
--     createdb ephemerd && psql -d ephemerd -f grants.sql
-- Running it again does no harm. To undo everything:
--     DROP SCHEMA ephemerd CASCADE; DROP OWNED BY ephemerd; DROP ROLE ephemerd;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ephemerd') THEN
        CREATE ROLE ephemerd LOGIN;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO ephemerd', current_database());
    EXECUTE format('ALTER ROLE ephemerd IN DATABASE %I SET search_path = ephemerd, public', current_database());

    -- Prosody's archives: read, delete, and change a stanza's text, nothing else.
    IF to_regclass('prosodyarchive') IS NOT NULL THEN
        GRANT SELECT, DELETE, UPDATE (value) ON prosodyarchive TO ephemerd;
        GRANT SELECT ON SEQUENCE prosodyarchive_sort_id_seq TO ephemerd;
    END IF;

    -- ejabberd's archive and offline queue. The queue's rows are only ever changed, never deleted.
    IF to_regclass('archive') IS NOT NULL AND to_regclass('spool') IS NOT NULL THEN
        GRANT SELECT, DELETE, UPDATE (xml, txt) ON archive TO ephemerd;
        GRANT SELECT, UPDATE (xml) ON spool TO ephemerd;
        GRANT SELECT ON SEQUENCE spool_seq_seq TO ephemerd;
    END IF;

    IF to_regclass('prosodyarchive') IS NULL AND to_regclass('archive') IS NULL THEN
        RAISE WARNING 'there is no archive in this database yet: run this again once the server has created its tables'
            USING HINT = 'Prosody creates them when it archives the first message. With archive.kind = "component", ignore this.';
    END IF;
END
$$;

CREATE SCHEMA IF NOT EXISTS ephemerd AUTHORIZATION ephemerd;

-- What users of ejabberd published as read (XEP-0490), where PEP is in this database: these items, and no others.
DO $$
BEGIN
    IF to_regclass('pubsub_node') IS NOT NULL AND to_regclass('pubsub_item') IS NOT NULL THEN
        CREATE OR REPLACE VIEW ephemerd.positions WITH (security_barrier) AS
            SELECT n.host, i.itemid, i.modification, i.payload
              FROM pubsub_node AS n JOIN pubsub_item AS i ON i.nodeid = n.nodeid
             WHERE n.node = 'urn:xmpp:mds:displayed:0';
        GRANT SELECT ON ephemerd.positions TO ephemerd;
    END IF;
END
$$;
