#!/usr/bin/env bash
# pg_dumpall does not take a database's name where pg_dump and psql take it.
#
# Version: PostgreSQL 15.18 (Debian 12).
# Guess: `--dbname=postgres` is the database to connect to first, for each of the three programs.
# Behaviour: for pg_dump and psql it may be a name or a connection string. pg_dumpall reads only a connection string: a
#   plain name is an error of syntax, and the name belongs to `--database`. A script that backs up one database does
#   not back up all by adding "all".
# Seen:
# | psql --dbname=postgres: 0
# | pg_dump --dbname=postgres: 0
# | pg_dumpall --dbname=postgres: 1, missing "=" after "postgres" in connection info string
# | pg_dumpall --dbname=dbname=postgres: 0
# | pg_dumpall --database=postgres: 0
. "$(dirname "$0")/lib.sh"

postgres_15
home=$WORK/pg0
try() {
    local status=0 said
    said=$("$@" --host="$home" --username=finding 2>&1 >>"$WORK/log") || status=$?
    said=$(sed -n 's/^[a-z_]*: error: //p' <<<"$said")
    echo "${1##*/} $2: $status${said:+, $said}"
}
bin=/usr/lib/postgresql/15/bin
export PGOPTIONS='' PSQLRC=/dev/null
{
    try "$bin/psql" --dbname=postgres </dev/null
    try "$bin/pg_dump" --dbname=postgres
    try "$bin/pg_dumpall" --dbname=postgres
    try "$bin/pg_dumpall" --dbname=dbname=postgres
    try "$bin/pg_dumpall" --database=postgres
} | as_described
