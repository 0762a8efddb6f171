#!/usr/bin/env bash
# PostgreSQL delivers a notification to a session that began to listen after it was sent, if one transaction did both.
#
# Version: PostgreSQL 15.18 (Debian 12).
# Guess: NOTIFY and then LISTEN in one transaction: the session was not listening, so it gets nothing.
# Behaviour: it gets it. Both take effect at the commit, LISTEN first, in whatever order they were written. UNLISTEN goes
#   the same way: one after the NOTIFY silences it.
# Seen:
# | NOTIFY, LISTEN: got "early"
# | LISTEN, NOTIFY, UNLISTEN: nothing
. "$(dirname "$0")/lib.sh"

postgres_15

# What one session is told that runs the statements as one transaction.
told() {
    local got
    got=$({ echo "BEGIN; $1; COMMIT;"; echo "SELECT 1;"; } | "${PSQL[@]}" | sed -n 's/.*payload \("[a-z]*"\).*/got \1/p')
    echo "${got:-nothing}"
}

{
    echo "NOTIFY, LISTEN: $(told "NOTIFY bell, 'early'; LISTEN bell")"
    echo "LISTEN, NOTIFY, UNLISTEN: $(told "LISTEN bell; NOTIFY bell, 'late'; UNLISTEN bell")"
} | as_described
