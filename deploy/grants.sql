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

-- Both last as long as this session.
CREATE OR REPLACE FUNCTION pg_temp.ephemerd_table(name text) RETURNS regclass LANGUAGE sql AS $$
    SELECT coalesce(to_regclass(name), (SELECT min(c.oid)::regclass FROM pg_class AS c
                     WHERE c.relname = name AND c.relkind IN ('r', 'p') HAVING count(*) = 1))
$$;

-- The sequence that numbers the rows, whatever its name: the one in the column's default, or an identity column's.
-- If PostgreSQL knows of neither, the one beside the table with the name that a serial column gives it.
CREATE OR REPLACE FUNCTION pg_temp.ephemerd_sequence(numbered regclass, numbers text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    found regclass;
BEGIN
    SELECT s.oid INTO found FROM pg_attribute AS c
      JOIN pg_attrdef AS f ON (f.adrelid, f.adnum) = (c.attrelid, c.attnum)
      JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
      JOIN pg_class AS s ON s.oid = d.refobjid AND s.relkind = 'S'
     WHERE c.attrelid = numbered AND c.attname = numbers;
    found := coalesce(found, pg_get_serial_sequence(numbered::text, numbers)::regclass);
    IF found IS NULL THEN
        SELECT s.oid INTO found FROM pg_class AS t JOIN pg_class AS s ON s.relnamespace = t.relnamespace
         WHERE t.oid = numbered AND s.relkind = 'S' AND s.relname = format('%s_%s_seq', t.relname, numbers);
    END IF;
    IF found IS NOT NULL THEN
        EXECUTE format('GRANT SELECT ON SEQUENCE %s TO ephemerd', found);
    END IF;
END
$$;

DO $$
DECLARE
    -- The server's tables, in whatever schema they are: the one in our search_path, or the only one of that name.
    prosody regclass; archive regclass; spool regclass; home text; path text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ephemerd') THEN
        CREATE ROLE ephemerd LOGIN;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO ephemerd', current_database());
    SELECT substr(setting, length('search_path=') + 1) INTO path
      FROM pg_db_role_setting AS s, unnest(s.setconfig) AS setting
     WHERE s.setrole = 'ephemerd'::regrole AND setting LIKE 'search_path=%'
       AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database());
    IF path IS NOT NULL THEN
        PERFORM set_config('search_path', path, true);
    END IF;
    prosody := pg_temp.ephemerd_table('prosodyarchive');
    archive := pg_temp.ephemerd_table('archive');
    spool := pg_temp.ephemerd_table('spool');
    -- Others have a table archive, too.
    IF spool IS NULL THEN
        archive := NULL;
    END IF;
    SELECT quote_ident(nspname) INTO home FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = coalesce(prosody, archive);
    -- A search_path that leads to the tables and to our own schema stays as it is.
    IF path IS NULL OR NOT ARRAY['ephemerd', coalesce(home, 'public')] <@ regexp_split_to_array(replace(path, '"$user"', 'ephemerd'), '\s*,\s*') THEN
        path := 'ephemerd, ' || CASE WHEN coalesce(home, 'public') = 'public' THEN 'public' ELSE home || ', public' END;
        EXECUTE format('ALTER ROLE ephemerd IN DATABASE %I SET search_path = %s', current_database(), path);
    END IF;
    IF home IS NOT NULL THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %s TO ephemerd', home);
    END IF;

    -- Prosody's archives: read, delete, and change a stanza's text, nothing else.
    IF prosody IS NOT NULL THEN
        EXECUTE format('GRANT SELECT, DELETE, UPDATE (value) ON %s TO ephemerd', prosody);
        PERFORM pg_temp.ephemerd_sequence(prosody, 'sort_id');
    END IF;

    -- ejabberd's archive and offline queue. The queue's rows are only ever changed, never deleted.
    IF archive IS NOT NULL THEN
        EXECUTE format('GRANT SELECT, DELETE, UPDATE (xml, txt) ON %s TO ephemerd', archive);
        EXECUTE format('GRANT SELECT, UPDATE (xml) ON %s TO ephemerd', spool);
        PERFORM pg_temp.ephemerd_sequence(spool, 'seq');
    END IF;

    IF prosody IS NULL AND archive IS NULL THEN
        RAISE WARNING 'there is no archive in this database yet: run this again once the server has created its tables'
            USING HINT = 'Prosody creates them when it archives the first message. With archive.kind = "component", ignore this.';
    END IF;
END
$$;

CREATE SCHEMA IF NOT EXISTS ephemerd AUTHORIZATION ephemerd;

-- What users of ejabberd published as read (XEP-0490), where PEP is in this database: these items, and no others.
DO $$
DECLARE
    nodes regclass := pg_temp.ephemerd_table('pubsub_node');
    items regclass := pg_temp.ephemerd_table('pubsub_item');
BEGIN
    IF nodes IS NOT NULL AND items IS NOT NULL THEN
        EXECUTE format('CREATE OR REPLACE VIEW ephemerd.positions WITH (security_barrier) AS
            SELECT n.host, i.itemid, i.modification, i.payload
              FROM %s AS n JOIN %s AS i ON i.nodeid = n.nodeid
             WHERE n.node = ''urn:xmpp:mds:displayed:0''', nodes, items);
        GRANT SELECT ON ephemerd.positions TO ephemerd;
    END IF;
END
$$;
