#!/usr/bin/env bash
# FOR UPDATE SKIP LOCKED can fail on a partitioned table, in READ COMMITTED.
#
# Version: PostgreSQL 15.18 (Debian 12).
# Guess: it never fails over another session's work: what is locked is skipped, what was changed meanwhile is looked at anew.
# Behaviour: a row that another session moved to another partition, after the statement began and before it came to the row, is
#   neither. The whole statement ends with 40001, a serialization failure, at the isolation level that has none
#   elsewhere. Workers of a queue that claim so must try again.
# Seen:
# | changed within its partition meanwhile: id 1, in the partition early
# | moved before the statement: id 1, in the partition late
# | moved meanwhile: ERROR 40001: tuple to be locked was already moved to another partition due to concurrent update
. "$(dirname "$0")/lib.sh"

postgres_15

"${PSQL[@]}" <<'SQL'
CREATE TABLE queue (id integer, due integer, note text) PARTITION BY RANGE (due);
CREATE TABLE early PARTITION OF queue FOR VALUES FROM (0) TO (10);
CREATE TABLE late PARTITION OF queue FOR VALUES FROM (10) TO (20);
SQL

# A session that makes each claim wait, between its snapshot and its rows, until the other change is committed.
coproc HOLDER { "${PSQL[@]}" >>"$WORK/log" 2>&1; }
hold() {
    echo "SELECT pg_advisory_$1(1);" >&"${HOLDER[1]}"
    until [ "$("${PSQL[@]}" -c "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND $2")" = "$3" ]; do
        sleep 0.05
    done
}

# What a claim says while another session runs a statement.
claim_while() {
    hold lock granted 1
    "${PSQL[@]}" -v VERBOSITY=verbose >"$WORK/claim" 2>&1 <<'SQL' &
SELECT 'id ' || id || ', in the partition ' || tableoid::regclass FROM queue
WHERE (SELECT pg_advisory_lock_shared(1)) IS NOT NULL ORDER BY due LIMIT 1 FOR UPDATE SKIP LOCKED;
SQL
    local claim=$!
    until [ "$("${PSQL[@]}" -c "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")" = 1 ]; do
        sleep 0.05
    done
    "${PSQL[@]}" -c "$1"
    hold unlock "granted AND mode = 'ExclusiveLock'" 0
    wait "$claim" || true
    sed -n 's/^ERROR:  /ERROR /p; /^id/p' "$WORK/claim"
}

{
    "${PSQL[@]}" -c "INSERT INTO queue VALUES (1, 1, '')"
    echo "changed within its partition meanwhile: $(claim_while "UPDATE queue SET note = 'changed'")"
    "${PSQL[@]}" -c "UPDATE queue SET due = 11"
    echo "moved before the statement: $(claim_while "SELECT")"
    echo "moved meanwhile: $(claim_while "UPDATE queue SET due = 1")"
} >"$WORK/seen"
echo "\q" >&"${HOLDER[1]}"
as_described <"$WORK/seen"
