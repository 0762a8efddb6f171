#!/usr/bin/env bash
# PostgreSQL does not count what a LuaDBI session has deleted and committed, for as long as that session then has nothing to do.
#
# Version: lua-dbi-postgresql 0.7.2-4 and Lua 5.4.4 (Debian 12), PostgreSQL 15.18.
# Guess: n_tup_del of a table tells of committed deletes a second later, or after ten where the session is idle.
# Behaviour: so it is with psql. LuaDBI begins the next transaction as soon as it has committed one, so its session is never
#   idle outside a transaction, and hands in its counts only at a later commit, whenever that comes. Prosody's SQL storage works
#   like that: whoever watches the counts does not see an account go until somebody does something else.
# Seen:
# | psql: 3 deleted, session idle, counted 3
# | LuaDBI: 3 deleted, session idle in transaction, counted 0
# | LuaDBI, after another commit: counted 3
. "$(dirname "$0")/lib.sh"

debian lua-dbi-postgresql=0.7.2-4 lua5.4=5.4.4-3+deb12u1
programs lua5.4
postgres_15

# The session may take ten seconds to hand in its counts.
WAIT=12

cat >"$WORK/finding.lua" <<'LUA'
local connection = assert(require "DBI".Connect("PostgreSQL", "postgres", "finding", nil, (...), 5432))
local function run(statement)
    assert(assert(connection:prepare(statement)):execute())
    connection:commit()
end
run("SET application_name = 'deleter'")
for line in io.lines() do
    run(line)
end
LUA

table() {
    "${PSQL[@]}" -c 'DROP TABLE IF EXISTS kept; CREATE TABLE kept (id int); INSERT INTO kept VALUES (1), (2), (3);' 2>>"$WORK/log"
}

counted() {
    "${PSQL[@]}" -c "SELECT 'counted ' || n_tup_del FROM pg_stat_user_tables WHERE relname = 'kept'"
}

# What is seen of a session that has deleted all rows, and stays.
seen() {
    "${PSQL[@]}" -c "SELECT 3 - (SELECT count(*) FROM kept) || ' deleted, session ' || state
                       FROM pg_stat_activity WHERE application_name = 'deleter'"
}

{
    table
    exec 3> >("${PSQL[@]}" >>"$WORK/log" 2>&1)
    echo "SET application_name = 'deleter'; DELETE FROM kept;" >&3
    sleep "$WAIT"
    echo "psql: $(seen), $(counted)"
    exec 3>&-
    sleep 1
    table
    exec 3> >(lua5.4 "$WORK/finding.lua" "$WORK/pg0" >>"$WORK/log" 2>&1)
    echo "DELETE FROM kept" >&3
    sleep "$WAIT"
    echo "LuaDBI: $(seen), $(counted)"
    echo "SELECT 1" >&3
    sleep 2
    echo "LuaDBI, after another commit: $(counted)"
    exec 3>&-
} | as_described
